//! The lines, the levels, and a reader who does not read.

use super::*;
use std::{io::Read, time::UNIX_EPOCH};

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

#[test]
fn a_level_takes_what_it_says() {
    let (_writer, log) = Writer::start(Format::Plain, Box::new(io::sink())).unwrap();
    let taken = |level: &str| {
        log.set_level(level.parse().unwrap());
        [log.takes(false), log.takes(true)]
    };
    assert_eq!(taken("off"), [false, false]);
    assert_eq!(taken("error"), [false, true]);
    assert_eq!(taken("info"), [true, true]);
    assert!("loud".parse::<Level>().is_err());
}

#[test]
fn a_reader_who_does_not_read_holds_nobody_up_and_learns_what_is_missing() {
    let (mut reader, output) = io::pipe().unwrap();
    let (writer, log) = Writer::start(Format::Plain, Box::new(output)).unwrap();
    let began = Instant::now();
    for _ in 0..3 * QUEUE {
        log.write(entry());
    }
    let dropped = log.dropped();
    assert!(dropped > 0, "a pipe holds 64 KiB");
    writer.end();
    assert!(
        began.elapsed() < FAREWELL + Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    drop((writer, log));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines = 3 * QUEUE as u64 - dropped;
    let missing: u64 = text
        .lines()
        .filter_map(|line| line.split_once("dropped="))
        .map(|(_, n)| n.parse::<u64>().unwrap())
        .sum();
    assert_eq!(
        text.lines().filter(|line| line.contains("connection complete")).count() as u64,
        lines
    );
    assert_eq!(missing, dropped);
}
