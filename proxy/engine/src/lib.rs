//! The engine of Weft's node proxy: it moves the bytes of every enrolled pod's connections.
//!
//! Python decides, this crate carries out. Settings, discovery and certificates come in through
//! `engine::Engine`; only `python` knows that the caller is Python.
//!
//! Reading order: `engine` (the face), `acceptor` (listeners of all pods), `worker` (threads),
//! `outbound` and `inbound` (the way of a connection), `tunnel` (HBONE to a peer), `relay` (bytes).

mod acceptor;
pub mod access_log;
mod budget;
mod catalogue;
mod census;
mod certificates;
mod clock;
mod connection;
mod crowded;
mod description;
mod docket;
pub mod durations;
pub mod engine;
mod error;
mod expiry;
mod explanation;
mod handshakes;
mod hbone;
mod inbound;
mod last_hop;
pub mod metrics;
mod netns;
mod outbound;
mod plain;
mod pod;
mod relay;
mod sockets;
mod sockets_open;
mod tally;
mod tls;
mod trial;
mod tunnel;
mod wire;
mod worker;

mod address;
mod balance;
mod candidates;
mod dump;
mod fault;
mod grounds;
pub mod identity;
mod index;
mod keys;
mod listing;
mod policies;
pub mod policy;
pub mod proto;
mod roll;
mod route;
mod rules;
mod standing;
pub mod state;
#[cfg(test)]
mod testing;
mod unusable;
mod workload;

#[cfg(feature = "python")]
mod python;

#[cfg(test)]
mod fixtures;
