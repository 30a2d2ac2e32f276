//! The logs: the daemon's last records and failures, and the commands that failed. Of a record only fields go into the
//! report that are known, and only values of the form that the field has; the rest is counted.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use log::Level;
use serde_json::Value;

use super::report::Block;
use super::shown::{HIDDEN, Privacy, Shown, ShownRecord};
use crate::cli::journal::UnitLog;
use crate::daemon::{Home, LogPlace};
use crate::observe::{Declared, LogRecord, Message, message};
use crate::settings::durations;

/// What is read of a file, its end, in bytes.
const READ_MAX: u64 = 2 * 1024 * 1024;

/// Records that are read of a unit's journal.
const JOURNAL_READ: usize = 2000;

/// Records that are shown of the daemon's log.
const RECORDS_SHOWN: usize = 200;

/// Failures that are shown of each log.
const FAILURES_SHOWN: usize = 20;

/// What the end of a log has.
#[derive(Debug, Default)]
pub(super) struct Tail {
    records: Vec<LogRecord>,
    /// Lines that are no records.
    others: u64,
}

/// The end of the daemon's log, wherever that is.
pub(super) fn daemon_tail(home: &Home) -> Result<Tail, Message> {
    let file = match LogPlace::of(home) {
        LogPlace::Journal { unit, namespace } => {
            let deadline = Instant::now() + durations::DIAGNOSTICS_STORE;
            let mut records = UnitLog::new(home, unit, namespace.as_deref())
                .tail(JOURNAL_READ, deadline)
                .map_err(|err| match err.to_string() {
                    // journalctl's own words, which can name a file.
                    text if text.contains('/') => "the journal cannot be read".into(),
                    text => Message::name(text),
                })?;
            let read = records.len();
            // Text, of the daemon's or of systemd's.
            records.retain(|record| !record.text("event").is_empty());
            let others = (read - records.len()) as u64;
            return Ok(Tail { records, others });
        }
        LogPlace::File(file) => file,
        LogPlace::Stderr(place) if !home.log_file().exists() => {
            // A path, and who has started the daemon, if either is known.
            let (what, by) = place.split_at(place.rfind(" (started by").unwrap_or(place.len()));
            let (what, path) = what.split_at(what.find('/').unwrap_or(what.len()));
            let [what, by] = [what, by].map(Message::name);
            return Err(message!(
                "the newest daemon logs to {}{}{}",
                what,
                Path::new(path),
                by
            ));
        }
        LogPlace::Stderr(_) => home.log_file(),
    };
    let name = || match file == home.log_file() {
        true => "logs/daemon.log".into(),
        false => Message::from(&file),
    };
    match read(&file) {
        Ok(Some(tail)) => Ok(tail),
        Ok(None) => Err(message!("there is no {}", name())),
        Err(err) => Err(message!("{} cannot be read: {}", name(), err)),
    }
}

/// The end of the record of failed commands.
pub(super) fn commands_tail(home: &Home) -> Result<Tail, Message> {
    let tail = read(&home.failures_file());
    let tail = tail.map_err(|err| message!("logs/cli.log cannot be read: {}", err));
    tail.map(Option::unwrap_or_default)
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Tail>, Message> {
    let Some(mut text) = read_end(path)? else {
        return Ok(None);
    };
    // Just rotated: what is asked for is in the file before.
    if text.lines().count() < RECORDS_SHOWN {
        let older = read_end(&path.with_added_extension("1"));
        text = older.ok().flatten().unwrap_or_default() + &text;
    }
    let mut tail = Tail::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match LogRecord::parse(line) {
            Some(record) => tail.records.push(record),
            None => tail.others += 1,
        }
    }
    Ok(Some(tail))
}

/// The last whole lines of a regular file.
fn read_end(path: &Path) -> Result<Option<String>, Message> {
    // O_NONBLOCK: a FIFO by this name must not hold us.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|err| Message::from(&err))?,
    };
    let meta = file.metadata().map_err(|err| Message::from(&err))?;
    if !meta.is_file() {
        return Err("it is not a regular file".into());
    }
    let (mut bytes, skipped) = (Vec::new(), meta.len().saturating_sub(READ_MAX));
    let read = (&file).seek(SeekFrom::Start(skipped));
    read.and_then(|_| file.take(READ_MAX).read_to_end(&mut bytes))
        .map_err(|err| Message::from(&err))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Some(match (skipped, text.split_once('\n')) {
        (0, _) => text,
        // The first line has lost its beginning.
        (_, rest) => rest.map_or(String::new(), |(_, rest)| rest.to_owned()),
    }))
}

/// The last records of the daemon's log.
pub(super) fn records(tail: &Tail, privacy: &Privacy) -> Block {
    privacy.count("log lines that are no records", tail.others);
    let skipped = tail.records.len().saturating_sub(RECORDS_SHOWN);
    let records = tail.records[skipped..].iter().map(|record| {
        let declared = Declared::of(&record.text("event"));
        let fields = record.fields.iter().filter_map(|(name, value)| {
            let shown = match (declared, name.as_str()) {
                (Some(declared), "event") => Ok(("event", declared.name.into())),
                (Some(declared), name) => field(declared, name, value, privacy),
                // Of an undeclared event, nothing is.
                (None, _) => Err(HIDDEN),
            };
            shown.map_err(|what| privacy.count(what, 1)).ok()
        });
        ShownRecord::new(record.at, record.level, fields.collect())
    });
    Block::Records(records.collect())
}

/// The last failures that the daemon's log has.
pub(super) fn failures(tail: &Tail, privacy: &Privacy) -> Block {
    const COLUMNS: &[&str] = &[
        "time", "level", "event", "code", "route", "request", "session",
    ];
    last(tail, COLUMNS, privacy, |record, _| {
        record.level <= Level::Warn
    })
}

/// The commands that failed last.
pub(super) fn commands(tail: &Tail, privacy: &Privacy) -> Block {
    const COLUMNS: &[&str] = &["time", "verb", "code", "exit"];
    last(tail, COLUMNS, privacy, |_, declared| {
        declared.is_some_and(|declared| declared.kind("verb").is_some())
    })
}

fn last(
    tail: &Tail,
    columns: &'static [&'static str],
    privacy: &Privacy,
    is_wanted: fn(&LogRecord, Option<&Declared>) -> bool,
) -> Block {
    let records = tail.records.iter().rev();
    let records = records.map(|record| (record, Declared::of(&record.text("event"))));
    let wanted = records.filter(|(record, declared)| is_wanted(record, *declared));
    let row = |(record, declared): (&LogRecord, Option<&Declared>)| {
        let cell = |column: &&str| match *column {
            "time" => record.at.into(),
            "level" => record.level.as_str().into(),
            "event" => declared.map(|declared| declared.name).into(),
            // What is left out here is counted where the whole record is shown.
            name => {
                let value = record.fields.iter().find(|(key, _)| key == name);
                let shown = value.zip(declared).and_then(|((_, value), declared)| {
                    Some(field(declared, name, value, privacy).ok()?.1)
                });
                shown.into()
            }
        };
        columns.iter().map(cell).collect()
    };
    let mut rows: Vec<Vec<Shown>> = wanted.take(FAILURES_SHOWN).map(row).collect();
    rows.reverse();
    Block::Table(columns, rows)
}

/// A field by its declared name, or what is counted in its place.
fn field(
    declared: &Declared,
    name: &str,
    value: &Value,
    privacy: &Privacy,
) -> Result<(&'static str, Shown), &'static str> {
    let mut fields = declared.fields.iter();
    let (name, kind) = fields.find(|(field, _)| *field == name).ok_or(HIDDEN)?;
    Ok((name, privacy.field(*kind, value)?))
}
