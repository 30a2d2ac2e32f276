//! Sessions as rows: their numbers, the columns of their table, and what a row stands for.
//!
//! Runs on any thread, on whatever connection it has. It knows nothing of who reads or writes.

use std::fmt;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::Type;

use crate::api::{SessionCost, SessionRecord, SessionStatus, Timestamp, Visibility, Word};

/// A session's number: its row's key, and the upper half of its events' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNum(pub(super) i64);

impl SessionNum {
    /// The key of this session's event `seq`.
    pub(super) fn key(self, seq: u64) -> i64 {
        (self.0 << 32) | seq.min(u64::from(u32::MAX)) as i64
    }

    /// The seq in an event's key, whosever it is.
    pub(super) fn seq_in(key: i64) -> u64 {
        key as u64 & u64::from(u32::MAX)
    }
}

impl fmt::Display for SessionNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! session_columns {
    () => {
        "SELECT num, id, project_root, cwd, harness, title, status, exit_code, signal, archived_at, \
         created_at, updated_at, conversation_id, familiar_id, labels, visibility, external, \
         transcript_path, launch_mode, model, pid, last_seq, started_at, ended_at, \
         cpu_ms, peak_rss_bytes, stdout_bytes, stdout_lines, stderr_bytes, stderr_lines FROM sessions "
    };
}

pub(super) const SESSION_BY_ID: &str = concat!(session_columns!(), "WHERE id = ?1");
pub(super) const SESSION_LIST: &str = concat!(session_columns!(), "WHERE num < ?1");
pub(super) const SESSION_BY_NUM: &str = concat!(session_columns!(), "WHERE num = ?1");

/// A row of the session queries as what it stands for.
pub(super) fn session_row(row: &Row<'_>) -> rusqlite::Result<(SessionNum, SessionRecord)> {
    let time = |column| row.get::<_, i64>(column).map(Timestamp::from_millis);
    let time_if_any = |column| {
        row.get::<_, Option<i64>>(column)
            .map(|at| at.map(Timestamp::from_millis))
    };
    let labels: String = row.get(14)?;
    let visibility: String = row.get(15)?;
    let record = SessionRecord {
        id: parsed(row, 1)?,
        project_root: row.get(2)?,
        cwd: row.get(3)?,
        harness: row.get(4)?,
        title: row.get(5)?,
        status: status(row, 6)?,
        exit_code: row.get(7)?,
        signal: row.get(8)?,
        archived_at: time_if_any(9)?,
        created_at: time(10)?,
        updated_at: time(11)?,
        conversation_id: row.get(12)?,
        familiar_id: row.get(13)?,
        execution_binding: None,
        labels: serde_json::from_str(&labels).map_err(unreadable)?,
        visibility: Visibility::parse(&visibility).unwrap_or_default(),
        external: row.get(16)?,
        transcript_path: row.get(17)?,
        launch_mode: row.get::<_, Option<String>>(18)?.map(Word::read),
        model: row.get(19)?,
        pid: row.get(20)?,
        last_seq: row.get(21)?,
        cost: SessionCost {
            started_at: time_if_any(22)?,
            ended_at: time_if_any(23)?,
            cpu_ms: row.get(24)?,
            peak_rss_bytes: row.get(25)?,
            stdout_bytes: row.get(26)?,
            stdout_lines: row.get(27)?,
            stderr_bytes: row.get(28)?,
            stderr_lines: row.get(29)?,
        },
    };
    Ok((SessionNum(row.get(0)?), record))
}

pub(super) fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionStatus> {
    let word: String = row.get(column)?;
    SessionStatus::parse(&word).ok_or_else(|| unreadable(format!("unknown status {word}")))
}

/// A column of text as what it stands for.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: ToString,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|err: T::Err| unreadable(err.to_string()))
}

pub(super) fn unreadable(
    err: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, err.into())
}
