"""The condition by which objects of the mesh say what node proxies make of them. Pure rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent import kube

ZTUNNEL_ACCEPTED = "ZtunnelAccepted"  # Istio's name for what node proxies make of a policy


@dataclass(frozen=True, slots=True)
class Told:
    """reason: Accepted if the object is in force as it is written."""

    reason: str
    message: str


def brought(status: object, generation: object, told: Told, now: datetime) -> kube.Object | None:
    """The merge patch that brings a status up to date, None when it is; conditions of others stay."""
    accepted = "True" if told.reason == "Accepted" else "False"
    wanted: kube.Object = {
        "type": ZTUNNEL_ACCEPTED,
        "status": accepted,
        "reason": told.reason,
        "message": told.message,
    }
    if generation:
        wanted["observedGeneration"] = generation
    before = status.get("conditions") if isinstance(status, dict) else None
    known = [each for each in before or [] if isinstance(each, dict)]
    mine = next((each for each in known if each.get("type") == ZTUNNEL_ACCEPTED), {})
    if wanted.items() <= mine.items():
        return None
    is_as_it_was = mine.get("status") == wanted["status"]
    since = mine.get("lastTransitionTime") if is_as_it_was else None
    others = [each for each in known if each.get("type") != ZTUNNEL_ACCEPTED]
    stamped = {**wanted, "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"status": {"conditions": [*others, stamped]}}
