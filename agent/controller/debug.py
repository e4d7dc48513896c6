"""The HTTP endpoints of metrics, health and state, on the debug port.

State names pods, nodes and policies, so it is told on the process's own loopback only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agent import admin, wire
from agent.controller import overview
from agent.controller.addresses import Addresses
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.discovery import Discovery
from agent.controller.subscription import Subscription
from agent.controller.xds import Session
from agent.metrics import ControllerMetrics

Json = dict[str, object]


class Endpoints:
    """What the debug port answers; it only looks."""

    def __init__(
        self,
        state: ClusterState,
        addresses: Addresses,
        authorizations: Authorizations,
        discovery: Discovery,
        metrics: ControllerMetrics,
        registry: CollectorRegistry,
        others: Callable[[], list[str]] = list,
    ) -> None:
        """others: problems of what is no object of the mesh."""
        self._state = state
        self._addresses = addresses
        self._authorizations = authorizations
        self._discovery = discovery
        self._metrics = metrics
        self._registry = registry
        self._others = others

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/metrics", self._answer_metrics),
            web.get("/readyz", self._answer_readiness),
            *admin.only_local(
                [
                    web.get("/debug/syncz", self._answer_syncz),
                    web.get("/debug/problems", self._answer_problems),
                    web.get("/debug/policies", self._answer_policies),
                ]
            ),
        ]

    def problems(self) -> list[str]:
        """Everything in the cluster that cannot be used as it is."""
        return [
            *self._others(),
            *self._refused(),
            *self._state.mesh.problems,
            *self._addresses.problems(),
            *self._authorizations.problems(),
        ]

    def _refused(self) -> list[str]:
        """Objects that cannot be understood: what they last were stays in force."""
        return [text for _, text in sorted(self._state.problems.items())]

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        self._metrics.problems.set(len(self.problems()))
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _answer_readiness(self, request: web.Request) -> web.Response:
        if self._state.is_synced:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="the cluster has not been read yet\n")

    async def _answer_syncz(self, request: web.Request) -> web.Response:
        sessions = sorted(self._discovery.sessions, key=lambda session: (session.caller.node, session.id))
        return web.json_response(
            {
                "synced": self._state.is_synced,
                "resources": {url: len(each.resources) for url, each in self._discovery.catalogues.items()},
                "proxies": [_proxy(session) for session in sessions],
                "refused": self._refused(),
                "problems": self.problems(),
            }
        )

    async def _answer_problems(self, request: web.Request) -> web.Response:
        return web.json_response(self.problems())

    async def _answer_policies(self, request: web.Request) -> web.Response:
        published = self._discovery.catalogues[wire.AUTHORIZATION_TYPE].resources
        return web.json_response(overview.policy_rows(self._state, self._authorizations.shortfalls, published))


def _proxy(session: Session) -> Json:
    caller = session.caller
    return {
        "node": caller.node,
        "id": session.id,
        "account": caller.account,
        "pod": caller.pod,
        "types": {url: _subscription(found) for url, found in session.subscriptions.items()},
    }


def _subscription(found: Subscription) -> Json:
    return {
        "wildcard": found.is_wildcard,
        "names": len(found.names),
        "pending": len(found.pending),
        "sent": found.nonce_sent,
        "acked": found.nonce_acked,
        "synced": bool(found.nonce_sent) and found.nonce_sent == found.nonce_acked and not found.pending,
        "nacks": found.rejections,
        "last_nack": found.last_rejection,
    }
