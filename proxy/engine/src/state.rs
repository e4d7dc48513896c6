//! What discovery has said: immutable snapshots for the readers, one writer that replaces them.
//!
//! Python hands in raw resources as they come; each is parsed or rejected here, one by one. All
//! of a response comes into force with one swap. Readers hold a snapshot as long as they like.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use prost::Message;

use crate::fault::Fault;
use crate::index::{Claimant, Claims, Index};
use crate::policies::Policies;
use crate::proto::workload as wire;
use crate::unusable::{Rejected, Unusable};

pub use crate::route::Route;
pub use crate::workload::{Ports, Service, Workload};

/// Type URL of workloads and services.
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of policies.
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";

/// Why everything is refused before both types have been applied once.
pub const NOT_COMPLETE: &str = "discovery is not complete";

/// The current snapshot, and the way to the next one.
pub struct Store {
    current: ArcSwap<State>,
    writer: Mutex<()>,
}

/// The mesh at one moment. Cheap to clone; the indexes are kept up with every change, so no
/// reader ever builds one.
#[derive(Clone, Default)]
pub struct State {
    has_addresses: bool,
    has_policies: bool,
    workloads: Index<Arc<str>, Arc<Workload>>,
    by_address: Claims<IpAddr, Arc<Workload>>,
    by_pod: Claims<Arc<str>, Arc<Workload>>,
    services: Index<Arc<str>, Arc<Service>>,
    by_vip: Claims<IpAddr, Arc<Service>>,
    ranged: Claims<(), Arc<Service>>,
    endpoints: Claims<Arc<str>, Endpoint>,
    rejected: Rejected,
    policies: Arc<Policies>,
}

/// A workload as part of one service.
#[derive(Clone)]
pub struct Endpoint {
    pub workload: Arc<Workload>,
    /// Its own resolution of the service's ports.
    pub ports: Arc<Ports>,
}

impl Claimant for Endpoint {
    fn key(&self) -> &str {
        &self.workload.uid
    }
}

impl Default for Store {
    fn default() -> Self {
        Store::new()
    }
}

impl Store {
    /// Empty and not complete.
    pub fn new() -> Store {
        Store {
            current: ArcSwap::default(),
            writer: Mutex::new(()),
        }
    }

    /// Takes one discovery response: (name, protobuf) of what changed, names of what is gone.
    ///
    /// Returns (name, reason) of what cannot be used; of that the last good state stays, and its
    /// addresses lead nowhere if there is none. The first call for a type completes it, also when it brings nothing.
    pub fn apply(
        &self,
        type_url: &str,
        changed: Vec<(String, Vec<u8>)>,
        removed: Vec<String>,
    ) -> Vec<(String, String)> {
        // A writer that panicked has swapped nothing in, so its lock protects nothing broken.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = State::clone(&self.current.load());
        let rejected = match type_url {
            ADDRESS_TYPE => next.apply_addresses(&changed, &removed),
            AUTHORIZATION_TYPE => next.apply_policies(&changed, &removed),
            _ => {
                let reason = Fault::UnknownType(type_url.to_owned()).to_string();
                return changed.into_iter().map(|(name, _)| (name, reason.clone())).collect();
            }
        };
        self.current.store(Arc::new(next));
        rejected
    }

    /// The snapshot in force now.
    pub fn load(&self) -> Arc<State> {
        self.current.load_full()
    }
}

impl State {
    /// Whether workloads and policies have both been applied at least once.
    pub fn is_complete(&self) -> bool {
        self.has_addresses && self.has_policies
    }

    /// The one workload at an address; none if several claim it.
    pub fn workload_at(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        sole(self.claimants_of(ip))
    }

    /// The workload of a pod; none if several are said to be it.
    ///
    /// A WorkloadEntry may be named like a pod of its namespace: then the one that is a pod by
    /// its uid (CLUSTER//Pod/NAMESPACE/NAME) is meant.
    pub fn workload_of_pod(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        let named = self.by_pod.of(pod_key(namespace, name).as_str());
        let mut pods = named.iter().filter(|workload| workload.uid.contains("//Pod/"));
        match (pods.next(), pods.next()) {
            (Some(pod), None) => Some(pod),
            (Some(_), Some(_)) => None,
            (None, _) => sole(named),
        }
    }

    /// All that claim an address, in the order of their uids.
    pub fn claimants_of(&self, ip: IpAddr) -> &[Arc<Workload>] {
        self.by_address.of(&ip.to_canonical())
    }

    /// Services with exactly this virtual address.
    /// The service that a connection to this port of an endpoint was most likely meant for: the
    /// only one that has the port. For labels; nobody has proved it.
    pub fn service_behind(&self, endpoint: &Workload, port: u16) -> Option<&Arc<Service>> {
        let mut candidates = endpoint
            .services
            .iter()
            .filter(|(_, ports)| ports.values().any(|target| *target == port));
        match (candidates.next(), candidates.next()) {
            (Some((key, _)), None) => self.services.get(key),
            _ => None,
        }
    }

    pub(crate) fn services_at(&self, vip: IpAddr) -> &[Arc<Service>] {
        self.by_vip.of(&vip)
    }

    /// Services that own ranges of addresses.
    pub(crate) fn ranged_services(&self) -> &[Arc<Service>] {
        self.ranged.of(&())
    }

    /// All endpoints of a service, usable or not.
    pub(crate) fn endpoints_of(&self, service: &Service) -> &[Endpoint] {
        self.endpoints.of(&*service.key)
    }

    /// What is known to have an address, but cannot be used.
    pub(crate) fn rejected_at(&self, ip: IpAddr) -> Option<&Arc<Unusable>> {
        self.rejected.at(ip)
    }

    pub(crate) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    fn apply_addresses(&mut self, changed: &[(String, Vec<u8>)], removed: &[String]) -> Vec<(String, String)> {
        for name in removed {
            self.remove_workload(name);
            self.remove_service(name);
            self.rejected.remove(name);
        }
        self.has_addresses = true;
        rejections(changed, |name, bytes| self.insert_address(name, bytes))
    }

    fn apply_policies(&mut self, changed: &[(String, Vec<u8>)], removed: &[String]) -> Vec<(String, String)> {
        let policies = Arc::make_mut(&mut self.policies);
        for name in removed {
            policies.remove(name);
        }
        self.has_policies = true;
        rejections(changed, |name, bytes| policies.insert(name, bytes))
    }

    fn insert_address(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let inserted = self.insert_usable(name, bytes);
        match &inserted {
            Ok(()) => self.rejected.remove(name),
            Err(fault) => self.rejected.insert(name, bytes, fault),
        }
        inserted
    }

    fn insert_usable(&mut self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        match wire::Address::decode(bytes)?.r#type {
            Some(wire::address::Type::Workload(message)) => {
                let workload = Workload::try_from(message)?;
                expect_name(name, &workload.uid)?;
                self.insert_workload(Arc::new(workload));
            }
            Some(wire::address::Type::Service(message)) => {
                let service = Service::try_from(message)?;
                expect_name(name, &service.key)?;
                self.insert_service(Arc::new(service));
            }
            None => return Err(Fault::NoKind),
        }
        Ok(())
    }

    fn insert_workload(&mut self, workload: Arc<Workload>) {
        self.remove_workload(&workload.uid);
        self.workloads.insert(workload.uid.as_str().into(), workload.clone());
        self.by_pod
            .insert(pod_key(&workload.namespace, &workload.name).into(), workload.clone());
        for ip in indexed_addresses(&workload) {
            self.by_address.insert(*ip, workload.clone());
        }
        for (service, ports) in &workload.services {
            let endpoint = Endpoint {
                workload: workload.clone(),
                ports: ports.clone(),
            };
            self.endpoints.insert(service.clone(), endpoint);
        }
    }

    fn remove_workload(&mut self, uid: &str) {
        let Some(workload) = self.workloads.remove(uid) else {
            return;
        };
        self.by_pod
            .remove(pod_key(&workload.namespace, &workload.name).as_str(), uid);
        for ip in indexed_addresses(&workload) {
            self.by_address.remove(ip, uid);
        }
        for service in workload.services.keys() {
            self.endpoints.remove(service, uid);
        }
    }

    fn insert_service(&mut self, service: Arc<Service>) {
        self.remove_service(&service.key);
        self.services.insert(service.key.clone(), service.clone());
        for vip in &service.vips {
            self.by_vip.insert(*vip, service.clone());
        }
        if !service.ranges.is_empty() {
            self.ranged.insert((), service);
        }
    }

    fn remove_service(&mut self, key: &str) {
        let Some(service) = self.services.remove(key) else {
            return;
        };
        for vip in &service.vips {
            self.by_vip.remove(vip, key);
        }
        self.ranged.remove(&(), key);
    }
}

/// The addresses that lead to this workload and to no other.
fn indexed_addresses(workload: &Workload) -> &[IpAddr] {
    match workload.is_host_network || !workload.network.is_empty() {
        true => &[],
        false => &workload.addresses,
    }
}

fn sole(claimants: &[Arc<Workload>]) -> Option<&Arc<Workload>> {
    match claimants {
        [one] => Some(one),
        _ => None,
    }
}

fn pod_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A removal names what an earlier change brought, so the two names have to be one.
fn expect_name(name: &str, content: &str) -> Result<(), Fault> {
    match name == content {
        true => Ok(()),
        false => Err(Fault::Misnamed(content.to_owned())),
    }
}

fn rejections(
    changed: &[(String, Vec<u8>)],
    mut insert: impl FnMut(&str, &[u8]) -> Result<(), Fault>,
) -> Vec<(String, String)> {
    let rejection = |(name, bytes): &(String, Vec<u8>)| {
        let fault = insert(name, bytes).err()?;
        Some((name.clone(), fault.to_string()))
    };
    changed.iter().filter_map(rejection).collect()
}

#[cfg(test)]
mod tests;
