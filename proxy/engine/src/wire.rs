//! Numbers that other parts of Weft and other meshes know too (agent/wire.py states the same ones).

use std::{net::IpAddr, time::Duration};

/// A pod's own connections, redirected by the connect hooks.
pub const OUTBOUND_PORT: u16 = 15001;
/// Plain TCP from outside, steered by sk_lookup.
pub const INBOUND_PORT: u16 = 15006;
/// Mutual TLS from other proxies.
pub const HBONE_PORT: u16 = 15008;
/// The DNS proxy inside a pod.
pub const DNS_PORT: u16 = 15053;

/// Mark of the proxy's connections to the network.
pub const MARK_UPSTREAM: u32 = 0x539;
/// Mark of the proxy's connections to the app. Replies find their way back by it
/// (net.ipv4.tcp_fwmark_accept), and a socket that inherits it is still captured.
pub const MARK_LAST_HOP: u32 = 0x53a;

/// For a TCP connect, and for a TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection to this port of a pod would end at the proxy itself.
pub fn is_proxy_port(port: u16) -> bool {
    matches!(port, OUTBOUND_PORT | INBOUND_PORT | HBONE_PORT | DNS_PORT)
}

/// An IPv4 address that a dual-stack socket shows as ::ffff:a.b.c.d, in its own form.
pub fn plain_address(address: std::net::SocketAddr) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an address never leaves the network namespace it is used in.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}
