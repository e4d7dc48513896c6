"""Istio's enablement selector: which pods of which namespaces are enrolled."""

from __future__ import annotations

from agent.api.label_selector import LabelSelector
from agent.api.strict import StrictPart


class EnablementSelector(StrictPart):
    """Both must match; one that is left out, or empty, matches all."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
