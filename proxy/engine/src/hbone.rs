//! HBONE on the wire: HTTP/2 settings, the CONNECT request and what it carries, keepalive.

use crate::{
    state::Workload,
    wire::{is_local, is_proxy_port},
};
use h2::{Ping, PingPong};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Credit of one stream: enough for the fastest link measured, and the most that a stalled
/// stream can make us hold.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// Streams that a client may have open in one tunnel.
pub const SERVED_STREAMS: u32 = 200;
/// Streams that we open in one tunnel before we make another.
pub const OPENED_STREAMS: usize = 100;
/// Credit of a tunnel. As much as all its streams together may hold, so that streams whose
/// receivers stall never stop the others; h2 gives back both credits only together.
pub const SERVER_WINDOW: u32 = SERVED_STREAMS * STREAM_WINDOW;
pub const CLIENT_WINDOW: u32 = OPENED_STREAMS as u32 * STREAM_WINDOW;
/// Frames may be as large as a window, which spares bulk transfers a third of their CPU time.
pub const FRAME: u32 = 1 << 20;
pub const SERVER_HEADERS: u32 = 64 << 10;
pub const CLIENT_HEADERS: u32 = 16 << 10;
/// What one stream may have waiting to be sent.
pub const SEND_BUFFER: usize = 400 << 10;

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a CONNECT is not served; the status goes to the client, the reason into the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    pub status: StatusCode,
    pub reason: String,
}

impl Rejection {
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
        }
    }
}

/// Where a request wants to go: a CONNECT whose authority is an address and a port.
pub fn target(method: &Method, uri: &Uri) -> Result<SocketAddr, Rejection> {
    let bad = |reason: String| Rejection::new(StatusCode::BAD_REQUEST, reason);
    if method != Method::CONNECT {
        return Err(bad(format!("method {method} instead of CONNECT")));
    }
    let authority = uri.authority().ok_or_else(|| bad("no authority".into()))?.as_str();
    authority
        .parse()
        .map_err(|_| bad(format!("authority {authority} is not an address and a port")))
}

/// Whether a pod whose addresses are `own`, reached at `local`, serves `target`.
pub fn check_target(target: SocketAddr, local: IpAddr, own: &[IpAddr]) -> Result<(), Rejection> {
    let bad = |reason: String| Err(Rejection::new(StatusCode::BAD_REQUEST, reason));
    let ip = target.ip().to_canonical();
    if is_local(ip) || ip != local || !own.contains(&ip) {
        return bad(format!(
            "authority {target} is not an address of this pod, which was reached at {local}"
        ));
    }
    if target.port() == 0 || is_proxy_port(target.port()) {
        return bad(format!("port {} is not a port of the app", target.port()));
    }
    Ok(())
}

/// The CONNECT request for `target`, from `client` in `source`.
pub fn request(target: SocketAddr, client: SocketAddr, source: Option<&Workload>, cluster: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = target.to_string().parse().expect("a socket address is an authority");
    let headers = request.headers_mut();
    if let Some(source) = source {
        insert_baggage(headers, source, cluster);
    }
    insert(headers, "forwarded", &format!("for=\"{client}\""));
    insert(headers, "traceparent", &traceparent());
    request
}

/// Says who a workload is, for the labels of those who cannot look it up.
pub fn insert_baggage(headers: &mut HeaderMap, workload: &Workload, cluster: &str) {
    insert(headers, "baggage", &baggage(workload, cluster));
}

fn baggage(workload: &Workload, cluster: &str) -> String {
    let cluster = if workload.cluster.is_empty() {
        cluster
    } else {
        &workload.cluster
    };
    let kind = format!("k8s.{}.name", workload.workload_type);
    let members = [
        ("k8s.cluster.name", cluster),
        ("k8s.namespace.name", &workload.namespace),
        (kind.as_str(), &workload.workload_name),
        ("service.name", &workload.canonical_name),
        ("service.version", &workload.canonical_revision),
        ("cloud.region", &workload.region),
        ("cloud.availability_zone", &workload.zone),
    ];
    let known = members.iter().filter(|(_, value)| !value.is_empty());
    known
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// A value that no header can carry is left out: no part of it is ever needed.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A new trace of one span, not sampled (W3C Trace Context).
fn traceparent() -> String {
    format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..))
}

/// Pings the peer for as long as it answers; returns when it is dead.
pub async fn until_silent(mut pings: PingPong) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        match tokio::time::timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(method: &str, authority: &str) -> Result<SocketAddr, StatusCode> {
        let uri = Uri::builder().authority(authority).build().unwrap();
        target(&method.parse().unwrap(), &uri).map_err(|rejection| rejection.status)
    }

    #[test]
    fn only_connect_to_an_address_and_a_port_is_understood() {
        assert_eq!(target_of("CONNECT", "10.0.0.7:80"), Ok("10.0.0.7:80".parse().unwrap()));
        assert_eq!(
            target_of("CONNECT", "[fd00::7]:80"),
            Ok("[fd00::7]:80".parse().unwrap())
        );
        for (method, authority) in [
            ("GET", "10.0.0.7:80"),
            ("CONNECT", "10.0.0.7"),
            ("CONNECT", "a.b.svc.cluster.local:80"),
            ("CONNECT", "10.0.0.7:65536"),
            ("CONNECT", "user@10.0.0.7:80"),
        ] {
            assert_eq!(
                target_of(method, authority),
                Err(StatusCode::BAD_REQUEST),
                "{method} {authority}"
            );
        }
    }

    #[test]
    fn only_the_address_that_was_connected_to_is_served() {
        let own: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let check = |target: &str, local: &str| check_target(target.parse().unwrap(), local.parse().unwrap(), &own);
        assert_eq!(check("10.0.0.7:80", "10.0.0.7"), Ok(()));
        assert_eq!(check("[fd00::7]:80", "fd00::7"), Ok(()));
        assert!(check("10.0.0.8:80", "10.0.0.7").is_err(), "another pod");
        assert!(check("[fd00::7]:80", "10.0.0.7").is_err(), "reached at another address");
        assert!(check("10.0.0.9:80", "10.0.0.9").is_err(), "not an address of the pod");
        assert!(check("127.0.0.1:80", "127.0.0.1").is_err(), "loopback");
    }

    #[test]
    fn the_proxys_own_ports_are_never_served() {
        let own = ["10.0.0.7".parse().unwrap()];
        for port in [0, 15001, 15006, 15008, 15053] {
            assert!(
                check_target(SocketAddr::new(own[0], port), own[0], &own).is_err(),
                "{port}"
            );
        }
        for port in [1, 80, 15000, 15021] {
            assert_eq!(
                check_target(SocketAddr::new(own[0], port), own[0], &own),
                Ok(()),
                "{port}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_is_dead_after_half_a_minute() {
        let (near, _silent) = tokio::io::duplex(1 << 16);
        let (_sender, mut connection) = h2::client::handshake(near).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let began = tokio::time::Instant::now();
        tokio::select! {
            end = connection => panic!("{end:?}"),
            () = until_silent(pings) => {}
        }
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[test]
    fn a_traceparent_has_55_characters() {
        assert_eq!(traceparent().len(), 55);
    }
}
