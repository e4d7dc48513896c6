"""What the kernel says that a process has used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 1024


def cpu_seconds(*pids: int) -> float:
    """User and system time of all their threads so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident, in MiB: now, and at most so far."""

    now: float
    peak: float


def memory(pid: int) -> Memory:
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm")
    )
    return Memory(*(int(lines[name].split()[0]) / _MIB for name in ("VmRSS", "VmHWM")))


def named(folder: Path) -> dict[str, int]:
    """The programs of a control plane by name: those whose command line names something in its folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if any(str(folder).encode() in argument for argument in command[1:]):
            found[Path(command[0].decode()).name] = int(entry.name)
    return found
