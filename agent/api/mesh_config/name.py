"""What the ConfigMap with a mesh's settings is called. Apart, so that who has no such settings reads none of them."""

from __future__ import annotations

from agent.wire import DEFAULT_REVISION


def config_map_name(revision: str) -> str:
    """In the system namespace; each revision has its own, as with Istio."""
    return "istio" if revision == DEFAULT_REVISION else f"istio-{revision}"
