"""Which addresses hosts are given that have none of their own. Pure rules.

A host's address follows from its name, as far as it is free, so that an entry that is deleted and
comes back has the address that clients may still remember, and two controllers would choose alike.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from agent.api.networking.service_entry import ServiceEntry
from agent.controller.entries import terms

_MOST_TRIES: Final = 1 << 16  # as many as the smaller range has addresses


def assignment(
    entry: ServiceEntry, is_kept: Callable[[str], bool], is_taken: Callable[[str], bool]
) -> list[dict[str, str]]:
    """What status.addresses is to say: of each family one address for each host, as far as there are any left.

    is_kept: whether an address that the entry has is its to keep. is_taken: whether another has an address.
    """
    found: list[dict[str, str]] = []
    given: set[str] = set()
    for host, before in terms.assigned(entry).items():
        kept = [address for address in before if is_kept(address) and address not in given]
        for block in terms.ASSIGNABLE:
            mine = next((each for each in kept if ipaddress.ip_address(each).version == block.version), None)
            free = (each for each in _tries(entry, host, block) if each not in given and not is_taken(each))
            address = mine or next(free, None)
            if address is not None:
                given.add(address)
                found.append({"value": address, "host": host})
    return found


def stated(entry: ServiceEntry) -> list[dict[str, str]]:
    """What status.addresses says now."""
    return [{"value": each.value, "host": each.host} for each in entry.status.addresses]


def _tries(entry: ServiceEntry, host: str, block: terms.Network) -> Iterator[str]:
    """Addresses of the block, from one that follows from the names on; not its first and last, which mean others."""
    digest = hashlib.sha256(f"{entry.metadata.namespace}/{entry.metadata.name}/{host}".encode()).digest()
    usable = block.num_addresses - 2
    start = int.from_bytes(digest) % usable
    for number in range(min(_MOST_TRIES, usable)):
        yield str(block[1 + (start + number) % usable])
