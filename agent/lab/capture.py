"""A witness: what really crosses the wire of a lab node, recorded by tcpdump."""

from __future__ import annotations

import contextlib
import ipaddress
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import UnavailableError

_PCAP_HEADER = 24
_RECORD = struct.Struct("<IIII")  # seconds, microseconds, captured length, original length
_ETHERNET = 14
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6
# A TLS 1.3 ServerHello: handshake record, and the supported_versions extension naming 0x0304
# (RFC 8446 4.1.3, 4.2.1); TLS 1.2 servers never send that extension.
_HANDSHAKE_RECORD = b"\x16\x03"
_SERVER_HELLO = 2
_TLS13_CHOSEN = b"\x00\x2b\x00\x02\x03\x04"


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment as it crossed the wire; addresses are textual."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes

    @property
    def is_tls13_server_hello(self) -> bool:
        return (
            self.payload.startswith(_HANDSHAKE_RECORD)
            and self.payload[5:6] == bytes([_SERVER_HELLO])
            and _TLS13_CHOSEN in self.payload
        )


@dataclass(slots=True)
class Recording:
    """What was captured; complete once the `recorded` block has ended."""

    segments: list[Segment] = field(default_factory=list)

    def carries(self, text: str) -> bool:
        """Whether the text crossed the wire readable, within one segment."""
        return any(text.encode() in segment.payload for segment in self.segments)

    def port_of(self, text: str) -> int | None:
        """The port that a readable text was sent to; None when it was not seen."""
        return next((s.destination_port for s in self.segments if text.encode() in s.payload), None)

    def ports(self) -> set[int]:
        """Destination ports of all segments that carried data, towards servers (below 32768)."""
        return {s.destination_port for s in self.segments if s.payload and s.destination_port < 32768}

    def payload_bytes(self) -> int:
        return sum(len(segment.payload) for segment in self.segments)

    def tls13_port(self) -> int | None:
        """The port of a server that chose TLS 1.3, if one was seen."""
        return next((s.source_port for s in self.segments if s.is_tls13_server_hello), None)


@contextlib.contextmanager
def recorded(netns: str, device: str = "eth0", *, filter: str = "tcp and not port 15012") -> Iterator[Recording]:
    """Record the TCP segments that cross `device` in a named network namespace while the block runs.

    filter: of tcpdump; without one, what the mesh's own processes say to the controller is left out.
    Raises UnavailableError when tcpdump cannot be started there.
    """
    recording = Recording()
    with tempfile.TemporaryDirectory(prefix="weft-capture-") as folder:
        file = Path(folder) / "wire.pcap"
        command = [
            "nsenter",
            f"--net=/run/netns/{netns}",
            "tcpdump",
            "--immediate-mode",
            "-i",
            device,
            "-U",
            "-B",
            "8192",
        ]
        process = subprocess.Popen([*command, "-Z", "root", "-w", str(file), filter], stderr=subprocess.PIPE, text=True)
        try:
            _until_listening(process)
            yield recording
        finally:
            process.terminate()
            process.communicate()
        recording.segments = parse(file.read_bytes())


def _until_listening(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.strip())
        if "listening on" in line:
            return
    raise UnavailableError(f"tcpdump could not start: {' '.join(said)}")


def parse(pcap: bytes) -> list[Segment]:
    """The TCP segments of an Ethernet capture in little-endian pcap format, in order; others are passed over."""
    segments = []
    at = _PCAP_HEADER
    while at + _RECORD.size <= len(pcap):
        length = _RECORD.unpack_from(pcap, at)[2]
        at += _RECORD.size
        segment = _segment(pcap[at : at + length])
        if segment is not None:
            segments.append(segment)
        at += length
    return segments


def _segment(frame: bytes) -> Segment | None:
    (kind,) = struct.unpack_from("!H", frame, 12)
    packet = frame[_ETHERNET:]
    if kind == _IPV4 and packet[9] == _TCP:
        source, destination = packet[12:16], packet[16:20]
        (total,) = struct.unpack_from("!H", packet, 2)
        tcp = packet[(packet[0] & 15) * 4 : total]
    elif kind == _IPV6 and packet[6] == _TCP:
        source, destination = packet[8:24], packet[24:40]
        (total,) = struct.unpack_from("!H", packet, 4)
        tcp = packet[40 : 40 + total]
    else:
        return None
    source_port, destination_port = struct.unpack_from("!HH", tcp)
    return Segment(
        str(ipaddress.ip_address(source)),
        source_port,
        str(ipaddress.ip_address(destination)),
        destination_port,
        tcp[(tcp[12] >> 4) * 4 :],
    )
