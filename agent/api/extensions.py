"""Typed models of Istio's extensions.istio.io resources, WasmPlugin and TrafficExtension."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StrictInt, StrictStr

from agent.api.scalars import FreeObject, Int32, Nullable
from agent.api.selectors import TargetReference, TargetReferences, WorkloadSelector
from agent.api.strict import AGE, Facts, OneOf, Rule, StrictObject, StrictPart, rule

_SCHEMES: Final = ("http", "https", "oci", "file")
_VISIBLE = re.compile(r"[!-~]+")
_WITH_SCHEME = re.compile(rf"(?:{'|'.join(_SCHEMES)})://", re.IGNORECASE)


def _is_source(url: str) -> bool:
    return bool(_VISIBLE.fullmatch(url)) and ("://" not in url or bool(_WITH_SCHEME.match(url)))


Url = Annotated[
    StrictStr,
    Field(min_length=1),
    Rule[str](
        f"self.matches('^[!-~]+$') && (!self.contains('://') || self.matches('^(?i)({'|'.join(_SCHEMES)})://'))",
        "accepted is an image, or a URL whose scheme is http, https, oci or file",
        _is_source,
    ),
]


class PortSelector(StrictPart):
    number: Annotated[StrictInt, Field(ge=1, le=65535)]
    """Port number."""


class EnvironmentVariable(StrictPart):
    name: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    """Name of the variable."""
    value_from: Literal["INLINE", "HOST"] = "INLINE"
    """Whether the value is given here, or that of the proxy's own environment."""
    value: Annotated[StrictStr, Field(max_length=2048)] = ""
    """The value that is given here."""

    @rule(
        "!has(self.valueFrom) || self.valueFrom != 'HOST' || !has(self.value)",
        "accepted is a value only with valueFrom INLINE",
    )
    def _value_has_one_source(self) -> bool:
        return self.value_from != "HOST" or "value" not in self.model_fields_set


def _different_ports(ports: tuple[PortSelector, ...]) -> tuple[PortSelector, ...]:
    if len({port.number for port in ports}) < len(ports):
        raise ValueError("accepted is each port once")
    return ports


def _different_names(variables: tuple[EnvironmentVariable, ...]) -> tuple[EnvironmentVariable, ...]:
    if len({variable.name for variable in variables}) < len(variables):
        raise ValueError("accepted is each name once")
    return variables


class TrafficSelector(StrictPart):
    """Traffic that both of its parts hold for."""

    mode: Literal["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"] = "UNDEFINED"
    """Which end of a connection; undefined is both."""
    ports: Annotated[
        tuple[PortSelector, ...],
        AfterValidator(_different_ports),
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]}),
    ] = ()
    """Ports of the destination; all, if absent."""


class VmConfig(StrictPart):
    env: Annotated[
        tuple[EnvironmentVariable, ...],
        AfterValidator(_different_names),
        Field(
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Environment of the module's virtual machine."""


class Wasm(StrictPart):
    """A WebAssembly module, where it comes from and what it is given."""

    url: Url
    """The module: an OCI image (without a scheme too), a URL, or a file of the proxy's container."""
    sha256: Annotated[StrictStr, Field(pattern="^([a-f0-9]{64})?$")] = ""
    """Checksum of the module or image."""
    image_pull_policy: Literal["UNSPECIFIED_POLICY", "IfNotPresent", "Always"] = "UNSPECIFIED_POLICY"
    """When the image is fetched again; unspecified is Always for the tag latest only."""
    image_pull_secret: Annotated[StrictStr, Field(min_length=1, max_length=253)] = ""
    """Secret in the namespace of the object, with the registry's credentials."""
    verification_key: StrictStr = ""
    """Public key that signs images."""
    plugin_config: FreeObject = Field(default_factory=dict)
    """Configuration handed to the module."""
    plugin_name: Annotated[StrictStr, Field(min_length=1, max_length=256)] = ""
    """Name that the module knows itself by."""
    fail_strategy: Literal["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"] = "FAIL_CLOSE"
    """What becomes of traffic when the module is missing or has failed: refused, let by, or tried again once."""
    vm_config: VmConfig | None = None
    """Virtual machine that runs the module."""
    type: Literal["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"] = "UNSPECIFIED_PLUGIN_TYPE"
    """Filter of requests, or of connections; unspecified is HTTP."""


class WasmPluginSpec(Wasm):
    one_ofs = (OneOf(("selector", "targetRef", "targetRefs")),)

    selector: WorkloadSelector | None = None
    """Workloads that it is for; all of the namespace, if there is no target either."""
    target_ref: TargetReference | None = None
    """The one object that it is for."""
    target_refs: TargetReferences = ()
    """Objects that it is for, each behind a waypoint or a gateway itself."""
    phase: Literal["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"] = "UNSPECIFIED_PHASE"
    """Before which of the mesh's own filters it stands; unspecified is last, before the router."""
    priority: Nullable[Int32] = None
    """Order within the phase, the highest first."""
    match: tuple[TrafficSelector, ...] = ()
    """Traffic that it sees, one of them being enough; all, if absent."""

    @property
    def targets(self) -> tuple[TargetReference, ...]:
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())


class WasmPlugin(StrictObject):
    """A WebAssembly module in the proxies' way."""

    facts = Facts(
        group="extensions.istio.io",
        plural="wasmplugins",
        versions=("v1alpha1",),
        categories=("istio-io", "extensions-istio-io"),
        columns=(AGE,),
        needs_spec=True,
    )

    spec: WasmPluginSpec
    """Its content."""


class Lua(StrictPart):
    inline_code: Annotated[StrictStr, Field(min_length=1, max_length=65536)]
    """The script."""


class TrafficExtensionSpec(StrictPart):
    one_ofs = (OneOf(("selector", "targetRefs")), OneOf(("wasm", "lua"), is_required=True))

    selector: WorkloadSelector | None = None
    """Workloads that it is for; all of the namespace, if there is no target either."""
    target_refs: TargetReferences = ()
    """Objects that it is for, each behind a waypoint or a gateway itself."""
    wasm: Wasm | None = None
    """A WebAssembly module."""
    lua: Lua | None = None
    """A Lua script."""
    phase: Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"] = "UNSPECIFIED"
    """Before which of the mesh's own filters it stands; unspecified is last, before the router."""
    priority: Nullable[Int32] = None
    """Order within the phase, the highest first."""
    match: tuple[TrafficSelector, ...] = ()
    """Traffic that it sees, one of them being enough; all, if absent."""


class TrafficExtension(StrictObject):
    """A WebAssembly module or a Lua script in the proxies' way."""

    facts = Facts(
        group="extensions.istio.io",
        plural="trafficextensions",
        versions=("v1alpha1",),
        categories=("istio-io", "extensions-istio-io"),
        columns=(AGE,),
        needs_spec=True,
    )

    spec: TrafficExtensionSpec
    """Its content."""
