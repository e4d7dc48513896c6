"""The tracing section of a ProxyConfig."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from agent.api.mesh_config.fields import Double, Int64, ProxyAddress, UInt32
from agent.api.networking.destination_rule import ClientTls
from agent.api.scalars import Flag, Text
from agent.api.strict import OneOf, StrictPart


class ZipkinCollector(StrictPart):
    address: ProxyAddress


class LightstepCollector(StrictPart):
    address: ProxyAddress
    access_token: Text


class DatadogCollector(StrictPart):
    address: ProxyAddress


class StackdriverCollector(StrictPart):
    debug: StrictBool = False
    max_number_of_attributes: Int64 | None = None
    max_number_of_annotations: Int64 | None = None
    max_number_of_message_events: Int64 | None = None


class OpenCensusAgent(StrictPart):
    address: StrictStr = ""
    context: tuple[Literal["UNSPECIFIED", "W3C_TRACE_CONTEXT", "GRPC_BIN", "CLOUD_TRACE_CONTEXT", "B3"], ...] = ()


class LiteralTag(StrictPart):
    value: StrictStr = ""


class NamedTag(StrictPart):
    """An environment variable or a header, and the value without it."""

    name: StrictStr = ""
    default_value: StrictStr = ""


class CustomTag(StrictPart):
    one_ofs = (OneOf(("literal", "environment", "header")),)

    literal: LiteralTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None


class Tracing(StrictPart):
    """The older way to say where spans go; Telemetry has taken its place."""

    one_ofs = (OneOf(("zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent")),)

    zipkin: ZipkinCollector | None = None
    lightstep: LightstepCollector | None = None
    datadog: DatadogCollector | None = None
    stackdriver: StackdriverCollector | None = None
    open_census_agent: OpenCensusAgent | None = None
    custom_tags: dict[StrictStr, CustomTag] = Field(default_factory=dict)
    max_path_tag_length: UInt32 = 0
    sampling: Double = 0.0
    tls_settings: ClientTls | None = None
    enable_istio_tags: Flag = None
