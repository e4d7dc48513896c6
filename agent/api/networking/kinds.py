"""What the kinds of networking.istio.io have in common for an API server."""

from __future__ import annotations

from typing import Final

GROUP: Final = "networking.istio.io"
ALL_VERSIONS: Final = ("v1", "v1alpha3", "v1beta1")  # the stored one first
CATEGORIES: Final = ("istio-io", "networking-istio-io")
