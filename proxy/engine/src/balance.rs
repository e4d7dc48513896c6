//! Which endpoint of a service gets a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::state::{Endpoint, State};
use crate::workload::{Balancing, Mode, Scope, Service, Workload};

/// An endpoint and the socket address on which it serves the requested port.
pub(crate) struct Choice<'a> {
    pub(crate) endpoint: &'a Arc<Workload>,
    pub(crate) target: SocketAddr,
}

/// One usable endpoint, at random by capacity among those closest to `source`; none if there is
/// none. `requested` is the service's address and port.
pub(crate) fn choose<'a>(
    state: &'a State,
    source: Option<&Workload>,
    service: &Service,
    requested: SocketAddr,
    pick: &mut dyn FnMut(u64) -> u64,
) -> Option<Choice<'a>> {
    let usable = |endpoint: &'a Endpoint| {
        let target = target(state, service, endpoint, requested)?;
        Some(Choice {
            endpoint: &endpoint.workload,
            target,
        })
    };
    let choices = state.endpoints_of(service).iter().filter_map(usable);
    weighted(closest(&service.balancing, source, choices), pick)
}

/// Where `endpoint` can be reached for the requested port, if it can be at all.
fn target(state: &State, service: &Service, endpoint: &Endpoint, requested: SocketAddr) -> Option<SocketAddr> {
    let workload = &endpoint.workload;
    let is_ready = workload.is_healthy || service.balancing.takes_unhealthy;
    if !is_ready || workload.capacity == 0 || !workload.network.is_empty() {
        return None;
    }
    let ports = [
        endpoint.ports.get(&requested.port()),
        service.ports.get(&requested.port()),
    ];
    let port = ports.into_iter().flatten().copied().find(|port| *port != 0)?;
    let address = address(service, workload, requested.ip())?;
    let is_certain = workload.is_host_network || is_uncontested(state, workload, address);
    is_certain.then_some(SocketAddr::new(address, port))
}

/// The endpoint's address of the requested family, else one of another family that the service has.
fn address(service: &Service, workload: &Workload, requested: IpAddr) -> Option<IpAddr> {
    let mut allowed = workload.addresses.iter().filter(|ip| service.families.includes(**ip));
    let first = allowed.clone().next()?;
    Some(*allowed.find(|ip| ip.is_ipv4() == requested.is_ipv4()).unwrap_or(first))
}

/// Two claims to one address are harmless only where nothing depends on who has it: the same
/// external server in two entries, both plain TCP.
fn is_uncontested(state: &State, workload: &Workload, address: IpAddr) -> bool {
    match state.claimants_of(address) {
        [_] => true,
        claimants => !workload.is_hbone && claimants.iter().all(|other| !other.is_hbone),
    }
}

fn closest<'a>(
    balancing: &Balancing,
    source: Option<&Workload>,
    choices: impl Iterator<Item = Choice<'a>>,
) -> Vec<Choice<'a>> {
    let shares = |choice: &Choice, scope: &Scope| source.is_some_and(|source| scope.is_shared(source, choice.endpoint));
    match balancing.mode {
        Mode::Any | Mode::Passthrough => choices.collect(),
        Mode::Strict => choices
            .filter(|one| balancing.scopes.iter().all(|scope| shares(one, scope)))
            .collect(),
        Mode::Failover => {
            let rank = |one: &Choice| balancing.scopes.iter().take_while(|scope| shares(one, scope)).count();
            top(choices.map(|one| (rank(&one), one)))
        }
    }
}

fn top<'a>(ranked: impl Iterator<Item = (usize, Choice<'a>)>) -> Vec<Choice<'a>> {
    let mut best = (0, Vec::new());
    for (rank, choice) in ranked {
        if rank > best.0 {
            best = (rank, Vec::new());
        }
        if rank == best.0 {
            best.1.push(choice);
        }
    }
    best.1
}

fn weighted<'a>(choices: Vec<Choice<'a>>, pick: &mut dyn FnMut(u64) -> u64) -> Option<Choice<'a>> {
    let weight = |choice: &Choice| u64::from(choice.endpoint.capacity);
    let total: u64 = choices.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = pick(total);
    choices
        .into_iter()
        .find(|choice| match left.checked_sub(weight(choice)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
}

impl Scope {
    fn is_shared(self, one: &Workload, other: &Workload) -> bool {
        match self {
            Scope::Region => one.region == other.region,
            Scope::Zone => one.zone == other.zone,
            Scope::Subzone => one.subzone == other.subzone,
            Scope::Node => one.node == other.node,
            Scope::Cluster => one.cluster == other.cluster,
            Scope::Network => one.network == other.network,
        }
    }
}
