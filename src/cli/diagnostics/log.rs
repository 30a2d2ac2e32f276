//! The logs: the daemon's last records and failures, and the commands that failed. Of a record only fields go into the
//! report that are known, and only values of the form that the field has; the rest is counted.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use log::Level;
use serde_json::Value;

use super::anonymise::Anonymiser;
use super::reasons::known_reason;
use super::report::Block;
use crate::api::routes::Route;
use crate::cli::journal::UnitLog;
use crate::daemon::{Home, LogPlace};
use crate::observe::field::Kind;
use crate::observe::{Declared, LogRecord};
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
pub(super) fn daemon_tail(home: &Home) -> Result<Tail, String> {
    let file = match LogPlace::of(home) {
        LogPlace::Journal { unit, namespace } => {
            let deadline = Instant::now() + durations::DIAGNOSTICS_STORE;
            let mut records = UnitLog::new(home, unit, namespace.as_deref())
                .tail(JOURNAL_READ, deadline)
                .map_err(|err| err.to_string())?;
            let read = records.len();
            // Text, of the daemon's or of systemd's.
            records.retain(|record| !record.text("event").is_empty());
            let others = (read - records.len()) as u64;
            return Ok(Tail { records, others });
        }
        LogPlace::File(file) => file,
        LogPlace::Stderr(place) if !home.log_file().exists() => {
            return Err(format!("the newest daemon logs to {place}"));
        }
        LogPlace::Stderr(_) => home.log_file(),
    };
    let name = file.strip_prefix(home.path()).unwrap_or(&file).display();
    read(&file).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => format!("there is no {name}"),
        _ => format!("{name} cannot be read: {err}"),
    })
}

/// The end of the record of failed commands.
pub(super) fn commands_tail(home: &Home) -> Result<Tail, String> {
    match read(&home.failures_file()) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Tail::default()),
        result => result.map_err(|err| format!("logs/cli.log cannot be read: {err}")),
    }
}

fn read(path: &Path) -> io::Result<Tail> {
    let mut text = read_end(path)?;
    // Just rotated: what is asked for is in the file before.
    if text.lines().count() < RECORDS_SHOWN {
        let older = read_end(&path.with_added_extension("1")).unwrap_or_default();
        text = older + &text;
    }
    let mut tail = Tail::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match LogRecord::parse(line) {
            Some(record) => tail.records.push(record),
            None => tail.others += 1,
        }
    }
    Ok(tail)
}

/// The last whole lines of a regular file.
fn read_end(path: &Path) -> io::Result<String> {
    // O_NONBLOCK: a FIFO by this name must not hold us.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let skipped = meta.len().saturating_sub(READ_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match skipped {
        0 => text,
        // The first line has lost its beginning.
        _ => text
            .split_once('\n')
            .map_or(String::new(), |(_, rest)| rest.to_owned()),
    })
}

/// Decides what of a record goes into the report.
pub(super) struct Logs<'a> {
    pub anonymiser: &'a Anonymiser,
    /// Why there is none where none has come.
    pub late: &'a str,
    /// The harnesses that are known.
    pub harnesses: &'a [String],
}

impl Logs<'_> {
    /// The last records of the daemon's log.
    pub(super) fn records(&self, tail: Option<&Result<Tail, String>>) -> Block {
        let tail = match self.come(tail) {
            Ok(tail) => tail,
            Err(missing) => return missing,
        };
        self.anonymiser
            .count("log lines that are no records", tail.others);
        let skipped = tail.records.len().saturating_sub(RECORDS_SHOWN);
        let records = tail.records.iter().skip(skipped);
        Block::Records(records.map(|record| self.record(record)).collect())
    }

    /// The last failures that the daemon's log has.
    pub(super) fn failures(&self, tail: Option<&Result<Tail, String>>) -> Block {
        const COLUMNS: &[&str] = &[
            "time", "level", "event", "code", "route", "request", "session",
        ];
        self.last(tail, COLUMNS, |record| record.level <= Level::Warn)
    }

    /// The commands that failed last.
    pub(super) fn commands(&self, tail: Option<&Result<Tail, String>>) -> Block {
        const COLUMNS: &[&str] = &["time", "verb", "code", "exit"];
        self.last(tail, COLUMNS, |record| {
            Declared::of(&record.text("event")).is_some_and(|event| event.kind("verb").is_some())
        })
    }

    fn come<'t>(&self, tail: Option<&'t Result<Tail, String>>) -> Result<&'t Tail, Block> {
        match tail {
            Some(Ok(tail)) => Ok(tail),
            Some(Err(why)) => Err(Block::Missing(self.anonymiser.text(why))),
            None => Err(Block::Missing(self.late.to_owned())),
        }
    }

    fn last(
        &self,
        tail: Option<&Result<Tail, String>>,
        columns: &'static [&'static str],
        is_wanted: fn(&LogRecord) -> bool,
    ) -> Block {
        let tail = match self.come(tail) {
            Ok(tail) => tail,
            Err(missing) => return missing,
        };
        let wanted: Vec<&LogRecord> = tail
            .records
            .iter()
            .filter(|record| is_wanted(record))
            .collect();
        let skipped = wanted.len().saturating_sub(FAILURES_SHOWN);
        let row = |record: &&LogRecord| {
            let cell = |column: &&str| match *column {
                "time" => record.at.to_string().into(),
                "level" => record.level.as_str().into(),
                // What is left out here is counted where the whole record is shown.
                name => field(record, name)
                    .and_then(|value| self.value(record, name, value).ok())
                    .unwrap_or(Value::Null),
            };
            columns.iter().map(cell).collect()
        };
        Block::Table(columns, wanted[skipped..].iter().map(row).collect())
    }

    fn record(&self, record: &LogRecord) -> LogRecord {
        let mut kept = LogRecord {
            fields: Vec::with_capacity(record.fields.len()),
            ..*record
        };
        for (name, value) in &record.fields {
            match self.value(record, name, value) {
                Ok(value) => kept.fields.push((name.clone(), value)),
                Err(what) => self.anonymiser.count(what, 1),
            }
        }
        kept
    }

    /// What is shown of a record's field, or what is counted in its place: its kind decides.
    fn value(&self, record: &LogRecord, name: &str, value: &Value) -> Result<Value, &'static str> {
        const HIDDEN: &str = "values in the log";
        let declared = Declared::of(&record.text("event")).ok_or(HIDDEN)?;
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let is_shown = match declared.kind(name) {
            // Of an undeclared event, nothing is.
            None => name == "event",
            Some(Kind::Number) => value.is_number(),
            Some(Kind::Flag) => value.is_boolean(),
            Some(Kind::Word(is_one)) => is_one(&text),
            Some(Kind::Route) => Route::is_name(&text),
            Some(Kind::Verb) => crate::cli::grammar::is_verb(&text),
            Some(Kind::Text) => false,
            Some(Kind::Harness) if !self.harnesses.contains(&text) => {
                return Err("harnesses that no manifest names");
            }
            Some(Kind::Harness) => true,
            Some(Kind::Path) if text.starts_with('/') => {
                return Ok(self.anonymiser.path(&text).into());
            }
            // The daemon logs no other.
            Some(Kind::Path) => false,
            Some(Kind::Reason) => {
                let known = known_reason(&text).ok_or("reasons in the log")?;
                return Ok(known.into());
            }
        };
        is_shown.then(|| value.clone()).ok_or(HIDDEN)
    }
}

fn field<'a>(record: &'a LogRecord, name: &str) -> Option<&'a Value> {
    let mut fields = record.fields.iter();
    fields.find(|(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::super::anonymise::Identity;
    use super::*;
    use crate::observe::LogEvent;
    use crate::redact::Redactor;

    #[test]
    fn of_a_record_only_what_is_known_is_kept() {
        let anonymiser = Anonymiser::new(&Identity::default(), Redactor::new("").0);
        let harnesses = ["codex".to_owned()];
        let logs = Logs {
            late: "",
            anonymiser: &anonymiser,
            harnesses: &harnesses,
        };
        let shown = |line: &str| {
            let line = format!("2026-05-09T06:43:00.007Z WARN {line}");
            let record = logs.record(&LogRecord::parse(&line).unwrap());
            record
                .to_string()
                .split_off("2026-05-09T06:43:00.007Z WARN".len())
        };
        let known = "event=session_not_live code=session_not_live request=1f-a route=\"POST /sessions/:id/kill\" status=409 \
                     session=00000000-0000-4000-8000-000000000001 took_ms=0";
        assert_eq!(shown(known), format!(" {known}"));
        assert_eq!(
            shown("event=store_failed reason=\"my plan: database is locked\""),
            " event=store_failed reason=\"database is locked\""
        );
        assert_eq!(
            shown("event=store_opened path=/srv/x sessions=3"),
            " event=store_opened path=<path> sessions=3"
        );
        assert_eq!(
            shown("event=session_started harness=codex pid=7"),
            " event=session_started harness=codex pid=7"
        );
        // Whoever can write to the file can write anything.
        for forged in [
            "event=plan",
            "plan=1",
            "event=plan pid=7",
            "code=plan route=\"GET /plan\" request=plan session=plan",
        ] {
            assert_eq!(shown(forged), "", "{forged}");
        }
        for declared in LogEvent::ALL {
            let forged = declared
                .fields
                .iter()
                .map(|(name, _)| format!(" {name}=plan"));
            let forged = format!(
                "event={} plan=1{}",
                declared.name,
                forged.collect::<String>()
            );
            let shown = shown(&forged);
            assert!(!shown.contains("plan"), "{forged}");
            assert!(shown.starts_with(&format!(" event={}", declared.name)));
        }
    }
}
