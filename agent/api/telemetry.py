"""Typed model of Istio's telemetry.istio.io resource, Telemetry."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, StrictStr

from agent.api.scalars import Duration, Flag, Nullable, PercentDouble, Text
from agent.api.selectors import TargetReference, TargetReferences, WorkloadSelector
from agent.api.strict import AGE, Facts, OneOf, StrictObject, StrictPart, rule

Mode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
"""Which end of a connection reports."""

_TAG_SOURCES: Final = ("literal", "environment", "header", "formatter")


class ProviderReference(StrictPart):
    name: Text
    """Name of one of the mesh's extensionProviders."""


class Reporters(StrictPart):
    mode: Mode = "CLIENT_AND_SERVER"
    """Whether clients, servers or both report."""


class LiteralTag(StrictPart):
    value: Text
    """The tag's value."""


class EnvironmentTag(StrictPart):
    name: Text
    """Variable of the proxy's environment."""
    default_value: StrictStr = ""
    """Value without the variable."""


class HeaderTag(StrictPart):
    name: Text
    """Header of the request."""
    default_value: StrictStr = ""
    """Value without the header."""


class FormatterTag(StrictPart):
    value: Text
    """Format string, as in access logs."""


class CustomTag(StrictPart):
    """Where the value of a span's tag comes from."""

    one_ofs = (OneOf(_TAG_SOURCES),)

    literal: LiteralTag | None = None
    """The same text in every span."""
    environment: EnvironmentTag | None = None
    """A variable of the proxy's environment."""
    header: HeaderTag | None = None
    """A header of the request."""
    formatter: FormatterTag | None = None
    """A format string, evaluated for each request."""


class Tracing(StrictPart):
    match: Reporters | None = None
    """Which reporters it is for; all, if absent."""
    providers: tuple[ProviderReference, ...] = ()
    """Where spans go; the mesh's default, if absent."""
    random_sampling_percentage: Nullable[PercentDouble] = None
    """Share of requests of which spans are kept, unless somebody decided already."""
    disable_span_reporting: Flag = None
    """Pass trace headers on, but report nothing."""
    custom_tags: dict[StrictStr, CustomTag] = Field(default_factory=dict)
    """More tags of each span, by name."""
    use_request_id_for_trace_sampling: Flag = None
    """Let the request's ID take part in the choice of samples."""
    enable_istio_tags: Flag = None
    """Tag spans with mesh, cluster, workload and service."""
    disable_context_propagation: Flag = None
    """Add no trace headers to requests."""


class TagOverride(StrictPart):
    """What becomes of one tag of a metric."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    """Add or replace the tag, or take it away."""
    value: StrictStr = ""
    """Expression for the tag's value."""

    @rule(
        "!has(self.operation) || self.operation != 'UPSERT' || (has(self.value) && self.value != '')",
        "accepted is an operation UPSERT with a value",
    )
    def _upsert_has_a_value(self) -> bool:
        return "operation" not in self.model_fields_set or self.operation != "UPSERT" or self.value != ""

    @rule(
        "!has(self.operation) || self.operation != 'REMOVE' || !has(self.value)",
        "accepted is an operation REMOVE without a value",
    )
    def _remove_has_no_value(self) -> bool:
        return self.operation != "REMOVE" or "value" not in self.model_fields_set


class MetricSelector(StrictPart):
    one_ofs = (OneOf(("metric", "customMetric")),)

    metric: Literal[
        "ALL_METRICS",
        "REQUEST_COUNT",
        "REQUEST_DURATION",
        "REQUEST_SIZE",
        "RESPONSE_SIZE",
        "TCP_OPENED_CONNECTIONS",
        "TCP_CLOSED_CONNECTIONS",
        "TCP_SENT_BYTES",
        "TCP_RECEIVED_BYTES",
        "GRPC_REQUEST_MESSAGES",
        "GRPC_RESPONSE_MESSAGES",
    ] = "ALL_METRICS"
    """One of the mesh's standard metrics."""
    custom_metric: Text = ""
    """Any other metric, by name."""
    mode: Mode = "CLIENT_AND_SERVER"
    """Whose metric: the client's, the server's or both."""


class MetricsOverride(StrictPart):
    match: MetricSelector | None = None
    """Which metrics; all, if absent."""
    disabled: Flag = None
    """Whether they are left out."""
    tag_overrides: dict[StrictStr, TagOverride] = Field(default_factory=dict)
    """Changes to their tags, by the tag's name."""


class Metrics(StrictPart):
    providers: tuple[ProviderReference, ...] = ()
    """Where metrics go; the mesh's default, if absent."""
    overrides: tuple[MetricsOverride, ...] = ()
    """Changes to metrics, in order."""
    reporting_interval: Duration | None = None
    """Time between reports of an open TCP connection."""


class LogFilter(StrictPart):
    expression: StrictStr = ""
    """CEL expression; what it does not hold for is not logged."""


class AccessLogging(StrictPart):
    match: Reporters | None = None
    """Which reporters it is for; all, if absent."""
    providers: tuple[ProviderReference, ...] = ()
    """Where entries go; the mesh's default, if absent."""
    disabled: Flag = None
    """Whether nothing is logged."""
    filter: LogFilter | None = None
    """What is logged; everything, if absent."""


class TelemetrySpec(StrictPart):
    one_ofs = (OneOf(("selector", "targetRef", "targetRefs")),)

    selector: WorkloadSelector | None = None
    """Workloads that it is for; all of the namespace, if there is no target either."""
    target_ref: TargetReference | None = None
    """The one object that it is for."""
    target_refs: TargetReferences = ()
    """Objects that it is for, each behind a waypoint or a gateway itself."""
    tracing: tuple[Tracing, ...] = ()
    """Spans."""
    metrics: tuple[Metrics, ...] = ()
    """Metrics."""
    access_logging: tuple[AccessLogging, ...] = ()
    """Access logs."""

    @property
    def targets(self) -> tuple[TargetReference, ...]:
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())


class Telemetry(StrictObject):
    """What proxies report: spans, metrics and access logs."""

    facts = Facts(
        group="telemetry.istio.io",
        plural="telemetries",
        versions=("v1alpha1", "v1"),  # Istio stores the older one
        short_names=("telemetry",),
        categories=("istio-io", "telemetry-istio-io"),
        columns=(AGE,),
    )

    spec: TelemetrySpec = TelemetrySpec()
    """Its content."""
