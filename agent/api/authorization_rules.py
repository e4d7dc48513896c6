"""Rules of an AuthorizationPolicy: who may do what, under which conditions.

They are read more strictly than an API server does: a list that is empty, or a value that can
match nothing, would leave a rule that says something else than its author meant.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, StrictStr, model_validator

from agent.api.fields import not_empty
from agent.api.strict import StrictPart, rule

_L4_KEYS: Final = ("source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port")
_OTHER_KEYS: Final = (  # which node proxies do not judge
    "remote.ip",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "connection.sni",
    "source.trustDomain",
    "source.serviceAccount",
)
_KEYS_WITH_ARGUMENT: Final = re.compile(r"(request\.headers|request\.auth\.claims|experimental\.envoy\.filters)\S*")
_BLOCK_KEYS: Final = ("source.ip", "destination.ip", "remote.ip")


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


_AT_LEAST_ONE: Final = (AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1}))
_NOT_EMPTY: Final = Field(json_schema_extra={"minLength": 1})
_ACCOUNTS_STAND_ALONE: Final = (
    "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) && "
    "!has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true"
)

Text = Annotated[StrictStr, AfterValidator(_text), _NOT_EMPTY]
Texts = Annotated[tuple[Text, ...], *_AT_LEAST_ONE]
Patterns = Annotated[tuple[Annotated[StrictStr, AfterValidator(_pattern), _NOT_EMPTY], ...], *_AT_LEAST_ONE]
Principals = Annotated[tuple[Annotated[StrictStr, AfterValidator(_principal), _NOT_EMPTY], ...], *_AT_LEAST_ONE]
Blocks = Annotated[tuple[Annotated[StrictStr, AfterValidator(_block)], ...], *_AT_LEAST_ONE]
Ports = Annotated[tuple[Annotated[StrictStr, AfterValidator(_port)], ...], *_AT_LEAST_ONE]
Accounts = Annotated[
    tuple[Annotated[StrictStr, AfterValidator(_account), Field(max_length=320)], ...],
    Field(max_length=16),
    *_AT_LEAST_ONE,
]


class AskingForSomething(StrictPart):
    """A part that must have a field; without one it would be true of everything."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("accepted is at least one field; nothing would mean everything")
        return self


class Source(AskingForSomething):
    """Where a request comes from; the fields hold together, the values of one are alternatives.

    A pattern is an exact text, or begins or ends with '*', or is '*' for anything that is there.
    """

    principals: Principals = ()
    """Patterns of identities, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT."""
    not_principals: Principals = ()
    """Patterns of identities that are excepted."""
    request_principals: Patterns = ()
    """Patterns of ISSUER/SUBJECT of the request's token."""
    not_request_principals: Patterns = ()
    """Patterns of ISSUER/SUBJECT that are excepted."""
    namespaces: Patterns = ()
    """Patterns of namespaces of the caller's identity."""
    not_namespaces: Patterns = ()
    """Patterns of namespaces that are excepted."""
    service_accounts: Accounts = ()
    """Accounts of the caller's identity, NAMESPACE/ACCOUNT, or ACCOUNT in the policy's namespace."""
    not_service_accounts: Accounts = ()
    """Accounts that are excepted."""
    ip_blocks: Blocks = ()
    """Addresses or CIDR blocks that the packets come from."""
    not_ip_blocks: Blocks = ()
    """Addresses or CIDR blocks that are excepted."""
    remote_ip_blocks: Blocks = ()
    """Addresses or CIDR blocks of the original client, as X-Forwarded-For or the PROXY protocol says."""
    not_remote_ip_blocks: Blocks = ()
    """Addresses or CIDR blocks of the original client that are excepted."""
    trust_domains: Patterns = ()
    """Patterns of trust domains of the caller's identity."""
    not_trust_domains: Patterns = ()
    """Patterns of trust domains that are excepted."""

    @rule(_ACCOUNTS_STAND_ALONE, "serviceAccounts: accepted only without principals and namespaces")
    def _accounts_stand_alone(self) -> bool:
        others = self.principals or self.not_principals or self.namespaces or self.not_namespaces
        return not ((self.service_accounts or self.not_service_accounts) and others)


class Operation(AskingForSomething):
    """What a request does; the fields hold together, the values of one are alternatives."""

    hosts: Texts = ()
    """Patterns of hosts, without regard to case."""
    not_hosts: Texts = ()
    """Patterns of hosts that are excepted."""
    ports: Ports = ()
    """Ports of the workload, as texts."""
    not_ports: Ports = ()
    """Ports that are excepted."""
    methods: Texts = ()
    """Patterns of methods; always POST for gRPC."""
    not_methods: Texts = ()
    """Patterns of methods that are excepted."""
    paths: Texts = ()
    """Patterns of paths, or templates with {*} and {**}; /PACKAGE.SERVICE/METHOD for gRPC."""
    not_paths: Texts = ()
    """Patterns of paths that are excepted."""


class From(StrictPart):
    """One of the alternatives of where a request comes from."""

    source: Source
    """What must be true of it."""


class To(StrictPart):
    """One of the alternatives of what a request does."""

    operation: Operation
    """What must be true of it."""


class Condition(StrictPart):
    """An attribute, the values of which one must be there, and those of which none may."""

    key: Text
    """Name of the attribute, such as source.ip or request.headers[NAME]."""
    values: Texts = ()
    """Alternatives."""
    not_values: Texts = ()
    """Values that are excepted."""

    @property
    def is_l4(self) -> bool:
        return self.key in _L4_KEYS

    @rule("has(self.values) || has(self.notValues)", "accepted is at least one of values and notValues")
    def _asks_for_something(self) -> bool:
        return bool(self.values or self.not_values)

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if not (self.is_l4 or self.key in _OTHER_KEYS or _KEYS_WITH_ARGUMENT.fullmatch(self.key)):
            accepted = ", ".join((*_L4_KEYS, *_OTHER_KEYS))
            raise ValueError(f"key: accepted are {accepted}, request.headers[…], request.auth.claims[…]")
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
        elif self.key == "source.serviceAccount":
            _account(value)
        elif self.key in ("source.namespace", "source.trustDomain"):
            _pattern(value)


class Rule(StrictPart):
    """Holds when one of `from`, one of `to` and all of `when` do; a part that is absent holds always."""

    from_: Annotated[tuple[From, ...], Field(alias="from", max_length=512), *_AT_LEAST_ONE] = ()
    """Where a request may come from."""
    to: Annotated[tuple[To, ...], *_AT_LEAST_ONE] = ()
    """What a request may do."""
    when: Annotated[tuple[Condition, ...], *_AT_LEAST_ONE] = ()
    """What else must be true."""
