"""The pinned BPF objects: which pods are redirected, who is exempt, what is attached.

All state is in the kernel, so that it outlives the agent. Below the pin directory and the
layout's version: maps/NAME, programs/NAME, and links/node_PROGRAM (the node's cgroup),
links/options_CGROUP (a proxy's), links/steer_UID (a pod's network namespace).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.errors import NotFoundError, PodNotReadyError
from agent.node import layout, libbpf
from agent.node.layout import COOKIE, ENDPOINT, PodEntry, pack_address

_MAP_NAMES = (
    "pods",
    "addresses",
    "probe_ports",
    "proxy_cgroups",
    "kubelet_cgroups",
    "unfinished",
    "probes",
    "counts",
)


class Redirection:
    """What the agent does to the maps and links of one node. Close it; the kernel keeps all."""

    def __init__(self, directory: Path) -> None:
        self._links = directory / "links"
        self._programs = directory / "programs"
        self._maps = {name: libbpf.Map(directory / "maps" / name) for name in _MAP_NAMES}

    def close(self) -> None:
        for each in self._maps.values():
            each.close()

    def attach(self, cgroup: Path) -> None:
        """Run the pinned programs: replace them in links that exist, link the others to the node's cgroup.

        Nothing is ever detached on the way.
        """
        for path in self._pins("options_"):
            self._renew(path, layout.OPTIONS_PROGRAM)
        for path in self._pins("steer_"):
            self._renew(path, layout.STEER_PROGRAM)
        with _directory(cgroup) as target:
            for program in layout.NODE_PROGRAMS:
                path = self._links / f"node_{program.name}"
                if not self._is_attached(path, cgroup.stat().st_ino):
                    self._link(path, program, target)
                    # Connections may have closed unseen; one that is noted just now is judged as any.
                    if program.name == layout.PROBE_PROGRAM:
                        self._clear("probes")
                self._renew(path, program)

    def _clear(self, name: str) -> None:
        for key in self._maps[name].keys():  # noqa: SIM118 - not a dictionary
            self._maps[name].delete(key)

    def _is_attached(self, path: Path, cgroup: int) -> bool:
        try:
            with libbpf.pinned(path) as link:
                return libbpf.linked_cgroup(link) == cgroup
        except NotFoundError:
            return False

    def _link(self, path: Path, program: layout.Program, target: int) -> None:
        with libbpf.pinned(self._programs / program.name) as code:
            link = libbpf.create_link(code, target, program.attach)
        try:
            libbpf.pin(link, path)
        finally:
            os.close(link)

    def _renew(self, path: Path, program: layout.Program) -> None:
        with libbpf.pinned(path) as link, libbpf.pinned(self._programs / program.name) as code:
            libbpf.update_link(link, code)

    def _pins(self, prefix: str) -> list[Path]:
        """The pinned links of a kind; those whose cgroup or namespace has gone are removed on the way."""
        living = []
        for path in sorted(self._links.glob(f"{prefix}*")):
            with libbpf.pinned(path) as link:
                is_alive = libbpf.linked_netns(link) if prefix == "steer_" else libbpf.linked_cgroup(link)
            if is_alive:
                living.append(path)
            else:
                path.unlink(missing_ok=True)
        return living

    # Pods.

    def pod(self, cookie: int) -> PodEntry | None:
        """What is stored for the namespace of that cookie."""
        raw = self._maps["pods"].lookup(COOKIE.pack(cookie))
        return PodEntry.unpack(raw) if raw is not None else None

    def pods(self) -> dict[int, PodEntry]:
        """The pods that the kernel knows, by netns cookie."""
        found = {}
        for key in self._maps["pods"].keys():  # noqa: SIM118 - not a dictionary
            value = self._maps["pods"].lookup(key)
            if value is not None:
                found[_number(key)] = PodEntry.unpack(value)
        return found

    def store(self, cookie: int, entry: PodEntry) -> None:
        """Write a pod's entry; the first time also its count of unfinished connects."""
        key, value = COOKIE.pack(cookie), entry.pack()
        self._maps["unfinished"].update(key, COOKIE.pack(0), libbpf.NO_EXIST)
        # The kernel reuses a replaced entry's memory: do not hurry readers for nothing.
        if self._maps["pods"].lookup(key) != value:
            self._maps["pods"].update(key, value)

    def set_flags(self, cookie: int, flags: int) -> None:
        """Change a stored pod's flags."""
        value = self._maps["pods"].lookup(COOKIE.pack(cookie))
        if value is not None:
            self.store(cookie, replace(PodEntry.unpack(value), flags=flags))

    def forget(self, cookie: int) -> None:
        """Drop a pod's entry; it need not be there."""
        self._maps["pods"].delete(COOKIE.pack(cookie))
        self._maps["unfinished"].delete(COOKIE.pack(cookie))

    def steer(self, uid: str, cookie: int, netns: int, addresses: Sequence[str], probe_ports: Sequence[int]) -> None:
        """Give what comes to these addresses from outside to the proxy's listeners, but the kubelet's to these ports.

        Twice is fine. PodNotReadyError while an address is another pod's.
        """
        for address in addresses:
            self._claim(address, cookie)
            for port in probe_ports:
                self._maps["probe_ports"].update(ENDPOINT.pack(pack_address(address), port), COOKIE.pack(cookie))
        path = self._links / f"steer_{uid}"
        with contextlib.suppress(NotFoundError), libbpf.pinned(path) as link:
            if libbpf.linked_netns(link) == os.fstat(netns).st_ino:
                return
        self._link(path, layout.STEER_PROGRAM, netns)

    def _claim(self, address: str, cookie: int) -> None:
        key, wanted = pack_address(address), COOKIE.pack(cookie)
        if self._maps["addresses"].update(key, wanted, libbpf.NO_EXIST):
            return
        if self._maps["addresses"].lookup(key) != wanted:
            raise PodNotReadyError(f"address {address} is still another pod's")

    def stop_steering(self, uid: str, cookie: int) -> None:
        """Undo steer, for all the pod's addresses; twice is fine."""
        _unpin(self._links / f"steer_{uid}")
        wanted = COOKIE.pack(cookie)
        for name in ("probe_ports", "addresses"):
            for key in self._maps[name].keys():  # noqa: SIM118 - not a dictionary
                if self._maps[name].lookup(key) == wanted:
                    self._maps[name].delete(key)

    # Proxies.

    def exempt(self, cgroup: Path) -> int:
        """Leave that cgroup's connections alone and answer its questions for original destinations; the cgroup's id."""
        number = cgroup.stat().st_ino
        self._maps["proxy_cgroups"].update(COOKIE.pack(number), COOKIE.pack(1))
        if not any(path.name == f"options_{number}" for path in self._pins("options_")):
            with _directory(cgroup) as target:
                self._link(self._links / f"options_{number}", layout.OPTIONS_PROGRAM, target)
        return number

    def end_exemption(self, number: int) -> None:
        """Leave it alone no longer; twice is fine.

        The answers to its questions stay until the cgroup is gone: a connection that waits in
        the queue of a closing listener belongs to the old proxy's cgroup even when the new
        proxy accepts it.
        """
        self._maps["proxy_cgroups"].delete(COOKIE.pack(number))

    def exempted(self) -> set[int]:
        """The exempt cgroups."""
        return {_number(key) for key in self._maps["proxy_cgroups"].keys()}  # noqa: SIM118

    # The kubelet.

    def trust_kubelets(self, cgroups: Iterable[int]) -> None:
        """Leave the connections from these cgroups to enrolled pods to the apps, and from no others."""
        wanted = {COOKIE.pack(number) for number in cgroups}
        for key in self._maps["kubelet_cgroups"].keys():  # noqa: SIM118
            if key not in wanted:
                self._maps["kubelet_cgroups"].delete(key)
        for key in wanted:
            self._maps["kubelet_cgroups"].update(key, COOKIE.pack(1))

    def counts(self) -> Mapping[str, int]:
        """What the programs counted since they were first loaded, by layout.COUNTS."""
        found = {}
        for index, name in enumerate(layout.COUNTS):
            value = self._maps["counts"].lookup(index.to_bytes(4, "little"))
            found[name] = _number(value) if value is not None else 0
        return found


def remove_pins(directory: Path) -> None:
    """Detach and unpin everything below a layout's directory, so that plain networking comes back.

    Outbound redirection ends first, then steering: a pod is never steered to a listener
    that its own connections could no longer reach. Twice is fine.
    """
    if not directory.exists():
        return
    order = ("node_connect", "steer_", "node_", "options_")
    for prefix in order:
        for path in sorted((directory / "links").glob(f"{prefix}*")):
            _unpin(path)
    for name in ("links", "programs", "maps"):
        for path in (directory / name).glob("*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (directory / name).rmdir()
    directory.rmdir()


def _unpin(path: Path) -> None:
    """Detach the link pinned there, whoever else holds it, and remove the pin."""
    with contextlib.suppress(NotFoundError), libbpf.pinned(path) as link:
        libbpf.detach_link(link)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _number(value: bytes) -> int:
    return int(COOKIE.unpack(value)[0])
