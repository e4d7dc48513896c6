//! A connection that an enrolled pod's app has opened, redirected to us.

use crate::{
    certificates::Credentials,
    connection::{Connection, Failure, Flag, Ledger},
    description::{Description, Direction, End},
    durations::{Outcome, Timer, Way},
    hbone,
    identity::Identity,
    pod::Pod,
    relay,
    sockets::{connect_plain, connect_upstream, end_in_order, original_destination, reset_on_close},
    state::{Route, Service, Workload},
    tls,
    tunnel::{Key, Stream, Tunnel},
    wire::{CONNECT_TIMEOUT, HBONE_PORT, is_local, is_proxy_port, plain_address},
    worker::Context,
};
use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Instant,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Carries the connection to where it was going. What cannot be carried is reset.
pub async fn serve(context: Rc<Context>, pod: Arc<Pod>, client: TcpStream, accepted_at: Instant) {
    let aborted = pod.aborted.clone();
    tokio::select! {
        () = carry(&context, &pod, &client, accepted_at) => {}
        () = aborted.cancelled() => reset_on_close(&client),
    }
}

async fn carry(context: &Context, pod: &Arc<Pod>, client: &TcpStream, accepted_at: Instant) {
    let Ok(source) = client.peer_addr().map(plain_address) else {
        return;
    };
    let Some(destination) = original_destination(client) else {
        return refuse(
            context,
            pod,
            client,
            Call::unknown(source, source, accepted_at),
            "nobody redirected this connection here",
        );
    };
    let call = Call::unknown(source, destination, accepted_at);
    let Some((state, workload)) = context.shared.mesh_with(pod).await else {
        return refuse(context, pod, client, call, "discovery does not know this pod yet");
    };
    let call = Call {
        source: seen_from_outside(source, destination, &workload),
        workload: Some(workload.clone()),
        ..call
    };
    if is_own(destination, &workload) && is_proxy_port(destination.port()) {
        return refuse(
            context,
            pod,
            client,
            call,
            "recursive call: the destination is this proxy",
        );
    }
    match state.route(Some(&workload), destination, &mut |n| fastrand::u64(0..n.max(1))) {
        Route::Refuse { service, reason } => refuse(context, pod, client, Call { service, ..call }, &reason),
        Route::Direct {
            endpoint,
            service,
            target,
        } => {
            let call = Call {
                service,
                endpoint,
                ..call
            };
            direct(context, pod, client, call, target).await;
        }
        Route::Hbone {
            endpoint,
            service,
            target,
            identities,
        } => {
            let call = Call {
                service,
                endpoint: Some(endpoint),
                ..call
            };
            tunnelled(context, pod, client, call, target, identities).await;
        }
    }
}

/// The client's end without a mesh: the redirection shows us its end on loopback.
fn seen_from_outside(source: SocketAddr, destination: SocketAddr, workload: &Workload) -> SocketAddr {
    let is_same_family = |own: &&IpAddr| own.is_ipv4() == destination.is_ipv4();
    match workload.addresses.iter().find(is_same_family) {
        Some(own) if source.ip().is_loopback() => SocketAddr::new(*own, source.port()),
        _ => source,
    }
}

fn is_own(destination: SocketAddr, workload: &Workload) -> bool {
    is_local(destination.ip()) || workload.addresses.contains(&destination.ip())
}

/// What is known of a connection so far.
struct Call {
    accepted_at: Instant,
    source: SocketAddr,
    destination: SocketAddr,
    workload: Option<Arc<Workload>>,
    service: Option<Arc<Service>>,
    endpoint: Option<Arc<Workload>>,
}

impl Call {
    fn unknown(source: SocketAddr, destination: SocketAddr, accepted_at: Instant) -> Self {
        Self {
            accepted_at,
            source,
            destination,
            workload: None,
            service: None,
            endpoint: None,
        }
    }

    fn plain(self, pod: &Pod, target: SocketAddr) -> Description {
        Description {
            direction: Direction::Outbound,
            pod: pod.uid.clone(),
            source: End {
                address: self.source,
                workload: self.workload,
                identity: None,
            },
            destination: End {
                address: target,
                workload: self.endpoint,
                identity: None,
            },
            service: self.service,
            hbone_target: None,
        }
    }

    fn tunnelled(self, pod: &Pod, target: SocketAddr, tunnel: SocketAddr) -> Description {
        let shown = self.endpoint.as_ref().map(|endpoint| endpoint.identity.clone());
        let mut description = self.plain(pod, tunnel);
        description.source.identity = Some(pod.identity.clone());
        description.destination.identity = shown;
        description.hbone_target = Some(target);
        description
    }
}

fn refuse(context: &Context, pod: &Pod, client: &TcpStream, call: Call, reason: &str) {
    reset_on_close(client);
    let destination = call.destination;
    let connection = Connection::open(&context.ledger, call.plain(pod, destination));
    connection.end(Err(Failure::new(Flag::Connect, reason)));
}

async fn direct(context: &Context, pod: &Pod, client: &TcpStream, call: Call, target: SocketAddr) {
    let addresses = call.workload.as_ref().map_or(&[][..], |workload| &workload.addresses);
    let own = addresses.iter().find(|own| own.is_ipv4() == target.is_ipv4()).copied();
    let timer = context.ledger.durations.connect(Way::Direct, call.accepted_at);
    let connection = Connection::open(&context.ledger, call.plain(pod, target));
    let dialled = async {
        let server = connect_plain(&pod.netns, target, own).await;
        server.map_err(|error| unreachable(target, &error))
    };
    let done = match unless_gone(client, timer, dialled).await {
        Err(failure) => Err(failure),
        Ok(server) => {
            connection.established();
            let done = relay::between(client, &server, &connection).await;
            done.inspect_err(|_| reset_on_close(&server)).map_err(broken)
        }
    };
    finish(client, connection, done);
}

async fn tunnelled(
    context: &Context,
    pod: &Arc<Pod>,
    client: &TcpStream,
    call: Call,
    target: SocketAddr,
    identities: Vec<Identity>,
) {
    let tunnel = SocketAddr::new(target.ip(), HBONE_PORT);
    let mut guard = context.docket.guard_departure(target.ip(), &identities);
    let key = Key {
        pod: pod.uid.clone(),
        peer: call.endpoint.as_ref().map_or_else(String::new, |peer| peer.uid.clone()),
        target: target.ip(),
        identities,
    };
    let source = call.source;
    let timer = context.ledger.durations.connect(Way::Hbone, call.accepted_at);
    let workload = call.workload.clone();
    let connection = Connection::open(&context.ledger, call.tunnelled(pod, target, tunnel));
    let carried = async {
        let opened = stream(context, pod, source, workload.as_deref(), target, key);
        let Stream { send, receive, lease } = unless_gone(client, timer, opened).await?;
        connection.established();
        let done = relay::into_tunnel(client, send, receive, &connection).await;
        drop(lease);
        done.map_err(broken)
    };
    let done = tokio::select! {
        biased;
        cut = guard.cut() => Err(cut),
        done = carried => done,
    };
    finish(client, connection, done);
}

/// What is being made for a client, given up when the client's connection is reset meanwhile.
async fn unless_gone<T>(
    client: &TcpStream,
    timer: Timer<'_>,
    made: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        made = made => {
            timer.end(Outcome::of(&made));
            made
        }
        error = relay::failure(client) => Err(Failure::new(Flag::None, format!("the client broke off: {error}"))),
    }
}

fn finish(client: &TcpStream, connection: Connection, done: Result<(), Failure>) {
    if done.is_err() {
        reset_on_close(client);
    }
    connection.end(done);
}

fn broken(broken: relay::Broken) -> Failure {
    Failure::new(Flag::None, broken.to_string())
}

/// Nothing at all came back, or only TCP did.
fn too_slow(to: SocketAddr, is_answered: bool) -> Failure {
    let flag = if is_answered {
        Flag::Connect
    } else {
        Flag::NetworkPolicy
    };
    Failure::new(flag, format!("no tunnel to {to} within {CONNECT_TIMEOUT:?}"))
}

fn unreachable(to: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(Flag::Connect, format!("cannot connect to {to}: {error}"))
}

async fn stream(
    context: &Context,
    pod: &Arc<Pod>,
    client: SocketAddr,
    workload: Option<&Workload>,
    target: SocketAddr,
    key: Key,
) -> Result<Stream, Failure> {
    let credentials = context
        .shared
        .certificates
        .current(&pod.identity)
        .map_err(no_certificate)?;
    let request = hbone::request(target, client, workload, &context.shared.cluster);
    let dial = || dial(context.ledger.clone(), pod.clone(), credentials.clone(), key.clone());
    context.pool.connect(&key, &credentials, &request, dial).await
}

/// Said when the pod's identity has no certificate (yet), or none any more.
pub fn no_certificate(reason: String) -> Failure {
    Failure::new(Flag::IdentityError, reason)
}

async fn dial(ledger: Arc<Ledger>, pod: Arc<Pod>, credentials: Arc<Credentials>, key: Key) -> Result<Tunnel, Failure> {
    let to = SocketAddr::new(key.target, HBONE_PORT);
    let is_answered = Cell::new(false);
    // A tunnel outlives its connections, so it is one more.
    let place = pod.share.take().map_err(|crowded| Failure::new(Flag::Deny, crowded))?;
    let made = async {
        let connected = connect_upstream(&pod.netns, to).await;
        is_answered.set(true);
        let tcp = connected.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => too_slow(to, false),
            _ => unreachable(to, &error),
        })?;
        end_in_order(&tcp); // a tunnel says why it ends
        let handshake = ledger.durations.handshake(Direction::Outbound);
        let connector = TlsConnector::from(credentials.client(&key.identities));
        let session = connector.connect(key.target.into(), tcp).await;
        handshake.end(Outcome::of(&session));
        let mut session = session.map_err(|error| Failure::new(Flag::TlsFailure, format!("TLS with {to}: {error}")))?;
        session.get_mut().1.set_buffer_limit(Some(tls::WRITE_BUFFER));
        let leaf = session.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let expires = leaf
            .and_then(tls::expiry)
            .ok_or_else(|| Failure::new(Flag::TlsFailure, "the peer's certificate does not say when it expires"))?;
        Tunnel::start(session, credentials, expires, pod.draining.clone(), pod.aborted.clone()).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, made).await {
        Ok(made) => made.map(|tunnel| tunnel.holding(place)),
        Err(_) => Err(too_slow(to, is_answered.get())),
    }
}
