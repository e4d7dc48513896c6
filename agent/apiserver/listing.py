"""Reading all objects of a kind, in pages, and whether the cluster has the kind at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from agent.apiserver import requests
from agent.apiserver.connection import Connection
from agent.errors import ExpiredError, NotFoundError, ProtocolError
from agent.kube import Kind, Object


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the version that all of the list is as of."""

    items: list[Object]
    version: str


async def everything(connection: Connection, kind: Kind, selector: str = "") -> list[Object]:
    """All objects of a kind that a field selector admits, as they were at one version.

    A list that takes so long that the API server forgets its version between two pages is read again as one page.
    """
    try:
        return [item async for found in pages(connection, kind, selector) for item in found.items]
    except ExpiredError:
        whole = pages(connection, kind, selector, is_paged=False)
        return [item async for found in whole for item in found.items]


async def is_served(connection: Connection, kind: Kind) -> bool:
    """Whether the cluster has this kind, as its discovery documents say: a definition may not be installed."""
    if "/" not in kind.api_version:
        return True
    groups = await connection.request("GET", "/apis")
    if groups.get("kind") != "APIGroupList":
        raise ProtocolError("/apis: no list of API groups; is this a Kubernetes API server?")
    versions = {version["groupVersion"] for group in groups["groups"] for version in group["versions"]}
    if kind.api_version not in versions:
        return False
    try:
        resources = await connection.request("GET", f"/apis/{kind.api_version}")
    except NotFoundError:  # removed since
        return False
    return any(resource["name"] == kind.plural for resource in resources["resources"])


async def pages(
    connection: Connection, kind: Kind, selector: str = "", *, is_paged: bool = True
) -> AsyncIterator[Page]:
    """The same, page after page. Raises ExpiredError when the API server forgets their version meanwhile."""
    path = requests.collection(kind)
    token = ""
    while True:
        page = await connection.request("GET", path, requests.page(token, selector, is_paged=is_paged))
        match page:
            case {"metadata": {"resourceVersion": str(version)}, "items": list(items)}:
                yield Page([requests.whole(kind, listed) for listed in items], version)
            case _:
                raise ProtocolError(f"{path}: the API server's answer is not a list")
        token = page["metadata"].get("continue", "")
        if not token:
            return
