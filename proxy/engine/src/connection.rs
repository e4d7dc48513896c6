//! A connection as others see it: its counters, its line in the access log, its row in the list.
//!
//! A `Connection` is opened when it is known where it goes, and ends exactly once: by `end`, or by
//! being dropped when its pod, its tunnel or the proxy went away under it.

use crate::{
    access_log::AccessLog,
    description::{Description, Direction},
    durations::Durations,
    metrics::{Counters, Metrics, RESPONSE_FLAGS},
    sockets_open::SocketsOpen,
    tally::Tally,
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Why a connection did not come about or did not end well; the flag is Istio's response flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    pub flag: Flag,
    pub reason: String,
}

impl Failure {
    pub fn new(flag: Flag, reason: impl Into<String>) -> Self {
        Self {
            flag,
            reason: reason.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Nothing special: also a connection that broke after it was established.
    None,
    /// Refused by policy, or by rules of our own.
    Deny,
    /// The other side cannot be reached.
    Connect,
    /// The other side's proxy does not even answer TCP: most often a NetworkPolicy is in the way.
    NetworkPolicy,
    TlsFailure,
    H2HandshakeFailure,
    /// No certificate for the pod's identity.
    IdentityError,
}

impl Flag {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::IdentityError => "IDENTITY_ERROR",
        }
    }
}

/// How many connections are open in all workers, and a way to wait for none.
#[derive(Debug, Default)]
pub struct OpenCount {
    open: Mutex<usize>,
    none: Condvar,
}

impl OpenCount {
    fn change(&self, by: isize) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_add_signed(by);
        if *open == 0 {
            self.none.notify_all();
        }
    }

    /// Returns when no connection is left, or after `at_most`.
    pub fn wait_for_none(&self, at_most: Duration) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.none.wait_timeout_while(open, at_most, |open| *open > 0));
    }
}

/// One worker's book of its connections.
#[derive(Debug)]
pub struct Ledger {
    pub metrics: Metrics,
    pub tally: Tally,
    pub durations: Durations,
    pub sockets: SocketsOpen,
    pub log: AccessLog,
    open: Mutex<HashMap<u64, Arc<Record>>>,
    next: AtomicU64,
    count: Arc<OpenCount>,
}

impl Ledger {
    pub fn new(metrics: Metrics, log: AccessLog, count: Arc<OpenCount>) -> Self {
        Self {
            metrics,
            tally: Tally::default(),
            durations: Durations::default(),
            sockets: SocketsOpen::default(),
            log,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            count,
        }
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    /// Rows of the connections that are open now.
    pub fn connections(&self) -> Vec<serde_json::Value> {
        self.locked().values().map(|record| record.json()).collect()
    }

    /// The gauge changes with the list, so that they always agree.
    fn insert(&self, record: Arc<Record>) -> u64 {
        let id = self.next.fetch_add(1, Relaxed);
        let mut open = self.locked();
        record.counters.open.fetch_add(1, Relaxed);
        open.insert(id, record);
        id
    }

    fn remove(&self, id: u64) {
        if let Some(record) = self.locked().remove(&id) {
            record.counters.open.fetch_sub(1, Relaxed);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Arc<Record>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one connection while it is open.
#[derive(Debug)]
struct Record {
    description: Description,
    counters: Arc<Counters>,
    started: Instant,
    upload: AtomicU64,
    download: AtomicU64,
    established: AtomicBool,
}

impl Record {
    fn json(&self) -> serde_json::Value {
        let (sent, received) = self.sent_and_received();
        let mut row = self.description.json();
        row["bytesSent"] = json!(sent);
        row["bytesReceived"] = json!(received);
        row["seconds"] = json!(self.started.elapsed().as_secs());
        row
    }

    /// As the pod sees them: a client sends what is uploaded, a server what is downloaded.
    fn sent_and_received(&self) -> (u64, u64) {
        let (upload, download) = (self.upload.load(Relaxed), self.download.load(Relaxed));
        match self.description.direction {
            Direction::Outbound => (upload, download),
            Direction::Inbound => (download, upload),
        }
    }
}

/// An open connection; whoever holds it says what happens on it.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    ledger: Arc<Ledger>,
    record: Arc<Record>,
    is_ended: bool,
}

impl Connection {
    pub fn open(ledger: &Arc<Ledger>, description: Description) -> Self {
        let counters = ledger.metrics.counters(&description.labels());
        counters.opened.fetch_add(1, Relaxed);
        let record = Arc::new(Record {
            description,
            counters,
            started: Instant::now(),
            upload: AtomicU64::new(0),
            download: AtomicU64::new(0),
            established: AtomicBool::new(false),
        });
        let id = ledger.insert(record.clone());
        ledger.count.change(1);
        Self {
            id,
            ledger: ledger.clone(),
            record,
            is_ended: false,
        }
    }

    /// Both sides are connected.
    pub fn established(&self) {
        self.record.established.store(true, Relaxed);
    }

    /// Bytes from the client were handed on to the server.
    pub fn uploaded(&self, bytes: usize) {
        self.record.upload.fetch_add(bytes as u64, Relaxed);
        self.record.counters.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes from the server were handed on to the client.
    pub fn downloaded(&self, bytes: usize) {
        self.record.download.fetch_add(bytes as u64, Relaxed);
        self.record.counters.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts and logs the end.
    pub fn end(mut self, result: Result<(), Failure>) {
        self.close(result);
    }

    fn close(&mut self, result: Result<(), Failure>) {
        self.is_ended = true;
        self.ledger.remove(self.id);
        self.count_end(result.as_ref().err());
        if self.ledger.log.takes(result.is_err()) {
            let (sent, received) = self.record.sent_and_received();
            let lasted = self.record.started.elapsed();
            self.ledger
                .log
                .write(self.record.description.entry(sent, received, lasted, result.err()));
        }
        self.ledger.count.change(-1);
    }

    fn count_end(&self, failure: Option<&Failure>) {
        let flag = failure.map_or(Flag::None, |failure| failure.flag);
        let counters = match flag {
            Flag::None => self.record.counters.clone(),
            _ => {
                let mut labels = self.record.description.labels();
                labels[RESPONSE_FLAGS] = flag.as_str().into();
                self.ledger.metrics.counters(&labels)
            }
        };
        counters.closed.fetch_add(1, Relaxed);
        // A connection that was cut counts as failed, one that broke does not.
        if failure.is_some() && (flag == Flag::Deny || !self.record.established.load(Relaxed)) {
            counters.failed.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_ended {
            self.close(Err(Failure::new(
                Flag::None,
                "ended because its tunnel, its pod or the proxy ended",
            )));
        }
    }
}
