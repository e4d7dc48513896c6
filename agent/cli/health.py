"""How the mesh is doing, from what its processes answer: the document of `weft status`. Pure rules.

Its field names are stable and described in docs/operating.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE, DATAPLANE_MODE_LABEL

Json = dict[str, Any]

WELL, PROBLEMS, UNKNOWN = "well", "problems", "unknown"
_TYPES: Final = {ADDRESS_TYPE: "workloads", AUTHORIZATION_TYPE: "policies"}
_TOLD_BY_ALL: Final = ("refused", "problems")
_STAYS: Final = "its last good state, if it had one, stays in force"


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked of the mesh and answered; who is in `away` with a reason has not.

    written: what is wrong with manifests. syncz, policies: the controller's /debug answers.
    agents: by node, /debug/pods. proxies: by node, /status.
    """

    nodes: Sequence[str]
    written: Sequence[str] = ()
    syncz: Json | None = None
    policies: Sequence[Json] = ()
    agents: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    proxies: Mapping[str, Json] = field(default_factory=dict)
    away: Sequence[str] = ()


def of_all(controllers: Sequence[Json]) -> Json | None:
    """/debug/syncz of several controllers as that of one: each knows all of the cluster and some of the proxies."""
    if not controllers:
        return None
    return {
        "synced": all(each["synced"] for each in controllers),
        "resources": controllers[0]["resources"],
        "proxies": [proxy for each in controllers for proxy in each["proxies"]],
        **{name: list(dict.fromkeys(text for each in controllers for text in each[name])) for name in _TOLD_BY_ALL},
    }


def document(answers: Answers, now: float) -> Json:
    """The whole of it; `now` in seconds of the epoch."""
    proxies = [_proxy(node, answers, now) for node in answers.nodes if node in answers.proxies]
    pods = [pod for node in answers.nodes for pod in _pods(node, answers)]
    certificates = [
        _certificate(node, each, now)
        for node, proxy in sorted(answers.proxies.items())
        for each in proxy["certificates"]
    ]
    policies = [_policy(each, answers.proxies) for each in answers.policies]
    problems = [
        *_of_objects(answers),
        *_of_policies(policies),
        *_of_proxies(proxies, answers.syncz is not None),
        *_of_pods(pods),
        *_of_certificates(certificates),
    ]
    return {
        "state": UNKNOWN if answers.away else PROBLEMS if problems else WELL,
        "unreachable": list(answers.away),
        "problems": problems,
        "notes": list(_notes(pods)),
        "controller": _controller(answers.syncz),
        "nodes": [_node(node, answers, pods) for node in answers.nodes],
        "proxies": proxies,
        "pods": pods,
        "certificates": certificates,
        "policies": policies,
    }


def _controller(syncz: Json | None) -> Json:
    if syncz is None:
        return {"up": False, "synced": None, "resources": {}}
    resources = {_TYPES.get(url, url): count for url, count in syncz["resources"].items()}
    return {"up": True, "synced": syncz["synced"], "resources": resources}


def _node(node: str, answers: Answers, pods: Sequence[Json]) -> Json:
    states = [pod["state"] for pod in pods if pod["node"] == node]
    counts = {state: states.count(state) for state in ("enrolled", "pending", "leaving", "outside")}
    return {"node": node, "agent_up": node in answers.agents, "proxy_up": node in answers.proxies, "pods": counts}


def _pods(node: str, answers: Answers) -> Iterator[Json]:
    proxy = answers.proxies.get(node)
    for pod in answers.agents.get(node, ()):
        served = None if proxy is None else pod["uid"] in proxy["pods"]
        yield {**pod, "node": node, "served": served}


def _proxy(node: str, answers: Answers, now: float) -> Json:
    found = answers.proxies[node]
    sessions = answers.syncz["proxies"] if answers.syncz is not None else []
    session = next((each for each in sessions if each["node"] == node), None)
    types = {}
    if answers.syncz is not None:
        types = {name: _sync(session["types"].get(url) if session else None) for url, name in _TYPES.items()}
    return {
        "node": node,
        "version": found["version"],
        "uptime_seconds": round(now - found["started"], 1),
        "connected": found["connected"],
        "waits_for": found["pending"],
        "pods": len(found["pods"]),
        "discovery": types,
    }


def _sync(subscription: Json | None) -> Json:
    """synced; pending: a response is due or not acknowledged yet; rejected: part of the last was; none: not asked."""
    if subscription is None:
        return {"state": "none", "pending": 0, "rejections": 0, "last_rejection": ""}
    is_rejected = bool(subscription["last_nack"]) and subscription["sent"] != subscription["acked"]
    state = "synced" if subscription["synced"] else "rejected" if is_rejected else "pending"
    return {
        "state": state,
        "pending": subscription["pending"],
        "rejections": subscription["nacks"],
        "last_rejection": subscription["last_nack"],
    }


def _certificate(node: str, found: Json, now: float) -> Json:
    left = None if found["not_after"] is None else round(found["not_after"] - now)
    return {"node": node, **found, "seconds_left": left}


def _policy(found: Json, proxies: Mapping[str, Json]) -> Json:
    """`missing_on`, `differs_on`: nodes whose proxies hold no version of it, or another one than the controller's."""
    held = {node: proxy["policies"].get(found["resource"]) for node, proxy in proxies.items()}
    is_sent = found["version"] is not None
    return {
        **found,
        "enforced": not found["shortfalls"],
        "missing_on": sorted(node for node, version in held.items() if is_sent and version is None),
        "differs_on": sorted(
            node for node, version in held.items() if is_sent and version not in (None, found["version"])
        ),
    }


def _of_objects(answers: Answers) -> Iterator[Json]:
    for text in answers.written:
        yield {"kind": "object", "text": f"{text}; {_STAYS}"}
    refused = answers.syncz["refused"] if answers.syncz is not None else []
    for text in refused:
        yield {"kind": "object", "text": f"{text}; {_STAYS}"}
    for text in answers.syncz["problems"] if answers.syncz is not None else []:
        if text not in refused:
            yield {"kind": "object", "text": text}


def _of_policies(policies: Iterable[Json]) -> Iterator[Json]:
    for policy in policies:
        name = f"{policy['kind']} {policy['namespace']}/{policy['name']}"
        if policy["missing_on"]:
            yield {"kind": "policy", "text": f"{name} is not known to the proxies of {_listed(policy['missing_on'])}"}
        if policy["differs_on"]:
            text = f"{name} is in force in another version on {_listed(policy['differs_on'])}"
            yield {"kind": "policy", "text": text}


def _of_proxies(proxies: Iterable[Json], is_controller_up: bool) -> Iterator[Json]:
    for proxy in proxies:
        name = f"the node proxy of {proxy['node']}"
        if proxy["waits_for"]:
            yield {"kind": "proxy", "text": f"{name} is not ready: it waits for {_listed(proxy['waits_for'])}"}
        if is_controller_up and not proxy["connected"]:
            yield {"kind": "proxy", "text": f"{name} is not connected to the controller and goes on with what it has"}
        for name_of_type, sync in proxy["discovery"].items():
            if sync["state"] == "rejected":
                yield {"kind": "proxy", "text": f"{name} rejected {name_of_type}: {sync['last_rejection']}"}


def _of_pods(pods: Iterable[Json]) -> Iterator[Json]:
    for pod in pods:
        name = f"pod {pod['namespace']}/{pod['name']} on {pod['node']}"
        if pod["state"] == "pending":
            yield {"kind": "pod", "text": f"{name} is not in the mesh yet: {pod['reason']}"}
        elif pod["state"] == "enrolled" and pod["served"] is False:
            yield {"kind": "pod", "text": f"{name} is enrolled, but the node proxy does not serve it"}
        elif pod["unusable"]:
            yield {"kind": "pod", "text": f"{name} is left as it is: {pod['reason']}"}
        if pod["sidecar"] and pod["state"] == "enrolled":
            yield {"kind": "pod", "text": f"{name} is enrolled and asks for a sidecar too: take one of the labels off"}


def _notes(pods: Sequence[Json]) -> Iterator[str]:
    """What somebody may have meant otherwise, though nothing is wrong with it."""
    asking = Counter((pod["namespace"], pod["injection"]) for pod in pods if pod["injection"])
    for (namespace, label), count in sorted(asking.items()):
        how_many = "a pod" if count == 1 else f"{count} pods"
        yield (
            f"namespace {namespace} has the label {label} and {how_many}: that asks for sidecars, which Weft has not; "
            f"{DATAPLANE_MODE_LABEL}=ambient enrols them"
        )
    for pod in pods:
        for name in pod["without_effect"] if pod["state"] != "outside" else ():
            yield f"pod {pod['namespace']}/{pod['name']} has the annotation {name}, which has no effect"


def _of_certificates(certificates: Iterable[Json]) -> Iterator[Json]:
    for found in certificates:
        if found["state"] != "Available" or found["error"]:
            said = f"{found['state']}: {found['error']}" if found["error"] else found["state"]
            yield {"kind": "certificate", "text": f"certificate of {found['identity']} on {found['node']}: {said}"}


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
