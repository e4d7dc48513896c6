"""The analyzers: each takes the corpus and gives findings of a few codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.analysis.analyzers import (
    annotated,
    attachment,
    cluster,
    conditions,
    destination_rules,
    enrolment,
    envoy_filters,
    gateway_api,
    gateways,
    network_policies,
    policies,
    ports,
    route_use,
    service_entries,
    sidecars,
    telemetry,
    use_of_waypoints,
    virtual_services,
)
from agent.analysis.corpus import Corpus, Finding

Analyzer = Callable[[Corpus], Iterator[Finding]]

ANALYZERS: Final[Mapping[str, Analyzer]] = {
    "annotations.known": annotated.known,
    "annotations.maturity": annotated.maturity,
    "attachment.selectors": attachment.selectors,
    "attachment.targets": attachment.targets,
    "cluster.definitions": cluster.definitions,
    "cluster.keysets": cluster.key_sets,
    "cluster.networks": cluster.networks,
    "cluster.webhooks": cluster.webhooks,
    "conditions.negative": conditions.negative,
    "destinationrules.ambient": destination_rules.ambient,
    "destinationrules.hosts": destination_rules.known_hosts,
    "destinationrules.verification": destination_rules.verification,
    "enrolment.namespaces": enrolment.namespaces,
    "enrolment.pods": enrolment.pods,
    "enrolment.sidecars": enrolment.sidecars,
    "envoyfilters.contexts": envoy_filters.contexts,
    "envoyfilters.patches": envoy_filters.patches,
    "gatewayapi.references": gateway_api.references,
    "gateways.certificates": gateways.same_certificate,
    "gateways.conflicts": gateways.conflicts,
    "gateways.credentials": gateways.credentials,
    "gateways.pods": gateways.pods,
    "networkpolicies.tunnels": network_policies.tunnels,
    "policies.namespaces": policies.namespaces,
    "policies.overruled": policies.overruled,
    "policies.providers": policies.providers,
    "policies.requests": policies.of_requests,
    "policies.selectors": policies.selectors,
    "ports.conflicts": ports.conflicts,
    "ports.protocols": ports.protocols,
    "routes.kinds": route_use.two_kinds,
    "routes.pastwaypoints": route_use.past_waypoints,
    "routes.withoutwaypoint": route_use.without_waypoint,
    "serviceentries.addresses": service_entries.addresses,
    "serviceentries.protocols": service_entries.protocols,
    "sidecars.conflicts": sidecars.conflicts,
    "telemetry.conflicts": telemetry.conflicts,
    "telemetry.providers": telemetry.providers,
    "virtualservices.claims": virtual_services.claims,
    "virtualservices.delegates": virtual_services.delegates,
    "virtualservices.destinations": virtual_services.destinations,
    "virtualservices.gateways": virtual_services.gateways,
    "virtualservices.hosts": virtual_services.same_hosts,
    "virtualservices.subsets": virtual_services.subsets,
    "waypoints.unused": use_of_waypoints.unused,
    "waypoints.used": use_of_waypoints.used,
}
"""By the names under which `--list-analyzers` and `--analyzer` know them."""

ONLY_IF_NAMED: Final = frozenset({"annotations.maturity"})
"""Those whose findings are no mistakes, so that nobody is told who does not ask."""
