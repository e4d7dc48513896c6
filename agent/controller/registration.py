"""The webhook's registration with an API server: made, and put right again whenever somebody changes it.

It has a name of its own, so that another mesh's webhook, and the other way round, stays as it is. It stays behind when
the controller ends: with the failure policy Fail nothing unchecked is stored until a controller is back. In the cluster
that the controller runs in it belongs to the mesh's namespace, and goes with it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal

from agent import kube, wire
from agent.backoff import Sleep, delays
from agent.controller import admission
from agent.errors import ConflictError, NotFoundError, WeftError

logger = logging.getLogger(__name__)

FailurePolicy = Literal["Fail", "Ignore"]
FAILURE_POLICIES: Final[tuple[FailurePolicy, ...]] = ("Fail", "Ignore")
NAME: Final = f"weft-validator-{wire.SYSTEM_NAMESPACE}"
KIND: Final = kube.Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    is_namespaced=False,
)
_SERVICE: Final = "istiod"  # the controller's, by the name that every Istio part looks for
SERVICE_PORT: Final = 443
_FIRST_DELAY_SECONDS: Final = 0.5
_MOST_DELAY_SECONDS: Final = 60.0


def wanted(root_pem: str, failure_policy: FailurePolicy) -> kube.Object:
    """The registration: by the controller's Service, whose certificate comes from this root."""
    service = {
        "namespace": wire.SYSTEM_NAMESPACE,
        "name": _SERVICE,
        "path": admission.PATH,
        "port": SERVICE_PORT,
    }
    client = {"service": service, "caBundle": base64.b64encode(root_pem.encode()).decode()}
    return admission.configuration(NAME, client, failure_policy)


def change(stored: Mapping[str, Any], wanted: kube.Object) -> kube.Object | None:
    """The merge patch that makes the stored registration the wanted one, None if it is."""
    patch: kube.Object = {}
    if stored.get("webhooks") != wanted["webhooks"]:
        patch["webhooks"] = wanted["webhooks"]
    owners = wanted["metadata"].get("ownerReferences")
    if owners and stored["metadata"].get("ownerReferences") != owners:
        patch["metadata"] = {"ownerReferences": owners}
    return patch or None


async def keep(
    cluster: kube.Cluster, wanted: kube.Object, sleep: Sleep = asyncio.sleep, *, is_owned: bool = False
) -> None:
    """Keep the registration as it is wanted, for ever. Begin once the webhook answers.

    is_owned: it ends with the mesh's namespace, which is in the same cluster.
    What cannot be written is logged, and tried again at growing intervals.
    """
    stored: kube.Object | None = None
    is_synced = False
    async with contextlib.aclosing(cluster.watch([KIND])) as changes:
        async for event in changes:
            if event.type is kube.ChangeType.SYNCED:
                is_synced = True
            elif event.object is None or event.object["metadata"]["name"] != wanted["metadata"]["name"]:
                continue
            else:
                stored = None if event.type is kube.ChangeType.DELETED else event.object
            if is_synced:
                await _bring_about(cluster, stored, wanted, sleep, is_owned)


async def _bring_about(
    cluster: kube.Cluster, stored: kube.Object | None, wanted: kube.Object, sleep: Sleep, is_owned: bool
) -> None:
    told = ""
    for pause in delays(_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS):
        try:
            if await _write(cluster, stored, await _owned(cluster, wanted) if is_owned else wanted):
                logger.info("registered the webhook", extra={"name_of_registration": wanted["metadata"]["name"]})
            return
        except (ConflictError, NotFoundError):
            return  # it is another one by now, or gone: the watch will tell
        except WeftError as exc:
            if str(exc) != told:
                logger.error("the webhook cannot be registered", extra={"reason": exc})
            told = str(exc)
        await sleep(pause)


async def _owned(cluster: kube.Cluster, wanted: kube.Object) -> kube.Object:
    namespace = await cluster.get(kube.NAMESPACE, "", wire.SYSTEM_NAMESPACE)
    named = {"name": wire.SYSTEM_NAMESPACE, "uid": namespace["metadata"]["uid"]}
    owner = {"apiVersion": kube.NAMESPACE.api_version, "kind": kube.NAMESPACE.name, **named}
    return {**wanted, "metadata": {**wanted["metadata"], "ownerReferences": [owner]}}


async def _write(cluster: kube.Cluster, stored: kube.Object | None, wanted: kube.Object) -> bool:
    """Whether there was anything to write."""
    if stored is None:
        await cluster.create(KIND, wanted)
        return True
    difference = change(stored, wanted)
    if difference is None:
        return False
    metadata = stored["metadata"]
    await cluster.patch(KIND, "", metadata["name"], difference, uid=metadata["uid"])
    return True
