"""What a controller needs of where it runs: a cluster has it in itself, a state directory in files beside it."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agent import kube
from agent.api.mesh_config.name import config_map_name
from agent.apiserver.origin import STATE_DIRECTORY
from agent.backoff import delays
from agent.controller import auth, registration, server
from agent.controller.authority import ca, root_maps
from agent.controller.authority.in_force import InForce
from agent.controller.authority.rotation import OwnRoot, Rotation
from agent.controller.authority.trust import Periods
from agent.controller.cluster import ON_KUBERNETES, WATCHED
from agent.controller.leadership import Alone, Leadership, LeaseHolder
from agent.controller.mesh import Mesh
from agent.controller.settings import Settings
from agent.controller.token_reviews import TokenReviews
from agent.errors import ConfigError, InvalidObjectError, NotFoundError, UnavailableError
from agent.kube import Cluster, Kind

logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """in_force: the authority that signs. callers: tells who calls. leadership: when to write.

    followers: what every controller does besides. writers: what only a leader does. problems: of the authority.
    """

    in_force: InForce
    callers: auth.Authenticator
    leadership: Leadership
    watched: Collection[Kind]
    followers: tuple[Callable[[], Awaitable[None]], ...] = ()
    writers: tuple[Callable[[], Awaitable[None]], ...] = ()
    problems: Callable[[], list[str]] = list
    mesh: Mesh = Mesh()  # noqa: RUF009  # frozen; as it was at the start


def only(settings: Settings) -> Mapping[Kind, str]:
    """Of the cluster's ConfigMaps only the roots' and the mesh's are read, of its webhooks' registrations only ours."""
    return {
        kube.CONFIG_MAP: root_maps.SELECTOR,
        kube.SYSTEM_CONFIG_MAP: f"metadata.name={config_map_name(settings.revision)}",
        registration.KIND: f"metadata.name={registration.NAME}",
    }


async def find(settings: Settings, cluster: Cluster) -> Surroundings:
    """Waits for an API server that is away. Raises ConfigError when what is there cannot be used."""
    mesh = await _mesh(settings, cluster)
    if settings.origin.is_kubernetes:
        return replace(await _of_kubernetes(settings, cluster), mesh=mesh)
    if settings.ca_directory is None or settings.token_keys is None:
        raise ConfigError(f"{STATE_DIRECTORY.name} is set without WEFT_CA_DIRECTORY and WEFT_TOKEN_JWKS")
    authority = ca.load_or_create(settings.ca_directory, server.utc_now())
    return Surroundings(InForce(authority), auth.KeyFile(settings.token_keys), Alone(), WATCHED, mesh=mesh)


async def _of_kubernetes(settings: Settings, cluster: Cluster) -> Surroundings:
    rotation = await _rotation(settings, cluster)
    roots = rotation.in_force
    # Names of pods come back; two processes must never take each other for themselves.
    holder = f"{socket.gethostname()}_{secrets.token_hex(4)}"

    async def register(root_pem: str) -> None:
        await registration.keep(cluster, registration.wanted(root_pem, settings.webhook_failure_policy), is_owned=True)

    async def write_maps(root_pem: str) -> None:
        await root_maps.RootMapWriter(cluster, root_pem).run()

    return Surroundings(
        roots,
        TokenReviews(cluster, time.monotonic),
        LeaseHolder(cluster, holder),
        (*WATCHED, *ON_KUBERNETES),
        (rotation.run,),
        tuple(functools.partial(roots.with_roots, work) for work in (write_maps, register)),
        rotation.problems,
    )


async def _mesh(settings: Settings, cluster: Cluster) -> Mesh:
    """There are no last good settings yet, so bad ones end the start: a trust domain must not change by accident."""
    mesh = Mesh(settings.revision, settings.trust_domain)
    for pause in delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS):
        try:
            found = await cluster.get(kube.SYSTEM_CONFIG_MAP, kube.SYSTEM_CONFIG_MAP.namespace, mesh.config_map)
            return mesh.configured(found).started()
        except NotFoundError:
            return mesh.started()
        except InvalidObjectError as exc:
            raise ConfigError(str(exc)) from exc
        except UnavailableError as exc:
            logger.warning("the mesh's settings cannot be read yet", extra={"reason": exc})
            await asyncio.sleep(pause)
    raise AssertionError("delays have no end")


async def _rotation(settings: Settings, cluster: Cluster) -> Rotation:
    periods = Periods(settings.root_overlap, settings.longest_ttl)
    own = OwnRoot(settings.own_root_lifetime, settings.own_root_grace_percent)
    rotation = Rotation(cluster, periods, own, server.utc_now)
    for pause in delays(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS):
        try:
            await rotation.begin()
            return rotation
        except UnavailableError as exc:
            logger.warning("the root cannot be read yet", extra={"reason": exc})
            await asyncio.sleep(pause)
    raise AssertionError("delays have no end")
