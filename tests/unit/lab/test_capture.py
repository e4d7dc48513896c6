"""Reading captures of the wire."""

import struct

from agent.lab.capture import Recording, Segment, parse

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76" + bytes(40) + b"\x00\x2b\x00\x02\x03\x04"


def tcp(payload: bytes, source: int, destination: int) -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 1, 1, 5 << 4, 0x18, 100, 0, 0) + payload


def ipv4(segment: bytes, protocol: int = 6) -> bytes:
    total = 20 + len(segment)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, total, 0, 0, 64, protocol, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return bytes(12) + b"\x08\x00" + head + segment


def ipv6(segment: bytes) -> bytes:
    head = struct.pack("!IHBB16s16s", 6 << 28, len(segment), 6, 64, bytes(15) + b"\1", bytes(15) + b"\2")
    return bytes(12) + b"\x86\xdd" + head + segment


def pcap(*frames: bytes) -> bytes:
    return HEADER + b"".join(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)


def test_reads_segments_of_both_families_without_ethernet_padding() -> None:
    found = parse(pcap(ipv4(tcp(b"hello", 40000, 80)) + bytes(6), ipv6(tcp(b"there", 80, 40000))))
    assert found == [
        Segment("10.0.0.1", 40000, "10.0.0.2", 80, b"hello"),
        Segment("::1", 80, "::2", 40000, b"there"),
    ]


def test_passes_over_what_is_not_tcp() -> None:
    assert parse(pcap(ipv4(b"\0" * 20, protocol=17), bytes(12) + b"\x08\x06" + bytes(28))) == []


def test_reads_a_capture_that_was_cut_off() -> None:
    whole = pcap(ipv4(tcp(b"hello", 40000, 80)))
    assert parse(whole + struct.pack("<II", 0, 0)) == parse(whole)


def test_names_the_port_that_chose_tls_13() -> None:
    recording = Recording(parse(pcap(ipv4(tcp(SERVER_HELLO, 15008, 40000)))))
    assert recording.tls13_port() == 15008


def test_finds_a_text_only_where_it_is_readable() -> None:
    recording = Recording(parse(pcap(ipv4(tcp(b"GET /secret", 40000, 80)), ipv4(tcp(b"", 80, 40000)))))
    assert recording.carries("secret")
    assert not recording.carries("another")
    assert recording.port_of("secret") == 80
    assert recording.port_of("another") is None
    assert recording.ports() == {80}
