"""The page of who talks to whom, and its data, on the controller's debug port; for local callers only.

The files are ours, and plotly.js is the one that the Python package plotly ships. The browser may
load nothing else: names of pods and policies are their authors' and must stay text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Final

from aiohttp import web

from agent import admin, model, wire
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.dashboard import details, graph, readings, traffic
from agent.controller.dashboard.scraper import Round, Scraper
from agent.controller.dashboard.traffic import Party
from agent.controller.discovery import Discovery

Json = dict[str, object]

PLOTLY: Final = PurePosixPath("plotly/package_data/plotly.min.js")
_PLOTLY_SECONDS: Final = 3600  # a browser may keep it: it is large and changes with an upgrade only
_SCRIPT: Final = "text/javascript"
_FILES: Final = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", _SCRIPT),
    "picture.js": ("picture.js", _SCRIPT),
    "panel.js": ("panel.js", _SCRIPT),
    "numbers.js": ("numbers.js", _SCRIPT),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Pages:
    """What the page needs; it only looks."""

    def __init__(
        self,
        state: ClusterState,
        authorizations: Authorizations,
        discovery: Discovery,
        problems: Callable[[], list[str]],
        trust_domain: str,
    ) -> None:
        self._state = state
        self._authorizations = authorizations
        self._discovery = discovery
        self._problems = problems
        self._trust_domain = trust_domain
        self._scraper = Scraper(lambda: discovery.sessions)

    def routes(self) -> Sequence[web.RouteDef]:
        return admin.only_local(
            [
                web.get(wire.DASHBOARD_PATH.rstrip("/"), self._redirect),
                web.get(f"{wire.DASHBOARD_PATH}graph.json", self._answer_graph),
                web.get(f"{wire.DASHBOARD_PATH}workload.json", self._answer_workload),
                web.get(f"{wire.DASHBOARD_PATH}{{file:[a-z.]*}}", self._answer_file),
            ]
        )

    async def _redirect(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(wire.DASHBOARD_PATH)

    async def _answer_file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name == PLOTLY.name:
            # A package of Python's that is never imported: only this file of it is wanted.
            found = Path(str(metadata.distribution("plotly").locate_file(PLOTLY)))
            headers = {**_HEADERS, "Cache-Control": f"private, max-age={_PLOTLY_SECONDS}"}
            return web.Response(body=await asyncio.to_thread(found.read_bytes), content_type=_SCRIPT, headers=headers)
        if name not in _FILES:
            raise web.HTTPNotFound(text=f"{request.path}: there is no such file\n")
        file, content_type = _FILES[name]
        body = await asyncio.to_thread((resources.files(__package__) / "static" / file).read_bytes)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

    async def _answer_graph(self, request: web.Request) -> web.Response:
        before, now = await self._scraper.observe()
        pods = [found.pod for found in self._state.candidates.values()]
        # Off the event loop: discovery must not wait for a picture.
        picture = await asyncio.to_thread(_picture, before, now, pods)
        published = self._discovery.catalogues[wire.AUTHORIZATION_TYPE].resources
        verdicts = readings.verdicts(now.readings.values())
        policies = details.policy_list(self._state, self._authorizations.shortfalls, published, verdicts)
        return _json(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "is_synced": self._state.is_synced,
                "rates_over_seconds": now.at - before.at if before is not None else None,
                "proxies": [
                    {"node": each.node, "name": each.name, "address": each.host, "fault": each.fault}
                    for each in now.proxies
                ],
                **picture,
                "policies": policies,
                "problems": self._problems(),
            }
        )

    async def _answer_workload(self, request: web.Request) -> web.Response:
        party = Party("workload", request.query.get("namespace", ""), request.query.get("name", ""))
        pods = graph.workloads(found.pod for found in self._state.candidates.values()).get(party)
        if pods is None:
            raise web.HTTPNotFound(text="there is no such workload; ?namespace=NAMESPACE&name=NAME names one\n")
        return _json(details.workload(self._state, pods, self._trust_domain))


def _picture(before: Round | None, now: Round, pods: Sequence[model.Pod]) -> Json:
    known = graph.workloads(pods)
    rates = readings.rates(before.readings, now.readings) if before is not None else {}
    edges = traffic.edges(readings.totals(now.readings.values()), rates)
    return graph.as_json(graph.assemble(known, edges), known)


def _json(body: Json) -> web.Response:
    return web.json_response(body, headers=_HEADERS)
