"""Admission: the answer to a kube-apiserver that asks whether an object may be stored.

It is the answer that `weft validate` gives. The protocol is admission.k8s.io/v1 AdmissionReview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.api import registry
from agent.api.faults import UNKNOWN_FIELD, in_words
from agent.api.gateway_api.objects import GROUP as GATEWAY_GROUP
from agent.api.validation import validate
from agent.api.validation.kinds import MESH_GROUPS
from agent.errors import Fault, InvalidObjectError

API_VERSION: Final = "admission.k8s.io/v1"
PATH: Final = "/validate"  # istiod's
_JUDGED: Final = ("CREATE", "UPDATE")
_LONGEST_WARNING: Final = 256  # an API server cuts longer ones
_MOST_WARNINGS: Final = 16  # of 256 characters: an API server drops those beyond 4096 in all
_UNPROCESSABLE: Final = 422

Json = dict[str, Any]


def answer(review: object) -> Json:
    """The AdmissionReview that answers `review`; raises InvalidObjectError if that is none."""
    request = review.get("request") if isinstance(review, Mapping) else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise InvalidObjectError(f"the request's body is no AdmissionReview; accepted is one of {API_VERSION}")
    return {
        "apiVersion": API_VERSION,
        "kind": "AdmissionReview",
        "response": {"uid": request["uid"], **_response(request)},
    }


def configuration(name: str, client: Json, failure_policy: str) -> Json:
    """The ValidatingWebhookConfiguration that has an API server ask here, defaults and all, as it is stored.

    client: its clientConfig, with the root certificate as caBundle. failure_policy: Fail or
    Ignore, what becomes of objects while nobody answers here.
    """
    rule = {
        "apiGroups": list(MESH_GROUPS),
        "apiVersions": ["*"],
        "operations": list(_JUDGED),
        "resources": ["*"],
        "scope": "*",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "validation.weft.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": client,
                "failurePolicy": failure_policy,
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "sideEffects": "None",
                "timeoutSeconds": 10,
                "rules": [rule],
            }
        ],
    }


def _response(request: Mapping[str, Any]) -> Json:
    found = request.get("object")
    if request.get("operation") not in _JUDGED or not isinstance(found, Mapping):
        return {"allowed": True}
    errors, warnings = _weighed(found)
    told = _told(warnings)
    if errors and _is_as_before(found, request.get("oldObject")):
        # What is stored already can still be labelled, and freed of its finalizers.
        return {"allowed": True, "warnings": _told(errors)}
    if errors:
        message = f"{_named(found)}: {in_words(errors)}"
        status = {"code": _UNPROCESSABLE, "reason": "Invalid", "message": message}
        return {"allowed": False, "status": status, **({"warnings": told} if told else {})}
    return {"allowed": True, **({"warnings": told} if told else {})}


def _weighed(found: Mapping[str, Any]) -> tuple[Sequence[Fault], Sequence[Fault]]:
    """Errors and warnings.

    The Gateway API has other implementations, and newer releases than we know: a kind, version or
    field that its own definition accepts is not refused for being unknown here.
    """
    verdict = validate(found, "admission")
    if not str(found.get("apiVersion")).startswith(f"{GATEWAY_GROUP}/"):
        return verdict.errors, verdict.warnings
    is_known = registry.find(found.get("apiVersion"), found.get("kind")) is not None
    errors = [fault for fault in verdict.errors if is_known and fault.text != UNKNOWN_FIELD]
    return errors, [*verdict.warnings, *(fault for fault in verdict.errors if fault not in errors)]


def _is_as_before(now: Mapping[str, Any], before: object) -> bool:
    """Whether all that validation looks at besides labels is as it was stored."""
    if not isinstance(before, Mapping):
        return False
    return all(_looked_at(now)[part] == _looked_at(before)[part] for part in ("apiVersion", "spec", "annotations"))


def _looked_at(found: Mapping[str, Any]) -> Json:
    metadata = found.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return {"apiVersion": found.get("apiVersion"), "spec": found.get("spec"), "annotations": annotations or {}}


def _told(faults: Sequence[Fault]) -> list[str]:
    return [in_words([fault])[:_LONGEST_WARNING] for fault in faults[:_MOST_WARNINGS]]


def _named(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    full = f"{metadata.get('namespace') or ''}/{metadata.get('name') or '?'}".removeprefix("/")
    return f"{found.get('kind')} {full}"
