//! One line for each connection, written by a thread of its own.
//!
//! Workers put entries into a bounded queue and never wait: when it is full the entry is dropped
//! and counted, and the next line that fits says how many are missing.

use crate::{clock::rfc3339, error::Error};
use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

const QUEUE: usize = 4096;
/// How long the end waits for a reader who does not read, and how often it looks.
const FAREWELL: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(1);

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Plain,
    Json,
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(Error::Settings(format!("access_log is {text:?}, not plain or json"))),
        }
    }
}

/// Which connections have a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Off,
    /// Those that failed or broke.
    Error,
    /// All.
    Info,
}

const LEVELS: [Level; 3] = [Level::Off, Level::Error, Level::Info];

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Info => "info",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = LEVELS.into_iter().find(|level| level.as_str() == text);
        named.ok_or_else(|| Error::Settings(format!("access log: {text:?} is not off, error or info")))
    }
}

/// A field's value: what is quoted in a plain line, and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bare(String),
    Number(u64),
}

/// What is said of one connection, fields in Istio's order.
#[derive(Clone, Debug)]
pub struct Entry {
    pub time: SystemTime,
    pub failed: bool,
    pub message: &'static str,
    pub fields: Vec<(&'static str, Value)>,
}

impl Entry {
    fn line(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Plain => self.plain(),
        }
    }

    fn level(&self) -> &'static str {
        if self.failed { "error" } else { "info" }
    }

    fn plain(&self) -> String {
        let mut line = format!("{}\t{}\taccess\t{}\t", rfc3339(self.time), self.level(), self.message);
        for (n, (name, value)) in self.fields.iter().enumerate() {
            let gap = if n == 0 { "" } else { " " };
            // Writing into a String cannot fail.
            let _ = match value {
                Value::Text(text) => write!(line, "{gap}{name}={text:?}"),
                Value::Bare(text) => write!(line, "{gap}{name}={text}"),
                Value::Number(number) => write!(line, "{gap}{name}={number}"),
            };
        }
        line.push('\n');
        line
    }

    fn json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("time".into(), rfc3339(self.time).into());
        object.insert("level".into(), self.level().into());
        object.insert("scope".into(), "access".into());
        object.insert("message".into(), self.message.into());
        for (name, value) in &self.fields {
            let value = match value {
                Value::Text(text) | Value::Bare(text) => text.clone().into(),
                Value::Number(number) => (*number).into(),
            };
            object.insert((*name).into(), value);
        }
        let mut line = serde_json::Value::Object(object).to_string();
        line.push('\n');
        line
    }
}

#[derive(Debug)]
enum Message {
    Entry(Entry),
    End,
}

/// The workers' end of the queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    /// All that have been, and those that no line has spoken of yet.
    dropped: AtomicU64,
    missing: AtomicU64,
}

impl AccessLog {
    /// Whether an entry is worth making.
    pub fn takes(&self, failed: bool) -> bool {
        self.level() >= if failed { Level::Error } else { Level::Info }
    }

    /// Puts the entry into the queue, or drops it; never waits.
    pub fn write(&self, entry: Entry) {
        if self.queue.try_send(Message::Entry(entry)).is_err() {
            self.shared.dropped.fetch_add(1, Relaxed);
            self.shared.missing.fetch_add(1, Relaxed);
        }
    }

    pub fn level(&self) -> Level {
        LEVELS[usize::from(self.shared.level.load(Relaxed))]
    }

    /// In force for connections that end from now on.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Relaxed);
    }

    /// Entries that found no room in the queue.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    thread: Mutex<Option<(SyncSender<Message>, JoinHandle<()>)>>,
}

impl Writer {
    /// Starts the thread; its log takes every connection.
    pub fn start(format: Format, output: Box<dyn Write + Send>) -> Result<(Self, AccessLog), Error> {
        let (queue, entries) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            level: AtomicU8::new(Level::Info as u8),
            dropped: AtomicU64::new(0),
            missing: AtomicU64::new(0),
        });
        let log = AccessLog {
            queue: queue.clone(),
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("weft-access-log".into())
            .spawn(move || write_all(format, &entries, &shared.missing, BufWriter::new(output)))
            .map_err(Error::Thread)?;
        let thread = Mutex::new(Some((queue, thread)));
        Ok((Self { thread }, log))
    }

    /// Returns when everything queued so far is written, or nobody has read it for too long; what
    /// comes later is not. Twice is fine.
    pub fn end(&self) {
        let running = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((queue, thread)) = running else { return };
        let give_up = Instant::now() + FAREWELL;
        let mut is_told = false;
        while Instant::now() < give_up && !thread.is_finished() {
            is_told = is_told || queue.try_send(Message::End).is_ok();
            std::thread::sleep(STEP);
        }
        if thread.is_finished() {
            let _ = thread.join(); // a panic in there has been printed already
        }
    }
}

/// Writes until the end, and hands lines out whenever the queue runs empty.
fn write_all(format: Format, queue: &Receiver<Message>, missing: &AtomicU64, mut output: impl Write) {
    loop {
        let next = queue.try_recv().or_else(|_| {
            flush(&mut output);
            queue.recv()
        });
        let Ok(Message::Entry(entry)) = next else { break };
        write_line(&mut output, &entry.line(format));
        let dropped = missing.swap(0, Relaxed);
        if dropped > 0 {
            write_line(&mut output, &missing_entries(dropped).line(format));
        }
    }
    flush(&mut output);
}

fn missing_entries(count: u64) -> Entry {
    let fields = vec![("dropped", Value::Number(count))];
    Entry {
        time: SystemTime::now(),
        failed: true,
        message: "access log lines dropped",
        fields,
    }
}

/// Nobody reads the log any more: connections go on without it.
fn ignore_closed_output(_: io::Error) {}

fn write_line(output: &mut impl Write, line: &str) {
    output.write_all(line.as_bytes()).unwrap_or_else(ignore_closed_output);
}

fn flush(output: &mut impl Write) {
    output.flush().unwrap_or_else(ignore_closed_output);
}

#[cfg(test)]
mod tests;
