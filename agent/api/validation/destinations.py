"""Checks of where routes go: destinations, weights, labels and names of gateways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agent.api.networking.destinations import Destination
from agent.api.networking.http_route import HttpDestination
from agent.api.networking.virtual_service import StreamDestination
from agent.api.validation import formats
from agent.api.validation.remarks import Remark, error, faulty, said, warning

Path = tuple[str | int, ...]

MESH = "mesh"  # the gateway that stands for calls inside the mesh


def of_destination(destination: Destination, path: Path) -> Iterator[Remark]:
    if destination.host == "*":
        yield error(said("*", "the name of a service"), *path, "host")
    else:
        yield from faulty(formats.host_or_wildcard(destination.host), *path, "host")
    if destination.subset:
        yield from faulty(formats.label_of_name(destination.subset), *path, "subset")
    if destination.port and destination.port.number is None:
        yield error("missing; accepted is a number from 1 to 65535", *path, "port", "number")


def of_weights(routes: Sequence[HttpDestination] | Sequence[StreamDestination], path: Path) -> Iterator[Remark]:
    """Of several destinations one must get something."""
    if len(routes) > 1 and not any(route.weight for route in routes):
        yield error("read weights whose sum is 0; accepted is a weight above 0 in one of several", *path)


def of_gateways(names: Sequence[str], path: Path) -> Iterator[Remark]:
    """NAMESPACE/NAME, NAME or `mesh`; the form NAME.NAMESPACE… of old is accepted with a warning."""
    for number, name in enumerate(names):
        namespace, slash, own = name.partition("/")
        if slash:
            wrong = formats.name_of_label(namespace) or formats.name_of_label(own)
            yield from faulty(wrong and said(name, "NAMESPACE/NAME"), *path, number)
        elif formats.host(name):
            yield error(said(name, "NAMESPACE/NAME, NAME or mesh"), *path, number)
        elif "." in name:
            first, second, *_ = name.split(".")
            yield warning(f"read {name!r}, an old form; write {second}/{first}", *path, number)


def of_labels(labels: Mapping[str, str], path: Path) -> Iterator[Remark]:
    for key, value in labels.items():
        yield from faulty(formats.label(key, value), *path, key)
