"""What is wrong with one object, looked at alone: the same answer offline, at admission and in the controller.

The models (agent/api) say what can be read at all; the modules beside this one say, kind by kind,
what can be read but makes no sense (an error), or surely not what was meant (a warning).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.api.kubernetes import Resource, parse
from agent.api.validation.checks import checks_of
from agent.errors import Fault, InvalidObjectError


@dataclass(frozen=True, slots=True)
class Validation:
    """The answer; `resource` is None if there are errors, in the order of the fields otherwise."""

    resource: Resource | None
    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


def validate(object: Mapping[str, object], where: str) -> Validation:
    """All errors and warnings of an object as a manifest or an API server gives it.

    where: the file or request that it comes from. Never raises for what the object holds.
    """
    try:
        resource = parse(object, where)
    except InvalidObjectError as exc:
        return Validation(None, exc.faults or (Fault((), str(exc)),))
    remarks = list(checks_of(resource))
    errors = tuple(remark.fault for remark in remarks if remark.is_error)
    warnings = tuple(remark.fault for remark in remarks if not remark.is_error)
    return Validation(None if errors else resource, errors, warnings)
