"""The CNI chain of a lab's node, run as a container runtime runs it.

The lab's own network stands first in it, as a plugin that needs no program. Others may chain
theirs after it, as on a real node: they are run for every pod before anything of the pod is, and
again when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.api.objects import NamedObject
from agent.errors import InvalidObjectError, UnavailableError
from agent.lab import commands
from agent.lab.addresses import Pair
from agent.lab.layout import netns_path
from agent.lab.network import WIRE

logger = logging.getLogger(__name__)

OWN: Final = "weft-lab"
_FILE: Final = "10-weft-lab.conflist"
_VERSION: Final = "1.0.0"
_SUFFIXES: Final = (".conf", ".conflist", ".json")


@dataclass(frozen=True, slots=True)
class Chain:
    """Of one node. `run`: the folder that the plugins see as /run/weft; None: the machine's own."""

    configurations: Path
    programs: Path
    run: Path | None = None

    @classmethod
    def below(cls, folder: Path) -> Chain:
        """The chain whose files are all in one folder."""
        return cls(folder / "net.d", folder / "bin")

    def install(self) -> None:
        """Make the folders, and put the lab's network into the configurations."""
        for folder in (self.configurations, self.programs):
            folder.mkdir(parents=True)
        found = {"cniVersion": _VERSION, "name": "pods", "plugins": [{"type": OWN}]}
        (self.configurations / _FILE).write_text(json.dumps(found, indent=2))

    async def add(self, pod: NamedObject, netns: str, address: Pair) -> None:
        """Return when every plugin lets the pod start; UnavailableError with the words of the one that does not."""
        result = _result(netns, address)
        for plugin in self._plugins():
            said, status = await self._call("ADD", plugin, pod, netns, result)
            if status != 0:
                raise UnavailableError(f"plugin {plugin['type']}: {said.get('msg', 'it says nothing')}")
            result = said

    async def delete(self, pod: NamedObject, netns: str, address: Pair) -> None:
        """Tell the plugins, the last one first, that the pod ends."""
        for plugin in reversed(self._plugins()):
            try:
                await self._call("DEL", plugin, pod, netns, _result(netns, address))
            except UnavailableError as exc:
                logger.warning("pod ends without a plugin", extra={"pod": pod.full_name, "reason": exc})

    def _plugins(self) -> list[dict[str, Any]]:
        """Those after the lab's network, of the first file."""
        files = [path for path in self.configurations.iterdir() if path.suffix in _SUFFIXES]
        first = min((path for path in files if not path.name.startswith(".")), default=None)
        if first is None:
            raise UnavailableError(f"no CNI configuration in {self.configurations}")
        try:
            found = json.loads(first.read_text())
            own = {"cniVersion": found["cniVersion"], "name": found["name"]}
            return [{**plugin, **own} for plugin in found["plugins"] if plugin["type"] != OWN]
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidObjectError(f"{first}: no CNI configuration with cniVersion, name and plugins") from exc

    async def _call(
        self, command: str, plugin: Mapping[str, Any], pod: NamedObject, netns: str, result: Mapping[str, Any]
    ) -> tuple[dict[str, Any], int]:
        metadata = pod.metadata
        name = f"K8S_POD_NAMESPACE={metadata.namespace};K8S_POD_NAME={metadata.name};K8S_POD_UID={metadata.uid}"
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": metadata.uid,
            "CNI_NETNS": str(netns_path(netns)),
            "CNI_IFNAME": WIRE,
            "CNI_PATH": str(self.programs),
            "CNI_ARGS": f"IgnoreUnknown=1;{name}",
        }
        program, pipe = self.programs / plugin["type"], asyncio.subprocess.PIPE
        try:
            with _opened(program) as file:
                line = commands.on_node(self.run, file) if self.run is not None else [str(program)]
                process = await asyncio.create_subprocess_exec(
                    *line, stdin=pipe, stdout=pipe, env=environment, pass_fds=[file]
                )
                said, _ = await process.communicate(json.dumps({**plugin, "prevResult": result}).encode())
                return (json.loads(said) if said else {}), await process.wait()
        except (OSError, ValueError) as exc:
            raise UnavailableError(f"plugin {program}: {exc}") from exc


@contextlib.contextmanager
def _opened(program: Path) -> Iterator[int]:
    descriptor = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _result(netns: str, address: Pair) -> dict[str, Any]:
    """What the lab's network has done."""
    return {
        "cniVersion": _VERSION,
        "interfaces": [{"name": WIRE, "sandbox": str(netns_path(netns))}],
        "ips": [{"address": f"{address.v4}/32", "interface": 0}, {"address": f"{address.v6}/128", "interface": 0}],
        "routes": [],
        "dns": {},
    }
