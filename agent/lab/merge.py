"""How a person's manifest and the stored object come together. Rules only.

The manifest owns the spec, the labels and the annotations that it names. All else (uid,
status, addresses that were given, annotations that Weft wrote) is the server's and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent.errors import InvalidObjectError
from agent.kube import Object
from agent.lab.addresses import free_service_address

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_HEADLESS = "None"
_SERVERS_OWN = ("apiVersion", "kind", "metadata", "status")


def new_object(manifest: Object) -> Object:
    """What is stored for a manifest at first: without a status, which is the server's to write."""
    metadata = {
        key: value
        for key, value in manifest["metadata"].items()
        if key in ("name", "namespace", "labels", "annotations", "ownerReferences")
    }
    rest = {key: value for key, value in manifest.items() if key not in _SERVERS_OWN}
    labels = _labels(manifest)
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {**metadata, "labels": labels} if labels else metadata,
        **rest,
    }


def changes(before: Object | None, now: Object, stored: Object) -> Object:
    """The merge patch that brings a stored object to its manifest; empty when it is there already.

    before: the manifest as it was applied last, which says what has since been taken out.
    """
    patch: Object = {}
    metadata: Object = {}
    was = (before or {}).get("metadata") or {}
    stored_metadata = stored["metadata"]
    labels = _replacement(stored_metadata.get("labels") or {}, _labels(now))
    annotations = _three_way(
        was.get("annotations") or {}, now["metadata"].get("annotations") or {}, stored_metadata.get("annotations") or {}
    )
    metadata |= {"labels": labels} if labels else {}
    metadata |= {"annotations": annotations} if annotations else {}
    rest = {key: value for key, value in now.items() if key not in _SERVERS_OWN}
    rest_before = {key: value for key, value in (before or {}).items() if key not in _SERVERS_OWN}
    patch |= _three_way(rest_before, rest, stored)
    return patch | ({"metadata": metadata} if metadata else {})


def needs_new_pod(before: Object | None, now: Object) -> bool:
    """A pod's spec cannot change: another spec is another pod."""
    return now["kind"] == "Pod" and before is not None and before.get("spec") != now.get("spec")


def with_cluster_addresses(service: Object, taken: Collection[str]) -> Object:
    """A service's spec with its addresses, dual-stack unless the manifest says otherwise.

    taken: the addresses of all other services. Raises InvalidObjectError when the manifest asks for one of them.
    """
    spec = dict(service.get("spec") or {})
    if spec.get("type") == "ExternalName":
        return spec
    asked = [address for address in (spec.get("clusterIPs") or [spec.get("clusterIP")]) if address]
    if spec.get("clusterIP") == _HEADLESS:
        return spec | {"clusterIPs": [_HEADLESS]}
    if clash := set(asked) & set(taken):
        name = f"{service['metadata'].get('namespace')}/{service['metadata']['name']}"
        raise InvalidObjectError(f"Service {name}: spec.clusterIP: {', '.join(sorted(clash))} is another service's")
    if not asked:
        pair = free_service_address({*taken})
        by_family = {"IPv4": str(pair.v4), "IPv6": str(pair.v6)}
        families = spec.get("ipFamilies") or ["IPv4", "IPv6"]
        if spec.get("ipFamilyPolicy") == "SingleStack":
            families = families[:1]
        asked = [by_family[family] for family in families]
    families = ["IPv6" if ":" in address else "IPv4" for address in asked]
    policy = spec.get("ipFamilyPolicy") or ("PreferDualStack" if len(asked) > 1 else "SingleStack")
    return spec | {"clusterIP": asked[0], "clusterIPs": asked, "ipFamilies": families, "ipFamilyPolicy": policy}


def least_loaded(nodes: Collection[str], placed: Collection[str]) -> str:
    """The node with the fewest pods; `placed` holds the node of every pod there is."""
    load = list(placed)
    return min(nodes, key=lambda node: (load.count(node), node))


def _labels(manifest: Object) -> dict[str, str]:
    metadata = manifest["metadata"]
    own = {_NAMESPACE_LABEL: metadata["name"]} if manifest["kind"] == "Namespace" else {}
    return {**(metadata.get("labels") or {}), **own}


def _replacement(stored: Mapping[str, object], wanted: Mapping[str, object]) -> dict[str, object]:
    """The merge patch that makes a flat mapping exactly the wanted one."""
    gone = {key: None for key in stored if key not in wanted}
    return gone | {key: value for key, value in wanted.items() if stored.get(key) != value}


def _three_way(before: Object, now: Object, stored: Object) -> Object:
    patch: Object = {key: None for key in before if key not in now and key in stored}
    for key, value in now.items():
        there = stored.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            was = before.get(key)
            inner = _three_way(was if isinstance(was, dict) else {}, value, there)
            patch |= {key: inner} if inner else {}
        elif value is not None and there != value:
            patch[key] = value
    return patch
