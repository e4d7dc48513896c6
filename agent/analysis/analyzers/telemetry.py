"""Telemetry: several for the same pods, and providers that are not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from agent.analysis import mesh, workloads
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.workloads import Workload
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.telemetry import Telemetry
from agent.documents import Step

_LIGHTSTEP: Final = "its provider {name} is of Lightstep, which Istio gives up; use one of OpenTelemetry"


def conflicts(corpus: Corpus) -> Iterator[Finding]:
    """IST0159: several for one pod; IST0160: several for all pods of a namespace."""
    by_pod: dict[Workload, list[Entry[Telemetry]]] = defaultdict(list)
    by_namespace: dict[str, list[Entry[Telemetry]]] = defaultdict(list)
    for entry in corpus.of(Telemetry):
        labels = entry.value.spec.selector.match_labels if entry.value.spec.selector else {}
        if labels:
            for pod in workloads.selected(corpus, entry.namespace, labels):
                by_pod[pod].append(entry)
        elif not entry.value.spec.targets:
            by_namespace[entry.namespace].append(entry)
    told: set[Entry[Telemetry]] = set()  # of one conflict, the first pod is enough
    for pod, found in by_pod.items():
        names = ", ".join(sorted(each.value.full_name for each in found))
        for entry in found if len(found) > 1 and not told.issuperset(found) else ():
            told.add(entry)
            yield entry.finding("IST0159", "spec", "selector", names=names, pod=pod.entry.name)
    for found in by_namespace.values():
        names = ", ".join(sorted(each.value.full_name for each in found))
        for entry in found if len(found) > 1 else ():
            yield entry.finding("IST0160", "metadata", "name", names=names)


def providers(corpus: Corpus) -> Iterator[Finding]:
    """IST0157: access logs that go nowhere; IST0101, IST0002: a provider that is unknown, or on its way out."""
    settings = mesh.settings(corpus)
    has_default = bool(settings and settings.default_providers.access_logging)
    for entry in corpus.of(Telemetry):
        for number, log in enumerate(entry.value.spec.access_logging):
            if not (log.providers or log.disabled or has_default):
                yield entry.finding("IST0157", "spec", "accessLogging", number)
        for path, name in _named(entry.value) if settings else ():
            yield from _provider(entry, path, name, settings)


def _named(telemetry: Telemetry) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Names of providers, each with the path to it."""
    spec = telemetry.spec
    named = {
        "tracing": [each.providers for each in spec.tracing],
        "metrics": [each.providers for each in spec.metrics],
        "accessLogging": [each.providers for each in spec.access_logging],
    }
    for field, settings in named.items():
        for number, providers in enumerate(settings):
            for position, provider in enumerate(providers):
                yield ("spec", field, number, "providers", position), provider.name


def _provider(
    entry: Entry[Telemetry], path: tuple[Step, ...], name: str, settings: MeshConfig | None
) -> Iterator[Finding]:
    found = settings.provider(name) if settings else None
    if found is None:
        yield entry.finding("IST0101", *path, what=f"extension provider {name}", hint="")
    elif found.lightstep is not None:
        yield entry.finding("IST0002", *path, error=_LIGHTSTEP.format(name=name))
