"""Typed models of Istio's security.istio.io resources: AuthorizationPolicy and PeerAuthentication.

Unlike Kubernetes' own objects these are read strictly. A misspelt field, a list that is empty or
a value that can match nothing would leave a policy that says something else than its author
meant, so each of them makes the object invalid.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, model_validator

from agent.api.fields import Name, OptionalName, not_empty
from agent.api.objects import NamedObject, Part
from agent.wire import SYSTEM_NAMESPACE

DRY_RUN_ANNOTATION: Final = "istio.io/dry-run"
UNENFORCEABLE_ANNOTATION: Final = "weft.io/unenforceable"
_L4_KEYS: Final = ("source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port")
_L7_KEYS: Final = (
    "remote.ip",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "connection.sni",
)
_L7_KEYS_WITH_ARGUMENT: Final = re.compile(r"(request\.headers|request\.auth\.claims|experimental\.envoy\.filters)\S*")
_BLOCK_KEYS: Final = ("source.ip", "destination.ip", "remote.ip")
_TARGETS: Final = {
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("accepted is a text that is not empty")
    return value


def _pattern(value: str) -> str:
    if "*" in _text(value)[1:-1]:
        raise ValueError("accepted is '*' alone, at the start or at the end")
    if value.startswith("*") and value.endswith("*") and value != "*":
        raise ValueError("accepted is '*' at one end only")
    return value


def _principal(value: str) -> str:
    if value.startswith("spiffe://"):
        raise ValueError("accepted is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://")
    return _pattern(value)


def _block(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as exc:
        raise ValueError("accepted is an IPv4 or IPv6 address, or a CIDR block") from exc


def _port(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
        raise ValueError("accepted is a number from 1 to 65535, as a text")
    return value


def _account(value: str) -> str:
    if not re.fullmatch(r"([a-z0-9][-a-z0-9.]*/)?[a-z0-9][-a-z0-9.:]*", value):
        raise ValueError("accepted is NAMESPACE/ACCOUNT, or ACCOUNT in the policy's namespace")
    return value


def _port_key(value: object) -> object:
    """JSON has no numbers as keys; YAML has."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Texts = Annotated[tuple[Annotated[StrictStr, AfterValidator(_text)], ...], AfterValidator(not_empty)]
Patterns = Annotated[tuple[Annotated[StrictStr, AfterValidator(_pattern)], ...], AfterValidator(not_empty)]
Principals = Annotated[tuple[Annotated[StrictStr, AfterValidator(_principal)], ...], AfterValidator(not_empty)]
Blocks = Annotated[tuple[Annotated[StrictStr, AfterValidator(_block)], ...], AfterValidator(not_empty)]
Ports = Annotated[tuple[Annotated[StrictStr, AfterValidator(_port)], ...], AfterValidator(not_empty)]
Accounts = Annotated[tuple[Annotated[StrictStr, AfterValidator(_account)], ...], AfterValidator(not_empty)]
PortKey = Annotated[StrictInt, Field(ge=1, le=65535), BeforeValidator(_port_key)]
Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class _Strict(Part):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class _AskingForSomething(_Strict):
    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("accepted is at least one field; nothing would mean everything")
        return self


class Selector(_Strict):
    """Labels that all must match; none match every workload."""

    match_labels: dict[Annotated[StrictStr, AfterValidator(_text)], StrictStr] = Field(default_factory=dict)


class Source(_AskingForSomething):
    """Where a request comes from; the fields hold together, the values of one are alternatives."""

    principals: Principals = ()
    not_principals: Principals = ()
    request_principals: Patterns = ()
    not_request_principals: Patterns = ()
    namespaces: Patterns = ()
    not_namespaces: Patterns = ()
    service_accounts: Accounts = ()
    not_service_accounts: Accounts = ()
    ip_blocks: Blocks = ()
    not_ip_blocks: Blocks = ()
    remote_ip_blocks: Blocks = ()
    not_remote_ip_blocks: Blocks = ()

    @model_validator(mode="after")
    def _accounts_stand_alone(self) -> Self:
        others = self.principals or self.not_principals or self.namespaces or self.not_namespaces
        if (self.service_accounts or self.not_service_accounts) and others:
            raise ValueError("serviceAccounts: accepted only without principals and namespaces")
        return self


class Operation(_AskingForSomething):
    """What a request does."""

    hosts: Texts = ()
    not_hosts: Texts = ()
    ports: Ports = ()
    not_ports: Ports = ()
    methods: Texts = ()
    not_methods: Texts = ()
    paths: Texts = ()
    not_paths: Texts = ()


class From(_Strict):
    source: Source


class To(_Strict):
    operation: Operation


class Condition(_Strict):
    """An attribute, the values of which one must be there, and those of which none may."""

    key: Annotated[StrictStr, AfterValidator(_text)]
    values: Texts = ()
    not_values: Texts = ()

    @property
    def is_l4(self) -> bool:
        return self.key in _L4_KEYS

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if not (self.is_l4 or self.key in _L7_KEYS or _L7_KEYS_WITH_ARGUMENT.fullmatch(self.key)):
            accepted = ", ".join((*_L4_KEYS, *_L7_KEYS))
            raise ValueError(f"key: accepted are {accepted}, request.headers[…], request.auth.claims[…]")
        if not (self.values or self.not_values):
            raise ValueError("accepted is at least one of values and notValues")
        for value in (*self.values, *self.not_values):
            self._check(value)
        return self

    def _check(self, value: str) -> None:
        if self.key in _BLOCK_KEYS:
            _block(value)
        elif self.key == "destination.port":
            _port(value)
        elif self.key == "source.principal":
            _principal(value)
        elif self.key == "source.namespace":
            _pattern(value)


class Rule(_Strict):
    """Holds when one of `from`, one of `to` and all of `when` do; a part that is absent holds always."""

    from_: Annotated[tuple[From, ...], Field(alias="from"), AfterValidator(not_empty)] = ()
    to: Annotated[tuple[To, ...], AfterValidator(not_empty)] = ()
    when: Annotated[tuple[Condition, ...], AfterValidator(not_empty)] = ()


class TargetReference(_Strict):
    """The object that a waypoint or gateway is to guard with the policy."""

    group: StrictStr = ""
    kind: StrictStr
    name: Name
    namespace: OptionalName = ""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if (self.group, self.kind) not in _TARGETS:
            accepted = ", ".join(sorted(f"{group}/{kind}".removeprefix("/") for group, kind in _TARGETS))
            raise ValueError(f"accepted are {accepted}")
        return self


class Provider(_Strict):
    name: Annotated[StrictStr, AfterValidator(_text)]


class AuthorizationPolicySpec(_Strict):
    selector: Selector = Selector()
    target_ref: TargetReference | None = None
    target_refs: Annotated[tuple[TargetReference, ...], AfterValidator(not_empty)] = ()
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: Provider | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def targets(self) -> tuple[TargetReference, ...]:
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> Self:
        if self.target_ref and self.target_refs:
            raise ValueError("accepted is one of targetRef and targetRefs")
        if self.targets and self.selector.match_labels:
            raise ValueError("accepted is one of selector and targetRefs")
        if (self.action == "CUSTOM") != (self.provider is not None):
            raise ValueError("provider: accepted with action CUSTOM, which needs it, and with no other")
        return self


class _Policy(NamedObject):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    api_version: StrictStr
    kind: StrictStr
    status: object = None  # ours to write, and read by nobody here

    @property
    def is_of_mesh(self) -> bool:
        """Whether it is in the root namespace, from where it reaches every other."""
        return self.metadata.namespace == SYSTEM_NAMESPACE

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first."""
        return self.metadata.creation_timestamp, self.metadata.namespace, self.metadata.name


class AuthorizationPolicy(_Policy):
    """security.istio.io AuthorizationPolicy."""

    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()

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
    def _targets_are_its_own(self) -> Self:
        for target in self.spec.targets:
            if target.namespace not in ("", self.metadata.namespace):
                raise ValueError("spec.targetRefs: accepted is an object of the policy's own namespace")
            if target.kind == "GatewayClass" and not self.is_of_mesh:
                raise ValueError(f"spec.targetRefs: a GatewayClass is accepted in namespace {SYSTEM_NAMESPACE} only")
        return self


class MutualTls(_Strict):
    mode: Mode = "UNSET"


class PeerAuthenticationSpec(_Strict):
    selector: Selector = Selector()
    mtls: MutualTls = MutualTls()
    port_level_mtls: dict[PortKey, MutualTls] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ports_are_of_workloads(self) -> Self:
        if self.port_level_mtls and not self.selector.match_labels:
            raise ValueError("portLevelMtls: accepted only with a selector that names labels")
        return self


class PeerAuthentication(_Policy):
    """security.istio.io PeerAuthentication."""

    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
