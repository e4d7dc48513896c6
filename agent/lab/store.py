"""Bringing manifests into the cluster: the lab's `kubectl apply`, with the defaults of an API server."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from agent.errors import ConflictError, InvalidObjectError, NotFoundError, WeftError
from agent.kube import KINDS, NAMESPACE, NODE, POD, SERVICE, SERVICE_ACCOUNT, Cluster, Kind, Object
from agent.lab import merge
from agent.manifests import Key, Manifest, Problem, in_order

logger = logging.getLogger(__name__)
_BY_NAME = {kind.name: kind for kind in KINDS}


class Store:
    """Knows what was applied last, and so what a person has taken out since. One owner task."""

    def __init__(self, cluster: Cluster, nodes: Collection[str]) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._applied: dict[Key, Manifest] = {}

    async def bring(self, wanted: Mapping[Key, Manifest]) -> list[Problem]:
        """Make the cluster hold what is wanted, and no longer what was wanted before; what could not be done."""
        problems: list[Problem] = []
        for manifest in in_order(wanted.values()):
            before = self._applied.get(manifest.key)
            if before is not None and before.object == manifest.object:
                continue
            try:
                await self._apply(before.object if before else None, manifest)
                self._applied[manifest.key] = manifest
                logger.info("applied", extra={"object": manifest.key, "file": manifest.file})
            except WeftError as exc:
                problems.append(Problem(manifest.file, f"{manifest.file}: {exc}"))
        for key in [key for key in self._applied if key not in wanted]:
            await self.remove(_BY_NAME[key.kind], key.namespace, key.name)
            del self._applied[key]
            logger.info("removed", extra={"object": key})
        return problems

    async def create(self, kind: Kind, new: Object) -> None:
        """Store an object with the defaults that an API server would give it."""
        await self._cluster.create(kind, await self._with_defaults(kind, new))
        if kind is NAMESPACE:
            await self._ensure(SERVICE_ACCOUNT, new["metadata"]["name"], "default")

    async def ensure_namespace(self, name: str) -> None:
        """Make the namespace, and its default service account, unless it is there."""
        if await self._ensure(NAMESPACE, "", name):
            await self._ensure(SERVICE_ACCOUNT, name, "default")

    async def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object. A pod terminates first: its kubelet deletes the object then."""
        if kind is NODE:
            return  # a manifest labels a node, but the lab owns it
        try:
            if kind is POD:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                await self._cluster.patch(POD, namespace, name, {"metadata": {"deletionTimestamp": now}})
            else:
                await self._cluster.delete(kind, namespace, name)
        except NotFoundError:
            return

    async def _apply(self, before: Object | None, manifest: Manifest) -> None:
        kind, key, wanted = manifest.kind, manifest.key, merge.new_object(manifest.object)
        if kind.is_namespaced:
            await self.ensure_namespace(key.namespace)
        stored = await self._find(kind, key.namespace, key.name)
        if stored is None:
            await self.create(kind, wanted)
        elif merge.needs_new_pod(before, manifest.object) or stored["metadata"].get("deletionTimestamp"):
            # Also one whose file has come back while it terminates: it would end and stay away.
            await self._cluster.delete(kind, key.namespace, key.name)
            await self.create(kind, wanted)
        elif patch := merge.changes(before, manifest.object, stored):
            if kind is SERVICE and "spec" in patch:
                merged = {**stored, "spec": {**stored["spec"], **(manifest.object.get("spec") or {})}}
                given = merge.with_cluster_addresses(merged, await self._taken(key))
                patch["spec"] |= {name: given[name] for name in given if given[name] != stored["spec"].get(name)}
            await self._cluster.patch(kind, key.namespace, key.name, patch)

    async def _with_defaults(self, kind: Kind, new: Object) -> Object:
        metadata = new["metadata"]
        if kind is SERVICE:
            taken = await self._taken(Key(kind.name, metadata["namespace"], metadata["name"]))
            return {**new, "spec": merge.with_cluster_addresses(new, taken)}
        if kind is POD:
            spec = {"serviceAccountName": "default", **new["spec"]}
            spec["nodeName"] = spec.get("nodeName") or await self._least_loaded()
            if spec["nodeName"] not in self._nodes:
                raise InvalidObjectError(
                    f"Pod {metadata['namespace']}/{metadata['name']}: spec.nodeName: read {spec['nodeName']!r}; "
                    f"accepted are {', '.join(self._nodes)}"
                )
            return {**new, "spec": spec, "status": {"phase": "Pending"}}
        if kind is NAMESPACE:
            return {**new, "status": {"phase": "Active"}}
        return new

    async def _least_loaded(self) -> str:
        placed = [pod["spec"].get("nodeName", "") for pod in await self._cluster.list(POD)]
        return merge.least_loaded(self._nodes, placed)

    async def _taken(self, but: Key) -> set[str]:
        """The addresses of all services but one."""
        return {
            address
            for service in await self._cluster.list(SERVICE)
            if (service["metadata"]["namespace"], service["metadata"]["name"]) != (but.namespace, but.name)
            for address in service["spec"].get("clusterIPs") or []
        } - {"None"}

    async def _find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return next(
            (
                found
                for found in await self._cluster.list(kind)
                if found["metadata"]["name"] == name and found["metadata"].get("namespace", "") == namespace
            ),
            None,
        )

    async def _ensure(self, kind: Kind, namespace: str, name: str) -> bool:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        new = merge.new_object({"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata})
        try:
            await self._cluster.create(kind, new | ({"status": {"phase": "Active"}} if kind is NAMESPACE else {}))
        except ConflictError:
            return False
        return True
