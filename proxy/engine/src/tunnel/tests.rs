//! How a worker's pool makes, shares and gives up tunnels, with peers in memory.

use crate::{
    certificates::Credentials,
    connection::{Failure, Flag},
    fixtures::{any_credentials, identity},
    hbone::OPENED_STREAMS,
    tunnel::{Key, Pool, Stream, Tunnel},
};
use http::{Method, Request, Response, StatusCode};
use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{io::duplex, task::LocalSet};
use tokio_util::sync::CancellationToken;

/// A peer that counts the tunnels made to it and answers every CONNECT with its status.
struct Peer {
    dialled: Rc<Cell<usize>>,
    status: StatusCode,
    credentials: Arc<Credentials>,
    /// When the first tunnel's certificate does; those of later ones are good.
    expires: SystemTime,
    draining: CancellationToken,
}

fn far_off() -> SystemTime {
    SystemTime::now() + Duration::from_secs(86_400)
}

impl Peer {
    fn new(status: StatusCode) -> Self {
        Self {
            dialled: Rc::default(),
            status,
            credentials: any_credentials(),
            expires: far_off(),
            draining: CancellationToken::new(),
        }
    }

    async fn connect(&self, pool: &Rc<Pool>, credentials: &Arc<Credentials>) -> Result<Stream, Failure> {
        let dial = || {
            let (dialled, status, credentials) = (self.dialled.clone(), self.status, credentials.clone());
            let (expires, draining) = (self.expires, self.draining.clone());
            async move {
                let expires = if dialled.get() == 0 { expires } else { far_off() };
                dialled.set(dialled.get() + 1);
                tokio::task::yield_now().await;
                let (near, far) = duplex(1 << 16);
                tokio::task::spawn_local(answer_all(far, status));
                Tunnel::start(near, credentials, expires, draining, CancellationToken::new()).await
            }
        };
        pool.connect(&key(), credentials, &request(), dial).await
    }
}

async fn answer_all(io: tokio::io::DuplexStream, status: StatusCode) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut open = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let response = Response::builder().status(status).body(()).unwrap();
        open.push((
            request,
            respond.send_response(response, status != StatusCode::OK).unwrap(),
        ));
    }
}

/// A peer that lets nobody open a stream, and knows how many tunnels it has had.
async fn take_no_streams(io: tokio::io::DuplexStream) {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(0)
        .handshake::<_, bytes::Bytes>(io)
        .await
        .unwrap();
    while connection.accept().await.is_some() {}
}

fn key() -> Key {
    Key {
        pod: "uid".into(),
        peer: "peer".into(),
        target: [10, 0, 0, 7].into(),
        identities: vec![identity("back")],
    }
}

fn request() -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("10.0.0.7:80")
        .body(())
        .unwrap()
}

/// A peer that says that it is leaving as soon as it has answered the first request.
async fn answer_one_and_leave(io: tokio::io::DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
    let _send = respond.send_response(Response::new(()), false).unwrap();
    connection.graceful_shutdown();
    while connection.accept().await.is_some() {}
}

async fn many(peer: &Rc<Peer>, pool: &Rc<Pool>, count: usize) -> Vec<Stream> {
    let one = || {
        let (peer, pool) = (peer.clone(), pool.clone());
        tokio::task::spawn_local(async move { peer.connect(&pool, &peer.credentials).await.unwrap() })
    };
    let tasks: Vec<_> = (0..count).map(|_| one()).collect();
    let mut streams = Vec::new();
    for task in tasks {
        streams.push(task.await.unwrap());
    }
    streams
}

#[tokio::test]
async fn connections_that_come_at_once_share_one_tunnel() {
    let test = async {
        let (peer, pool) = (Rc::new(Peer::new(StatusCode::OK)), Rc::default());
        let streams = many(&peer, &pool, 20).await;
        assert_eq!((streams.len(), peer.dialled.get()), (20, 1));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_full_tunnel_is_joined_by_another_and_used_again_when_it_has_room() {
    let test = async {
        let (peer, pool) = (Rc::new(Peer::new(StatusCode::OK)), Rc::default());
        let mut streams = many(&peer, &pool, OPENED_STREAMS + 1).await;
        assert_eq!(peer.dialled.get(), 2);
        streams.clear();
        drop(many(&peer, &pool, OPENED_STREAMS * 2).await);
        assert_eq!(peer.dialled.get(), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_new_certificate_gets_a_new_tunnel() {
    let test = async {
        let (peer, pool) = (Peer::new(StatusCode::OK), Rc::default());
        let first = peer.connect(&pool, &peer.credentials).await.unwrap();
        let renewed = any_credentials();
        let second = peer.connect(&pool, &renewed).await.unwrap();
        assert_eq!(peer.dialled.get(), 2);
        drop((first, second));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_tunnel_whose_peer_has_expired_gets_no_new_streams() {
    let test = async {
        let (mut peer, pool) = (Peer::new(StatusCode::OK), Rc::default());
        peer.expires = SystemTime::now();
        drop(peer.connect(&pool, &peer.credentials).await.unwrap());
        assert_eq!(peer.dialled.get(), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status_and_not_repeated() {
    let test = async {
        let (peer, pool) = (Peer::new(StatusCode::UNAUTHORIZED), Rc::default());
        let failure = peer.connect(&pool, &peer.credentials).await.unwrap_err();
        assert_eq!(failure, Failure::new(Flag::Deny, "http status: 401 Unauthorized"));
        assert_eq!(peer.dialled.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn waiters_share_the_failure_of_one_attempt() {
    let test = async {
        let (pool, attempts) = (Rc::<Pool>::default(), Rc::new(Cell::new(0)));
        let credentials = any_credentials();
        let one = || async {
            let attempts = attempts.clone();
            let dial = || {
                let attempts = attempts.clone();
                async move {
                    attempts.set(attempts.get() + 1);
                    tokio::task::yield_now().await;
                    Err(Failure::new(Flag::Connect, "nobody is there"))
                }
            };
            pool.connect(&key(), &credentials, &request(), dial).await.map(drop)
        };
        let both = tokio::join!(one(), one());
        let failed = Err(Failure::new(Flag::Connect, "nobody is there"));
        assert_eq!((both, attempts.get()), ((failed.clone(), failed), 1));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_tunnel_is_closed_after_five_minutes() {
    let test = async {
        let (peer, pool) = (Peer::new(StatusCode::OK), Rc::<Pool>::default());
        drop(peer.connect(&pool, &peer.credentials).await.unwrap());
        tokio::time::sleep(Duration::from_secs(290)).await;
        pool.sweep();
        drop(peer.connect(&pool, &peer.credentials).await.unwrap());
        assert_eq!(peer.dialled.get(), 1);
        tokio::time::sleep(Duration::from_secs(301)).await;
        pool.sweep();
        drop(peer.connect(&pool, &peer.credentials).await.unwrap());
        assert_eq!(peer.dialled.get(), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_tunnel_whose_peer_is_leaving_is_replaced_without_a_failure() {
    let test = async {
        let (peer, pool) = (Peer::new(StatusCode::OK), Rc::<Pool>::default());
        let leaving = || {
            let (credentials, draining) = (peer.credentials.clone(), peer.draining.clone());
            async move {
                let (near, far) = duplex(1 << 16);
                tokio::task::spawn_local(answer_one_and_leave(far));
                Tunnel::start(near, credentials, far_off(), draining, CancellationToken::new()).await
            }
        };
        let first = pool
            .connect(&key(), &peer.credentials, &request(), leaving)
            .await
            .unwrap();
        let second = peer.connect(&pool, &peer.credentials).await.unwrap();
        assert_eq!(peer.dialled.get(), 1);
        drop((first, second));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_streams_gets_one_tunnel_and_no_more() {
    LocalSet::new()
        .run_until(async {
            let (pool, dialled, credentials) = (Rc::new(Pool::default()), Rc::new(Cell::new(0)), any_credentials());
            let dial = || {
                let (dialled, credentials) = (dialled.clone(), credentials.clone());
                async move {
                    dialled.set(dialled.get() + 1);
                    let (near, far) = duplex(1 << 16);
                    tokio::task::spawn_local(take_no_streams(far));
                    let (draining, aborted) = (CancellationToken::new(), CancellationToken::new());
                    Tunnel::start(near, credentials, far_off(), draining, aborted).await
                }
            };
            let mut reasons = Vec::new();
            for _ in 0..5 {
                let failed = pool.connect(&key(), &credentials, &request(), dial).await;
                reasons.push(failed.err().unwrap().reason);
            }
            assert_eq!(dialled.get(), 1);
            assert_eq!(reasons[1..], vec!["the peer takes no streams"; 4]);
        })
        .await;
}
