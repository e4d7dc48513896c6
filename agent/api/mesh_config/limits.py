"""The connectionSettings of a ProxyConfig."""

from __future__ import annotations

from typing import Literal

from agent.api.mesh_config.fields import Count, Positive, Timeout, WindowSize
from agent.api.scalars import Flag
from agent.api.strict import StrictPart


class ConnectionSettings(StrictPart):
    """Limits of a proxy's listeners and clusters."""

    profile: Literal["SIDECAR", "EDGE"] = "SIDECAR"
    listener_per_connection_buffer_limit_bytes: Count | None = None
    cluster_per_connection_buffer_limit_bytes: Count | None = None
    http_idle_timeout: Timeout | None = None
    http_max_connection_duration: Timeout | None = None
    http_drain_timeout: Timeout | None = None
    http_request_timeout: Timeout | None = None
    http_request_headers_timeout: Timeout | None = None
    http_stream_idle_timeout: Timeout | None = None
    http_max_stream_duration: Timeout | None = None
    http_max_concurrent_streams: Positive | None = None
    http2_initial_stream_window_size: WindowSize | None = None
    http2_initial_connection_window_size: WindowSize | None = None
    http_headers_with_underscores_action: Literal[
        "HEADERS_WITH_UNDERSCORES_UNSPECIFIED",
        "HEADERS_WITH_UNDERSCORES_ALLOW",
        "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST",
        "HEADERS_WITH_UNDERSCORES_DROP_HEADER",
    ] = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    http_merge_slashes: Flag = None
    http_path_with_escaped_slashes_action: Literal[
        "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED",
        "KEEP_UNCHANGED",
        "REJECT_REQUEST",
        "UNESCAPE_AND_REDIRECT",
        "UNESCAPE_AND_FORWARD",
    ] = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    listener_connection_limit: Positive | None = None
    global_downstream_connection_limit: Positive | None = None
