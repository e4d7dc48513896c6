"""The structs of bpf/mesh.h against the formats that the agent packs them with."""

from __future__ import annotations

import ctypes
import re
import struct

import pytest

from agent.node import layout
from agent.node.layout import PodEntry
from agent.node.loader import sources

HEADER = (sources() / "mesh.h").read_text()
SIMPLE: dict[str, type] = {"u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "char": ctypes.c_char}


def declared(name: str) -> type[ctypes.Structure]:
    """The struct of mesh.h, laid out by the C compiler's rules."""
    found = re.search(rf"^struct {name} {{(.*?)^}};", HEADER, re.S | re.M)
    assert found, f"mesh.h has no struct {name}"
    fields = []
    for kind, field, size in re.findall(r"(\w+) (\w+)(?:\[(\w+)\])?;", re.sub(r"/\*.*?\*/|struct ", "", found[1])):
        base = SIMPLE.get(kind) or declared(kind)
        count = layout.DEFINITIONS.get(size) or int(size or 0)
        fields.append((field, base * count if size else base))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


@pytest.mark.parametrize(
    ("name", "form", "fields"),
    [
        ("address", layout.ADDRESS, ["ip"]),
        ("endpoint", layout.ENDPOINT, ["ip", "port"]),
        ("flow", layout.FLOW, ["netns", "ip", "port"]),
        ("slot", layout.SLOT, ["netns", "port"]),
        ("pod", layout.POD, ["flags", "sysctls", "address_count", "uid", "addresses"]),
        ("probe", layout.PROBE, ["kubelet", "pod", "kubelet_port", "pod_port"]),
        ("prober", layout.PROBER, ["netns", "socket"]),
        ("redirected", layout.REDIRECTED, ["peer", "own"]),
    ],
)
def test_structs_are_the_same_in_c_and_python(name: str, form: struct.Struct, fields: list[str]) -> None:
    found = declared(name)
    assert ctypes.sizeof(found) == form.size
    assert [getattr(found, field).offset for field in fields] == offsets(form)


def offsets(form: struct.Struct) -> list[int]:
    """Where each value of a format without repeat counts (but of bytes) starts."""
    found, offset = [], 0
    for code in re.findall(r"\d*[a-zA-Z]", form.format.lstrip("=")):
        if not code.endswith("x"):
            found.append(offset)
        offset += struct.calcsize(f"={code}")
    return found


def test_counters_are_in_the_order_of_the_enumeration() -> None:
    found = re.search(r"enum count {(.*?)}", HEADER, re.S)
    assert found
    names = re.findall(r"^\t([A-Z_]+),", found[1], re.M)
    assert [name.lower() for name in names] == [*layout.COUNTS, "counts"]


def test_addresses_are_packed_v4_mapped() -> None:
    assert layout.pack_address("10.0.0.7") == bytes(10) + b"\xff\xff\x0a\x00\x00\x07"
    for text in ("10.0.0.7", "fd77::11", "::1"):
        assert layout.unpack_address(layout.pack_address(text)) == text


def test_a_pod_entry_survives_packing() -> None:
    entry = PodEntry("5b6f6d0c-6a57-4b9b-8c1b-0d8c9c6f7a11", layout.POD_PREPARED, 0b1010, ("10.0.0.7", "fd77::11"))
    assert PodEntry.unpack(entry.pack()) == entry
    assert len(entry.pack()) == layout.POD.size
