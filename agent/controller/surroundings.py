"""What a controller needs of where it runs: a cluster has it in itself, a state directory in files beside it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from agent import kube
from agent.apiserver.origin import STATE_DIRECTORY
from agent.backoff import delays
from agent.controller import auth, ca, ca_secret, registration, root_maps, server
from agent.controller.cluster import ON_KUBERNETES, WATCHED
from agent.controller.leadership import Alone, Leadership, LeaseHolder
from agent.controller.settings import Settings
from agent.controller.token_reviews import TokenReviews
from agent.errors import ConfigError, UnavailableError
from agent.kube import Cluster, Kind

logger = logging.getLogger(__name__)

# Of the cluster's ConfigMaps only those that hold the roots are read, of its webhooks' registrations only ours.
ONLY: Final = {kube.CONFIG_MAP: root_maps.SELECTOR, registration.KIND: f"metadata.name={registration.NAME}"}
_FIRST_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """authority: signs. callers: tells who calls. leadership: when to write. writers: what only a leader does."""

    authority: ca.Authority
    callers: auth.Authenticator
    leadership: Leadership
    watched: Collection[Kind]
    writers: tuple[Callable[[], Awaitable[None]], ...] = ()


async def find(settings: Settings, cluster: Cluster) -> Surroundings:
    """Waits for an API server that is away. Raises ConfigError when what is there cannot be used."""
    if settings.origin.is_kubernetes:
        return await _of_kubernetes(settings, cluster)
    if settings.ca_directory is None or settings.token_keys is None:
        raise ConfigError(f"{STATE_DIRECTORY.name} is set without WEFT_CA_DIRECTORY and WEFT_TOKEN_JWKS")
    authority = ca.load_or_create(settings.ca_directory, server.utc_now())
    return Surroundings(authority, auth.KeyFile(settings.token_keys), Alone(), WATCHED)


async def _of_kubernetes(settings: Settings, cluster: Cluster) -> Surroundings:
    authority = await _authority(cluster)
    registered = registration.wanted(authority.root_pem, settings.webhook_failure_policy)
    # Names of pods come back; two processes must never take each other for themselves.
    holder = f"{socket.gethostname()}_{secrets.token_hex(4)}"
    return Surroundings(
        authority,
        TokenReviews(cluster, time.monotonic),
        LeaseHolder(cluster, holder),
        (*WATCHED, *ON_KUBERNETES),
        (root_maps.RootMapWriter(cluster, authority.root_pem).run, lambda: registration.keep(cluster, registered)),
    )


async def _authority(cluster: Cluster) -> ca.Authority:
    for pause in delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS):
        try:
            return await ca_secret.load_or_create(cluster, server.utc_now())
        except UnavailableError as exc:
            logger.warning("the root cannot be read yet", extra={"reason": exc})
            await asyncio.sleep(pause)
    raise AssertionError("delays have no end")
