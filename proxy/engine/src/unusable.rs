//! What discovery has said that this engine cannot use, and no earlier word on it is left.
//!
//! It exists, and may well be in the mesh, so nobody is led to its addresses in plain text: they
//! are refused for as long as nothing usable has them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message;

use crate::address;
use crate::fault::Fault;
use crate::index::{Claimant, Claims, Index};
use crate::proto::workload as wire;

/// As much as could be read of a resource that is not used.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The resource's name.
    pub name: Arc<str>,
    pub reason: String,
    addresses: BTreeSet<IpAddr>,
}

impl Claimant for Arc<Unusable> {
    fn key(&self) -> &str {
        &self.name
    }
}

/// All of them, by name and by address.
#[derive(Clone, Default)]
pub struct Rejected {
    by_name: Index<Arc<str>, Arc<Unusable>>,
    by_address: Claims<IpAddr, Arc<Unusable>>,
}

impl Rejected {
    /// Notes a resource with the addresses that can be read in it.
    pub fn insert(&mut self, name: &str, bytes: &[u8], fault: &Fault) {
        self.remove(name);
        let unusable = Arc::new(Unusable {
            name: name.into(),
            reason: fault.to_string(),
            addresses: addresses_in(bytes),
        });
        for ip in &unusable.addresses {
            self.by_address.insert(*ip, unusable.clone());
        }
        self.by_name.insert(unusable.name.clone(), unusable);
    }

    /// The resource is gone or has become usable; an unknown name changes nothing.
    pub fn remove(&mut self, name: &str) {
        let Some(unusable) = self.by_name.remove(name) else {
            return;
        };
        for ip in &unusable.addresses {
            self.by_address.remove(ip, name);
        }
    }

    /// Whose address it is, if it is the address of something that is not used.
    pub fn at(&self, ip: IpAddr) -> Option<&Arc<Unusable>> {
        self.by_address.of(&ip).first()
    }
}

/// Addresses that lead to a workload or service and to nothing else.
fn addresses_in(bytes: &[u8]) -> BTreeSet<IpAddr> {
    let read = |bytes: &[u8]| address::parse(bytes).ok();
    match wire::Address::decode(bytes).ok().and_then(|message| message.r#type) {
        Some(wire::address::Type::Workload(workload)) if is_shared(&workload) => BTreeSet::new(),
        Some(wire::address::Type::Workload(workload)) => {
            workload.addresses.iter().filter_map(|one| read(one)).collect()
        }
        Some(wire::address::Type::Service(service)) => {
            let own = service.addresses.iter().filter(|one| one.network.is_empty());
            own.filter_map(|one| read(&one.address)).collect()
        }
        None => BTreeSet::new(),
    }
}

/// Its addresses are its node's, or mean something else here.
fn is_shared(workload: &wire::Workload) -> bool {
    workload.network_mode == i32::from(wire::NetworkMode::HostNetwork) || !workload.network.is_empty()
}
