"""An answer of `weft explain`, for people and for programs. Pure rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.cli.verdict import ALLOWED, HBONE, NOWHERE, REFUSED, UNKNOWN, Answer, Leg
from agent.controller.peers import is_of_peers
from agent.wire import HBONE_PORT, INBOUND_PORT, OUTBOUND_PORT

Json = dict[str, Any]
_TITLES = {ALLOWED: "ALLOWED", REFUSED: "REFUSED", UNKNOWN: "CANNOT TELL"}


def as_json(answer: Answer) -> Json:
    """The document of `-o json`; its names are stable and described in docs/operating.md."""
    return {
        "verdict": answer.verdict,
        "reason": answer.reason,
        "from": _source(answer),
        "to": {
            "asked": str(answer.target),
            "addresses": [str(each) for each in answer.destinations],
            "service": answer.service.hostname if answer.service else None,
        },
        "departure": answer.departure,
        "endpoints": [_leg(leg) for leg in answer.legs if leg.by != NOWHERE],
        "endpoints_in_all": answer.endpoints,
        "path": path(answer),
        "advice": answer.advice,
        "unreachable": answer.away,
    }


def _source(answer: Answer) -> Json:
    client = answer.client
    if client is None:
        return {"pod": str(answer.source), "node": None, "addresses": [], "identity": None, "enrolled": None}
    return {
        "pod": str(answer.source),
        "node": client.workload.node,
        "addresses": list(client.workload.addresses),
        "identity": client.identity,
        "enrolled": client.workload.is_enrolled,
    }


def _leg(leg: Leg) -> Json:
    pod = leg.workload
    return {
        "pod": str(pod.name) if pod else None,
        "node": pod.node if pod else None,
        "target": leg.target,
        "by": leg.by,
        "identity": pod.identity if pod and leg.by == HBONE else None,
        "enrolled": pod.is_enrolled if pod else False,
        "verdict": leg.verdict,
        "policy": leg.policy,
        "rule": leg.rule,
        "field": leg.field,
        "reason": leg.reason,
        "considered": list(leg.considered),
        "considered_more": leg.considered_more,
        "trial": leg.trial,
    }


def path(answer: Answer) -> list[str]:
    """The stations of the connection, to the first endpoint."""
    client, leg = answer.client, next(iter(answer.legs), None)
    if client is None or leg is None:
        return []
    workload = client.workload
    stations = [f"pod {workload.name}"]
    if answer.departure is not None:
        stations.append(f"node proxy of {workload.node} (port {OUTBOUND_PORT} in the pod)")
    if leg.by == NOWHERE:
        return stations
    how = "HBONE, mutual TLS" if leg.by == HBONE else "plain TCP"
    stations.append(f"{how}, from {workload.address_like(leg.target) or workload.addresses[0]}")
    if leg.is_judged and leg.workload is not None:
        port = HBONE_PORT if leg.by == HBONE else INBOUND_PORT
        stations.append(f"node proxy of {leg.workload.node} (port {port} in the pod)")
    place = f"pod {leg.workload.name}" if leg.workload else "outside the cluster"
    return [*stations, f"{place}, {leg.target}"]


def lines(answer: Answer) -> Iterator[str]:
    """For people: the verdict first, then what it follows from, then what would change it."""
    yield f"{_TITLES[answer.verdict]}: {answer.source} to {answer.target}"
    yield f"  {answer.reason}"
    yield ""
    if answer.client is not None:
        yield from _from(answer)
        yield from _to(answer)
    for leg in answer.legs:
        if leg.by != NOWHERE:
            yield from _arrival(leg)
    if len(answer.legs) < answer.endpoints:
        yield f"           (asked for {len(answer.legs)} of {answer.endpoints} endpoints)"
    if stations := path(answer):
        yield "Path       " + "\n        -> ".join(stations)
    if answer.advice:
        yield ""
        is_clear = answer.verdict == ALLOWED
        yield "It is in the clear. What would protect it:" if is_clear else "What would change it:"
        yield from (f"  - {text}" for text in answer.advice)


def _from(answer: Answer) -> Iterator[str]:
    assert answer.client is not None
    workload = answer.client.workload
    who = f"as {workload.identity}" if workload.is_enrolled else "not enrolled, so without an identity"
    yield f"From       {workload.name} on {workload.node}, {', '.join(workload.addresses)}, {who}"


def _to(answer: Answer) -> Iterator[str]:
    if not answer.destinations:
        return
    where = ", ".join(str(each) for each in answer.destinations[:4])
    service = f"Service {answer.service.hostname}, " if answer.service else ""
    yield f"To         {service}{where}"
    if answer.departure is not None:
        yield f"Departure  {_departure(answer.departure)}"


def _departure(found: Json) -> str:
    if found["route"] == "refused":
        return f"refused by the client's node proxy: {found['reason']}"
    how = "over HBONE" if found["route"] == "hbone" else "over plain TCP"
    whom = f" to a peer that proves {found['identity']}" if found["route"] == "hbone" else ""
    return f"the client's node proxy sends it {how}{whom}"


def _arrival(leg: Leg) -> Iterator[str]:
    where = f"{leg.workload.name} on {leg.workload.node}" if leg.workload else "outside the cluster"
    by = f" by policy {leg.policy}" if leg.policy else ""
    rule = f", rule {leg.rule}" if leg.rule is not None else ""
    field = f", {leg.field}" if leg.field else ""
    yield f"Arrival    {where} ({leg.target}): {leg.verdict}{by}{rule}{field}"
    yield f"           {leg.reason}"
    if leg.policy and is_of_peers(leg.policy):
        yield "           (this policy comes from PeerAuthentication, mode STRICT: callers must show an identity)"
    yield from _considered(leg)
    if leg.trial is not None:
        outcome = "allowed" if leg.trial["allowed"] else "refused"
        whom = f" by policy {leg.trial['policy']}" if leg.trial["policy"] else ""
        yield f"           (if the dry-run policies counted, it would be {outcome}{whom})"


def _considered(leg: Leg) -> Iterator[str]:
    """The policies that it was held against, but for the one that is named already."""
    for each in leg.considered:
        if each["policy"] != leg.policy:
            number = f", rule {each['rule']}" if each["rule"] is not None else ""
            kind = f"{each['action']}, dry run" if each["dryRun"] else each["action"]
            why = each["lack"] or f"matches by {each['field']}"
            yield f"           - {each['policy']} ({kind}){number}: {why}"
    if leg.considered_more:
        yield f"           - and {leg.considered_more} more policies"
