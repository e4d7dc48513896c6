//! Where an outbound connection goes.
//!
//! A virtual address leads to an endpoint of its service, any other known address to the
//! workload that has it, and an unknown one to itself. Whatever cannot be done as configured is
//! refused with the reason, never sent another way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::balance::{self, Choice};
use crate::identity::Identity;
use crate::state::{NOT_COMPLETE, State};
use crate::unusable::Unusable;
use crate::workload::{Mode, Service, Workload};

/// What to do with a connection.
#[derive(Clone, Debug)]
pub enum Route {
    /// A tunnel to `target.ip()`:15008 with `target` as the authority, to a peer that proves one
    /// of `identities`.
    Hbone {
        endpoint: Arc<Workload>,
        service: Option<Arc<Service>>,
        target: SocketAddr,
        identities: Vec<Identity>,
    },
    /// Plain TCP to `target`.
    Direct {
        endpoint: Option<Arc<Workload>>,
        service: Option<Arc<Service>>,
        target: SocketAddr,
    },
    /// No connection.
    Refuse {
        service: Option<Arc<Service>>,
        reason: String,
    },
}

impl State {
    /// The route of a connection from `source` to `destination`. `pick(n)` is asked for a random
    /// number in 0..n where several endpoints are possible.
    pub fn route(&self, source: Option<&Workload>, destination: SocketAddr, pick: &mut dyn FnMut(u64) -> u64) -> Route {
        if !self.is_complete() {
            return refuse(None, NOT_COMPLETE.to_owned());
        }
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        match self.service_at(source, destination.ip()) {
            Some(service) => self.route_to_service(source, service, destination, pick),
            None => self.route_to_address(source, None, destination),
        }
    }

    /// The service that `ip` means to a client: an exact address before a range, unless the
    /// address is a workload's of another namespace, or, for a range, any workload's; of several,
    /// one of the client's namespace, then the longest range, then the canonical one.
    fn service_at(&self, source: Option<&Workload>, ip: IpAddr) -> Option<&Arc<Service>> {
        let namespace = source.map(|workload| workload.namespace.as_str());
        let is_home = |service: &Service| namespace == Some(service.namespace.as_str());
        // A namespace cannot take the traffic to a workload of another one by claiming its address.
        let owners = self.claimants_of(ip);
        let is_taken = |service: &Service| owners.iter().any(|owner| owner.namespace != service.namespace);
        let is_visible = |service: &&Arc<Service>| !service.is_namespace_private || is_home(service);
        // max_by_key keeps the last of equals; reversed, the first by name.
        let exact = self.services_at(ip).iter().rev().filter(is_visible);
        let exact = exact.filter(|service| !is_taken(service));
        if let Some(service) = exact.max_by_key(|service| (is_home(service), service.is_canonical)) {
            return Some(service);
        }
        if !owners.is_empty() {
            return None;
        }
        let ranged = self.ranged_services().iter().rev().filter(is_visible);
        let ranked = ranged.filter_map(|service| {
            let containing = service.ranges.iter().filter(|range| range.contains(ip));
            let length = containing.map(|range| range.length()).max()?;
            Some((service, (is_home(service), length, service.is_canonical)))
        });
        ranked.max_by_key(|(_, rank)| *rank).map(|(service, _)| service)
    }

    fn route_to_service(
        &self,
        source: Option<&Workload>,
        service: &Arc<Service>,
        destination: SocketAddr,
        pick: &mut dyn FnMut(u64) -> u64,
    ) -> Route {
        if let Some(waypoint) = &service.waypoint {
            return refuse(Some(service), beyond_waypoint(waypoint));
        }
        if service.balancing.mode == Mode::Passthrough {
            return self.route_to_address(source, Some(service), destination);
        }
        if !service.ports.contains_key(&destination.port()) {
            return refuse(
                Some(service),
                format!("service {} has no port {}", service.key, destination.port()),
            );
        }
        match balance::choose(self, source, service, destination, pick) {
            // An endpoint's own waypoint is for connections to its address, not to its service.
            Some(Choice { endpoint, target }) if endpoint.is_hbone => tunnel(endpoint, Some(service), target),
            Some(Choice { endpoint, target }) => direct(Some(endpoint), Some(service), target),
            None => refuse(Some(service), self.why_no_endpoint(service)),
        }
    }

    /// A contested address is said to be so only where nothing else could be chosen.
    fn why_no_endpoint(&self, service: &Service) -> String {
        let endpoints = self.endpoints_of(service).iter();
        let mut addresses = endpoints.flat_map(|endpoint| &endpoint.workload.addresses);
        let conflict = addresses.find_map(|ip| match self.claimants_of(*ip) {
            [one, other, ..] => Some(contested(*ip, one, other)),
            _ => None,
        });
        conflict.unwrap_or_else(|| format!("no healthy endpoint of service {}", service.key))
    }

    fn route_to_address(
        &self,
        source: Option<&Workload>,
        service: Option<&Arc<Service>>,
        destination: SocketAddr,
    ) -> Route {
        let workload = match self.claimants_of(destination.ip()) {
            [] => {
                return match self.rejected_at(destination.ip()) {
                    Some(unusable) => refuse(service, beyond_us(unusable)),
                    None => direct(None, service, destination),
                };
            }
            [one] => one,
            [one, other, ..] => return refuse(service, contested(destination.ip(), one, other)),
        };
        let is_itself = source.is_some_and(|source| source.uid == workload.uid);
        match &workload.waypoint {
            _ if is_itself => direct(Some(workload), service, destination),
            Some(waypoint) => refuse(service, beyond_waypoint(waypoint)),
            None if workload.is_hbone => tunnel(workload, service, destination),
            None => direct(Some(workload), service, destination),
        }
    }
}

fn tunnel(endpoint: &Arc<Workload>, service: Option<&Arc<Service>>, target: SocketAddr) -> Route {
    let mut identities = vec![endpoint.identity.clone()];
    let others = service.into_iter().flat_map(|service| &service.subject_alt_names);
    identities.extend(others.filter(|other| **other != endpoint.identity).cloned());
    Route::Hbone {
        endpoint: endpoint.clone(),
        service: service.cloned(),
        target,
        identities,
    }
}

fn direct(endpoint: Option<&Arc<Workload>>, service: Option<&Arc<Service>>, target: SocketAddr) -> Route {
    Route::Direct {
        endpoint: endpoint.cloned(),
        service: service.cloned(),
        target,
    }
}

fn refuse(service: Option<&Arc<Service>>, reason: String) -> Route {
    Route::Refuse {
        service: service.cloned(),
        reason,
    }
}

fn contested(ip: IpAddr, one: &Workload, other: &Workload) -> String {
    format!("address {ip} is claimed by both {} and {}", one.uid, other.uid)
}

fn beyond_us(unusable: &Unusable) -> String {
    format!(
        "what discovery says of {} cannot be used: {}",
        unusable.name, unusable.reason
    )
}

fn beyond_waypoint(waypoint: &str) -> String {
    format!("must go through waypoint {waypoint}, which this version cannot")
}

#[cfg(test)]
mod tests;
