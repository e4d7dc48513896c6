"""The edge to the controller: TLS channels, and the credentials that each call carries.

Token and root are read anew for every connection: both are replaced on disk while we run.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio

from agent.errors import ForbiddenError, RefusedError, UnauthenticatedError, UnavailableError, WeftError
from agent.proxy.settings import Server

RECEIVE_BYTES = 200 * 1024 * 1024  # one response may carry a whole cluster
_OPTIONS = (
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # a quiet stream is the normal case: go on with keepalives
    ("grpc.min_reconnect_backoff_ms", 5_000),  # also the time limit of one attempt to connect
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, with the root of now
)
_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.INVALID_ARGUMENT: RefusedError,
}


@contextlib.asynccontextmanager
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel of its own, closed at the end of the block. UnavailableError when the root cannot be read."""
    credentials = grpc.ssl_channel_credentials(root_certificates=_read(server.root))
    options = (*_OPTIONS, ("grpc.ssl_target_name_override", server.server_name))
    async with grpc.aio.secure_channel(server.address, credentials, options=options) as opened:
        yield opened


def call_metadata(token: Path, cluster: str) -> tuple[tuple[str, str], ...]:
    """What says who is calling. UnavailableError without a token."""
    return (("authorization", f"Bearer {_read(token).decode().strip()}"), ("clusterid", cluster))


@contextlib.contextmanager
def translated(server: Server) -> Iterator[None]:
    """Errors of gRPC become RefusedError or UnavailableError."""
    try:
        yield
    except grpc.aio.AioRpcError as exc:
        raise _error(server, exc) from exc


def _error(server: Server, exc: grpc.aio.AioRpcError) -> WeftError:
    kind = _REFUSALS.get(exc.code(), UnavailableError)
    return kind(f"{server.address}: {exc.code().name}: {exc.details()}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"{path}: {exc.strerror}") from exc
