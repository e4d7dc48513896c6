"""The extensionProviders of a MeshConfig: services that authorize, trace, count and log."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool, StrictStr

from agent.api.mesh_config.fields import HttpStatus, Int32, Int64, PortNumber, ServiceHost, Timeout, UInt32
from agent.api.scalars import FreeObject, Text, TextMap, Texts
from agent.api.strict import OneOf, StrictPart

KINDS: Final = (
    "envoyExtAuthzHttp",
    "envoyExtAuthzGrpc",
    "zipkin",
    "lightstep",
    "datadog",
    "stackdriver",
    "opencensus",
    "skywalking",
    "opentelemetry",
    "prometheus",
    "envoyFileAccessLog",
    "envoyHttpAls",
    "envoyTcpAls",
    "envoyOtelAls",
    "sds",
)
_NO_PATH_OR_ABSOLUTE: Final = "^(/.*)?$"


class Remote(StrictPart):
    """A service of the mesh, as NAMESPACE/HOST or HOST."""

    service: ServiceHost
    port: PortNumber


class RequestBody(StrictPart):
    """How much of a request's body an authorizer sees."""

    max_request_bytes: UInt32 = 0
    allow_partial_message: StrictBool = False
    pack_as_bytes: StrictBool = False


class ExternalAuthorization(Remote):
    timeout: Timeout | None = None
    fail_open: StrictBool = False
    clear_route_cache: StrictBool = False
    status_on_error: HttpStatus = ""
    include_request_body_in_check: RequestBody | None = None


class HttpAuthorization(ExternalAuthorization):
    path_prefix: Annotated[StrictStr, Field(pattern=_NO_PATH_OR_ABSOLUTE)] = ""
    include_headers_in_check: Texts = ()  # older name of the next one
    include_request_headers_in_check: Texts = ()
    include_additional_headers_in_check: TextMap = Field(default_factory=dict)
    headers_to_upstream_on_allow: Texts = ()
    headers_to_downstream_on_deny: Texts = ()
    headers_to_downstream_on_allow: Texts = ()


class HttpHeader(StrictPart):
    one_ofs = (OneOf(("value", "envName")),)

    name: StrictStr = ""
    value: StrictStr = ""
    env_name: StrictStr = ""


class Zipkin(Remote):
    max_tag_length: UInt32 = 0
    enable_64bit_trace_id: StrictBool = Field(default=False, alias="enable64bitTraceId")
    path: StrictStr = ""
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = "USE_B3"
    timeout: Timeout | None = None
    headers: tuple[HttpHeader, ...] = ()


class Lightstep(Remote):
    access_token: Text
    max_tag_length: UInt32 = 0


class Datadog(Remote):
    max_tag_length: UInt32 = 0


class SkyWalking(Remote):
    access_token: StrictStr = ""


class StackdriverLogging(StrictPart):
    labels: TextMap = Field(default_factory=dict)


class Stackdriver(StrictPart):
    debug: StrictBool = False
    max_number_of_attributes: Int64 | None = None
    max_number_of_annotations: Int64 | None = None
    max_number_of_message_events: Int64 | None = None
    max_tag_length: UInt32 = 0
    logging: StackdriverLogging | None = None


class OpenCensus(Remote):
    context: tuple[Literal["UNSPECIFIED", "W3C_TRACE_CONTEXT", "GRPC_BIN", "CLOUD_TRACE_CONTEXT", "B3"], ...] = ()
    max_tag_length: UInt32 = 0


class HttpService(StrictPart):
    path: StrictStr = ""
    timeout: Timeout | None = None
    headers: tuple[HttpHeader, ...] = ()


class GrpcService(StrictPart):
    timeout: Timeout | None = None
    initial_metadata: tuple[HttpHeader, ...] = ()


class Nothing(StrictPart):
    """A message without fields: being there is all it says."""


class ResourceDetectors(StrictPart):
    environment: Nothing | None = None
    dynatrace: Nothing | None = None


class DynatraceApi(Remote):
    http: HttpService | None = None


class DynatraceSampler(StrictPart):
    tenant: StrictStr = ""
    cluster_id: Int32 = 0
    root_spans_per_minute: UInt32 = 0
    http_service: DynatraceApi | None = None


class OpenTelemetry(Remote):
    one_ofs = (OneOf(("http", "grpc")),)

    max_tag_length: UInt32 = 0
    http: HttpService | None = None
    grpc: GrpcService | None = None
    resource_detectors: ResourceDetectors | None = None
    service_attribute_enrichment: Literal["ISTIO_CANONICAL", "OTEL_SEMANTIC_CONVENTIONS"] = "ISTIO_CANONICAL"
    dynatrace_sampler: DynatraceSampler | None = None


class LogFormat(StrictPart):
    one_ofs = (OneOf(("text", "labels")),)

    text: StrictStr = ""
    labels: FreeObject = Field(default_factory=dict)


class FileAccessLog(StrictPart):
    path: StrictStr = ""
    log_format: LogFormat | None = None
    omit_empty_values: StrictBool = False


class TcpAccessLogService(Remote):
    log_name: StrictStr = ""
    filter_state_objects_to_log: Texts = ()


class HttpAccessLogService(TcpAccessLogService):
    additional_request_headers_to_log: Texts = ()
    additional_response_headers_to_log: Texts = ()
    additional_response_trailers_to_log: Texts = ()


class TextAndLabels(StrictPart):
    """An OpenTelemetry log entry's body, and its attributes."""

    text: StrictStr = ""
    labels: FreeObject = Field(default_factory=dict)


class OpenTelemetryLog(Remote):
    log_name: StrictStr = ""
    log_format: TextAndLabels | None = None


class SecretDiscovery(Remote):
    name: StrictStr = ""


class ExtensionProvider(StrictPart):
    """One service under the name that Telemetry and AuthorizationPolicy know it by."""

    one_ofs = (OneOf(KINDS, is_required=True),)

    name: Text
    envoy_ext_authz_http: HttpAuthorization | None = None
    envoy_ext_authz_grpc: ExternalAuthorization | None = None
    zipkin: Zipkin | None = None
    lightstep: Lightstep | None = None
    datadog: Datadog | None = None
    stackdriver: Stackdriver | None = None
    opencensus: OpenCensus | None = None
    skywalking: SkyWalking | None = None
    opentelemetry: OpenTelemetry | None = None
    prometheus: Nothing | None = None
    envoy_file_access_log: FileAccessLog | None = None
    envoy_http_als: HttpAccessLogService | None = None
    envoy_tcp_als: TcpAccessLogService | None = None
    envoy_otel_als: OpenTelemetryLog | None = None
    sds: SecretDiscovery | None = None
