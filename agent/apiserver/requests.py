"""Which requests a read or a write of objects takes. Rules only: connection.py sends them."""

from __future__ import annotations

from dataclasses import dataclass

from agent.kube import POD, Kind, Object

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a write."""

    path: str
    body: Object


def collection(kind: Kind, namespace: str = "") -> str:
    """Where the objects of a kind are, of all its namespaces without one."""
    root = "/api" if "/" not in kind.api_version else "/apis"
    one = namespace or kind.namespace
    within = f"/namespaces/{one}" if kind.is_namespaced and one else ""
    return f"{root}/{kind.api_version}{within}/{kind.plural}"


def item(kind: Kind, namespace: str, name: str) -> str:
    """Where one object is."""
    return f"{collection(kind, namespace)}/{name}"


def patches(kind: Kind, namespace: str, name: str, patch: Object, uid: str | None) -> list[Request]:
    """The requests that one merge patch takes: the API server keeps an object's status apart from the rest of it.

    A pod's metadata goes with its status: that takes a permission for the status alone, none to write what the pod
    runs. A `uid` makes the API server refuse when the object of that name is another one.
    """
    path = item(kind, namespace, name)
    spoken = {key: value for key, value in patch.items() if key != "status"}
    if kind is POD and spoken.keys() <= {"metadata"}:
        return [Request(f"{path}/status", _guarded(patch, uid))]
    requests = [Request(path, _guarded(spoken, uid))] if spoken or "status" not in patch else []
    if "status" in patch:
        requests.append(Request(f"{path}/status", _guarded({"status": patch["status"]}, uid)))
    return requests


def page(token: str, selector: str = "", *, is_paged: bool = True) -> dict[str, str]:
    """The query of a list's next page; the first has no token. `selector`: of fields, for a part of the objects."""
    paged = {"limit": str(PAGE_SIZE), **({"continue": token} if token else {})} if is_paged else {}
    return paged | _selected(selector)


def watch(version: str, seconds: int, selector: str = "") -> dict[str, str]:
    """The query of a watch that goes on after a version."""
    return {
        **_selected(selector),
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(seconds),
    }


def whole(kind: Kind, listed: Object) -> Object:
    """An object of a list as the API server gives it alone; lists leave out what their items have in common.

    Without managedFields, which are half of many objects, and which nobody here reads.
    """
    metadata = {key: value for key, value in listed["metadata"].items() if key != "managedFields"}
    return {**listed, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def _selected(selector: str) -> dict[str, str]:
    return {"fieldSelector": selector} if selector else {}


def _guarded(patch: Object, uid: str | None) -> Object:
    return patch if uid is None else {**patch, "metadata": {**patch.get("metadata", {}), "uid": uid}}
