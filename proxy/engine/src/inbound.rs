//! HBONE from other proxies: mutual TLS, HTTP/2, and a CONNECT for each connection.

use crate::{
    connection::{Connection, Failure, Flag},
    description::{Description, Direction, End},
    docket::{Arrival, Guard},
    durations::Outcome,
    hbone::{self, Rejection},
    identity::Identity,
    last_hop::{Mesh, admit, dial, known_client},
    outbound::no_certificate,
    pod::Pod,
    relay,
    sockets::{end_in_order, reset_on_close},
    state::Workload,
    tls,
    wire::{CONNECT_TIMEOUT, plain_address},
    worker::Context,
};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response, StatusCode};
use std::{future::poll_fn, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::SystemTime};
use tokio::{net::TcpStream, time::Sleep};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

type Server = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

/// One end of a tunnel: who is on the other one.
#[derive(Clone, Debug)]
struct Peer {
    identity: Identity,
    address: SocketAddr,
    /// The address of the pod that it connected to.
    local: SocketAddr,
    /// When its certificate does.
    expires: SystemTime,
}

/// Serves a tunnel until its client, the pod or the proxy ends.
pub async fn serve(context: Rc<Context>, pod: Arc<Pod>, tcp: TcpStream) {
    let (Ok(address), Ok(local)) = (tcp.peer_addr(), tcp.local_addr()) else {
        return;
    };
    let (address, local) = (plain_address(address), plain_address(local));
    end_in_order(&tcp); // a tunnel says why it ends
    let aborted = pod.aborted.clone();
    let handshake = tokio::time::timeout(CONNECT_TIMEOUT, greet(&context, &pod, tcp));
    let mut place = pod.handshakes.begin();
    let greeted = tokio::select! {
        greeted = handshake => greeted.unwrap_or_else(|_| Err(too_slow())),
        () = place.lost() => Err(too_many()),
        () = aborted.cancelled() => return,
    };
    drop(place);
    match greeted {
        Ok((server, identity, expires)) => {
            answer(
                context,
                pod,
                server,
                Peer {
                    identity,
                    address,
                    local,
                    expires,
                },
            )
            .await
        }
        Err(failure) => note(&context, &pod, address, local, None, failure),
    }
}

fn too_slow() -> Failure {
    Failure::new(Flag::TlsFailure, format!("no handshake within {CONNECT_TIMEOUT:?}"))
}

fn too_many() -> Failure {
    Failure::new(
        Flag::TlsFailure,
        "too many handshakes at a time, and this was the oldest",
    )
}

/// A tunnel that did not come about, or broke the rules, is a failed connection in the books too.
fn note(
    context: &Context,
    pod: &Pod,
    address: SocketAddr,
    local: SocketAddr,
    identity: Option<Identity>,
    failure: Failure,
) {
    let mesh = context.shared.know(pod);
    let description = Description {
        direction: Direction::Inbound,
        pod: pod.uid.clone(),
        source: End {
            address,
            workload: mesh
                .as_ref()
                .and_then(|(state, _)| known_client(state, address.ip(), identity.as_ref())),
            identity,
        },
        destination: End {
            address: local,
            workload: mesh.map(|(_, own)| own),
            identity: None,
        },
        service: None,
        hbone_target: None,
    };
    Connection::open(&context.ledger, description).end(Err(failure));
}

async fn greet(context: &Context, pod: &Pod, tcp: TcpStream) -> Result<(Server, Identity, SystemTime), Failure> {
    let credentials = context.shared.certificates.current(&pod.identity).map_err(|reason| {
        reset_on_close(&tcp);
        no_certificate(reason)
    })?;
    let tls_failure = |error: std::io::Error| Failure::new(Flag::TlsFailure, format!("TLS with the client: {error}"));
    let handshake = context.ledger.durations.handshake(Direction::Inbound);
    let session = TlsAcceptor::from(credentials.server()).accept(tcp).await;
    handshake.end(Outcome::of(&session));
    let mut session = session.map_err(tls_failure)?;
    session.get_mut().1.set_buffer_limit(Some(tls::WRITE_BUFFER));
    let leaf = session.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let (identity, expires) = leaf
        .and_then(|leaf| tls::peer_identity(leaf, &pod.identity.trust_domain).zip(tls::expiry(leaf)))
        .ok_or_else(|| Failure::new(Flag::TlsFailure, "the client has no identity of this trust domain"))?;
    let server = h2::server::Builder::new()
        .initial_window_size(hbone::STREAM_WINDOW)
        .initial_connection_window_size(hbone::SERVER_WINDOW)
        .max_frame_size(hbone::FRAME)
        .max_header_list_size(hbone::SERVER_HEADERS)
        .max_concurrent_streams(hbone::SERVED_STREAMS)
        .max_send_buffer_size(hbone::SEND_BUFFER)
        .handshake(session)
        .await
        .map_err(|error| Failure::new(Flag::H2HandshakeFailure, format!("HTTP/2 with the client: {error}")))?;
    Ok((server, identity, expires))
}

/// Takes requests until there can be no more. Open streams end with the tunnel. Once the client's
/// certificate has expired they go on, but the next ones need another tunnel.
async fn answer(context: Rc<Context>, pod: Arc<Pod>, mut server: Server, peer: Peer) {
    let pings = server.ping_pong().expect("nobody has taken it before");
    let silence = hbone::until_silent(pings);
    let expiry = tokio::time::sleep(peer.expires.duration_since(SystemTime::now()).unwrap_or_default());
    tokio::pin!(silence, expiry);
    let mut is_leaving = false;
    loop {
        tokio::select! {
            request = server.accept() => match request {
                Some(Ok((request, respond))) => {
                    let stream = stream(context.clone(), pod.clone(), peer.clone(), request, respond);
                    tokio::task::spawn_local(stream);
                }
                // The streams learn of it themselves. What the client did wrong is for the books.
                Some(Err(error)) if error.is_library() => return note(
                    &context,
                    &pod,
                    peer.address,
                    peer.local,
                    Some(peer.identity.clone()),
                    Failure::new(Flag::H2HandshakeFailure, format!("HTTP/2 with the client: {error}")),
                ),
                Some(Err(_)) | None => return,
            },
            () = leaving(&pod, expiry.as_mut()), if !is_leaving => {
                is_leaving = true;
                server.graceful_shutdown();
            }
            () = pod.aborted.cancelled() => return,
            () = &mut silence => return,
        }
    }
}

/// Returns when a tunnel shall take no more requests.
async fn leaving(pod: &Pod, expiry: Pin<&mut Sleep>) {
    tokio::select! {
        () = pod.draining.cancelled() => {}
        () = expiry => {}
    }
}

/// One CONNECT from its request to its end.
async fn stream(
    context: Rc<Context>,
    pod: Arc<Pod>,
    peer: Peer,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let mesh = context.shared.mesh_with(&pod).await;
    let target = hbone::target(request.method(), request.uri());
    let place = pod.share.take().map_err(crowded);
    let description = describe(&pod, &peer, target.as_ref().ok().copied(), mesh.as_ref());
    let connection = Connection::open(&context.ledger, description);
    let app = match target
        .map_err(Refused::from)
        .and_then(|target| {
            place
                .as_ref()
                .map_or_else(|crowded| Err(crowded.clone()), |_| Ok(target))
        })
        .and_then(|target| checked(&context, &pod, &peer, target, mesh))
    {
        Ok((app, own, mut guard)) => dial_while_wanted(&pod, app, &peer, &mut respond, &mut guard)
            .await
            .map_err(unavailable)
            .map(|app| (app, own, guard)),
        Err(refused) => Err(refused),
    };
    match app {
        Err((status, failure)) => {
            let _ = respond.send_response(bare(status), true); // the client may be gone
            connection.end(Err(failure));
        }
        Ok((app, own, mut guard)) => {
            connection.established();
            let response = accepted(&own, &context.shared.cluster);
            let done = tokio::select! {
                biased;
                cut = guard.cut() => Err(cut),
                done = hand_on(&pod, &app, request.into_body(), respond, response, &connection) => done,
            };
            let done = done.inspect_err(|_| reset_on_close(&app));
            connection.end(done);
        }
    }
}

/// A connection to the app, given up when the client resets its stream: what has been reset counts
/// no more among the client's streams, so it must not hold anything either.
async fn dial_while_wanted(
    pod: &Pod,
    app: SocketAddr,
    peer: &Peer,
    respond: &mut SendResponse<Bytes>,
    guard: &mut Guard,
) -> Result<TcpStream, Failure> {
    tokio::select! {
        dialled = dial(pod, app, peer.address.ip(), guard) => dialled,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => Err(Failure::new(Flag::None, "the client gave up")),
    }
}

type Refused = (StatusCode, Failure);

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        (rejection.status, Failure::new(Flag::Deny, rejection.reason))
    }
}

/// Also what policy refused while the app was being reached.
fn unavailable(failure: Failure) -> Refused {
    match failure.flag {
        Flag::Deny => (StatusCode::UNAUTHORIZED, failure),
        _ => (StatusCode::SERVICE_UNAVAILABLE, failure),
    }
}

fn crowded(reason: String) -> Refused {
    (StatusCode::SERVICE_UNAVAILABLE, Failure::new(Flag::Deny, reason))
}

fn bare(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

/// The app to dial for this peer, the pod's workload, and the watch over the connection; or why
/// there is none.
fn checked(
    context: &Context,
    pod: &Pod,
    peer: &Peer,
    target: SocketAddr,
    mesh: Option<Mesh>,
) -> Result<(SocketAddr, Arc<Workload>, Guard), Refused> {
    let unknown = || unavailable(Failure::new(Flag::Connect, "discovery does not know this pod yet"));
    let mesh = mesh.ok_or_else(unknown)?;
    let target = plain_address(target);
    hbone::check_target(target, peer.local.ip(), &mesh.1.addresses)?;
    let arrival = Arrival {
        source: Some(peer.identity.clone()),
        source_ip: peer.address.ip(),
        destination: target,
    };
    let guard = admit(context, pod, &mesh, arrival).map_err(|failure| (StatusCode::UNAUTHORIZED, failure))?;
    Ok((target, mesh.1, guard))
}

fn describe(pod: &Pod, peer: &Peer, target: Option<SocketAddr>, mesh: Option<&Mesh>) -> Description {
    let client = mesh.and_then(|(state, _)| known_client(state, peer.address.ip(), Some(&peer.identity)));
    let service = mesh
        .zip(target)
        .and_then(|((state, own), target)| state.service_behind(own, target.port()));
    Description {
        direction: Direction::Inbound,
        pod: pod.uid.clone(),
        source: End {
            address: peer.address,
            workload: client,
            identity: Some(peer.identity.clone()),
        },
        destination: End {
            address: peer.local,
            workload: mesh.map(|(_, own)| own.clone()),
            identity: Some(pod.identity.clone()),
        },
        service: service.cloned(),
        hbone_target: Some(target.unwrap_or(peer.local)),
    }
}

/// The answer to a request that is served.
fn accepted(own: &Workload, cluster: &str) -> Response<()> {
    let mut response = bare(StatusCode::OK);
    hbone::insert_baggage(response.headers_mut(), own, cluster);
    response
}

/// After an error the app is to be reset.
async fn hand_on(
    pod: &Pod,
    app: &TcpStream,
    receive: RecvStream,
    mut respond: SendResponse<Bytes>,
    response: Response<()>,
    connection: &Connection,
) -> Result<(), Failure> {
    let gone = |error: h2::Error| Failure::new(Flag::None, format!("the tunnel broke: {error}"));
    let send = respond.send_response(response, false).map_err(gone)?;
    tokio::select! {
        done = relay::out_of_tunnel(app, send, receive, connection) => {
            done.map_err(|broken| Failure::new(Flag::None, broken.to_string()))
        }
        () = pod.aborted.cancelled() => Err(Failure::new(Flag::None, "the pod or the proxy ended")),
    }
}
