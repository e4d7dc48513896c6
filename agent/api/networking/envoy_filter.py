"""EnvoyFilter: changes to the configuration that the mesh gives to Envoy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictStr

from agent.api.networking.kinds import CATEGORIES, GROUP
from agent.api.scalars import FreeObject, Int32, OptionalPort, PortNumber, TextMap
from agent.api.selectors import NetworkingSelector, TargetReferences
from agent.api.strict import Facts, OneOf, StrictObject, StrictPart, rule

ApplyTo = Literal[
    "INVALID",
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
]
Operation = Literal[
    "INVALID",
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
]


class ProxyMatch(StrictPart):
    """Proxies by what they say of themselves."""

    proxy_version: StrictStr = ""
    """Regular expression of RE2 for the version of the proxy."""
    metadata: TextMap = Field(default_factory=dict)
    """Node metadata, each of which must be equal."""


class ClusterMatch(StrictPart):
    """Clusters; what is absent matches all."""

    port_number: OptionalPort = 0
    """Port of the service."""
    service: StrictStr = ""
    """Full name of the service; not for inbound clusters."""
    subset: StrictStr = ""
    """Subset of the service."""
    name: StrictStr = ""
    """The exact name of the cluster; then nothing else may be given but for passthrough clusters."""


class RouteMatch(StrictPart):
    """Routes of a virtual host; what is absent matches all."""

    name: StrictStr = ""
    """Name of the route."""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"
    """What the route does."""


class VirtualHostMatch(StrictPart):
    """Virtual hosts; what is absent matches all."""

    name: StrictStr = ""
    """Name of the virtual host, HOST:PORT."""
    domain_name: StrictStr = ""
    """One of its domains."""
    route: RouteMatch | None = None
    """Routes within it."""


class RouteConfigurationMatch(StrictPart):
    """Route configurations; what is absent matches all."""

    port_number: OptionalPort = 0
    """Port of the service, or of the gateway's server."""
    port_name: StrictStr = ""
    """Name of the gateway server's port."""
    gateway: StrictStr = ""
    """NAMESPACE/NAME of the Gateway that it is of."""
    vhost: VirtualHostMatch | None = None
    """Virtual hosts within it."""
    name: StrictStr = ""
    """Exact name of the route configuration."""


class SubFilterMatch(StrictPart):
    """A filter within a filter."""

    name: StrictStr = ""
    """Name of the HTTP filter."""


class FilterMatch(StrictPart):
    """A network filter."""

    name: StrictStr = ""
    """Name of the filter."""
    sub_filter: SubFilterMatch | None = None
    """A filter of its HTTP connection manager."""


class FilterChainMatch(StrictPart):
    """Filter chains; what is absent matches all."""

    name: StrictStr = ""
    """Name of the filter chain."""
    sni: StrictStr = ""
    """Server name of the chain."""
    transport_protocol: StrictStr = ""
    """raw_buffer or tls."""
    application_protocols: StrictStr = ""
    """Protocols of ALPN, joined by commas."""
    filter: FilterMatch | None = None
    """A network filter within it."""
    destination_port: OptionalPort = 0
    """Port that the chain is for."""


class ListenerMatch(StrictPart):
    """Listeners; what is absent matches all."""

    port_number: OptionalPort = 0
    """Port that traffic was sent to, of the service or of the gateway."""
    port_name: StrictStr = ""
    """Without effect."""
    filter_chain: FilterChainMatch | None = None
    """Filter chains within it."""
    listener_filter: StrictStr = ""
    """Name of a listener filter within it."""
    name: StrictStr = ""
    """Exact name of the listener."""


class WaypointRouteMatch(StrictPart):
    """Routes of a waypoint."""

    name: StrictStr = ""
    """Name of the route."""


class WaypointMatch(StrictPart):
    """Parts of a waypoint's configuration; what is absent matches all."""

    port_number: PortNumber | None = None
    """Port of the service."""
    filter: FilterMatch | None = None
    """A network filter."""
    route: WaypointRouteMatch | None = None
    """A route."""


class ObjectMatch(StrictPart):
    """Which objects of which proxies a patch is for."""

    one_ofs = (OneOf(("listener", "routeConfiguration", "cluster", "waypoint")),)

    context: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"] = "ANY"
    """Kind of proxy and direction."""
    proxy: ProxyMatch | None = None
    """Proxies by what they say of themselves."""
    listener: ListenerMatch | None = None
    """Listeners."""
    route_configuration: RouteConfigurationMatch | None = None
    """Route configurations."""
    cluster: ClusterMatch | None = None
    """Clusters."""
    waypoint: WaypointMatch | None = None
    """Parts of a waypoint's configuration."""

    @rule(
        "(has(self.context) && self.context == 'WAYPOINT') == has(self.waypoint)",
        "waypoint: accepted with context WAYPOINT, which needs it, and no other",
    )
    def _is_of_its_context(self) -> bool:
        return (self.context == "WAYPOINT") == (self.waypoint is not None)


class Patch(StrictPart):
    """The change."""

    operation: Operation = "INVALID"
    """Merge the value, add it in some place, put it in place of the object, or remove that."""
    value: FreeObject | None = None
    """A part of Envoy's configuration, in protobuf's JSON."""
    filter_class: Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"] = "UNSPECIFIED"
    """With ADD of a filter: which of the mesh's filters it comes before or after; by its place if UNSPECIFIED."""


class ConfigPatch(StrictPart):
    """A change to the objects of one type."""

    apply_to: ApplyTo = "INVALID"
    """Type of the object."""
    match: ObjectMatch | None = None
    """Which objects; all of the type if absent."""
    patch: Patch | None = None
    """The change."""


class EnvoyFilterSpec(StrictPart):
    """Changes, in their order."""

    one_ofs = (OneOf(("workloadSelector", "targetRefs")),)

    workload_selector: NetworkingSelector | None = None
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    target_refs: TargetReferences = ()
    """Gateways or services that it is for."""
    config_patches: tuple[ConfigPatch, ...] = ()
    """The changes."""
    priority: Int32 = 0
    """Order among resources: lower ones first, then by age, then by name."""


class EnvoyFilter(StrictObject):
    """Changes the configuration that the mesh gives to Envoy."""

    facts = Facts(GROUP, "envoyfilters", ("v1alpha3",), categories=CATEGORIES)

    spec: EnvoyFilterSpec = EnvoyFilterSpec()
    """The changes."""
