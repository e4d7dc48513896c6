"""Typed models of who may call whom in Istio's security.istio.io: AuthorizationPolicy and PeerAuthentication.

What a rule of a policy says is in agent/api/authorization_rules.py.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, model_validator

from agent.api.authorization_rules import Condition as Condition
from agent.api.authorization_rules import Operation as Operation
from agent.api.authorization_rules import Rule as Rule
from agent.api.authorization_rules import Source as Source
from agent.api.authorization_rules import Text
from agent.api.fields import not_empty
from agent.api.selectors import TargetReference, WorkloadSelector
from agent.api.strict import AGE, VALIDATIONS, Column, Facts, OneOf, StrictObject, StrictPart, rule
from agent.wire import SYSTEM_NAMESPACE

GROUP: Final = "security.istio.io"
CATEGORIES: Final = ("istio-io", "security-istio-io")
VERSIONS: Final = ("v1", "v1beta1")  # the stored one first
DRY_RUN_ANNOTATION: Final = "istio.io/dry-run"
UNENFORCEABLE_ANNOTATION: Final = "weft.io/unenforceable"


def _port_key(value: object) -> object:
    """JSON has no numbers as keys; YAML has."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


PortKey = Annotated[StrictInt, Field(ge=1, le=65535), BeforeValidator(_port_key)]
Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]
Targets = Annotated[
    tuple[TargetReference, ...],
    Field(max_length=16, json_schema_extra={"minItems": 1}),
    AfterValidator(not_empty),
]


class SecurityObject(StrictObject):
    """A resource of which those in the root namespace reach every other."""

    def is_of_mesh(self, root_namespace: str = SYSTEM_NAMESPACE) -> bool:
        """Whether it is in the root namespace, from where it reaches every other."""
        return self.metadata.namespace == root_namespace


class Provider(StrictPart):
    """Who decides in place of rules."""

    name: Text
    """Name of an extension provider of the mesh's configuration."""


class AuthorizationPolicySpec(StrictPart):
    """Rules and what becomes of the requests that match one."""

    one_ofs = (OneOf(("selector", "targetRef", "targetRefs")),)

    selector: WorkloadSelector = WorkloadSelector()
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    target_ref: TargetReference | None = None
    """Deprecated: see targetRefs."""
    target_refs: Targets = ()
    """Gateways or services that it is for, in place of a selector."""
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    """What a match means; as soon as there is an ALLOW policy, what none of them allows is denied."""
    provider: Provider | None = None
    """Who decides; with action CUSTOM only."""
    rules: Annotated[tuple[Rule, ...], Field(max_length=512)] = ()
    """Alternatives; none match nothing."""

    @property
    def targets(self) -> tuple[TargetReference, ...]:
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())

    @rule(
        "(has(self.action) && self.action == 'CUSTOM') == has(self.provider)",
        "provider: accepted with action CUSTOM, which needs it, and with no other",
    )
    def _has_a_provider_if_custom(self) -> bool:
        return (self.action == "CUSTOM") == (self.provider is not None)


class AuthorizationPolicy(SecurityObject):
    """Says who may call the chosen workloads, and what for."""

    facts = Facts(
        GROUP,
        "authorizationpolicies",
        VERSIONS,
        short_names=("ap",),
        categories=CATEGORIES,
        columns=(Column("Action", ".spec.action"), AGE),
    )

    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
    """The policy."""

    @property
    def is_dry_run(self) -> bool:
        return self.metadata.annotations.get(DRY_RUN_ANNOTATION) == "true"

    @property
    def fails_open(self) -> bool:
        """Whether its author prefers no protection to refusals where it cannot be enforced."""
        return UNENFORCEABLE_ANNOTATION in self.metadata.annotations

    @model_validator(mode="after")
    def _annotations_are_known(self) -> Self:
        for name, accepted in ((DRY_RUN_ANNOTATION, ("true", "false")), (UNENFORCEABLE_ANNOTATION, ("allow",))):
            value = self.metadata.annotations.get(name)
            if value is not None and value not in accepted:
                raise ValueError(f"metadata.annotations: {name}={value}: accepted is {' or '.join(accepted)}")
        return self

    @model_validator(mode="after")
    def _classes_are_of_the_mesh(self) -> Self:
        if not self.is_of_mesh() and any(target.kind == "GatewayClass" for target in self.spec.targets):
            raise ValueError(f"spec.targetRefs: a GatewayClass is accepted in namespace {SYSTEM_NAMESPACE} only")
        return self


class MutualTls(StrictPart):
    """Whether callers must use mutual TLS."""

    mode: Mode = "UNSET"
    """UNSET takes over what holds for the namespace or the mesh, which is PERMISSIVE where nothing is said."""


_PORTS_RULE: Final = {
    "rule": "self.all(key, 0 < int(key) && int(key) <= 65535)",
    "message": "accepted are ports as keys",
}
PortModes = Annotated[dict[PortKey, MutualTls], Field(min_length=1, json_schema_extra={VALIDATIONS: [_PORTS_RULE]})]


class PeerAuthenticationSpec(StrictPart):
    """Whether the chosen workloads must be called over mutual TLS."""

    selector: WorkloadSelector = WorkloadSelector()
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    mtls: MutualTls = MutualTls()
    """What holds for all ports."""
    port_level_mtls: PortModes = Field(default_factory=dict)
    """What holds for single ports of the workload instead."""

    @rule(
        "has(self.portLevelMtls) ? (has(self.selector) && has(self.selector.matchLabels) ? "
        "self.selector.matchLabels : {}).size() > 0 : true",
        "portLevelMtls: accepted only with a selector that names labels",
    )
    def _ports_are_of_workloads(self) -> bool:
        return bool(self.selector.match_labels) or not self.port_level_mtls


class PeerAuthentication(SecurityObject):
    """Says whether workloads must be called over mutual TLS."""

    facts = Facts(
        GROUP,
        "peerauthentications",
        VERSIONS,
        short_names=("pa",),
        categories=CATEGORIES,
        columns=(Column("Mode", ".spec.mtls.mode"), AGE),
    )

    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
    """The settings."""
