"""Gateways at the edge: their pods, ports and certificates, and what two of them claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cryptography import x509

from agent.analysis import workloads
from agent.analysis.corpus import Corpus, Entry, Finding, selects, told
from agent.analysis.workloads import Workload
from agent.api.configuration import Secret
from agent.api.gateway_api.gateway import Gateway as KubernetesGateway
from agent.api.networking.gateway import Gateway, ServerTls
from agent.documents import Step
from agent.wire import SYSTEM_NAMESPACE

_PAIRS: Final = (("tls.crt", "tls.key"), ("cert", "key"))  # keys of a Secret, as Kubernetes and as Istio names them
Path = tuple[Step, ...]


def pods(corpus: Corpus) -> Iterator[Finding]:
    """IST0101: no pod has the labels; IST0162: no service has the port."""
    for entry in corpus.of(Gateway):
        chosen = _pods(corpus, entry)
        if not chosen:
            what = f"a pod with labels {told(entry.value.spec.selector)}"
            yield entry.finding("IST0101", "spec", "selector", what=what, hint="")
            continue
        open_ports = {port for each in chosen for port in _ports(corpus, each)}
        for number, server in enumerate(entry.value.spec.servers):
            if server.port.number not in open_ports:
                path = ("spec", "servers", number, "port")
                yield entry.finding("IST0162", *path, port=server.port.number, labels=told(entry.value.spec.selector))


def credentials(corpus: Corpus) -> Iterator[Finding]:
    """IST0101: a Secret that is not there; IST0161: one that holds no certificate with its key."""
    for entry in corpus.of(Gateway):
        chosen = _pods(corpus, entry)
        for path, name in _credentials(entry.value) if chosen else ():
            yield from _secret(corpus, entry, path, chosen[0].namespace, name)
    for gateway in corpus.of(KubernetesGateway):
        for number, listener in enumerate(gateway.value.spec.listeners):
            for position, secret in enumerate(listener.tls.certificate_refs if listener.tls else ()):
                path = ("spec", "listeners", number, "tls", "certificateRefs", position)
                if secret.kind == "Secret" and not secret.group:
                    yield from _secret(corpus, gateway, path, secret.namespace or gateway.namespace, secret.name)


def same_certificate(corpus: Corpus) -> Iterator[Finding]:
    """IST0138: two gateways of the same pods with one certificate."""
    by_certificate: dict[object, list[tuple[Entry[Gateway], Path]]] = defaultdict(list)
    for entry in corpus.of(Gateway):
        for number, server in enumerate(entry.value.spec.servers):
            certificate = _certificate(server.tls)
            if certificate is not None:
                by_certificate[certificate].append((entry, ("spec", "servers", number, "tls")))
    for found in by_certificate.values():
        for entry, path in found if len(found) > 1 else ():
            others = {other for other, _ in found if other is not entry and _share_pods(entry, other)}
            if others:
                names = ", ".join(sorted(each.value.full_name for each in others))
                yield entry.finding("IST0138", *path, others=names)


def conflicts(corpus: Corpus) -> Iterator[Finding]:
    """IST0145: two gateways of the same pods with one port, address and host."""
    claims: dict[tuple[int, str, str], list[tuple[Entry[Gateway], Path]]] = defaultdict(list)
    for entry in corpus.of(Gateway):
        for number, server in enumerate(entry.value.spec.servers):
            for position, host in enumerate(server.hosts):
                claims[server.port.number, server.bind, host].append(
                    (entry, ("spec", "servers", number, "hosts", position))
                )
    for (port, _, host), found in claims.items():
        for entry, path in found if len(found) > 1 else ():
            others = {other for other, _ in found if other is not entry and _are_of_one_pod(corpus, entry, other)}
            if others:
                names = ", ".join(sorted(each.value.full_name for each in others))
                yield entry.finding("IST0145", *path, port=port, host=host, others=names)


def _pods(corpus: Corpus, gateway: Entry[Gateway]) -> Sequence[Workload]:
    """A selector of a Gateway reaches all namespaces."""
    return workloads.selected(corpus, SYSTEM_NAMESPACE, gateway.value.spec.selector)


def _ports(corpus: Corpus, pod: Workload) -> Iterator[int]:
    """Numbers under which services lead to the pod: on their side, and on its."""
    for service in workloads.services_of(corpus, pod):
        for port in service.value.spec.ports:
            if port.protocol == "TCP":
                yield port.port
                if isinstance(port.target_port, int):
                    yield port.target_port


def _credentials(gateway: Gateway) -> Iterator[tuple[Path, str]]:
    for number, server in enumerate(gateway.spec.servers):
        tls, path = server.tls, ("spec", "servers", number, "tls")
        if tls is None:
            continue
        if tls.credential_name and "://" not in tls.credential_name:
            yield (*path, "credentialName"), tls.credential_name
        for position, name in enumerate(tls.credential_names or ()):
            yield (*path, "credentialNames", position), name


def _secret(
    corpus: Corpus,
    entry: Entry[Gateway] | Entry[KubernetesGateway],
    path: Path,
    namespace: str,
    name: str,
) -> Iterator[Finding]:
    if corpus.lacks(Secret, namespace, name):
        yield entry.finding("IST0101", *path, what=f"Secret {namespace}/{name}", hint="")
        return
    found = corpus.find(Secret, namespace, name)
    wrong = _wrong_with(found.value.values) if found else ""
    if wrong:
        yield entry.finding("IST0161", *path, secret=f"{namespace}/{name}", wrong=wrong)


def _wrong_with(values: Mapping[str, bytes]) -> str:
    """Why it is no certificate with its key; empty if it is."""
    pair = next((pair for pair in _PAIRS if any(values.get(key) for key in pair)), None)
    if pair is None:
        return "it has neither tls.crt and tls.key nor cert and key"
    missing = [key for key in pair if not values.get(key)]
    if missing:
        return f"it has no {missing[0]}"
    try:
        x509.load_pem_x509_certificates(values[pair[0]])
    except ValueError:
        return f"its {pair[0]} is no certificate in PEM"
    return "" if b"PRIVATE KEY-----" in values[pair[1]] else f"its {pair[1]} is no private key in PEM"


def _certificate(tls: ServerTls | None) -> object | None:
    """What tells one certificate from another."""
    if tls is None:
        return None
    if tls.credential_name:
        return tls.credential_name
    files = tls.server_certificate, tls.private_key
    return files if all(files) else None


def _share_pods(one: Entry[Gateway], other: Entry[Gateway]) -> bool:
    """Whether the pods of one are among those of the other, for all that their selectors say."""
    mine, its = one.value.spec.selector, other.value.spec.selector
    return selects(mine, its) or selects(its, mine)


def _are_of_one_pod(corpus: Corpus, one: Entry[Gateway], other: Entry[Gateway]) -> bool:
    mine, its = one.value.spec.selector, other.value.spec.selector
    if mine == its:
        return True
    if any(its.get(key, value) != value for key, value in mine.items()):
        return False
    return bool(workloads.selected(corpus, SYSTEM_NAMESPACE, {**mine, **its}))
