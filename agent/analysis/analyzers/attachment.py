"""What policies, telemetry and extensions are attached to, and whether anything reads them there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.analysis import waypoints, workloads
from agent.analysis.corpus import Corpus, Entry, Finding, told, view
from agent.api.extensions import TrafficExtension, WasmPlugin
from agent.api.gateway_api.gateway import Gateway, GatewayClass
from agent.api.kubernetes import Service
from agent.api.networking.envoy_filter import EnvoyFilter
from agent.api.networking.service_entry import ServiceEntry
from agent.api.objects import NamedObject
from agent.api.request_authentication import RequestAuthentication
from agent.api.security import AuthorizationPolicy
from agent.api.selectors import TargetReference
from agent.api.telemetry import Telemetry
from agent.documents import Step
from agent.wire import SYSTEM_NAMESPACE

# Classes that a control plane makes itself, when it starts.
_CLASSES: Final = ("istio", "istio-remote", "istio-waypoint", "istio-east-west", "istio-agentgateway")
_TARGETS: Final[Mapping[str, type[NamedObject]]] = {
    "Service": Service,
    "ServiceEntry": ServiceEntry,
    "Gateway": Gateway,
    "GatewayClass": GatewayClass,
}
Attached = AuthorizationPolicy | RequestAuthentication | Telemetry | WasmPlugin | TrafficExtension | EnvoyFilter
_OF_REQUESTS: Final = (RequestAuthentication, WasmPlugin, TrafficExtension)


def targets(corpus: Corpus) -> Iterator[Finding]:
    """WEFT0010: a target that is not there; WEFT0011: a service that nothing reads requests for."""
    for entry in _attached(corpus):
        for path, target in _targets(entry.value):
            namespace = "" if target.kind == "GatewayClass" else entry.namespace
            model = _TARGETS[target.kind]
            if model is GatewayClass and target.name in _CLASSES:
                continue
            if corpus.lacks(model, namespace, target.name):
                elsewhere = ", ".join(_elsewhere(corpus).get((model, target.name), ()))
                hint = f"; there is one in {elsewhere}, which a policy here cannot reach" if elsewhere else ""
                yield entry.finding("WEFT0010", *path, kind=target.kind, name=target.name, hint=hint)
            elif (service := _service(corpus, entry, target)) and waypoints.of_service(corpus, service) is None:
                yield entry.finding("WEFT0011", *path, kind=target.kind, name=target.name)


def selectors(corpus: Corpus) -> Iterator[Finding]:
    """IST0166: labels of a gateway's pods, which only targetRefs reach; IST0167: enrolled pods, which nothing reads.

    IST0127: labels that no pod has.
    """
    for entry in _attached(corpus):
        if isinstance(entry.value, AuthorizationPolicy | EnvoyFilter) or _targets(entry.value):
            labels = _labels(entry.value)
            if _gateway_of(corpus, entry, labels) and isinstance(entry.value, AuthorizationPolicy):
                yield _ineffective(corpus, entry, labels)
            elif isinstance(entry.value, EnvoyFilter) and _is_of_nobody(corpus, entry, labels):
                yield entry.finding("IST0127", "spec", "workloadSelector", labels=told(labels))
            continue
        yield from _of_pods(corpus, entry, _labels(entry.value))


def _of_pods(corpus: Corpus, entry: Entry[Attached], labels: Mapping[str, str]) -> Iterator[Finding]:
    """Of a resource for pods, about what only requests have."""
    if _gateway_of(corpus, entry, labels):
        yield _ineffective(corpus, entry, labels)
        return
    if _is_of_nobody(corpus, entry, labels):
        if isinstance(entry.value, Telemetry):
            yield entry.finding("IST0101", "spec", "selector", what=f"a pod with labels {told(labels)}", hint="")
        else:
            yield entry.finding("IST0127", "spec", "selector", labels=told(labels))
        return
    chosen = workloads.selected(corpus, entry.namespace, labels)
    are_enrolled = workloads.are_enrolled(corpus, chosen, entry.namespace)
    is_for_all = isinstance(entry.value, _OF_REQUESTS) and not labels and entry.namespace != SYSTEM_NAMESPACE
    if are_enrolled and (labels or is_for_all):
        yield entry.finding("IST0167", "spec", *(["selector"] if labels else []), why=_NOBODY_READS)


_NOBODY_READS: Final = (
    "its pods are enrolled, node proxies do not read requests, and waypoints take it by targetRefs only"
)


def _is_of_nobody(corpus: Corpus, entry: Entry[Attached], labels: Mapping[str, str]) -> bool:
    """Whether no pod has the labels, and those of the namespace are among the objects at all."""
    is_known = bool(workloads.in_namespace(corpus, entry.namespace))
    return is_known and bool(labels) and not workloads.selected(corpus, entry.namespace, labels)


def _ineffective(corpus: Corpus, entry: Entry[Attached], labels: Mapping[str, str]) -> Finding:
    return entry.finding("IST0166", "spec", "selector", gateway=_gateway_of(corpus, entry, labels))


def _gateway_of(corpus: Corpus, entry: Entry[Attached], labels: Mapping[str, str]) -> str:
    """The Gateway whose pods a selector means; empty for other pods."""
    named = labels.get(workloads.GATEWAY_NAME, "")
    if named and corpus.find(Gateway, entry.namespace, named):
        return named
    chosen = workloads.selected(corpus, entry.namespace, labels) if labels else ()
    return next((each.labels[workloads.GATEWAY_NAME] for each in chosen if workloads.GATEWAY_NAME in each.labels), "")


def _attached(corpus: Corpus) -> Iterator[Entry[Attached]]:
    yield from corpus.of(AuthorizationPolicy)
    yield from corpus.of(RequestAuthentication)
    yield from corpus.of(Telemetry)
    yield from corpus.of(WasmPlugin)
    yield from corpus.of(TrafficExtension)
    yield from corpus.of(EnvoyFilter)


def _targets(value: Attached) -> Sequence[tuple[tuple[Step, ...], TargetReference]]:
    """Each with the path to it."""
    spec = value.spec
    many = [(("spec", "targetRefs", number), target) for number, target in enumerate(spec.target_refs)]
    single = None if isinstance(value, EnvoyFilter | TrafficExtension) else value.spec.target_ref
    return many or ([(("spec", "targetRef"), single)] if single else [])


def _labels(value: Attached) -> Mapping[str, str]:
    if isinstance(value, EnvoyFilter):
        return value.spec.workload_selector.labels if value.spec.workload_selector else {}
    return value.spec.selector.match_labels if value.spec.selector else {}


def _service(
    corpus: Corpus, entry: Entry[Attached], target: TargetReference
) -> Entry[Service] | Entry[ServiceEntry] | None:
    """The target if it is a service, and there."""
    match target.kind:
        case "Service":
            return corpus.find(Service, entry.namespace, target.name)
        case "ServiceEntry":
            return corpus.find(ServiceEntry, entry.namespace, target.name)
    return None


@view
def _elsewhere(corpus: Corpus) -> Mapping[tuple[type[NamedObject], str], Sequence[str]]:
    """Namespaces of the objects that could be targets, by kind and name."""
    found: dict[tuple[type[NamedObject], str], list[str]] = defaultdict(list)
    for model in (Service, ServiceEntry, Gateway):
        for entry in corpus.of(model):
            found[model, entry.name].append(entry.namespace)
    return found
