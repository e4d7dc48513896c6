"""What is known of each annotation of the mesh (annotations.yaml), and of the forms of their values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from agent import documents
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.reading import read_proxy_config
from agent.errors import InvalidObjectError

_ANY: Final = "Any"
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+|[KMGTPE]i|[numkMGTPE])?")
# Labels that are often written as annotations, where nothing reads them.
LABELS: Final = frozenset(
    {
        "istio.io/dataplane-mode",
        "istio.io/use-waypoint",
        "istio.io/use-waypoint-namespace",
        "istio.io/use-waypoint-canary",
        "istio.io/waypoint-for",
        "istio.io/ingress-use-waypoint",
        "networking.istio.io/enable-autoallocate-ip",
        "networking.istio.io/gatewayPort",
        "networking.istio.io/tunnel",
        "service.istio.io/canonical-name",
        "service.istio.io/canonical-revision",
        "topology.istio.io/network",
        "topology.istio.io/cluster",
        "topology.istio.io/subzone",
    }
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation: kinds that it belongs to, Alpha, Beta or Stable, form of its value, what takes its place."""

    name: str
    status: str
    kinds: tuple[str, ...]
    form: str = ""
    is_deprecated: bool = False
    is_of_controllers: bool = False
    instead: str = ""

    def suits(self, kind: str) -> bool:
        return _ANY in self.kinds or kind in self.kinds


def wrong_with(annotation: Annotation, value: str) -> str:
    """What would be accepted in place of a value; empty if it is good."""
    if not annotation.form:
        return ""
    accepted, holds = _FORMS[annotation.form]
    return "" if holds(value) else accepted


def _is_block(text: str) -> bool:
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return "/" in text


def _is_port(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit() and int(text) < 65536


def _all(holds: Callable[[str], bool]) -> Callable[[str], bool]:
    """Of every item of a list with commas, which may be empty."""
    return lambda value: not value.strip() or all(holds(item) for item in value.split(","))


def _is_proxy_config(value: str) -> bool:
    try:
        found = documents.load(value)
        return not read_proxy_config(found[0].value if found else None, MeshConfig(), "annotation").left_out
    except (documents.UnreadableError, InvalidObjectError):
        return False


def _is_binding(value: str) -> bool:
    protocol, _, port = value.partition("/")
    return value == "NONE" or (protocol in ("PROXY", "NONE") and _is_port(port))


def _one_of(*words: str) -> tuple[str, Callable[[str], bool]]:
    return ", ".join(words), lambda value: value in words


_PORTS, _BLOCKS = "numbers of ports with commas between", "CIDR blocks with commas between"
_BOOLEANS: Final = ("true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False")  # of Go's strconv
_FORMS: Final[Mapping[str, tuple[str, Callable[[str], bool]]]] = {
    "boolean": ("true or false", lambda value: value in _BOOLEANS),
    "count": ("a number from 0", lambda value: value.isascii() and value.isdigit() and int(value) < 2**32),
    "percent": ("a number from 0 to 100", lambda value: value.isascii() and value.isdigit() and int(value) <= 100),
    "port": ("the number of a port", _is_port),
    "ports": (_PORTS, _all(_is_port)),
    "portsOrAll": (f"* or {_PORTS}", lambda value: value == "*" or _all(_is_port)(value)),
    "blocks": (_BLOCKS, _all(_is_block)),
    "blocksOrAll": (f"* or {_BLOCKS}", lambda value: value == "*" or _all(_is_block)(value)),
    "quantity": ("a quantity such as 100m or 128Mi", lambda value: _QUANTITY.fullmatch(value) is not None),
    "proxyConfig": ("YAML of a ProxyConfig", _is_proxy_config),
    "binding": ("PROXY/PORT or NONE", _is_binding),
    "interception": _one_of("REDIRECT", "TPROXY", "NONE"),
    "redirection": _one_of("enabled", "disabled", "pending"),
    "distribution": _one_of("PreferClose", "PreferSameZone", "PreferSameNode", "Any"),
    "serviceType": _one_of("ClusterIP", "NodePort", "LoadBalancer"),
}


def _read() -> dict[str, Annotation]:
    text = resources.files(__package__).joinpath("annotations.yaml").read_text()
    rows: object = documents.load(text)[0].value
    assert isinstance(rows, list)
    return {row["name"]: _annotation(row) for row in rows}


def _annotation(row: Mapping[str, object]) -> Annotation:
    kinds = row["kinds"]
    assert isinstance(kinds, list)
    return Annotation(
        name=str(row["name"]),
        status=str(row["status"]),
        kinds=tuple(kinds),
        form=str(row.get("form", "")),
        is_deprecated=bool(row.get("isDeprecated")),
        is_of_controllers=bool(row.get("isOfControllers")),
        instead=str(row.get("instead", "")),
    )


ANNOTATIONS: Final[Mapping[str, Annotation]] = _read()
