"""The proxyHeaders of a ProxyConfig."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictStr

from agent.api.scalars import Flag
from agent.api.strict import StrictPart

ForwardClientCertDetails = Literal[
    "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]


class Switch(StrictPart):
    """A header that proxies add unless it is disabled."""

    disabled: Flag = None


class OptIn(StrictPart):
    """A header that proxies add if it is enabled."""

    enabled: Flag = None


class ServerHeader(Switch):
    value: StrictStr = ""


class MetadataExchangeHeaders(StrictPart):
    mode: Literal["UNDEFINED", "IN_MESH"] = "UNDEFINED"


class ClientCertDetails(StrictPart):
    subject: Flag = None
    cert: Flag = None
    chain: Flag = None
    dns: Flag = None
    uri: Flag = None


class ProxyHeaders(StrictPart):
    """Headers that proxies add to requests and responses."""

    forwarded_client_cert: ForwardClientCertDetails = "UNDEFINED"
    set_current_client_cert_details: ClientCertDetails | None = None
    request_id: Switch | None = None
    server: ServerHeader | None = None
    attempt_count: Switch | None = None
    envoy_debug_headers: Switch | None = None
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    preserve_http1_header_case: Flag = None
    x_forwarded_host: OptIn | None = None
    x_forwarded_port: OptIn | None = None
