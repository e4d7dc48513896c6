"""What the Gateway API's routes refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.analysis.corpus import Corpus, Entry, Finding
from agent.analysis.routes import Route, backends, parents, routes
from agent.api.gateway_api.gateway import Gateway
from agent.api.gateway_api.listeners import Listener
from agent.api.gateway_api.references import BackendReference, ParentReference
from agent.api.kubernetes import Service
from agent.api.networking.service_entry import ServiceEntry
from agent.api.objects import NamedObject
from agent.documents import Step

_PARENTS: Final[dict[str, type[NamedObject]]] = {"Gateway": Gateway, "Service": Service, "ServiceEntry": ServiceEntry}


def references(corpus: Corpus) -> Iterator[Finding]:
    """IST0101: a parent, listener, service or port that is not there."""
    for entry in routes(corpus):
        for path, parent in parents(entry.value):
            yield from _parent(corpus, entry, path, parent)
        for path, backend in backends(entry.value):
            if backend.kind == "Service" and not backend.group:
                yield from _backend(corpus, entry, path, backend)


def _parent(corpus: Corpus, entry: Entry[Route], path: tuple[Step, ...], parent: ParentReference) -> Iterator[Finding]:
    model = _PARENTS.get(parent.kind)
    namespace = parent.namespace or entry.namespace
    if model is None:
        return
    if corpus.lacks(model, namespace, parent.name):
        yield entry.finding("IST0101", *path, what=f"{parent.kind} {namespace}/{parent.name}", hint="")
        return
    found = corpus.find(Gateway, namespace, parent.name) if model is Gateway else None
    if found is not None and not any(_is_meant(parent, each) for each in found.value.spec.listeners):
        told = " ".join(part for part in (parent.section_name, str(parent.port or "")) if part)
        names = ", ".join(f"{each.name} {each.port}" for each in found.value.spec.listeners)
        what = f"listener {told} of Gateway {namespace}/{parent.name}"
        yield entry.finding("IST0101", *path, what=what, hint=f"; it has {names}")


def _is_meant(parent: ParentReference, listener: Listener) -> bool:
    return (not parent.section_name or parent.section_name == listener.name) and parent.port in (None, listener.port)


def _backend(
    corpus: Corpus, entry: Entry[Route], path: tuple[Step, ...], backend: BackendReference
) -> Iterator[Finding]:
    namespace = backend.namespace or entry.namespace
    if corpus.lacks(Service, namespace, backend.name):
        yield entry.finding("IST0101", *path, what=f"Service {namespace}/{backend.name}", hint="")
        return
    found = corpus.find(Service, namespace, backend.name)
    ports = [port.port for port in found.value.spec.ports] if found else []
    if ports and backend.port not in ports:
        what = f"port {backend.port} of Service {namespace}/{backend.name}"
        yield entry.finding("IST0101", *path, "port", what=what, hint=f"; it has {', '.join(map(str, ports))}")
