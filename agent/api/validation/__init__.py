"""What is wrong with one object, looked at alone: the same answer offline, at admission and in the controller.

The models (agent/api) say what can be read at all; the modules beside this one say, kind by kind,
what can be read but makes no sense (an error), or surely not what was meant (a warning).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.api.kubernetes import Resource, parse
from agent.api.validation.checks import checks_of
from agent.api.validation.kinds import is_judged
from agent.errors import Fault, InvalidObjectError

_LONGEST_PREFIX: Final = 58  # of generateName, to which Kubernetes adds five characters
_ADDED: Final = "x" * 5


@dataclass(frozen=True, slots=True)
class Validation:
    """The answer; `resource` is None if there are errors, in the order of the fields otherwise.

    is_judged: whether it is an object of the mesh's at all; if not, nothing is said of it.
    """

    resource: Resource | None
    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    is_judged: bool = True


def validate(object: Mapping[str, object], where: str) -> Validation:
    """All errors and warnings of an object as a manifest or an API server gives it.

    where: the file or request that it comes from. An object that leaves its name to Kubernetes
    (generateName) is judged as if it had one. Never raises for what the object holds.
    """
    if not is_judged(object.get("apiVersion"), object.get("kind")):
        return Validation(None, is_judged=False)
    try:
        resource = parse(_named(object), where)
    except InvalidObjectError as exc:
        return Validation(None, exc.faults or (Fault((), _without_place(str(exc), where)),))
    remarks = list(checks_of(resource))
    errors = tuple(remark.fault for remark in remarks if remark.is_error)
    warnings = tuple(remark.fault for remark in remarks if not remark.is_error)
    return Validation(None if errors else resource, errors, warnings)


def _named(object: Mapping[str, object]) -> Mapping[str, object]:
    metadata = object.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name"):
        return object
    prefix = metadata.get("generateName")
    if not isinstance(prefix, str) or not prefix:
        return object
    return {**object, "metadata": {**metadata, "name": prefix[:_LONGEST_PREFIX] + _ADDED}}


def _without_place(text: str, where: str) -> str:
    """Whoever shows a fault knows where the object is from."""
    return text.removeprefix(f"{where}: ")
