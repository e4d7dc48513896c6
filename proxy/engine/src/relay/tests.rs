//! Ends and breaks on either side of a relay, over loopback and HTTP/2 in memory.

use crate::{
    fixtures::tcp_pair,
    relay::{Broken, Meter, between, into_tunnel, out_of_tunnel},
    sockets::reset_on_close,
};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use std::{cell::Cell, io::ErrorKind, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Count {
    up: Cell<usize>,
    down: Cell<usize>,
}

impl Meter for Count {
    fn uploaded(&self, bytes: usize) {
        self.up.set(self.up.get() + bytes);
    }
    fn downloaded(&self, bytes: usize) {
        self.down.set(self.down.get() + bytes);
    }
}

type Half = (SendStream<Bytes>, RecvStream);

/// Both ends of one answered CONNECT, client first.
async fn stream_pair() -> (Half, Half) {
    let (near, far) = duplex(1 << 16);
    let server = async {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let send = respond.send_response(Response::new(()), false).unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        (send, request.into_body())
    };
    let client = async {
        let (sender, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("10.0.0.7:80")
            .body(())
            .unwrap();
        let (answer, send) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        (send, answer.await.unwrap().into_body())
    };
    tokio::join!(client, server)
}

/// Runs both proxies of a tunnelled connection; (client app, server app, what each proxy said).
async fn tunnelled<F: Future>(test: impl FnOnce(TcpStream, TcpStream) -> F) -> [Result<(), Broken>; 2] {
    let ((app, client), (server, service)) = (tcp_pair().await, tcp_pair().await);
    let ((send, receive), (send_back, receive_up)) = stream_pair().await;
    let (count, count_there) = (Count::default(), Count::default());
    let here = async {
        let done = into_tunnel(&client, send, receive, &count).await;
        let _ = done.as_ref().inspect_err(|_| reset_on_close(&client));
        drop(client);
        done
    };
    let there = async {
        let done = out_of_tunnel(&server, send_back, receive_up, &count_there).await;
        let _ = done.as_ref().inspect_err(|_| reset_on_close(&server));
        drop(server);
        done
    };
    let all = async { tokio::join!(here, there, test(app, service)) };
    let (here, there, _) = timeout(SOON, all).await.expect("both relays end");
    if here.is_ok() {
        assert_eq!(
            (count.up.get(), count.down.get()),
            (count_there.up.get(), count_there.down.get())
        );
    }
    [here, there]
}

async fn read_all(mut from: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut data = Vec::new();
    from.read_to_end(&mut data).await.unwrap();
    data
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let ends = tunnelled(|mut app, mut service| async move {
        app.write_all(b"question").await.unwrap();
        app.shutdown().await.unwrap();
        assert_eq!(read_all(&mut service).await, b"question");
        service.write_all(b"answer").await.unwrap();
        service.shutdown().await.unwrap();
        assert_eq!(read_all(&mut app).await, b"answer");
    });
    assert!(matches!(ends.await, [Ok(()), Ok(())]));
}

#[tokio::test]
async fn megabytes_arrive_whole_in_both_directions() {
    let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let ends = tunnelled(|app, service| async move {
        let echo = async {
            let (mut read, mut write) = service.into_split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let (read, mut write) = app.into_split();
        let say = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let ((), (), heard) = tokio::join!(echo, say, read_all(read));
        assert!(heard == sent);
    });
    assert!(matches!(ends.await, [Ok(()), Ok(())]));
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_server() {
    let ends = tunnelled(|app, mut service| async move {
        reset_on_close(&app);
        drop(app);
        assert_eq!(service.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    assert!(matches!(ends.await, [Err(Broken::Client(_)), Err(Broken::Stream(_))]));
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_a_client_that_has_ended_its_half() {
    let ends = tunnelled(|mut app, mut service| async move {
        app.shutdown().await.unwrap();
        assert!(read_all(&mut service).await.is_empty());
        reset_on_close(&service);
        drop(service);
        assert_eq!(app.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    assert!(matches!(ends.await, [Err(Broken::Stream(_)), Err(Broken::Server(_))]));
}

#[tokio::test]
async fn a_reset_is_passed_on_while_the_other_side_does_not_read() {
    let ends = tunnelled(|mut app, service| async move {
        let chunk = vec![7; 1 << 20];
        while timeout(Duration::from_millis(300), app.write_all(&chunk)).await.is_ok() {}
        reset_on_close(&app);
        drop(app);
        service.readable().await.unwrap();
        let mut service = service;
        let mut sink = Vec::new();
        assert_eq!(
            service.read_to_end(&mut sink).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
    assert!(matches!(ends.await, [Err(Broken::Client(_)), Err(_)]));
}

#[tokio::test]
async fn plain_connections_end_and_break_alike() {
    let ((mut app, client), (server, mut service)) = (tcp_pair().await, tcp_pair().await);
    let count = Count::default();
    let relay = async { between(&client, &server, &count).await };
    let test = async {
        app.write_all(b"hello").await.unwrap();
        app.shutdown().await.unwrap();
        assert_eq!(read_all(&mut service).await, b"hello");
        reset_on_close(&service);
        drop(service);
    };
    let (done, ()) = timeout(SOON, async { tokio::join!(relay, test) }).await.unwrap();
    assert!(matches!(done, Err(Broken::Server(_))));
    assert_eq!((count.up.get(), count.down.get()), (5, 0));
}
