//! Builders of discovery's messages for tests: sensible values, which a test changes where it
//! has something to say.

use std::net::{IpAddr, SocketAddr};

use prost::Message;

use crate::proto::{security, workload as wire};
use crate::state::{ADDRESS_TYPE, AUTHORIZATION_TYPE, Store};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

pub(crate) fn raw(text: &str) -> Vec<u8> {
    match ip(text) {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A healthy pod of namespace shop that takes part in the mesh.
pub(crate) fn a_pod(name: &str, address: &str) -> wire::Workload {
    wire::Workload {
        uid: pod_uid(name),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![raw(address)],
        tunnel_protocol: wire::TunnelProtocol::Hbone.into(),
        service_account: name.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn pod_uid(name: &str) -> String {
    format!("Kubernetes//Pod/shop/{name}")
}

/// A service of namespace shop whose port 80 leads to port 8080.
pub(crate) fn a_service(name: &str, vip: &str) -> wire::Service {
    wire::Service {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        hostname: hostname(name),
        addresses: vec![vip_of(vip)],
        ports: vec![port(80, 8080)],
        ..Default::default()
    }
}

pub(crate) fn hostname(name: &str) -> String {
    format!("{name}.shop.svc.cluster.local")
}

pub(crate) fn vip_of(address: &str) -> wire::NetworkAddress {
    wire::NetworkAddress {
        address: raw(address),
        ..Default::default()
    }
}

pub(crate) fn port(service_port: u32, target_port: u32) -> wire::Port {
    wire::Port {
        service_port,
        target_port,
        ..Default::default()
    }
}

/// The pod as an endpoint of a service of namespace shop, with the service's ports.
pub(crate) fn endpoint_of(service: &str, pod: wire::Workload) -> wire::Workload {
    endpoint_with(service, vec![port(80, 8080)], pod)
}

pub(crate) fn endpoint_with(service: &str, ports: Vec<wire::Port>, mut pod: wire::Workload) -> wire::Workload {
    pod.services
        .insert(format!("shop/{}", hostname(service)), wire::PortList { ports });
    pod
}

pub(crate) fn waypoint(hostname: &str) -> wire::GatewayAddress {
    let name = wire::NamespacedHostname {
        namespace: "shop".to_owned(),
        hostname: hostname.to_owned(),
    };
    let destination = Some(wire::gateway_address::Destination::Hostname(name));
    wire::GatewayAddress {
        destination,
        hbone_mtls_port: 15008,
    }
}

pub(crate) fn a_policy(name: &str, action: security::Action, rules: Vec<security::Rule>) -> security::Authorization {
    security::Authorization {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scope: security::Scope::Namespace.into(),
        action: action.into(),
        rules,
        ..Default::default()
    }
}

/// A rule of one clause with one match.
pub(crate) fn when(one: security::Match) -> Vec<security::Rule> {
    vec![security::Rule {
        clauses: vec![security::Clause { matches: vec![one] }],
    }]
}

pub(crate) fn exact(text: &str) -> security::StringMatch {
    security::StringMatch {
        match_type: Some(security::string_match::MatchType::Exact(text.to_owned())),
    }
}

/// A resource of the Address type, with its name.
pub(crate) trait Resource {
    fn resource(self) -> (String, Vec<u8>);
}

impl Resource for wire::Workload {
    fn resource(self) -> (String, Vec<u8>) {
        let name = self.uid.clone();
        let address = wire::Address {
            r#type: Some(wire::address::Type::Workload(self)),
        };
        (name, address.encode_to_vec())
    }
}

impl Resource for wire::Service {
    fn resource(self) -> (String, Vec<u8>) {
        let name = format!("{}/{}", self.namespace, self.hostname);
        let address = wire::Address {
            r#type: Some(wire::address::Type::Service(self)),
        };
        (name, address.encode_to_vec())
    }
}

impl Resource for security::Authorization {
    fn resource(self) -> (String, Vec<u8>) {
        (format!("{}/{}", self.namespace, self.name), self.encode_to_vec())
    }
}

/// What a test does with a store.
impl Store {
    /// A store to which both types have been applied.
    pub(crate) fn complete() -> Store {
        let store = Store::new();
        store.apply(ADDRESS_TYPE, vec![], vec![]);
        store.apply(AUTHORIZATION_TYPE, vec![], vec![]);
        store
    }

    pub(crate) fn put(&self, one: impl Resource) -> Vec<(String, String)> {
        self.apply(ADDRESS_TYPE, vec![one.resource()], vec![])
    }

    pub(crate) fn put_policy(&self, one: security::Authorization) -> Vec<(String, String)> {
        self.apply(AUTHORIZATION_TYPE, vec![one.resource()], vec![])
    }

    pub(crate) fn remove(&self, name: &str) {
        self.apply(ADDRESS_TYPE, vec![], vec![name.to_owned()]);
    }
}
