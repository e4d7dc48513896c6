"""TCPRoute and TLSRoute: where whole connections go."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from agent.api.gateway_api.fields import Hostname, SectionName, is_address, items
from agent.api.gateway_api.objects import gateway_api
from agent.api.gateway_api.references import WeightedBackend
from agent.api.gateway_api.routes import Route, RouteSpec, check_rule_names
from agent.api.strict import StrictPart

_MANY_RULES: Final = "v1alpha2"  # only this version has more than one rule, and TLSRoutes without host names


class StreamRule(StrictPart):
    name: SectionName = ""
    backend_refs: Annotated[tuple[WeightedBackend, ...], items(16, least=1)]


def _check_rules(rules: tuple[StreamRule, ...]) -> tuple[StreamRule, ...]:
    check_rule_names(rules)
    return rules


class StreamRouteSpec(RouteSpec):
    rules: Annotated[tuple[StreamRule, ...], items(16, least=1), AfterValidator(_check_rules)]


class TlsRouteSpec(StreamRouteSpec):
    hostnames: Annotated[tuple[Hostname, ...], items(1024)] = ()


class _StreamRoute(Route):
    spec: StreamRouteSpec

    @model_validator(mode="after")
    def _has_one_rule(self) -> Self:
        if self.version != _MANY_RULES and len(self.spec.rules) > 1:
            raise ValueError(f"spec.rules: there are {len(self.spec.rules)}; accepted is one")
        return self


class TCPRoute(_StreamRoute):
    """Where connections to a TCP listener go."""

    facts = gateway_api("tcproutes", "v1", "v1alpha2")


class TLSRoute(_StreamRoute):
    """Where TLS connections go, by the server name that the client asks for."""

    facts = gateway_api("tlsroutes", "v1", "v1alpha3", "v1alpha2")

    spec: TlsRouteSpec

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if self.version == _MANY_RULES:
            return self
        if not self.spec.hostnames:
            raise ValueError("spec.hostnames: accepted is at least one")
        for name in self.spec.hostnames:
            if is_address(name):
                raise ValueError(f"spec.hostnames: {name} is an address; accepted are host names")
        return self
