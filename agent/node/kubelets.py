"""Which cgroups are a kubelet's, told to the kernel: found by its process and followed, or as the setting says.

As long as none is known nothing is exempt: probes are judged by policy, as any connection from
the node. What an agent before this one knew holds until the first search has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import Gauge

from agent.errors import ForbiddenError
from agent.node.kubelet_search import NAMES, Found, Place
from agent.node.layout import MAX_KUBELETS

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0  # between two looks at what is known, which read a few files
FIRST_SECONDS: Final = 0.2  # before a kubelet that has gone is searched for, which reads all of /proc
MOST_SECONDS: Final = 10.0  # between two searches


class Kernel(Protocol):
    """What the kernel believes."""

    def trust_kubelets(self, cgroups: Iterable[int]) -> None: ...


@dataclass(frozen=True, slots=True)
class Report:
    """What the debug page says. `refused`: who has the name of a kubelet and is none."""

    cgroups: Sequence[str] = ()
    problem: str = "not looked for yet"
    refused: Sequence[str] = ()


class Kubelets:
    """`follow` owns all state; `report` is a snapshot for whoever looks.

    configured: cgroups below the node's root, in place of a search.
    """

    def __init__(self, kernel: Kernel, place: Place, configured: Sequence[str], known: Gauge) -> None:
        self._kernel = kernel
        self._place = place
        self._configured = configured
        self._known = known
        self._found: list[Found] = []
        self.report = Report()

    async def follow(self) -> None:
        """For ever."""
        searched_after = 0.0
        try:
            while True:
                await (self._look_up() if self._configured else self._search())
                if self._configured or self._found:
                    searched_after = 0.0
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    searched_after = min(max(FIRST_SECONDS, searched_after * 2), MOST_SECONDS)
                    await asyncio.sleep(searched_after)
        finally:
            self._let_go()

    async def _search(self) -> None:
        are_known = bool(self._found)
        if are_known and await asyncio.to_thread(self._all_are_there):
            return
        self._let_go()
        self._found, refused = await asyncio.to_thread(self._place.search)
        problem = (
            f"no process of root is named {', '.join(NAMES)} outside the pods' cgroups below {self._place.root}; "
            "WEFT_KUBELET_CGROUP can name its cgroup"
        )
        self._trust([found.cgroup for found in self._found], problem, refused)

    def _all_are_there(self) -> bool:
        """Whether the kubelets are where they were, and no pod's process has come to them."""
        with contextlib.suppress(ForbiddenError):
            return all(found.is_there() and self._place.check(found.cgroup) for found in self._found)
        return False

    async def _look_up(self) -> None:
        there, refused = [], []
        for name in self._configured:
            try:
                there.append(await asyncio.to_thread(self._place.check, self._place.root / name))
            except ForbiddenError as exc:
                refused.append(str(exc))
        self._trust(there, f"WEFT_KUBELET_CGROUP: {'; '.join(refused)}", refused)

    def _trust(self, cgroups: Sequence[Path], problem: str, refused: Sequence[str]) -> None:
        """Tell the kernel, and the log when it is news. problem: what to say without any."""
        numbers = {}
        for cgroup in sorted(cgroups)[:MAX_KUBELETS]:
            with contextlib.suppress(FileNotFoundError):
                numbers[str(cgroup)] = cgroup.stat().st_ino
        self._kernel.trust_kubelets(numbers.values())
        self._known.set(len(numbers))
        last, self.report = self.report, Report(tuple(numbers), "" if numbers else problem, tuple(refused))
        if numbers and last.cgroups != self.report.cgroups:
            logger.info("kubelet known, its probes pass", extra={"cgroups": ", ".join(numbers)})
        elif not numbers and last.problem != problem:
            logger.warning("no kubelet known, its probes are judged by policy", extra={"reason": problem})

    def _let_go(self) -> None:
        for found in self._found:
            os.close(found.process)
        self._found = []
