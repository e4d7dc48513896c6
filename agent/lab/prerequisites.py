"""What the machine must have before a lab can be made. Rules only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.errors import ConfigError

# Program, and the Debian package that has it.
PROGRAMS = {
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
}
CONTAINER_PROGRAMS = {"runc": "runc"}  # what the nodes of an API server need besides


def check(user_id: int, which: Callable[[str], str | None], programs: Mapping[str, str] = PROGRAMS) -> None:
    """Raises ConfigError that says what to do, when the lab cannot work here."""
    if user_id != 0:
        raise ConfigError("the lab needs root, for namespaces and BPF; run it with sudo")
    missing = {package for program, package in programs.items() if which(program) is None}
    if missing:
        raise ConfigError(f"programs are missing; run: apt-get install -y {' '.join(sorted(missing))}")
