"""What the BPF programs and the agent agree on: sizes, struct layouts, maps, programs, counters.

bpf/mesh.h has the same structs in C; a test compares the two. Change VERSION with any layout
that a pinned map has: maps of two layouts never meet, since the version is in their path.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from agent import wire

VERSION: Final = "v2"

POD_ADDRESSES: Final = 16
MAX_PODS: Final = 512
MAX_ADDRESSES: Final = MAX_PODS * 4
MAX_PROXIES: Final = 64
POD_BUDGET: Final = 1024  # a pod's connects between SYN and the end of the handshake on loopback
# Room for every pod at its budget, and for the overshoot of two CPUs each between check and entry.
MAX_PENDING: Final = MAX_PODS * (POD_BUDGET + 64)
MAX_LISTENERS: Final = MAX_PODS * 3
MAX_KUBELETS: Final = 16
POD_PROBE_PORTS: Final = 32
MAX_PROBE_PORTS: Final = MAX_ADDRESSES * POD_PROBE_PORTS
MAX_PROBES: Final = MAX_PODS * 16  # the kubelet's open connections to pods

POD_PREPARED: Final = 1
POD_OUTBOUND: Final = 2

COOKIE: Final = struct.Struct("=Q")  # also a cgroup id, and every counter
ADDRESS: Final = struct.Struct("=16s")
ENDPOINT: Final = struct.Struct("=16sI")
FLOW: Final = struct.Struct("=Q16sI4x")
SLOT: Final = struct.Struct("=QI4x")
POD: Final = struct.Struct(f"=III4x40s{POD_ADDRESSES * ADDRESS.size}s")
PROBE: Final = struct.Struct("=16s16sII")
PROBER: Final = struct.Struct("=QQ")
REDIRECTED: Final = struct.Struct(f"={ENDPOINT.size}s16s")

# enum count of mesh.h, in its order: metric label and meaning.
COUNTS: Final = (
    "redirected",
    "steered",
    "no_pod",
    "no_listener",
    "not_assigned",
    "over_budget",
    "no_memory",
    "reserved_port",
    "probed",
    "probes_full",
)


@dataclass(frozen=True, slots=True)
class Map:
    """A pinned map as it has to be. `kind` is enum bpf_map_type."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its source file, and enum bpf_prog_type and bpf_attach_type."""

    name: str
    source: str
    kind: int
    attach: int


_HASH, _ARRAY, _SOCKHASH, _SK_STORAGE = 1, 2, 18, 24
MAPS: Final = (
    Map("pods", _HASH, COOKIE.size, POD.size, MAX_PODS),
    Map("addresses", _HASH, ADDRESS.size, COOKIE.size, MAX_ADDRESSES),
    Map("probe_ports", _HASH, ENDPOINT.size, COOKIE.size, MAX_PROBE_PORTS),
    Map("proxy_cgroups", _HASH, COOKIE.size, COOKIE.size, MAX_PROXIES),
    Map("kubelet_cgroups", _HASH, COOKIE.size, COOKIE.size, MAX_KUBELETS),
    Map("unfinished", _HASH, COOKIE.size, COOKIE.size, MAX_PODS),
    Map("counts", _ARRAY, 4, COOKIE.size, len(COUNTS)),
    Map("pending", _HASH, FLOW.size, ENDPOINT.size, MAX_PENDING),
    Map("probes", _HASH, PROBE.size, PROBER.size, MAX_PROBES),
    Map("listeners", _SOCKHASH, SLOT.size, COOKIE.size, MAX_LISTENERS),
    Map("redirections", _SK_STORAGE, 4, REDIRECTED.size, 0),
    Map("proxy_sockets", _SK_STORAGE, 4, 4, 0),
    Map("kubelet_sockets", _SK_STORAGE, 4, 4, 0),
    Map("destinations", _SK_STORAGE, 4, ENDPOINT.size, 0),
)

_SOCK_OPS, _SOCK_ADDR, _SOCKOPT, _SK_LOOKUP = 13, 18, 25, 30
# In the order in which they are attached: names before there is anything to hide.
NODE_PROGRAMS: Final = (
    Program("getpeername4", "names.c", _SOCK_ADDR, 29),
    Program("getpeername6", "names.c", _SOCK_ADDR, 30),
    Program("getsockname4", "names.c", _SOCK_ADDR, 31),
    Program("getsockname6", "names.c", _SOCK_ADDR, 32),
    Program("sockops", "sockops.c", _SOCK_OPS, 3),
    Program("probe_sockops", "probes.c", _SOCK_OPS, 3),
    Program("probe_connect4", "probes.c", _SOCK_ADDR, 10),
    Program("probe_connect6", "probes.c", _SOCK_ADDR, 11),
    Program("bind4", "bind.c", _SOCK_ADDR, 8),
    Program("bind6", "bind.c", _SOCK_ADDR, 9),
    Program("connect4", "connect.c", _SOCK_ADDR, 10),
    Program("connect6", "connect.c", _SOCK_ADDR, 11),
)
OPTIONS_PROGRAM: Final = Program("getsockopt", "options.c", _SOCKOPT, 21)
PROBE_PROGRAM: Final = "probe_sockops"  # the one of NODE_PROGRAMS that forgets what has closed
STEER_PROGRAM: Final = Program("steer", "inbound.c", _SK_LOOKUP, 36)
PROGRAMS: Final = (*NODE_PROGRAMS, OPTIONS_PROGRAM, STEER_PROGRAM)

DEFINITIONS: Final = {
    "OUTBOUND_PORT": wire.OUTBOUND_PORT,
    "INBOUND_PORT": wire.INBOUND_PORT,
    "HBONE_PORT": wire.HBONE_PORT,
    "DNS_PORT": wire.DNS_PORT,
    "POD_ADDRESSES": POD_ADDRESSES,
    "POD_BUDGET": POD_BUDGET,
    "MAX_PODS": MAX_PODS,
    "MAX_ADDRESSES": MAX_ADDRESSES,
    "MAX_PROXIES": MAX_PROXIES,
    "MAX_KUBELETS": MAX_KUBELETS,
    "MAX_PENDING": MAX_PENDING,
    "MAX_PROBES": MAX_PROBES,
    "MAX_PROBE_PORTS": MAX_PROBE_PORTS,
    "MAX_LISTENERS": MAX_LISTENERS,
}


def pack_address(text: str) -> bytes:
    """An address as the hooks see it: 16 bytes in network order, IPv4 in v4-mapped form."""
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpack_address(packed: bytes) -> str:
    """The textual form of pack_address."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


@dataclass(frozen=True, slots=True)
class PodEntry:
    """A value of the map `pods`.

    sysctls: one bit for each of netns.SYSCTLS which was set before the agent came.
    addresses: all that the pod's network namespace has but loopback, the primary ones first.
    """

    uid: str
    flags: int
    sysctls: int
    addresses: tuple[str, ...]

    def pack(self) -> bytes:
        packed = b"".join(pack_address(address) for address in self.addresses)
        return POD.pack(self.flags, self.sysctls, len(self.addresses), self.uid.encode(), packed)

    @classmethod
    def unpack(cls, value: bytes) -> PodEntry:
        flags, sysctls, count, uid, packed = POD.unpack(value)
        addresses = tuple(unpack_address(packed[start : start + 16]) for start in range(0, count * 16, 16))
        return cls(uid.rstrip(b"\0").decode(), flags, sysctls, addresses)
