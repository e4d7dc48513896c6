"""DestinationRules: hosts, subsets and settings that mean nothing, or less than they seem to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis import hosts, workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.kubernetes import Service
from agent.api.networking.destination_rule import ClientTls, DestinationRule, TrafficPolicy
from agent.api.networking.service_entry import ServiceEntry
from agent.documents import Step

_TO_A_SERVER: Final = ("SIMPLE", "MUTUAL")
# Labels that no object has itself: the mesh adds them, by the node that a pod is on.
_ADDED: Final = ("topology.kubernetes.io/", "topology.istio.io/", "kubernetes.io/hostname")
Path = tuple[Step, ...]


def known_hosts(corpus: Corpus) -> Iterator[Finding]:
    """IST0174: a host that nothing has; IST0173: a subset without endpoints."""
    for entry in corpus.of(DestinationRule):
        host = entry.value.spec.host
        if host.startswith("*"):
            if not hosts.is_known_below(corpus, host):
                yield entry.finding("IST0174", "spec", "host", host=host)
            continue
        found = hosts.resolve(corpus, entry.namespace, host)
        if found is None:
            yield entry.finding("IST0174", "spec", "host", host=host)
            continue
        for number, subset in enumerate(entry.value.spec.subsets):
            if subset.labels and not _has_endpoint(corpus, found.entry, subset.labels):
                yield entry.finding("IST0173", "spec", "subsets", number, subset=subset.name)


def verification(corpus: Corpus) -> Iterator[Finding]:
    """IST0128, IST0129: TLS to a server of which nobody said whose certificates are good."""
    for entry in corpus.of(DestinationRule):
        for path, tls in _tls(entry.value):
            if tls.mode not in _TO_A_SERVER or tls.ca_certificates or tls.credential_name or tls.insecure_skip_verify:
                continue
            if path[-3] == "portLevelSettings":
                yield entry.finding("IST0129", *path, mode=tls.mode, host=entry.value.spec.host)
            else:
                yield entry.finding("IST0128", *path, mode=tls.mode, host=entry.value.spec.host)


def ambient(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0013: mutual TLS of the mesh asked for where it always is; WEFT0014: settings of single callers."""
    for entry in corpus.of(DestinationRule):
        found = hosts.resolve(corpus, entry.namespace, entry.value.spec.host)
        for path, tls in _tls(entry.value):
            if found and tls.mode == "ISTIO_MUTUAL" and workloads.is_ambient(corpus, found.entry.namespace):
                yield entry.finding("WEFT0013", *path, "mode", host=entry.value.spec.host)
        if entry.value.spec.workload_selector and _callers_are_enrolled(corpus, entry):
            yield entry.finding("WEFT0014", "spec", "workloadSelector")


def _callers_are_enrolled(corpus: Corpus, entry: Entry[DestinationRule]) -> bool:
    selector = entry.value.spec.workload_selector
    chosen = workloads.selected(corpus, entry.namespace, selector.match_labels if selector else {})
    return workloads.are_enrolled(corpus, chosen, entry.namespace)


def _tls(rule: DestinationRule) -> Iterator[tuple[Path, ClientTls]]:
    """Each with the path to it: of the service, of its ports, of its subsets."""
    yield from _of_policy(rule.spec.traffic_policy, ("spec", "trafficPolicy"))
    for number, subset in enumerate(rule.spec.subsets):
        yield from _of_policy(subset.traffic_policy, ("spec", "subsets", number, "trafficPolicy"))


def _of_policy(policy: TrafficPolicy | None, path: Path) -> Iterator[tuple[Path, ClientTls]]:
    if policy is None:
        return
    if policy.tls is not None:
        yield (*path, "tls"), policy.tls
    for number, port in enumerate(policy.port_level_settings):
        if port.tls is not None:
            yield (*path, "portLevelSettings", number, "tls"), port.tls


def _has_endpoint(corpus: Corpus, service: Entry[Service] | Entry[ServiceEntry], labels: Mapping[str, str]) -> bool:
    """Whether an endpoint of the service has the labels; True where that cannot be told from objects."""
    wanted = {key: value for key, value in labels.items() if not key.startswith(_ADDED)}
    if isinstance(service.value, ServiceEntry):
        return _has_entry(corpus, service.value, wanted)
    selector = service.value.spec.selector
    if not selector or any(wanted.get(key, value) != value for key, value in selector.items()):
        return not selector
    return any(
        each.namespace == service.namespace
        for each in workloads.selected(corpus, service.namespace, {**selector, **wanted})
    )


def _has_entry(corpus: Corpus, service: ServiceEntry, wanted: Mapping[str, str]) -> bool:
    if service.spec.endpoints:
        return any(wanted.items() <= each.labels.items() for each in service.spec.endpoints)
    if service.spec.workload_selector is None:
        return True
    namespace, labels = service.metadata.namespace, {**service.spec.workload_selector.labels, **wanted}
    if any(each.namespace == namespace for each in workloads.selected(corpus, namespace, labels)):
        return True
    return not labels or any(each.namespace == namespace for each in workloads.entries(corpus, namespace, labels))
