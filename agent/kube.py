"""The edge to the cluster: list, watch and write Kubernetes objects.

Without an API server a *state directory* takes its place: one JSON file per object, as an
API server would return it (uid, resourceVersion, status and all), renamed into place:

    STATE/pods/shop_frontend.json        KIND-PLURAL/NAMESPACE_NAME.json
    STATE/namespaces/_shop.json          cluster-scoped: no namespace before the underscore

Kubernetes names hold no underscore, so the split is never ambiguous. Objects are plain
dictionaries here; agent/api/ gives them types. Writers in several processes take turns with
a lock file, which also guards the counter that resourceVersions come from.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import fcntl
import json
import logging
import os
import stat
import uuid
from collections.abc import AsyncGenerator, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from asyncinotify import Inotify, Mask

from agent.errors import ConflictError, InvalidObjectError, NotFoundError, UnavailableError
from agent.wire import SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

Object = dict[str, Any]
_REQUIRED = ("name", "uid", "resourceVersion")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that we read; `namespace`: only what is in it, all there is without one.

    named: on an API server only the objects of that name, so that whoever reads them may be allowed no other.
    """

    api_version: str
    name: str
    plural: str
    is_namespaced: bool = True
    older_versions: tuple[str, ...] = ()  # other versions of its API that say the same
    namespace: str = ""
    named: str = ""


NAMESPACE = Kind("v1", "Namespace", "namespaces", is_namespaced=False)
NODE = Kind("v1", "Node", "nodes", is_namespaced=False)
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
AUTHORIZATION_POLICY = Kind(
    "security.istio.io/v1",
    "AuthorizationPolicy",
    "authorizationpolicies",
    older_versions=("security.istio.io/v1beta1",),
)
PEER_AUTHENTICATION = Kind(
    "security.istio.io/v1", "PeerAuthentication", "peerauthentications", older_versions=("security.istio.io/v1beta1",)
)
_OLDER_NETWORKING = ("networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
SERVICE_ENTRY = Kind("networking.istio.io/v1", "ServiceEntry", "serviceentries", older_versions=_OLDER_NETWORKING)
WORKLOAD_ENTRY = Kind("networking.istio.io/v1", "WorkloadEntry", "workloadentries", older_versions=_OLDER_NETWORKING)
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
# Where the mesh's own settings are. Whoever follows it need not be allowed to read the other namespaces'.
SYSTEM_CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", namespace=SYSTEM_NAMESPACE)
SECRET = Kind("v1", "Secret", "secrets")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
# What a state directory holds. The others are for what only a cluster has, or needs.
KINDS = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    DEPLOYMENT,
    AUTHORIZATION_POLICY,
    PEER_AUTHENTICATION,
    SERVICE_ENTRY,
    WORKLOAD_ENTRY,
    CONFIG_MAP,
)
_BY_VERSION_AND_NAME = {
    (version, kind.name): kind for kind in KINDS for version in (kind.api_version, *kind.older_versions)
}


def kind_of(api_version: object, name: object) -> Kind | None:
    """The kind that an object is of, None if we do not read it; every version that is served counts."""
    if not isinstance(api_version, str) or not isinstance(name, str):
        return None
    return _BY_VERSION_AND_NAME.get((api_version, name))


class ChangeType(enum.Enum):
    """What happened to an object; SYNCED comes once, after all that existed at first."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch. `kind` and `object` are absent on SYNCED.

    DELETED carries the last state, or only what names the object (namespace, name, uid) when nobody saw its end.
    """

    type: ChangeType
    kind: Kind | None = None
    object: Object | None = None


class Cluster(Protocol):
    """What the processes need of a cluster."""

    async def list(self, kind: Kind) -> list[Object]:
        """All objects of a kind, in no order."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object; NotFoundError without it."""

    def watch(self, kinds: Collection[Kind]) -> AsyncGenerator[Change, None]:
        """What exists (ADDED), then SYNCED, then every change, for ever. Close it with aclose()."""

    async def create(self, kind: Kind, new: Object) -> Object:
        """Store a new object; ConflictError if the name is taken."""

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object, *, uid: str | None = None) -> Object:
        """Apply a JSON merge patch (RFC 7396); the object as stored.

        Raises NotFoundError without such an object, ConflictError when `uid` is given and
        the object of that name is another one.
        """

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Remove an object; NotFoundError when it is not there."""


def merge(target: Any, patch: Any) -> Any:
    """The JSON merge patch of RFC 7396: None removes a key, dictionaries merge, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class StateDirectory:
    """A folder that stands in for the API server."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def create_at(cls, root: Path) -> StateDirectory:
        """Make the folder and one sub-folder for each kind; what is there already stays."""
        for kind in KINDS:
            (root / kind.plural).mkdir(parents=True, exist_ok=True)
        return cls(root)

    async def list(self, kind: Kind) -> list[Object]:
        return [item for path in _files(self._root, kind) if (item := read_object(path)) is not None]

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = read_object(self._path(kind, namespace, name))
        if found is None:
            raise NotFoundError(f"{kind.name} {namespace}/{name} does not exist in {self._root}")
        return found

    async def create(self, kind: Kind, new: Object) -> Object:
        metadata = new["metadata"]
        path = self._path(kind, metadata.get("namespace", ""), metadata["name"])
        with self._writing() as version:
            if path.exists():
                raise ConflictError(f"{kind.name} {metadata['name']} exists already")
            given = {
                "uid": str(uuid.uuid4()),
                "resourceVersion": version,
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            stored = {**new, "apiVersion": kind.api_version, "kind": kind.name, "metadata": {**metadata, **given}}
            _write(path, stored)
        return stored

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object, *, uid: str | None = None) -> Object:
        path = self._path(kind, namespace, name)
        with self._writing() as version:
            old = read_object(path)
            if old is None:
                raise NotFoundError(f"{kind.name} {namespace}/{name} does not exist in {self._root}")
            if uid is not None and old["metadata"]["uid"] != uid:
                raise ConflictError(f"{kind.name} {namespace}/{name} is another object by now")
            new: Object = merge(old, patch)
            if new == old:  # as an API server: no change, no new version, no event
                return old
            new["metadata"]["resourceVersion"] = version
            _write(path, new)
        return new

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        with self._writing():
            try:
                self._path(kind, namespace, name).unlink()
            except FileNotFoundError as exc:
                raise NotFoundError(f"{kind.name} {namespace}/{name} does not exist in {self._root}") from exc

    async def watch(self, kinds: Collection[Kind]) -> AsyncGenerator[Change, None]:
        """As Cluster.watch. A file that cannot be read is logged and its last good state stays."""
        by_folder = {self._root / kind.plural: kind for kind in kinds}
        known: dict[Path, Object] = {}
        with Inotify() as inotify:
            # Watches come before the listing, so that nothing falls between the two.
            for folder in by_folder:
                try:
                    inotify.add_watch(folder, Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.DELETE | Mask.MOVED_FROM)
                except OSError as exc:
                    raise UnavailableError(
                        f"cannot watch {folder}: {exc.strerror}; is this a state directory?"
                    ) from exc
            for kind in kinds:
                for path in _files(self._root, kind):
                    for change in _change(known, kind, path):
                        yield change
            yield Change(ChangeType.SYNCED)
            async for event in inotify:
                if event.mask & Mask.IGNORED:
                    raise UnavailableError(f"{event.path} has been removed; was {self._root} deleted?")
                if event.mask & Mask.Q_OVERFLOW:
                    paths = {*known, *(path for kind in kinds for path in _files(self._root, kind))}
                elif event.path is not None and _is_of(by_folder[event.path.parent], event.path):
                    paths = {event.path}
                else:
                    continue
                for path in sorted(paths):
                    for change in _change(known, by_folder[path.parent], path):
                        yield change

    def _path(self, kind: Kind, namespace: str, name: str) -> Path:
        for part in (namespace, name):
            if "/" in part or "_" in part or part.startswith("."):
                raise InvalidObjectError(f"{kind.name}: {part!r} is not a Kubernetes name")
        return self._root / kind.plural / f"{namespace if kind.is_namespaced else ''}_{name}.json"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[str]:
        """Hold the lock of all writers; gives the resourceVersion that this write may use."""
        with os.fdopen(os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            version = str(int(lock.read() or "0") + 1)
            lock.seek(0)  # written over, never truncated: numbers only get longer, so a crash leaves a number
            lock.write(version)
            lock.flush()
            yield version


def _files(root: Path, kind: Kind) -> list[Path]:
    folder = root / kind.plural
    try:
        return sorted(path for path in folder.iterdir() if _is_of(kind, path))
    except FileNotFoundError as exc:
        raise UnavailableError(f"{folder} does not exist; is {root} a state directory?") from exc


def _is_of(kind: Kind, path: Path) -> bool:
    return not path.name.startswith(".") and path.name.startswith(f"{kind.namespace}_" if kind.namespace else "")


def _change(known: dict[Path, Object], kind: Kind, path: Path) -> Iterator[Change]:
    """What the file says now against what is known of it; updates `known`."""
    old = known.get(path)
    try:
        new = read_object(path)
    except InvalidObjectError as exc:
        logger.error("object cannot be read, its last good state stays", extra={"reason": exc})
        return
    if new is None:
        if old is not None:
            del known[path]
            yield Change(ChangeType.DELETED, kind, old)
    elif old is None:
        known[path] = new
        yield Change(ChangeType.ADDED, kind, new)
    elif old["metadata"]["uid"] != new["metadata"]["uid"]:
        known[path] = new
        yield Change(ChangeType.DELETED, kind, old)
        yield Change(ChangeType.ADDED, kind, new)
    elif old["metadata"]["resourceVersion"] != new["metadata"]["resourceVersion"]:
        known[path] = new
        yield Change(ChangeType.MODIFIED, kind, new)


def read_object(path: Path) -> Object | None:
    """The object in a file, None without the file; InvalidObjectError for what is no object with uid and version."""
    content = _content(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise InvalidObjectError(f"{path}: not JSON: {exc}") from exc
    metadata = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(metadata, dict) or not all(_is_text(metadata.get(key)) for key in _REQUIRED):
        raise InvalidObjectError(f"{path}: not an object with metadata.name, uid and resourceVersion")
    return dict(found)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _content(path: Path) -> bytes | None:
    """What a regular file holds, None without the file; never waits, as a pipe in the folder would make it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidObjectError(f"{path}: not a regular file")
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidObjectError(f"{path}: cannot be read: {exc.strerror}") from exc


def _write(path: Path, new: Object) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(new, indent=1))
    temporary.rename(path)
