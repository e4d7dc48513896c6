//! From the proxy to the app: policy, then a connection from the client's address.

use crate::{
    connection::{Failure, Flag},
    identity::Identity,
    pod::Pod,
    policy::{Attempt, Verdict, judge},
    sockets::connect_app,
    state::{State, Workload},
};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

/// Whether policy lets this client in; the identity is None without mutual TLS.
pub fn admit(
    state: &State,
    workload: &Workload,
    client: Option<&Identity>,
    source_ip: IpAddr,
    destination: SocketAddr,
) -> Result<(), Failure> {
    match judge(
        state,
        workload,
        &Attempt {
            source: client,
            source_ip,
            destination,
        },
    ) {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { reason, .. } => Err(Failure::new(Flag::Deny, reason)),
    }
}

/// A connection to the app, which sees the client's address.
pub async fn dial(pod: &Pod, app: SocketAddr, client: IpAddr) -> Result<TcpStream, Failure> {
    connect_app(&pod.netns, app, client)
        .await
        .map_err(|error| Failure::new(Flag::Connect, format!("cannot connect to the app at {app}: {error}")))
}

/// The client's workload as discovery knows it by address, if it has the identity that was shown.
pub fn known_client(state: &State, ip: IpAddr, shown: Option<&Identity>) -> Option<std::sync::Arc<Workload>> {
    let at = state.workload_at(ip)?;
    shown
        .is_none_or(|identity| *identity == at.identity)
        .then(|| at.clone())
}
