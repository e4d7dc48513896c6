//! HBONE tunnels to peers: one TLS connection, many streams, kept for the next connection.
//!
//! Each worker has its own pool, so nothing here is shared between threads. A tunnel is one pod's
//! to one workload at one address, which must show one of certain identities.

use crate::{
    budget::Place,
    certificates::Credentials,
    connection::{Failure, Flag},
    hbone,
    identity::Identity,
};
use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Connection, SendRequest},
};
use http::{Request, StatusCode};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// An unused tunnel is closed after this time.
const IDLE: Duration = Duration::from_secs(300);
/// The peer itself may take 10 s to reach its app.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections that may share a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The pod's uid.
    pub pod: Arc<str>,
    /// The peer's uid: its address may be another workload's tomorrow.
    pub peer: String,
    pub target: IpAddr,
    pub identities: Vec<Identity>,
}

/// An HTTP/2 connection to a peer.
#[derive(Debug)]
pub struct Tunnel {
    sender: SendRequest<Bytes>,
    credentials: Arc<Credentials>,
    /// When the peer's certificate does.
    expires: SystemTime,
    draining: CancellationToken,
    streams: Cell<usize>,
    used: Cell<Instant>,
    /// Why it has ended.
    ended: Rc<RefCell<Option<String>>>,
    _place: Option<Place>,
}

impl Tunnel {
    /// Speaks HTTP/2 over `session`; `expires` is when the peer's certificate does. Of the pod's two tokens, draining closes the tunnel when it
    /// is unused, aborted at once.
    pub async fn start<S>(
        session: S,
        credentials: Arc<Credentials>,
        expires: SystemTime,
        draining: CancellationToken,
        aborted: CancellationToken,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(hbone::STREAM_WINDOW)
            .initial_connection_window_size(hbone::CLIENT_WINDOW)
            .max_frame_size(hbone::FRAME)
            .max_header_list_size(hbone::CLIENT_HEADERS)
            .max_send_buffer_size(hbone::SEND_BUFFER)
            .enable_push(false)
            .handshake(session)
            .await
            .map_err(|error| Failure::new(Flag::H2HandshakeFailure, format!("HTTP/2 with the peer: {error}")))?;
        let ended = Rc::new(RefCell::new(None));
        tokio::task::spawn_local(drive(connection, aborted, ended.clone()));
        Ok(Self {
            sender,
            credentials,
            expires,
            draining,
            streams: Cell::new(0),
            used: Cell::new(Instant::now()),
            ended,
            _place: None,
        })
    }

    fn is_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Whether both certificates are still those that new streams shall have.
    fn is_open_for(&self, credentials: &Arc<Credentials>) -> bool {
        !self.is_ended() && Arc::ptr_eq(&self.credentials, credentials) && SystemTime::now() < self.expires
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.sender.current_max_send_streams().min(hbone::OPENED_STREAMS)
    }

    /// Whether the peer takes no streams (RFC 9113, 6.5.2): another tunnel would be as useless, and
    /// there would be one more for each connection.
    fn is_closed_to_all(&self) -> bool {
        self.sender.current_max_send_streams() == 0
    }

    /// The tunnel as one that has a place among the pod's connections.
    pub fn holding(self, place: Place) -> Self {
        Self {
            _place: Some(place),
            ..self
        }
    }

    fn is_spent(&self) -> bool {
        let is_unused = self.streams.get() == 0;
        let is_useless = self.draining.is_cancelled() || self.is_closed_to_all();
        self.is_ended() || (is_unused && (is_useless || self.used.get().elapsed() >= IDLE))
    }

    fn failure(&self, error: &h2::Error) -> Failure {
        let ended = self.ended.borrow();
        // What ended the tunnel says more than what the stream saw of it, a TLS alert for example.
        let reason = ended.clone().unwrap_or_else(|| error.to_string());
        Failure::new(Flag::Connect, format!("the tunnel broke: {reason}"))
    }
}

/// Moves the tunnel's bytes until it ends, which it also does when nobody holds it any more.
async fn drive<S>(mut connection: Connection<S, Bytes>, aborted: CancellationToken, ended: Rc<RefCell<Option<String>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong().expect("nobody has taken it before");
    let reason = tokio::select! {
        end = connection => end.err().map_or_else(|| "the peer closed it".to_owned(), |error| error.to_string()),
        () = hbone::until_silent(pings) => "the peer does not answer pings".into(),
        () = aborted.cancelled() => "the pod or the proxy ended".into(),
    };
    *ended.borrow_mut() = Some(reason);
}

/// A place in a tunnel, for one connection.
#[derive(Debug)]
pub struct Lease {
    tunnel: Rc<Tunnel>,
}

impl Lease {
    fn of(tunnel: &Rc<Tunnel>) -> Self {
        tunnel.streams.set(tunnel.streams.get() + 1);
        Self { tunnel: tunnel.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tunnel.streams.set(self.tunnel.streams.get() - 1);
        self.tunnel.used.set(Instant::now());
    }
}

/// A stream that the peer has answered with 200; it ends with its place in the tunnel.
#[derive(Debug)]
pub struct Stream {
    pub send: SendStream<Bytes>,
    pub receive: RecvStream,
    pub lease: Lease,
}

type Dialled = watch::Receiver<Option<Result<(), Failure>>>;

#[derive(Debug, Default)]
struct Slot {
    tunnels: Vec<Rc<Tunnel>>,
    dialling: Option<Dialled>,
}

/// One worker's tunnels.
#[derive(Debug, Default)]
pub struct Pool {
    slots: RefCell<HashMap<Key, Slot>>,
}

impl Pool {
    /// Opens a stream with a CONNECT request, in a tunnel at hand or in one that `dial` makes.
    ///
    /// A tunnel that died while it was idle is noticed only now: when the peer has certainly not
    /// seen the request, it is sent once more on another tunnel.
    pub async fn connect<D, F>(
        self: &Rc<Self>,
        key: &Key,
        credentials: &Arc<Credentials>,
        request: &Request<()>,
        dial: D,
    ) -> Result<Stream, Failure>
    where
        D: Fn() -> F,
        F: Future<Output = Result<Tunnel, Failure>> + 'static,
    {
        let lease = self.lease(key, credentials, &dial).await?;
        match open(lease, request).await {
            Err(Unopened::Unseen(tunnel, _)) => {
                self.remove(key, &tunnel);
                let lease = self.lease(key, credentials, &dial).await?;
                open(lease, request).await.map_err(Unopened::into_failure)
            }
            done => done.map_err(Unopened::into_failure),
        }
    }

    /// Closes the tunnels of a pod as soon as they are unused.
    pub fn forget(&self, pod: &str) {
        self.slots.borrow_mut().retain(|key, _| *key.pod != *pod);
    }

    /// Closes what is idle or dead.
    pub fn sweep(&self) {
        let mut slots = self.slots.borrow_mut();
        slots.retain(|_, slot| {
            slot.tunnels.retain(|tunnel| !tunnel.is_spent());
            !slot.tunnels.is_empty() || slot.dialling.is_some()
        });
    }

    fn remove(&self, key: &Key, tunnel: &Rc<Tunnel>) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(key) {
            slot.tunnels.retain(|other| !Rc::ptr_eq(other, tunnel));
        }
    }

    /// A place in a tunnel. Whoever comes while one is being made waits for it and shares its
    /// failure, so that a peer that is away costs one attempt at a time.
    async fn lease<D, F>(self: &Rc<Self>, key: &Key, credentials: &Arc<Credentials>, dial: &D) -> Result<Lease, Failure>
    where
        D: Fn() -> F,
        F: Future<Output = Result<Tunnel, Failure>> + 'static,
    {
        loop {
            let mut dialled = match self.pick(key, credentials) {
                Picked::Lease(lease) => return Ok(lease),
                Picked::Dialling(dialled) => dialled,
                Picked::Nothing => self.dial(key, dial()),
                Picked::Closed => return Err(Failure::new(Flag::Connect, "the peer takes no streams")),
            };
            let outcome = dialled.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            match outcome {
                Ok(Some(Err(failure))) => return Err(failure),
                Ok(_) => {}
                Err(_) => return Err(Failure::new(Flag::Connect, "the worker is ending")),
            }
        }
    }

    fn pick(&self, key: &Key, credentials: &Arc<Credentials>) -> Picked {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key) else {
            return Picked::Nothing;
        };
        // Tunnels of an older certificate carry their streams to the end, but get no new ones.
        slot.tunnels.retain(|tunnel| tunnel.is_open_for(credentials));
        match (slot.tunnels.iter().find(|tunnel| tunnel.has_room()), &slot.dialling) {
            (Some(tunnel), _) => Picked::Lease(Lease::of(tunnel)),
            (None, Some(dialled)) => Picked::Dialling(dialled.clone()),
            (None, None) if slot.tunnels.iter().any(|tunnel| tunnel.is_closed_to_all()) => Picked::Closed,
            (None, None) => Picked::Nothing,
        }
    }

    /// Starts to make a tunnel, in a task of its own: whoever asked for it may go away.
    fn dial(self: &Rc<Self>, key: &Key, tunnel: impl Future<Output = Result<Tunnel, Failure>> + 'static) -> Dialled {
        let (report, dialled) = watch::channel(None);
        self.slots.borrow_mut().entry(key.clone()).or_default().dialling = Some(dialled.clone());
        let (pool, key) = (self.clone(), key.clone());
        tokio::task::spawn_local(async move {
            let outcome = tunnel.await;
            let mut slots = pool.slots.borrow_mut();
            let slot = slots.entry(key).or_default();
            slot.dialling = None;
            let outcome = outcome.map(|tunnel| slot.tunnels.push(Rc::new(tunnel)));
            drop(slots);
            let _ = report.send(Some(outcome)); // nobody may be waiting any more
        });
        dialled
    }
}

enum Picked {
    Lease(Lease),
    Dialling(Dialled),
    Nothing,
    Closed,
}

enum Unopened {
    /// The peer has certainly not acted on it.
    Unseen(Rc<Tunnel>, Failure),
    Failed(Failure),
}

impl Unopened {
    fn into_failure(self) -> Failure {
        match self {
            Self::Unseen(_, failure) | Self::Failed(failure) => failure,
        }
    }
}

async fn open(lease: Lease, request: &Request<()>) -> Result<Stream, Unopened> {
    let tunnel = lease.tunnel.clone();
    let unseen = |error: h2::Error| Unopened::Unseen(tunnel.clone(), tunnel.failure(&error));
    let mut sender = tunnel.sender.clone().ready().await.map_err(unseen)?;
    let (answer, send) = sender.send_request(request.clone(), false).map_err(unseen)?;
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if is_unseen(&error) => return Err(unseen(error)),
        Ok(Err(error)) => return Err(Unopened::Failed(tunnel.failure(&error))),
        Err(_) => {
            return Err(Unopened::Failed(Failure::new(
                Flag::Connect,
                "the peer did not answer CONNECT",
            )));
        }
    };
    match answer.status() {
        StatusCode::OK => Ok(Stream {
            send,
            receive: answer.into_body(),
            lease,
        }),
        status => Err(Unopened::Failed(refusal(status))),
    }
}

fn refusal(status: StatusCode) -> Failure {
    let flag = if status == StatusCode::UNAUTHORIZED {
        Flag::Deny
    } else {
        Flag::Connect
    };
    Failure::new(flag, format!("http status: {status}"))
}

/// REFUSED_STREAM, and streams above the last one that a GOAWAY names, were not acted on
/// (RFC 9113, 8.7); h2 gives the GOAWAY to exactly those.
fn is_unseen(error: &h2::Error) -> bool {
    error.is_remote() && ((error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)) || error.is_go_away())
}

#[cfg(test)]
mod tests;
