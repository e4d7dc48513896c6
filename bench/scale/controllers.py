"""The shipped controller as a process of its own, with the permissions that are shipped for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import wire
from bench.scale.api import Api
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import REACHED_BY_NOBODY, SYSTEM
from tests.support.controller import command

TARGET: Final = f"127.0.0.1:{wire.DISCOVERY_PORT}"
_PATIENCE_SECONDS: Final = 300.0
_READ: Final = b"cluster read"


@dataclass(frozen=True, slots=True)
class Controller:
    """started_at, read_at: monotonic times of its start, and of its having read the cluster."""

    pid: int
    started_at: float
    read_at: asyncio.Future[float]
    log: Path


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, **environment: str) -> AsyncIterator[Controller]:
    """It ends with the block."""
    kubeconfig = plane.kubeconfig_of(SYSTEM, "weft-controller")
    log = plane.folder / "controller.log"
    started_at = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command(),
        env={"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), **REACHED_BY_NOBODY, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    read_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    assert process.stderr is not None
    reading = asyncio.create_task(_keep(process.stderr, log, read_at))
    try:
        yield Controller(process.pid, started_at, read_at, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await reading


async def _keep(pipe: asyncio.StreamReader, log: Path, read_at: asyncio.Future[float]) -> None:
    with log.open("ab") as file:
        while line := await pipe.readline():
            if _READ in line and not read_at.done():
                read_at.set_result(time.monotonic())
            file.write(line)
            file.flush()


async def roots(plane: ControlPlane, api: Api) -> str:
    """The mesh's root, made by a controller that runs for that alone; PEM."""
    async with running(plane) as controller, asyncio.timeout(_PATIENCE_SECONDS):
        await controller.read_at
        secret = await api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/istio-ca-secret")
    return base64.b64decode(secret["data"]["root-cert.pem"]).decode()


def metric(name: str, **labels: str) -> float:
    """Of the controller that runs: the sum of what it counts under a name, of those labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{wire.DEBUG_PORT}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = (line for line in lines if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(each in line for each in wanted))
