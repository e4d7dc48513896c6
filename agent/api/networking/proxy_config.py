"""ProxyConfig: how the proxies of some workloads are run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

from agent.api.networking.kinds import CATEGORIES, GROUP
from agent.api.scalars import Count32, Nullable
from agent.api.selectors import WorkloadSelector
from agent.api.strict import Facts, StrictObject, StrictPart


class ProxyImage(StrictPart):
    """The proxy's image."""

    image_type: StrictStr = ""
    """Suffix of the image's tag: default, debug or distroless; that of the mesh if empty."""


class ProxyConfigSpec(StrictPart):
    """Settings that a proxy takes over at its next start."""

    selector: WorkloadSelector | None = None
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    concurrency: Nullable[Count32] = None
    """Worker threads; as many as the CPU limit says if absent, one per CPU if 0."""
    environment_variables: dict[StrictStr, Annotated[StrictStr, Field(max_length=2048)]] = Field(default_factory=dict)
    """Environment of the proxy, besides what it has."""
    image: ProxyImage | None = None
    """The proxy's image."""


class ProxyConfig(StrictObject):
    """Says how the proxies of a namespace or of chosen workloads are run."""

    facts = Facts(GROUP, "proxyconfigs", ("v1beta1",), categories=CATEGORIES)

    spec: ProxyConfigSpec = ProxyConfigSpec()
    """The settings."""
