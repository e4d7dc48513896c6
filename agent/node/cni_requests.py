"""What the CNI plugin asks and is answered: one JSON object each way, in one packet. Pure rules.

The plugin is proxy/cni; its src/agent.rs is the other end. The pod's network namespace comes
along as a descriptor.
"""

from __future__ import annotations

import enum
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.errors import ProtocolError
from agent.model import Pod, PodUid
from agent.node.inventory import Inventory

VERSION: Final = 1
LONGEST_REQUEST: Final = 8192
LONGEST_REASON: Final = 1024
LONGEST_WAIT_SECONDS: Final = 100.0
# A static pod's own uid; its mirror in the API has another, and names the first one here.
_STATIC_UID_ANNOTATION: Final = "kubernetes.io/config.hash"


class Command(enum.Enum):
    """ADD: a sandbox has been made, the pod is about to start. CHECK: it runs."""

    ADD = "add"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Request:
    """`uid` is empty with runtimes that do not say it; `addresses` are in the usual form."""

    command: Command
    name: str
    namespace: str
    uid: str
    addresses: tuple[str, ...]
    wait_seconds: float

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


class State(enum.Enum):
    """Where a pod stands: CAPTURED and OUTSIDE let it start, WAITING is tried again, REFUSED is an error."""

    CAPTURED = "captured"
    OUTSIDE = "outside"
    WAITING = "waiting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason`: for a person, why the pod does not start."""

    state: State
    reason: str = ""

    def encoded(self) -> bytes:
        return json.dumps({"state": self.state.value, "reason": self.reason[:LONGEST_REASON]}).encode()


def parse(packet: bytes) -> Request:
    """ProtocolError, naming the field, for what is no request of this version."""
    try:
        found = json.loads(packet)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"request of the CNI plugin: not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise ProtocolError("request of the CNI plugin: not an object")
    if found.get("version") != VERSION:
        raise ProtocolError(f"request of the CNI plugin: version {found.get('version')!r}; accepted is {VERSION}")
    return Request(
        command=_command(found),
        name=_text(found, "name"),
        namespace=_text(found, "namespace"),
        uid=_text(found, "uid", may_be_empty=True),
        addresses=_addresses(found),
        wait_seconds=_seconds(found),
    )


def _command(found: Mapping[str, object]) -> Command:
    try:
        return Command(found.get("command"))
    except ValueError as exc:
        raise _wrong(found, "command", "add or check") from exc


def _text(found: Mapping[str, object], field: str, *, may_be_empty: bool = False) -> str:
    value = found.get(field)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise _wrong(found, field, "a text")
    return value


def _addresses(found: Mapping[str, object]) -> tuple[str, ...]:
    values = found.get("addresses")
    try:
        if not isinstance(values, list) or not values or not all(isinstance(each, str) for each in values):
            raise ValueError
        return tuple(str(ipaddress.ip_address(each)) for each in values)
    except ValueError as exc:
        raise _wrong(found, "addresses", "a list of IP addresses, at least one") from exc


def _seconds(found: Mapping[str, object]) -> float:
    value = found.get("waitSeconds")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_WAIT_SECONDS:
        raise _wrong(found, "waitSeconds", f"a number up to {LONGEST_WAIT_SECONDS:g}")
    return float(value)


def _wrong(found: Mapping[str, object], field: str, accepted: str) -> ProtocolError:
    return ProtocolError(f"request of the CNI plugin: {field}: {found.get(field)!r:.80}; accepted is {accepted}")


def pod_of(request: Request, inventory: Inventory) -> Pod | None:
    """The pod that is asked about, None while it is not known, or known only by an earlier pod of its name."""
    pod = inventory.pods.get(PodUid(request.uid))
    if pod is not None:
        return pod if (pod.namespace, pod.name) == (request.namespace, request.name) else None
    for pod in inventory.pods.values():
        if (pod.namespace, pod.name) == (request.namespace, request.name):
            is_same = not request.uid or pod.annotations.get(_STATIC_UID_ANNOTATION) == request.uid
            return pod if is_same else None
    return None
