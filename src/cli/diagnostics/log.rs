//! The logs: last records and failures of the daemon, and failed commands. The report includes only known fields whose
//! values have the form of their kind; it counts the others.
//!
//! Files and journal are read on one thread each.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Instant;

use log::Level;
use serde_json::Value;

use super::privacy::{HIDDEN, Privacy};
use super::shown::Shown;
use crate::cli::journal::UnitLog;
use crate::daemon::{Home, LogPlace};
use crate::observe::field::Kind;
use crate::observe::{DeclaredEvent, LogFiles, LogRecord, Message, message};
use crate::settings::durations;

/// Most records read of each log.
const READ: usize = 5000;

/// Most records shown of the daemon's log.
const RECORDS_SHOWN: usize = 200;

/// Most failures shown of each log.
const FAILURES_SHOWN: usize = 20;

/// The end of a log.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    records: Vec<LogRecord>,
    /// Number of lines that are no records.
    others: u64,
}

/// The end of the daemon's log, in a file or the journal.
pub(super) fn daemon_tail(home: &Home) -> Result<LogTail, Message> {
    let file = match LogPlace::of(home) {
        LogPlace::Journal { unit, namespace } => {
            let deadline = Instant::now() + durations::DIAGNOSTICS_STORE;
            let log = UnitLog::new(home, unit, namespace.as_deref());
            let mut records = log
                .tail(READ, deadline)
                .map_err(|err| match err.to_string() {
                    // journalctl's error message, which can contain a file name.
                    text if text.contains('/') => "the journal cannot be read".into(),
                    text => Message::name(text),
                })?;
            let read = records.len();
            // Other messages of the daemon or of systemd.
            records.retain(|record| !record.text("event").is_empty());
            let others = (read - records.len()) as u64;
            return Ok(LogTail { records, others });
        }
        LogPlace::File(file) => file,
        LogPlace::Stderr(_) if home.log_file().exists() => home.log_file(),
        LogPlace::Stderr(_) => return Err("the newest daemon logs to its stderr".into()),
    };
    read(&file)?.ok_or_else(|| message!("there is no {}", &file))
}

/// The end of the log of failed commands.
pub(super) fn commands_tail(home: &Home) -> Result<LogTail, Message> {
    read(&home.failures_file()).map(Option::unwrap_or_default)
}

/// `None` if the file does not exist.
fn read(path: &Path) -> Result<Option<LogTail>, Message> {
    let unread = |err: &io::Error| message!("{} cannot be read: {}", path, err);
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(message!("{} is not a regular file", path)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(unread(&err)),
    }
    let (mut files, mut lines) = (LogFiles::new(path.to_owned()), VecDeque::new());
    while let Some(line) = files
        .next_line()
        .map_err(|err| unread(&err))?
        .or_else(|| files.rest())
    {
        lines.push_back(line);
        if lines.len() > READ {
            lines.pop_front();
        }
    }
    let records: Vec<_> = lines
        .iter()
        .filter_map(|line| LogRecord::parse(line))
        .collect();
    let others = (lines.len() - records.len()) as u64;
    Ok(Some(LogTail { records, others }))
}

/// The last records of the daemon's log.
pub(super) fn records(tail: &LogTail, privacy: &Privacy) -> Shown {
    privacy.count("log lines that are no records", tail.others);
    let record = |record: &LogRecord| {
        let declared = DeclaredEvent::of(&record.text("event"));
        let fields = record.fields.iter().filter_map(|(name, value)| {
            let shown = match (declared, name.as_str()) {
                (Some(declared), "event") => Ok(("event", declared.name.into())),
                (Some(declared), name) => field(declared, name, value, record, privacy),
                // An undeclared event shows nothing.
                (None, _) => Err(HIDDEN),
            };
            shown.map_err(|what| privacy.count(what, 1)).ok()
        });
        Shown::record(record.at, record.level, fields.collect())
    };
    last(&tail.records, RECORDS_SHOWN)
        .iter()
        .map(record)
        .collect()
}

fn last<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len().saturating_sub(count)..]
}

/// The last failures in the daemon's log.
pub(super) fn failures(tail: &LogTail, privacy: &Privacy) -> Shown {
    let columns = [
        "time", "level", "event", "code", "route", "request", "session",
    ];
    table(tail, &columns, privacy, |record, _| {
        record.level <= Level::Warn
    })
}

/// The last failed commands.
pub(super) fn commands(tail: &LogTail, privacy: &Privacy) -> Shown {
    let is_command = |_: &LogRecord, declared: Option<&DeclaredEvent>| {
        declared.is_some_and(|of| of.field("verb").is_some())
    };
    table(tail, &["time", "verb", "code", "exit"], privacy, is_command)
}

/// One row for each of the last wanted records.
fn table(
    tail: &LogTail,
    columns: &[&'static str],
    privacy: &Privacy,
    is_wanted: fn(&LogRecord, Option<&DeclaredEvent>) -> bool,
) -> Shown {
    let records = tail.records.iter();
    let records = records.map(|record| (record, DeclaredEvent::of(&record.text("event"))));
    let wanted: Vec<_> = records
        .filter(|(record, declared)| is_wanted(record, *declared))
        .collect();
    let row = |(record, declared): &(&LogRecord, Option<&DeclaredEvent>)| {
        let cell = |name: &&'static str| match *name {
            "time" => (*name, record.at.into()),
            "level" => (*name, record.level.as_str().into()),
            "event" => (*name, declared.map(|declared| declared.name).into()),
            // Omitted values are counted in the table of whole records.
            name => {
                let value = record.fields.iter().find(|(key, _)| key == name);
                let shown = value
                    .zip(*declared)
                    .map(|((_, value), of)| field(of, name, value, record, privacy));
                (
                    name,
                    shown.and_then(Result::ok).map(|(_, shown)| shown).into(),
                )
            }
        };
        Shown::object(columns.iter().map(cell))
    };
    last(&wanted, FAILURES_SHOWN).iter().map(row).collect()
}

/// A field by its declared name, or the kind of omission to count.
fn field(
    declared: &DeclaredEvent,
    name: &str,
    value: &Value,
    record: &LogRecord,
    privacy: &Privacy,
) -> Result<(&'static str, Shown), &'static str> {
    let (name, kind) = declared.field(name).ok_or(HIDDEN)?;
    if matches!(kind, Kind::Reason) {
        // The meaning of the failure's code, instead of the text.
        let fault = record.fault().ok_or("reasons in the log")?;
        return Ok((name, Shown::text(fault.to_string())));
    }
    Ok((name, privacy.field(kind, value)?))
}
