"""Checks of DestinationRule."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.networking.destination_rule import DestinationRule, PortTrafficPolicy, TrafficPolicy, Tunnel
from agent.api.validation import formats
from agent.api.validation.connections import of_client_tls, of_outlier_detection, of_pool
from agent.api.validation.destinations import Path, of_labels
from agent.api.validation.exports import of_export, of_export_of_some_callers
from agent.api.validation.load_balancing import of_load_balancer
from agent.api.validation.remarks import Remark, error, faulty, said
from agent.api.validation.selectors import of_selector


def host_and_callers(rule: DestinationRule) -> Iterator[Remark]:
    spec, namespace = rule.spec, rule.metadata.namespace
    yield from faulty(formats.host_or_wildcard(spec.host), "spec", "host")
    yield from of_export(spec.export_to, namespace)
    yield from of_selector(spec.workload_selector, field="workloadSelector")
    if spec.workload_selector is not None:
        yield from of_export_of_some_callers(spec.export_to, namespace)


def traffic_policy(rule: DestinationRule) -> Iterator[Remark]:
    if rule.spec.traffic_policy is not None:
        yield from _policy(rule.spec.traffic_policy, rule.metadata.namespace, ("spec", "trafficPolicy"))


def subsets(rule: DestinationRule) -> Iterator[Remark]:
    seen: set[str] = set()
    for number, subset in enumerate(rule.spec.subsets):
        path = ("spec", "subsets", number)
        yield from faulty(formats.label_of_name(subset.name), *path, "name")
        if subset.name in seen:
            yield error(f"read {subset.name!r}, which is given already; accepted is each name once", *path, "name")
        seen.add(subset.name)
        yield from of_labels(subset.labels, (*path, "labels"))
        if subset.traffic_policy is not None:
            yield from _policy(subset.traffic_policy, rule.metadata.namespace, (*path, "trafficPolicy"))


def _policy(policy: TrafficPolicy, namespace: str, path: Path) -> Iterator[Remark]:
    if not any(getattr(policy, field) for field in TrafficPolicy.model_fields):
        yield error("empty; accepted is at least one field", *path)
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        yield error("accepted is one of tunnel and proxyProtocol", *path)
    yield from _settings(policy, namespace, path)
    for number, of_port in enumerate(policy.port_level_settings):
        place = (*path, "portLevelSettings", number)
        if of_port.port is None or of_port.port.number is None:
            yield error("missing; it is required", *place, "port")
        if not of_port.model_fields_set - {"port"}:
            yield error("empty; accepted is at least one field besides port", *place)
        yield from _settings(of_port, namespace, place)
    if policy.tunnel is not None:
        yield from _tunnel(policy.tunnel, (*path, "tunnel"))


def _settings(policy: TrafficPolicy | PortTrafficPolicy, namespace: str, path: Path) -> Iterator[Remark]:
    yield from of_outlier_detection(policy.outlier_detection, (*path, "outlierDetection"))
    yield from of_pool(policy.connection_pool, (*path, "connectionPool"))
    yield from of_load_balancer(policy.load_balancer, policy.outlier_detection, (*path, "loadBalancer"))
    yield from of_client_tls(policy.tls, namespace, (*path, "tls"))


def _tunnel(tunnel: Tunnel, path: Path) -> Iterator[Remark]:
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        yield error(said(tunnel.protocol, "CONNECT or POST"), *path, "protocol")
    if not formats.is_address(tunnel.target_host):
        yield from faulty(formats.host(tunnel.target_host), *path, "targetHost")
