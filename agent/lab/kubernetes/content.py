"""What the files of a configMap, secret, projected or downwardAPI volume hold. Rules only.

ConfigMaps and Secrets are read from what the lab has seen of the cluster; tokens are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.api.pods.spec import RunnablePod
from agent.api.pods.volumes import (
    ConfigMapFiles,
    DownwardFile,
    DownwardFiles,
    KeyToPath,
    Projected,
    ProjectedSource,
    ProjectedToken,
    SecretFiles,
)
from agent.errors import NotFoundError
from agent.kube import CONFIG_MAP, SECRET, Kind
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.keys import Keys, keys_of

Generated = ConfigMapFiles | SecretFiles | Projected | DownwardFiles  # volumes whose files the kubelet writes
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume; `owner` None is root."""

    data: bytes
    mode: int
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """All that content is made of."""

    facts: Facts
    keys: Keys
    tokens: Mapping[ProjectedToken, bytes]


def content(volume: Generated, source: Source) -> dict[str, File]:
    """The files of a volume, by relative path; NotFoundError names what is missing and not optional."""
    match volume:
        case ConfigMapFiles():
            return _keys(source, CONFIG_MAP, volume.name, volume.items, volume.default_mode, volume.optional)
        case SecretFiles():
            return _keys(source, SECRET, volume.secret_name, volume.items, volume.default_mode, volume.optional)
        case DownwardFiles():
            return _downward(source.facts, volume.items, volume.default_mode)
    found: dict[str, File] = {}
    for each in volume.sources:
        found |= _projected(source, each, volume.default_mode)
    return found


def tokens_of(volume: Generated) -> list[ProjectedToken]:
    """The tokens that a volume needs."""
    sources = volume.sources if isinstance(volume, Projected) else ()
    return [each.service_account_token for each in sources if each.service_account_token is not None]


def _projected(source: Source, each: ProjectedSource, mode: int) -> dict[str, File]:
    if each.config_map is not None:
        found = each.config_map
        return _keys(source, CONFIG_MAP, found.name, found.items, mode, found.optional)
    if each.secret is not None:
        return _keys(source, SECRET, each.secret.name, each.secret.items, mode, each.secret.optional)
    if each.downward_api is not None:
        return _downward(source.facts, each.downward_api.items, mode)
    token = each.service_account_token
    return {token.path: _token(source.facts.pod, source.tokens[token], mode)} if token is not None else {}


def _token(pod: RunnablePod, token: bytes, mode: int) -> File:
    """For nobody but whom the pod's containers run as, where they all run as one; else for all who can see it."""
    default = pod.spec.security_context.run_as_user
    every = (*pod.spec.init_containers, *pod.spec.containers)
    users = {
        default if found.security_context.run_as_user is None else found.security_context.run_as_user for found in every
    }
    user = users.pop() if len(users) == 1 else None
    is_private = user is not None or pod.spec.security_context.fs_group is not None
    return File(token, _PRIVATE if is_private else mode, user)


def _keys(
    source: Source, kind: Kind, name: str, items: Sequence[KeyToPath], mode: int, optional: bool
) -> dict[str, File]:
    namespace = source.facts.pod.metadata.namespace
    try:
        found = keys_of(source.keys, kind, namespace, name)
    except NotFoundError:
        if optional:
            return {}
        raise
    if not items:
        return {key: File(value, mode) for key, value in found.items()}
    missing = [item.key for item in items if item.key not in found]
    if missing and not optional:
        raise NotFoundError(f"{kind.name} {namespace}/{name} has no key {', '.join(missing)}")
    return {
        item.path: File(found[item.key], mode if item.mode is None else item.mode)
        for item in items
        if item.key in found
    }


def _downward(facts: Facts, items: Sequence[DownwardFile], mode: int) -> dict[str, File]:
    found: dict[str, File] = {}
    for item in items:
        if item.field_ref is not None:
            value = facts.field(item.field_ref.field_path)
        else:
            value = facts.resource(item.resource_field_ref) if item.resource_field_ref is not None else ""
        found[item.path] = File(value.encode(), mode if item.mode is None else item.mode)
    return found
