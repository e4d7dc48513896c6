"""A container's environment and command line. Rules only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent.api.kubernetes import Service
from agent.api.pods.containers import RunnableContainer
from agent.api.pods.variables import KeyReference, ObjectReference, Variable
from agent.errors import NotFoundError
from agent.kube import CONFIG_MAP, SECRET, Kind
from agent.lab.containers import expanded
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.keys import Keys, keys_of

API_SERVICE = ("default", "kubernetes")


def environment(container: RunnableContainer, facts: Facts, keys: Keys, services: Iterable[Service]) -> dict[str, str]:
    """What the manifest asks for, after the variables that tell the namespace's services.

    NotFoundError names a ConfigMap, a Secret or a key of one that is missing and not optional.
    """
    found = _links(facts, services)
    namespace = facts.pod.metadata.namespace
    for source in container.env_from:
        kind, reference = (CONFIG_MAP, source.config_map_ref) if source.config_map_ref else (SECRET, source.secret_ref)
        whole = _whole(keys, kind, namespace, reference) if reference else {}
        found |= {source.prefix + key: value.decode(errors="replace") for key, value in whole.items()}
    for variable in container.env:
        value = _value(variable, container, facts, keys, found)
        if value is not None:
            found[variable.name] = value
    return found


def command(container: RunnableContainer, variables: Mapping[str, str]) -> list[str]:
    """The command line, its $(NAME) replaced."""
    return [expanded(word, variables) for word in (*container.command, *container.args)]


def _value(
    variable: Variable, container: RunnableContainer, facts: Facts, keys: Keys, known: Mapping[str, str]
) -> str | None:
    source = variable.value_from
    if source is None:
        return expanded(variable.value, known)
    if source.field_ref is not None:
        return facts.field(source.field_ref.field_path)
    if source.resource_field_ref is not None:
        return facts.resource(source.resource_field_ref, container)
    namespace = facts.pod.metadata.namespace
    if source.config_map_key_ref is not None:
        return _one(keys, CONFIG_MAP, namespace, source.config_map_key_ref)
    return _one(keys, SECRET, namespace, source.secret_key_ref) if source.secret_key_ref is not None else None


def _one(keys: Keys, kind: Kind, namespace: str, reference: KeyReference) -> str | None:
    try:
        found = keys_of(keys, kind, namespace, reference.name)
        if reference.key not in found:
            raise NotFoundError(f"{kind.name} {namespace}/{reference.name} has no key {reference.key!r}")
    except NotFoundError:
        if reference.optional:
            return None
        raise
    return found[reference.key].decode(errors="replace")


def _whole(keys: Keys, kind: Kind, namespace: str, reference: ObjectReference) -> Mapping[str, bytes]:
    try:
        return keys_of(keys, kind, namespace, reference.name)
    except NotFoundError:
        if reference.optional:
            return {}
        raise


def _links(facts: Facts, services: Iterable[Service]) -> dict[str, str]:
    """The API server's service, and those of the namespace unless the pod does not want them."""
    found: dict[str, str] = {}
    for service in services:
        named = (service.metadata.namespace, service.metadata.name)
        is_own = service.metadata.namespace == facts.pod.metadata.namespace and facts.pod.spec.enable_service_links
        if service.spec.virtual_addresses and service.spec.ports and (is_own or named == API_SERVICE):
            found |= dict(_link(service, service.spec.virtual_addresses))
    return found


def _link(service: Service, addresses: Sequence[str]) -> Iterator[tuple[str, str]]:
    """As Docker's links once told them: NAME_SERVICE_HOST, NAME_SERVICE_PORT, NAME_PORT_443_TCP and so on."""
    name, address = _variable(service.metadata.name), addresses[0]
    host = f"[{address}]" if ":" in address else address
    first = service.spec.ports[0]
    yield f"{name}_SERVICE_HOST", address
    yield f"{name}_SERVICE_PORT", str(first.port)
    yield f"{name}_PORT", f"{first.protocol.lower()}://{host}:{first.port}"
    for port in service.spec.ports:
        if port.name:
            yield f"{name}_SERVICE_PORT_{_variable(port.name)}", str(port.port)
        prefix = f"{name}_PORT_{port.port}_{port.protocol}"
        yield prefix, f"{port.protocol.lower()}://{host}:{port.port}"
        yield f"{prefix}_PROTO", port.protocol.lower()
        yield f"{prefix}_PORT", str(port.port)
        yield f"{prefix}_ADDR", address


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
