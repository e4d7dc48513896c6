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
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::SystemTime,
};

const QUEUE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Plain,
    Json,
    Off,
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            "off" => Ok(Self::Off),
            _ => Err(Error::Settings(format!(
                "access_log is {text:?}, not plain, json or off"
            ))),
        }
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
            Format::Plain | Format::Off => self.plain(),
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
    queue: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log that keeps nothing.
    pub fn off() -> Self {
        Self {
            queue: None,
            dropped: Arc::default(),
        }
    }

    /// Whether an entry is worth making.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    pub fn write(&self, entry: Entry) {
        if let Some(queue) = &self.queue
            && queue.try_send(Message::Entry(entry)).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    thread: Mutex<Option<(SyncSender<Message>, JoinHandle<()>)>>,
}

impl Writer {
    /// Starts the thread; with `Format::Off` there is none.
    pub fn start(format: Format, output: Box<dyn Write + Send>) -> Result<(Self, AccessLog), Error> {
        if format == Format::Off {
            return Ok((
                Self {
                    thread: Mutex::default(),
                },
                AccessLog::off(),
            ));
        }
        let (queue, entries) = sync_channel(QUEUE);
        let log = AccessLog {
            queue: Some(queue.clone()),
            dropped: Arc::default(),
        };
        let dropped = log.dropped.clone();
        let thread = std::thread::Builder::new()
            .name("weft-access-log".into())
            .spawn(move || write_all(format, &entries, &dropped, BufWriter::new(output)))
            .map_err(Error::Thread)?;
        Ok((
            Self {
                thread: Mutex::new(Some((queue, thread))),
            },
            log,
        ))
    }

    /// Returns when everything queued so far is written; what comes later is not. Twice is fine.
    pub fn end(&self) {
        let running = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((queue, thread)) = running {
            let _ = queue.send(Message::End); // fails if the thread has ended already
            let _ = thread.join(); // a panic in there has been printed already
        }
    }
}

/// Writes until the end, and hands lines out whenever the queue runs empty.
fn write_all(format: Format, queue: &Receiver<Message>, dropped: &AtomicU64, mut output: impl Write) {
    loop {
        let next = queue.try_recv().or_else(|_| {
            flush(&mut output);
            queue.recv()
        });
        let Ok(Message::Entry(entry)) = next else { break };
        write_line(&mut output, &entry.line(format));
        let missing = dropped.swap(0, Relaxed);
        if missing > 0 {
            write_line(&mut output, &missing_entries(missing).line(format));
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
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn entry() -> Entry {
        let fields = vec![
            ("src.addr", Value::Bare("10.0.0.1:4000".into())),
            ("src.workload", Value::Text("a \"b\"".into())),
            ("bytes_sent", Value::Number(3)),
        ];
        Entry {
            time: UNIX_EPOCH,
            failed: false,
            message: "connection complete",
            fields,
        }
    }

    #[test]
    fn a_plain_line_has_a_tab_separated_head_and_quotes_only_text() {
        let line = entry().line(Format::Plain);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000000Z\tinfo\taccess\tconnection complete\t\
             src.addr=10.0.0.1:4000 src.workload=\"a \\\"b\\\"\" bytes_sent=3\n"
        );
    }

    #[test]
    fn a_json_line_keeps_the_order_of_the_fields() {
        assert_eq!(
            entry().line(Format::Json),
            "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"info\",\"scope\":\"access\",\
             \"message\":\"connection complete\",\"src.addr\":\"10.0.0.1:4000\",\
             \"src.workload\":\"a \\\"b\\\"\",\"bytes_sent\":3}\n"
        );
    }

    #[test]
    fn every_entry_is_written_before_the_writer_ends() {
        let (reader, output) = io::pipe().unwrap();
        let (writer, log) = Writer::start(Format::Plain, Box::new(output)).unwrap();
        log.write(entry());
        log.write(entry());
        writer.end();
        drop(writer);
        assert_eq!(io::read_to_string(reader).unwrap().lines().count(), 2);
    }
}
