//! From the proxy to the app: policy, then a connection from the client's address.

use crate::{
    connection::{Failure, Flag},
    docket::{Arrival, Guard},
    identity::Identity,
    pod::Pod,
    policy::judge,
    sockets::connect_app,
    state::{State, Workload},
    tally::Effect,
    trial,
    worker::Context,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::net::TcpStream;

/// A snapshot, and the workload in it that a pod is.
pub type Mesh = (Arc<State>, Arc<Workload>);

/// Lets the connection in if policy does, and keeps watch over it from then on. `mesh` is the
/// current snapshot and the pod's workload in it: nothing may have been waited for since.
pub fn admit(context: &Context, pod: &Pod, mesh: &Mesh, arrival: Arrival) -> Result<Guard, Failure> {
    let (state, workload) = mesh;
    let verdict = judge(state, workload, &arrival.attempt());
    let effect = match verdict.is_allowed {
        true => Effect::Allowed,
        false => Effect::Refused,
    };
    context.ledger.tally.count(verdict.policy.as_deref(), effect);
    if let Some(trial) = &verdict.trial {
        trial::note(&context.ledger, trial, &arrival);
    }
    match verdict.is_allowed {
        true => Ok(context.docket.guard_arrival(pod, workload, arrival)),
        false => Err(Failure::new(Flag::Deny, verdict.reason)),
    }
}

/// A connection to the app, which sees the client's address; unless policy changes meanwhile.
pub async fn dial(pod: &Pod, app: SocketAddr, client: IpAddr, guard: &mut Guard) -> Result<TcpStream, Failure> {
    let failed = |error| Failure::new(Flag::Connect, format!("cannot connect to the app at {app}: {error}"));
    tokio::select! {
        biased;
        cut = guard.cut() => Err(cut),
        dialled = connect_app(&pod.netns, app, client) => dialled.map_err(failed),
    }
}

/// The client's workload as discovery knows it by address, if it has the identity that was shown.
pub fn known_client(state: &State, ip: IpAddr, shown: Option<&Identity>) -> Option<Arc<Workload>> {
    let at = state.workload_at(ip)?;
    shown
        .is_none_or(|identity| *identity == at.identity)
        .then(|| at.clone())
}
