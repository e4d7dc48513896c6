"""What a kubelet writes to the API server: statuses, events, tokens of pods' accounts, and the end of pods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.api.objects import ObjectMeta
from agent.apiserver import requests
from agent.apiserver.connection import MERGE_PATCH, Connection
from agent.errors import ConflictError, NotFoundError, ProtocolError
from agent.kube import POD, SERVICE_ACCOUNT, Kind, Object

EVENT = Kind("v1", "Event", "events")
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Token:
    """A service account's token, and until when it is good, in seconds of the epoch."""

    text: str
    expires_at: float


class Writes:
    """Everything fails as Connection.request says."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def status(self, pod: ObjectMeta, status: Object) -> None:
        """Report a pod's status; ConflictError when the name is another pod's by now, NotFoundError when it is gone."""
        path = f"{requests.item(POD, pod.namespace, pod.name)}/status"
        body = {"metadata": {"uid": pod.uid}, "status": status}
        await self._connection.request("PATCH", path, None, body, STRATEGIC_PATCH)

    async def forget(self, pod: ObjectMeta) -> None:
        """Remove a pod's object, now that nothing of it runs; one that is gone, or another's by now, is fine."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        body = {**options, "preconditions": {"uid": pod.uid}}
        try:
            await self._connection.request("DELETE", requests.item(POD, pod.namespace, pod.name), body=body)
        except (NotFoundError, ConflictError):
            return

    async def token(self, pod: ObjectMeta, account: str, audience: str, seconds: int) -> Token:
        """A token of a service account, bound to a pod; `audience` empty is the API server's own."""
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
        spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound}
        spec["audiences"] = [audience] if audience else []
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"{requests.item(SERVICE_ACCOUNT, pod.namespace, account)}/token"
        match await self._connection.request("POST", path, body=body):
            case {"status": {"token": str(text), "expirationTimestamp": str(until)}}:
                return Token(text, datetime.fromisoformat(until).timestamp())
        raise ProtocolError(f"{path}: the API server's answer has no token")

    async def add_event(self, event: Object) -> None:
        namespace = event["metadata"]["namespace"]
        await self._connection.request("POST", requests.collection(EVENT, namespace), body=event)

    async def repeat_event(self, namespace: str, name: str, patch: Object) -> None:
        await self._connection.request("PATCH", requests.item(EVENT, namespace, name), None, patch, MERGE_PATCH)
