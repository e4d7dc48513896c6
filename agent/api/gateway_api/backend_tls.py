"""BackendTLSPolicy: how a gateway speaks TLS to a backend."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictStr, model_validator

from agent.api.gateway_api.fields import DNS_NAME, Hostname, Options, PreciseHostname, items, matching
from agent.api.gateway_api.objects import Condition, GatewayObject, gateway_api
from agent.api.gateway_api.references import LocalReference, PolicyTargets
from agent.api.gateway_api.routes import ParentOfStatus
from agent.api.objects import Part
from agent.api.strict import StrictPart

_WELL_KNOWN = rf"System|{DNS_NAME}/(?:[A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]"
_URI = r"(?s:[^:/?#]+://[^/?#]*.*)"

WellKnownCertificates = Annotated[StrictStr, matching(_WELL_KNOWN, "System or DOMAIN/NAME")]


class SubjectAltName(StrictPart):
    """A name that the backend's certificate may carry."""

    type: Literal["Hostname", "URI"]
    hostname: Hostname = ""
    uri: Annotated[StrictStr, matching(_URI, "SCHEME://AUTHORITY[/PATH]")] = ""

    @model_validator(mode="after")
    def _has_the_name_of_its_type(self) -> Self:
        for type, field, value in (("Hostname", "hostname", self.hostname), ("URI", "uri", self.uri)):
            if (self.type == type) != bool(value):
                raise ValueError(f"{field}: accepted with type {type}, which needs it, and no other")
        return self


class BackendTlsValidation(StrictPart):
    """Who vouches for the backend, and the name it must have (and is asked for by)."""

    ca_certificate_refs: Annotated[tuple[LocalReference, ...], Field(alias="caCertificateRefs"), items(8)] = ()
    well_known_ca_certificates: WellKnownCertificates = Field(default="", alias="wellKnownCACertificates")
    hostname: PreciseHostname
    subject_alt_names: Annotated[tuple[SubjectAltName, ...], items(5)] = ()

    @model_validator(mode="after")
    def _trusts_in_one_way(self) -> Self:
        if bool(self.ca_certificate_refs) == bool(self.well_known_ca_certificates):
            raise ValueError("accepted is exactly one of caCertificateRefs and wellKnownCACertificates")
        return self


class BackendTlsPolicySpec(StrictPart):
    target_refs: PolicyTargets
    validation: BackendTlsValidation
    options: Options = Field(default_factory=dict)


class PolicyAncestorStatus(Part):
    """What one controller says of a policy's effect under one parent."""

    ancestor_ref: ParentOfStatus
    controller_name: StrictStr
    conditions: tuple[Condition, ...] = ()


class PolicyStatus(Part):
    ancestors: tuple[PolicyAncestorStatus, ...] = ()


class BackendTLSPolicy(GatewayObject):
    """Connections to its targets carry TLS, verified as it says."""

    facts = gateway_api("backendtlspolicies", "v1", "v1alpha3")

    spec: BackendTlsPolicySpec
    status: PolicyStatus = PolicyStatus()
