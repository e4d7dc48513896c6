//! Sockets in pods: listeners, connections to the network, the last hop to the app.

use crate::{
    netns::NetworkNamespace,
    wire::{CONNECT_TIMEOUT, MARK_LAST_HOP, MARK_UPSTREAM, plain_address},
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use tokio::net::TcpStream;

const BACKLOG: i32 = 4096;

/// Source ports of last hops, see `assume_address`; taken in turn.
const LAST_HOP_PORTS: Range<u16> = 16384..26624;
static NEXT_LAST_HOP_PORT: AtomicU32 = AtomicU32::new(0);
/// Source ports of plain connections out of the mesh, see `connect_plain`; taken in turn.
const PLAIN_PORTS: Range<u16> = 26624..32768;
static NEXT_PLAIN_PORT: AtomicU32 = AtomicU32::new(0);
const PLAIN_TRIES: usize = 8;
/// Ports to try before a client's connections to one app are too many.
const LAST_HOP_TRIES: usize = 64;

/// A peer that vanished without a word is given up after half an hour; accepted sockets inherit it.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(180))
    .with_interval(Duration::from_secs(180))
    .with_retries(9);

fn tcp(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    // Until it has ended in order: if this process dies, a cut connection looks like one.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

/// A socket bound to `port` on every address of the namespace, both families; not yet listening.
///
/// One dual-stack socket, so that one entry in a redirect map serves both. SO_REUSEPORT lets the
/// next proxy listen before this one has left.
pub fn bound(namespace: &NetworkNamespace, port: u16) -> io::Result<Socket> {
    namespace.run(|| match bound_to(Ipv6Addr::UNSPECIFIED.into(), port) {
        Err(error) if lacks_ipv6(&error) => bound_to(Ipv4Addr::UNSPECIFIED.into(), port),
        done => done,
    })
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bound_to(ip: IpAddr, port: u16) -> io::Result<Socket> {
    let address = SocketAddr::new(ip, port);
    let socket = tcp(Domain::for_address(address))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it, which saves a call for each
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Starts to listen. The kernel's hooks learn of a listener at this call.
pub fn listen(socket: Socket) -> io::Result<std::net::TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where a redirected connection was going, None if nobody redirected it.
///
/// Asked at level IPPROTO_IPV6 first, because the listener is an IPv6 socket; an IPv4
/// destination is then answered in mapped form.
pub fn original_destination(accepted: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(accepted);
    let answer = socket.original_dst_v6().or_else(|_| socket.original_dst_v4()).ok()?;
    answer.as_socket().map(plain_address)
}

/// Connects to the network from the pod's namespace and address.
pub async fn connect_upstream(namespace: &NetworkNamespace, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = namespace.run(|| {
        let socket = tcp(Domain::for_address(to))?;
        socket.set_mark(MARK_UPSTREAM)?;
        Ok(socket)
    })?;
    connect(socket, to).await
}

/// Connects from the pod's namespace to a destination outside the mesh; `own` is the pod's
/// address of that family.
///
/// Its ports too are such as no client chooses: a pod that joins or leaves the mesh calls the same
/// server through us and by itself, there perhaps by a service's address. For the server both are
/// one client, whose TCP timestamps run differently for each, so the second of two connections
/// with one port meets the first in TIME_WAIT and is ignored. When many are in use, the kernel
/// chooses among the ordinary ones.
pub async fn connect_plain(namespace: &NetworkNamespace, to: SocketAddr, own: Option<IpAddr>) -> io::Result<TcpStream> {
    if let Some(own) = own {
        match connect_with_any_port(namespace, to, PLAIN_TRIES, || plain(to, own)).await {
            Err(error) if is_port_taken(&error) => {}
            done => return done,
        }
    }
    connect_upstream(namespace, to).await
}

/// Connects a socket of `bound`, which takes another port each time, until a port is free.
async fn connect_with_any_port(
    namespace: &NetworkNamespace,
    to: SocketAddr,
    tries: usize,
    bound: impl Fn() -> io::Result<Socket>,
) -> io::Result<TcpStream> {
    let mut tries = 1..tries;
    loop {
        let attempt = match namespace.run(&bound) {
            Ok(socket) => connect(socket, to).await,
            Err(error) => Err(error),
        };
        match attempt {
            Err(error) if is_port_taken(&error) && tries.next().is_some() => {}
            done => return done,
        }
    }
}

fn plain(to: SocketAddr, own: IpAddr) -> io::Result<Socket> {
    let socket = tcp(Domain::for_address(to))?;
    socket.set_mark(MARK_UPSTREAM)?;
    socket.set_reuse_address(true)?; // the four-tuple must be unique, not the port
    let port = in_turn(&NEXT_PLAIN_PORT, &PLAIN_PORTS);
    socket.bind(&SockAddr::from(SocketAddr::new(own, port)))?;
    Ok(socket)
}

fn in_turn(next: &AtomicU32, ports: &Range<u16>) -> u16 {
    let turn = next.fetch_add(1, Relaxed) % ports.len() as u32;
    ports.start + turn as u16
}

/// Connects to the app, from `source`'s address when it is another than the pod's.
///
/// Bound to lo: the route comes from the mark's table, and the steering program lets pass what
/// arrives there. Not so when the pod calls itself: then the replies show the device that has the
/// address, would not be the socket's, and the steering program knows such calls by their ends.
pub async fn connect_app(namespace: &NetworkNamespace, to: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let spoofed = (source != to.ip()).then_some(source);
    let tries = if spoofed.is_some() { LAST_HOP_TRIES } else { 1 };
    connect_with_any_port(namespace, to, tries, || last_hop(to, spoofed)).await
}

fn last_hop(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = tcp(Domain::for_address(to))?;
    socket.set_mark(MARK_LAST_HOP)?;
    if let Some(source) = source {
        socket.bind_device(Some(b"lo"))?;
        assume_address(&socket, source)?;
    }
    Ok(socket)
}

/// Binds to the client's address and a port that no client chooses by itself.
///
/// The app's end of a last hop and a plain connection of the same client from outside are the
/// same four-tuple if their ports are, so one in TIME_WAIT would swallow the other's SYN for a
/// minute. Clients take their ports from the ephemeral range (32768 and up by default,
/// ip_local_port_range); ours are below it. IP_LOCAL_PORT_RANGE could not say so: the kernel
/// confines it to the namespace's own range.
fn assume_address(socket: &Socket, source: IpAddr) -> io::Result<()> {
    socket.set_reuse_address(true)?; // the four-tuple must be unique, not the port
    match source {
        IpAddr::V4(_) => {
            socket.set_ip_transparent_v4(true)?;
            socket.set_freebind_v4(true)?;
        }
        IpAddr::V6(_) => {
            socket.set_ip_transparent_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    let port = in_turn(&NEXT_LAST_HOP_PORT, &LAST_HOP_PORTS);
    socket.bind(&SockAddr::from(SocketAddr::new(source, port)))
}

fn is_port_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

async fn connect(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into())?;
    match tokio::time::timeout(CONNECT_TIMEOUT, stream.writable()).await {
        Ok(ready) => ready?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    match stream.take_error()? {
        None => Ok(stream),
        Some(error) => Err(error),
    }
}

/// Makes the coming close a FIN, and leaves what is still to be sent to the kernel.
pub fn end_in_order(stream: &TcpStream) {
    // It can only fail on a socket that is already gone.
    let _ = SockRef::from(stream).set_linger(None);
}

/// Makes the coming close a RST instead of a FIN, so that the other end knows it is no clean end.
pub fn reset_on_close(stream: &TcpStream) {
    // It can only fail on a socket that is already gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd};
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_is_dropped_without_an_orderly_end_is_reset() {
        let own = NetworkNamespace::duplicate(File::open("/proc/thread-self/ns/net").unwrap().as_fd()).unwrap();
        let listener = listen(bound(&own, 0).unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for (ends_in_order, seen) in [(true, None), (false, Some(io::ErrorKind::ConnectionReset))] {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            let server = listener.accept().unwrap().0;
            server.set_nonblocking(true).unwrap();
            let server = TcpStream::from_std(server).unwrap();
            if ends_in_order {
                end_in_order(&server);
            }
            drop(server);
            let read = client.read(&mut [0]).await;
            assert_eq!(read.err().map(|error| error.kind()), seen);
        }
    }
}
