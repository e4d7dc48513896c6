//! Workloads and services as the engine uses them, parsed from discovery's messages.
//!
//! What is left out on the wire has its meaning filled in here. Enumerations that decide where
//! bytes go must be known; those that only label metrics may be newer than this engine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{self, Prefix};
use crate::fault::Fault;
use crate::identity::Identity;
use crate::index::Claimant;
use crate::listing::Listing;
use crate::proto::workload as wire;

/// From the port of a service to the port of its endpoints; 0 is a named port, which every
/// endpoint resolves for itself.
pub type Ports = BTreeMap<u16, u16>;

/// Anything with an identity that can be a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub identity: Identity,
    pub addresses: Vec<IpAddr>,
    /// "" is the network of this mesh's pods.
    pub network: String,
    /// DNS name of an endpoint that has no addresses.
    pub hostname: String,
    pub is_hbone: bool,
    pub is_healthy: bool,
    /// Shares its node's addresses, so an address does not lead to it.
    pub is_host_network: bool,
    pub node: String,
    pub workload_name: String,
    pub workload_type: &'static str,
    pub canonical_name: String,
    pub canonical_revision: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    pub subzone: String,
    /// Share of a service's connections; 0 takes none.
    pub capacity: u32,
    /// Names ("namespace/name") of the policies that select it.
    pub policies: Listing,
    /// By "namespace/hostname": the services it is an endpoint of.
    pub services: BTreeMap<Arc<str>, Arc<Ports>>,
    pub waypoint: Option<String>,
}

/// One name and its virtual addresses, behind which are endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// "namespace/hostname".
    pub key: Arc<str>,
    pub name: String,
    pub namespace: String,
    pub hostname: String,
    pub vips: Vec<IpAddr>,
    /// Ranges of addresses that belong to it as a whole.
    pub ranges: Vec<Prefix>,
    pub ports: Ports,
    /// Identities that its endpoints may have besides their own.
    pub subject_alt_names: Vec<Identity>,
    pub balancing: Balancing,
    pub families: Families,
    /// The preferred one of several services at one address: Kubernetes' own.
    pub is_canonical: bool,
    /// Exists only for clients of its own namespace.
    pub is_namespace_private: bool,
    pub waypoint: Option<String>,
}

/// How a service's endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancing {
    pub mode: Mode,
    /// Most important first.
    pub scopes: Vec<Scope>,
    pub takes_unhealthy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Any,
    /// Only endpoints that share every scope with the client.
    Strict,
    /// The endpoints that share most leading scopes with the client.
    Failover,
    /// The address that the client asked for.
    Passthrough,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    Any,
    V4,
    V6,
}

impl Families {
    pub fn includes(self, ip: IpAddr) -> bool {
        match self {
            Families::Any => true,
            Families::V4 => ip.is_ipv4(),
            Families::V6 => ip.is_ipv6(),
        }
    }
}

impl Claimant for Arc<Workload> {
    fn key(&self) -> &str {
        &self.uid
    }
}

impl Claimant for Arc<Service> {
    fn key(&self) -> &str {
        &self.key
    }
}

impl TryFrom<wire::Workload> for Workload {
    type Error = Fault;

    fn try_from(from: wire::Workload) -> Result<Workload, Fault> {
        let locality = from.locality.unwrap_or_default();
        Ok(Workload {
            identity: Identity::new(
                or(&from.trust_domain, "cluster.local"),
                &from.namespace,
                or(&from.service_account, "default"),
            )?,
            addresses: from
                .addresses
                .iter()
                .map(|bytes| address::parse(bytes))
                .collect::<Result<_, _>>()?,
            is_hbone: is_hbone(from.tunnel_protocol)?,
            is_healthy: is_healthy(from.status)?,
            is_host_network: is_host_network(from.network_mode)?,
            services: endpoint_ports(from.services)?,
            waypoint: from.waypoint.as_ref().map(gateway_name),
            workload_type: workload_type(from.workload_type),
            cluster: or(&from.cluster_id, "Kubernetes").to_owned(),
            capacity: from.capacity.unwrap_or(1),
            policies: Listing::new(from.authorization_policies),
            uid: from.uid,
            name: from.name,
            namespace: from.namespace,
            network: from.network,
            hostname: from.hostname,
            node: from.node,
            workload_name: from.workload_name,
            canonical_name: from.canonical_name,
            canonical_revision: from.canonical_revision,
            region: locality.region,
            zone: locality.zone,
            subzone: locality.subzone,
        })
    }
}

impl TryFrom<wire::Service> for Service {
    type Error = Fault;

    fn try_from(from: wire::Service) -> Result<Service, Fault> {
        let (vips, ranges) = virtual_addresses(&from.addresses)?;
        let weighted = from
            .weighted_waypoints
            .iter()
            .filter_map(|one| one.destination.as_ref());
        Ok(Service {
            key: format!("{}/{}", from.namespace, from.hostname).into(),
            vips,
            ranges,
            ports: ports(&from.ports)?,
            // What is no SPIFFE ID can be no peer of a tunnel: leaving it out accepts less.
            subject_alt_names: from
                .subject_alt_names
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
            balancing: from
                .load_balancing
                .map_or(Ok(Balancing::default()), Balancing::try_from)?,
            families: families(from.ip_families)?,
            is_canonical: from.canonical,
            is_namespace_private: is_namespace_private(from.visibility)?,
            waypoint: from
                .waypoint
                .as_ref()
                .into_iter()
                .chain(weighted)
                .next()
                .map(gateway_name),
            name: from.name,
            namespace: from.namespace,
            hostname: from.hostname,
        })
    }
}

impl Default for Balancing {
    fn default() -> Self {
        Balancing {
            mode: Mode::Any,
            scopes: Vec::new(),
            takes_unhealthy: false,
        }
    }
}

impl TryFrom<wire::LoadBalancing> for Balancing {
    type Error = Fault;

    fn try_from(from: wire::LoadBalancing) -> Result<Balancing, Fault> {
        use wire::load_balancing::{HealthPolicy, Mode as WireMode};
        let mode = match WireMode::try_from(from.mode) {
            Ok(WireMode::UnspecifiedMode) => Mode::Any,
            Ok(WireMode::Strict) => Mode::Strict,
            Ok(WireMode::Failover) => Mode::Failover,
            Ok(WireMode::Passthrough) => Mode::Passthrough,
            Err(_) => return Err(unknown("load_balancing.mode", from.mode)),
        };
        let takes_unhealthy = match HealthPolicy::try_from(from.health_policy) {
            Ok(HealthPolicy::OnlyHealthy) => false,
            Ok(HealthPolicy::AllowAll) => true,
            Err(_) => return Err(unknown("load_balancing.health_policy", from.health_policy)),
        };
        let scopes = from
            .routing_preference
            .into_iter()
            .map(scope)
            .collect::<Result<_, _>>()?;
        Ok(Balancing {
            mode,
            scopes,
            takes_unhealthy,
        })
    }
}

fn scope(value: i32) -> Result<Scope, Fault> {
    use wire::load_balancing::Scope as WireScope;
    match WireScope::try_from(value) {
        Ok(WireScope::Region) => Ok(Scope::Region),
        Ok(WireScope::Zone) => Ok(Scope::Zone),
        Ok(WireScope::Subzone) => Ok(Scope::Subzone),
        Ok(WireScope::Node) => Ok(Scope::Node),
        Ok(WireScope::Cluster) => Ok(Scope::Cluster),
        Ok(WireScope::Network) => Ok(Scope::Network),
        Ok(WireScope::UnspecifiedScope) | Err(_) => Err(unknown("load_balancing.routing_preference", value)),
    }
}

fn is_hbone(value: i32) -> Result<bool, Fault> {
    match wire::TunnelProtocol::try_from(value) {
        Ok(wire::TunnelProtocol::None) => Ok(false),
        Ok(wire::TunnelProtocol::Hbone) => Ok(true),
        Ok(wire::TunnelProtocol::LegacyIstioMtls) => Err(Fault::LegacyTunnel),
        Err(_) => Err(unknown("tunnel_protocol", value)),
    }
}

fn is_healthy(value: i32) -> Result<bool, Fault> {
    match wire::WorkloadStatus::try_from(value) {
        Ok(status) => Ok(status == wire::WorkloadStatus::Healthy),
        Err(_) => Err(unknown("status", value)),
    }
}

fn is_host_network(value: i32) -> Result<bool, Fault> {
    match wire::NetworkMode::try_from(value) {
        Ok(mode) => Ok(mode == wire::NetworkMode::HostNetwork),
        Err(_) => Err(unknown("network_mode", value)),
    }
}

fn is_namespace_private(value: i32) -> Result<bool, Fault> {
    match wire::service::Visibility::try_from(value) {
        Ok(visibility) => Ok(visibility == wire::service::Visibility::Namespace),
        Err(_) => Err(unknown("visibility", value)),
    }
}

fn families(value: i32) -> Result<Families, Fault> {
    match wire::IpFamilies::try_from(value) {
        Ok(wire::IpFamilies::Automatic | wire::IpFamilies::Dual) => Ok(Families::Any),
        Ok(wire::IpFamilies::Ipv4Only) => Ok(Families::V4),
        Ok(wire::IpFamilies::Ipv6Only) => Ok(Families::V6),
        Err(_) => Err(unknown("ip_families", value)),
    }
}

fn workload_type(value: i32) -> &'static str {
    match wire::WorkloadType::try_from(value) {
        Ok(wire::WorkloadType::Deployment) => "deployment",
        Ok(wire::WorkloadType::Cronjob) => "cronjob",
        Ok(wire::WorkloadType::Pod) => "pod",
        Ok(wire::WorkloadType::Job) => "job",
        Err(_) => "unknown",
    }
}

fn endpoint_ports(services: BTreeMap<String, wire::PortList>) -> Result<BTreeMap<Arc<str>, Arc<Ports>>, Fault> {
    let parse = |(key, list): (String, wire::PortList)| match key.contains('/') {
        true => Ok((key.into(), Arc::new(ports(&list.ports)?))),
        false => Err(Fault::ServiceKey(key)),
    };
    services.into_iter().map(parse).collect()
}

fn ports(list: &[wire::Port]) -> Result<Ports, Fault> {
    list.iter()
        .map(|port| Ok((to_port(port.service_port)?, to_port(port.target_port)?)))
        .collect()
}

/// The port number, which the wire holds in 32 bits.
pub fn to_port(value: u32) -> Result<u16, Fault> {
    u16::try_from(value).map_err(|_| Fault::Port(value))
}

/// Single addresses and ranges; those of other networks cannot be a destination here.
fn virtual_addresses(list: &[wire::NetworkAddress]) -> Result<(Vec<IpAddr>, Vec<Prefix>), Fault> {
    let (mut vips, mut ranges) = (Vec::new(), Vec::new());
    for one in list {
        let address = address::parse(&one.address)?;
        let range = one.length.map(|length| Prefix::new(&one.address, length)).transpose()?;
        match range.filter(|range| !range.is_single()) {
            _ if !one.network.is_empty() => {}
            Some(range) => ranges.push(range),
            None => vips.push(address),
        }
    }
    Ok((vips, ranges))
}

fn gateway_name(gateway: &wire::GatewayAddress) -> String {
    use wire::gateway_address::Destination;
    match &gateway.destination {
        Some(Destination::Hostname(name)) => format!("{}/{}", name.namespace, name.hostname),
        Some(Destination::Address(one)) => match address::parse(&one.address) {
            Ok(ip) => ip.to_string(),
            Err(_) => "at an unreadable address".to_owned(),
        },
        None => "of an unknown kind".to_owned(),
    }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn unknown(field: &'static str, value: i32) -> Fault {
    Fault::UnknownValue { field, value }
}
