//! Bytes from one side of a connection to the other, until both have ended.
//!
//! A FIN becomes END_STREAM and the other way round, each direction on its own. When either side
//! breaks, the caller learns at once, resets what it holds, and the other side sees a reset too:
//! a cut connection must never look like one that ended well.
//!
//! An idle connection holds no buffer: first wait until there is something, then take one.

use crate::sockets::end_in_order;
use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use socket2::SockRef;
use std::{
    future::{pending, poll_fn},
    io,
    net::Shutdown,
};
use tokio::{io::Interest, net::TcpStream, task::yield_now};

/// The largest read, and so the largest buffer.
const LARGEST_READ: usize = 256 * 1024;
/// The first read of a connection. Buffers follow the size of what arrives: a small message that
/// waits in a stalled stream must not hold a large one.
const FIRST_READ: usize = 16 * 1024;

/// Which side broke.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the client's connection broke: {0}")]
    Client(io::Error),
    #[error("the server's connection broke: {0}")]
    Server(io::Error),
    #[error("the tunnel's stream broke: {0}")]
    Stream(h2::Error),
}

/// Counts bytes that were handed on.
pub trait Meter {
    fn uploaded(&self, bytes: usize);
    fn downloaded(&self, bytes: usize);
}

impl Meter for crate::connection::Connection {
    fn uploaded(&self, bytes: usize) {
        Self::uploaded(self, bytes);
    }
    fn downloaded(&self, bytes: usize) {
        Self::downloaded(self, bytes);
    }
}

/// Between two TCP connections. After an error both are to be reset.
pub async fn between(client: &TcpStream, server: &TcpStream, meter: &impl Meter) -> Result<(), Broken> {
    let upload = copy(client, server, Broken::Client, Broken::Server, |n| meter.uploaded(n));
    let download = copy(server, client, Broken::Server, Broken::Client, |n| meter.downloaded(n));
    tokio::select! {
        done = async { tokio::try_join!(upload, download) } => done.map(|_| {
            end_in_order(client);
            end_in_order(server);
        }),
        error = failure(client) => Err(Broken::Client(error)),
        error = failure(server) => Err(Broken::Server(error)),
    }
}

/// From a client's TCP connection into a tunnel. After an error the client is to be reset.
pub async fn into_tunnel(
    client: &TcpStream,
    send: SendStream<Bytes>,
    receive: RecvStream,
    meter: &impl Meter,
) -> Result<(), Broken> {
    let upload = |n| meter.uploaded(n);
    let download = |n| meter.downloaded(n);
    with_stream(client, send, receive, Broken::Client, upload, download).await
}

/// From a tunnel to a server's TCP connection. After an error the server is to be reset.
pub async fn out_of_tunnel(
    server: &TcpStream,
    send: SendStream<Bytes>,
    receive: RecvStream,
    meter: &impl Meter,
) -> Result<(), Broken> {
    let upload = |n| meter.uploaded(n);
    let download = |n| meter.downloaded(n);
    with_stream(server, send, receive, Broken::Server, download, upload).await
}

async fn with_stream(
    tcp: &TcpStream,
    mut send: SendStream<Bytes>,
    mut receive: RecvStream,
    broken: fn(io::Error) -> Broken,
    on_sent: impl Fn(usize),
    on_received: impl Fn(usize),
) -> Result<(), Broken> {
    let done = {
        let out = tcp_to_stream(tcp, &mut send, broken, on_sent);
        let back = stream_to_tcp(&mut receive, tcp, broken, on_received);
        tokio::select! {
            done = async { tokio::try_join!(out, back) } => done.map(|_| end_in_order(tcp)),
            error = failure(tcp) => Err(broken(error)),
        }
    };
    if done.is_err() {
        send.send_reset(Reason::CONNECT_ERROR); // RFC 9113, 8.5: what became of the TCP connection
    }
    done
}

async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    broken_from: fn(io::Error) -> Broken,
    broken_to: fn(io::Error) -> Broken,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    let mut reader = Reader::default();
    while let Some(data) = reader.read(from, pending()).await.map_err(broken_from)? {
        write_all(to, &data).await.map_err(broken_to)?;
        count(data.len());
    }
    end_writing(to).map_err(broken_to)
}

async fn tcp_to_stream(
    tcp: &TcpStream,
    send: &mut SendStream<Bytes>,
    broken: fn(io::Error) -> Broken,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    let mut reader = Reader::default();
    loop {
        let read = {
            let reset = poll_fn(|cx| send.poll_reset(cx));
            let mut was_reset = None;
            let read = reader.read(tcp, async { was_reset = Some(reset.await) }).await;
            if let Some(reset) = was_reset {
                return Err(Broken::Stream(reset.map_or_else(|e| e, h2::Error::from)));
            }
            read
        };
        let Some(mut data) = read.map_err(broken)? else { break };
        while !data.is_empty() {
            let room = room(send, data.len()).await.map_err(Broken::Stream)?;
            let part = data.split_to(room.min(data.len()));
            let length = part.len();
            send.send_data(part, false).map_err(Broken::Stream)?;
            count(length);
        }
    }
    send.send_data(Bytes::new(), true).map_err(Broken::Stream)
}

/// Waits for flow control; returns how much may be sent, more than nothing.
async fn room(send: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    send.reserve_capacity(wanted);
    loop {
        match send.capacity() {
            0 => match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(changed) => drop(changed?),
                None => {
                    return Err(poll_fn(|cx| send.poll_reset(cx))
                        .await
                        .map_or_else(|e| e, h2::Error::from));
                }
            },
            room => return Ok(room),
        }
    }
}

async fn stream_to_tcp(
    receive: &mut RecvStream,
    tcp: &TcpStream,
    broken: fn(io::Error) -> Broken,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    while let Some(data) = receive.data().await {
        let data = data.map_err(Broken::Stream)?;
        write_all(tcp, &data).await.map_err(broken)?;
        count(data.len());
        // Credit only for what has been written: a slow receiver slows its own sender.
        receive
            .flow_control()
            .release_capacity(data.len())
            .map_err(Broken::Stream)?;
    }
    end_writing(tcp).map_err(broken)
}

/// Reads what is there, in buffers of fitting size.
struct Reader {
    size: usize,
    buffer: BytesMut,
    has_more: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            size: FIRST_READ,
            buffer: BytesMut::new(),
            has_more: false,
        }
    }
}

impl Reader {
    /// The next bytes; None at the end, and when `interrupted` comes first.
    async fn read(&mut self, from: &TcpStream, interrupted: impl Future<Output = ()>) -> io::Result<Option<Bytes>> {
        tokio::pin!(interrupted);
        if self.has_more {
            yield_now().await; // a fast sender leaves room for the worker's other connections
        }
        loop {
            self.buffer.reserve(self.size);
            let room = self.buffer.capacity();
            match from.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => {
                    self.has_more = length == room;
                    if !self.has_more {
                        expect_no_more(from);
                    }
                    self.adapt(length);
                    return Ok(Some(self.buffer.split().freeze()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.buffer = BytesMut::new();
            tokio::select! {
                ready = from.readable() => ready?,
                () = &mut interrupted => return Ok(None),
            }
        }
    }

    fn adapt(&mut self, length: usize) {
        if length >= self.size {
            self.size = (self.size * 4).min(LARGEST_READ);
        } else if length < self.size / 8 {
            self.size = (self.size / 4).max(FIRST_READ);
        }
    }
}

/// After a short read the socket is empty: the runtime is told, which saves the read that would
/// find nothing. An end that has come with the data still shows.
fn expect_no_more(from: &TcpStream) {
    let _ = from.try_io(Interest::READABLE, || {
        io::Result::<()>::Err(io::ErrorKind::WouldBlock.into())
    });
}

async fn write_all(to: &TcpStream, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match to.try_write(data) {
            Ok(written) => data = &data[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn end_writing(to: &TcpStream) -> io::Result<()> {
    SockRef::from(to).shutdown(Shutdown::Write)
}

/// Returns when the connection has been reset, whatever else it is waiting for.
pub async fn failure(tcp: &TcpStream) -> io::Error {
    loop {
        match tcp.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => {
                let reset = || io::ErrorKind::ConnectionReset.into();
                return tcp.take_error().unwrap_or_else(Some).unwrap_or_else(reset);
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests;
