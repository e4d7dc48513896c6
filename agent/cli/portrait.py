"""A description, for people and for programs. Pure rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.analysis.corpus import Finding
from agent.cli.description import Description, Member, Reached
from agent.cli.protection import Callers, Policy
from agent.cli.routing import Waypoint

Json = dict[str, Any]
_WIDTH = 10
_MOST_PODS = 16
_INSTEAD = {
    "AuthorizationPolicy": "unless a good version is in force, all that it is for is denied",
    "PeerAuthentication": "unless a good version is in force, all that it is for is asked for an identity",
}
_IN_EFFECT = {"enrolled": "yes", "pending": "not yet", "leaving": "on its way out", "outside": "no"}


def as_json(found: Description) -> Json:
    """The document of `-o json`; its names are stable and described in docs/operating.md."""
    return {
        "object": str(found.key),
        "pods": [_pod(member) for member in found.pods],
        "services": [_service(each) for each in found.services],
        "waypoint": _waypoint(found.waypoint),
        "policies": [_policy(each, found) for each in found.policies],
        "unusable_policies": [str(key) for key in found.unread],
        "problems": [_problem(each) for each in found.problems],
    }


def lines(found: Description) -> Iterator[str]:
    """What a person reads."""
    yield str(found.key)
    if found.key.kind == "Service":
        yield from _service_lines(found)
    else:
        yield from _pod_lines(found)
    yield from _policy_lines(found)
    routes = {route.key: route.says for service in found.services for route in service.routes}
    yield from _section("Routes", (f"{key}: {says}" for key, says in routes.items()))
    yield from _section("Problems", (_sentence(each) for each in found.problems))


def _pod_lines(found: Description) -> Iterator[str]:
    (member,) = found.pods
    pod = member.pod
    if pod.node or pod.addresses:
        yield _row("runs", f"on {pod.node or 'no node yet'}, {', '.join(pod.addresses) or 'without an address'}")
    yield _row("enrolled", f"{_IN_EFFECT[member.enrolment.state]}, {member.enrolment.reason}")
    yield _row("identity", member.identity + ("" if member.enrolment.is_in else ", which it would have"))
    yield _row("callers", _callers(member))
    services = [f"{each.host}{_at(each)}" for each in found.services]
    yield _row("services", "; ".join(services) or "none selects it")
    waypoints = [_named(found.waypoint)] if found.waypoint else []
    waypoints += [f"{_named(each.waypoint)}, for {each.key.name}" for each in found.services if each.waypoint]
    yield _row("waypoint", "; ".join(waypoints) or "none")


def _service_lines(found: Description) -> Iterator[str]:
    (service,) = found.services
    yield _row("host", f"{service.host}{_at(service)}")
    yield _row("waypoint", _named(service.waypoint) if service.waypoint else "none")
    if not found.pods:
        yield _row("pods", "none: it selects none, or the pods are not among the objects")
    for member in found.pods[:_MOST_PODS]:
        pod, enrolment = member.pod, member.enrolment
        yield _row("pod", f"{pod.name}, enrolled: {_IN_EFFECT[enrolment.state]}, {enrolment.reason}")
    if len(found.pods) > _MOST_PODS:
        yield _row("", f"and {len(found.pods) - _MOST_PODS} more")
    for said in sorted({_callers(member) for member in found.pods}):
        yield _row("callers", said)


def _policy_lines(found: Description) -> Iterator[str]:
    if not found.pods:
        return
    title = "Policies, in the order in which they decide"
    if not found.is_guarded:
        title = "Policies, none of them enforced while it is not in the mesh"
    rows = [_policy_row(each, found) for each in found.policies]
    allowing = [each for each in found.policies if each.action == "ALLOW" and not each.is_dry_run]
    if found.is_guarded:
        rows += [f"{key} cannot be used: {_INSTEAD[key.kind]}" for key in found.unread]
        rows.append("what no ALLOW policy matches is refused" if allowing else "what no policy denies is let in")
    yield from _section(title, rows)


def _policy_row(policy: Policy, found: Description) -> str:
    marks = [policy.scope] + (["dry run, decides nothing"] if policy.is_dry_run else [])
    marks += [f"for {policy.pods} of {len(found.pods)} pods"] if policy.pods < len(found.pods) else []
    said = "; ".join(policy.shortfalls)
    effect = f"not enforced as written: {said}" if said else "enforced as written" if found.is_guarded else ""
    return f"{policy.action:7}{policy.name} ({', '.join(marks)}){f': {effect}' if effect else ''}"


def _section(title: str, rows: Iterator[str] | list[str]) -> Iterator[str]:
    listed = list(rows)
    if listed:
        yield f"{title}:"
        yield from (f"  {row}" for row in listed)


def _row(name: str, text: str) -> str:
    return f"  {name:{_WIDTH}}{text}"


def _callers(member: Member) -> str:
    if not member.enrolment.is_in:
        return "anybody, in the clear: the pod is not in the mesh"
    found = member.callers
    says = "with an identity of the mesh only" if found.is_strict else "also without an identity"
    ports = ", ".join(f"port {port} {mode}" for port, mode in sorted(found.ports.items()))
    return f"{says}{f', but {ports}' if ports else ''}{_by(found)}"


def _by(callers: Callers) -> str:
    return f", by {callers.decided_by}" if callers.decided_by else ", as no PeerAuthentication says otherwise"


def _at(service: Reached) -> str:
    places = " ".join(service.addresses)
    ports = " ".join(service.ports)
    return f"{f', {places}' if places else ''}{f', port {ports}' if ports else ''}"


def _named(waypoint: Waypoint) -> str:
    trouble = f", in vain: {waypoint.trouble}" if waypoint.trouble else ""
    return f"{waypoint.name}, named by {waypoint.named_by}{trouble}"


def _sentence(finding: Finding) -> str:
    place = f" {finding.file}:{finding.line}" if finding.file else ""
    return f"{finding.message.level} [{finding.code}] ({finding.key}{place}) {finding.text}"


def _pod(member: Member) -> Json:
    pod, callers = member.pod, member.callers
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "node": pod.node or None,
        "addresses": list(pod.addresses),
        "identity": member.identity,
        "state": member.enrolment.state,
        "reason": member.enrolment.reason,
        "strict": callers.is_strict,
        "strict_by": callers.decided_by or None,
        "ports": {str(port): mode for port, mode in sorted(callers.ports.items())},
    }


def _service(service: Reached) -> Json:
    return {
        "namespace": service.key.namespace,
        "name": service.key.name,
        "host": service.host,
        "addresses": list(service.addresses),
        "ports": list(service.ports),
        "waypoint": _waypoint(service.waypoint),
        "routes": [{"object": str(route.key), "text": route.says} for route in service.routes],
    }


def _waypoint(waypoint: Waypoint | None) -> Json | None:
    if waypoint is None:
        return None
    return {"name": waypoint.name, "named_by": waypoint.named_by, "trouble": waypoint.trouble or None}


def _policy(policy: Policy, found: Description) -> Json:
    return {
        "name": policy.name,
        "action": policy.action,
        "scope": policy.scope,
        "dry_run": policy.is_dry_run,
        "enforced": found.is_guarded and not policy.shortfalls and not policy.is_dry_run,
        "shortfalls": list(policy.shortfalls),
        "pods": policy.pods,
    }


def _problem(finding: Finding) -> Json:
    return {
        "code": finding.code,
        "level": str(finding.message.level),
        "object": str(finding.key),
        "reference": f"{finding.file}:{finding.line}" if finding.file else "",
        "text": finding.text,
    }
