"""The mesh's own processes: started in their places, and started again when they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asyncinotify import Inotify, Mask

import agent
from agent.errors import ConfigError
from agent.lab import cgroups, commands
from agent.lab.addresses import CONTROL_ADDRESS, NodePlan
from agent.lab.backoff import next_delay
from agent.lab.layout import CONTROL, Layout
from agent.wire import DISCOVERY_HOST, DISCOVERY_PORT, SYSTEM_NAMESPACE

logger = logging.getLogger(__name__)

CONTROLLER, NODE, PROXY = "controller", "node", "proxy"
PROXY_ACCOUNT = "weft-proxy"
_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One process: its name in the lab, its subcommand, where it runs, with which settings."""

    name: str
    kind: str
    netns: str
    cgroup: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Path, ...] = ()  # files of others that should be there first


@dataclass(slots=True)
class Standing:
    """How a process is doing."""

    name: str
    pid: int | None = None
    restarts: int = 0
    since: float = 0.0  # when it was started, seconds of the epoch
    last_exit: int | None = None


def plans(layout: Layout, nodes: list[NodePlan], extra: Mapping[str, Mapping[str, str]]) -> list[Plan]:
    """All processes of a lab. `extra`: more settings, by kind or by name of process; the name's count more."""
    found = [
        Plan(
            CONTROLLER, CONTROLLER, layout.netns(CONTROL), layout.process_cgroup(CONTROL, CONTROLLER), _control(layout)
        )
    ]
    for node in nodes:
        netns, name = layout.netns(node.name), node.name
        found.append(Plan(f"{name}-node", NODE, netns, layout.process_cgroup(name, NODE), _node(layout, name)))
        proxy = _proxy(layout, node)
        cgroup = layout.process_cgroup(name, PROXY)
        needs = (layout.root_certificate, Path(proxy["INPOD_UDS"]))
        found.append(Plan(f"{name}-proxy", PROXY, netns, cgroup, proxy, needs))
    return [
        Plan(
            plan.name,
            plan.kind,
            plan.netns,
            plan.cgroup,
            {**plan.environment, **extra.get(plan.kind, {}), **extra.get(plan.name, {})},
            plan.needs,
        )
        for plan in found
    ]


def parse_settings(texts: tuple[str, ...], node_count: int) -> dict[str, dict[str, str]]:
    """Settings given as PROCESS:NAME=VALUE; ConfigError for another form, or a process that the lab has not."""
    nodes = [f"node-{i + 1}" for i in range(node_count)]
    accepted = [CONTROLLER, NODE, PROXY, *(f"{node}-{kind}" for node in nodes for kind in (NODE, PROXY))]
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        process, _, setting = text.partition(":")
        name, equals, value = setting.partition("=")
        if not (process and name and equals):
            raise ConfigError(f"--env {text!r}: accepted is PROCESS:NAME=VALUE, for example proxy:SECRET_TTL=60s")
        if process not in accepted:
            raise ConfigError(f"--env {text!r}: no process {process!r}; accepted are {', '.join(accepted)}")
        found.setdefault(process, {})[name] = value
    return found


def _control(layout: Layout) -> dict[str, str]:
    return {
        "WEFT_STATE_DIRECTORY": str(layout.state),
        "WEFT_CA_DIRECTORY": str(layout.ca),
        "WEFT_TOKEN_JWKS": str(layout.jwks),
        "CA_TRUSTED_NODE_ACCOUNTS": f"{SYSTEM_NAMESPACE}/{PROXY_ACCOUNT}",
    }


def _node(layout: Layout, node: str) -> dict[str, str]:
    return {
        "NODE_NAME": node,
        "INPOD_UDS": str(layout.node(node) / "ztunnel.sock"),
        "WEFT_STATE_DIRECTORY": str(layout.state),
        "WEFT_CGROUP_ROOT": str(layout.node_cgroup(node)),
        "WEFT_PIN_DIRECTORY": str(layout.bpf / node),
    }


def _proxy(layout: Layout, node: NodePlan) -> dict[str, str]:
    controller = f"https://{CONTROL_ADDRESS.v4}:{DISCOVERY_PORT}"
    certificate = str(layout.root_certificate)
    return {
        "NODE_NAME": node.name,
        "INPOD_UDS": str(layout.node(node.name) / "ztunnel.sock"),
        "WEFT_PROXY_STATE": str(layout.node(node.name) / "proxy-state"),
        "XDS_ADDRESS": controller,
        "CA_ADDRESS": controller,
        "XDS_ROOT_CA": certificate,
        "CA_ROOT_CA": certificate,
        "ALT_XDS_HOSTNAME": DISCOVERY_HOST,
        "ALT_CA_HOSTNAME": DISCOVERY_HOST,
        "AUTH_TOKEN": str(layout.node(node.name) / "token"),
        "POD_NAME": f"{PROXY_ACCOUNT}-{node.name}",
        "POD_NAMESPACE": SYSTEM_NAMESPACE,
        "INSTANCE_IP": str(node.address.v4),
    }


async def supervise(plan: Plan, log_path: Path, standing: Standing, report: Callable[[], None]) -> None:
    """Keep one process running, for ever. Cancelled, it ends the process, by force if it does not go."""
    cgroups.create(plan.cgroup)
    delay = 0.0
    for path in plan.needs:
        await _appeared(path)
    while True:
        started = time.monotonic()
        process = await _start(plan, log_path)
        standing.pid, standing.since = process.pid, time.time()
        report()
        try:
            standing.last_exit = await process.wait()
        finally:
            await asyncio.shield(_end(process))
        standing.pid = None
        report()
        delay = next_delay(delay, time.monotonic() - started)
        logger.warning(
            "process ended", extra={"of": plan.name, "exit_status": standing.last_exit, "next_start_seconds": delay}
        )
        await asyncio.sleep(delay)
        standing.restarts += 1


async def _start(plan: Plan, log_path: Path) -> asyncio.subprocess.Process:
    # Found where this very code was found, installed or not.
    environment = {**os.environ, "PYTHONPATH": str(Path(agent.__file__).parent.parent), **plan.environment}
    line = commands.in_netns(plan.netns, plan.cgroup, [sys.executable, "-m", "agent.cli.main", plan.kind])
    with log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _appeared(path: Path, patience_seconds: float = 5.0) -> None:
    """Wait until a file is there, but not for ever: without it the process says best itself what it misses."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_seconds):
            with Inotify() as inotify:
                inotify.add_watch(path.parent, Mask.CREATE | Mask.MOVED_TO)
                while not await asyncio.to_thread(path.exists):
                    await anext(aiter(inotify))
