//! Connections that are refused at once, because their pod has too many.

use crate::{
    connection::{Connection, Failure, Flag},
    description::{Description, Direction, End},
    pod::Pod,
    sockets::{original_destination, reset_on_close},
    wire::plain_address,
    worker::{Context, Entrance},
};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Resets the connection, counts and logs it.
pub fn refuse(context: &Context, pod: &Pod, entrance: Entrance, accepted: &TcpStream, reason: String) {
    reset_on_close(accepted);
    let (Ok(peer), Ok(local)) = (accepted.peer_addr(), accepted.local_addr()) else {
        return;
    };
    let (direction, local) = match entrance {
        Entrance::Outbound => (Direction::Outbound, original_destination(accepted).unwrap_or(local)),
        Entrance::Plain | Entrance::Hbone => (Direction::Inbound, local),
    };
    let end = |address: SocketAddr| End {
        address: plain_address(address),
        workload: None,
        identity: None,
    };
    let description = Description {
        direction,
        pod: pod.uid.clone(),
        source: end(peer),
        destination: end(local),
        service: None,
        hbone_target: None,
    };
    Connection::open(&context.ledger, description).end(Err(Failure::new(Flag::Deny, reason)));
}
