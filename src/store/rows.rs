//! Sessions and events as rows: keys, columns, and the statements that read, insert and update them.
//!
//! Runs on any thread, on the caller's connection. It does not know who reads or writes.

use std::fmt;
use std::sync::LazyLock;

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, Type, ValueRef};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Params, Row, ToSql, params, params_from_iter,
};

use super::columns::{Change, Columns, columns};
use crate::api::{EventKind, SessionCost, SessionId, SessionRecord, Timestamp};

/// A session's number: the key of its row, and the upper half of its events' keys.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct SessionNum(pub(super) i64);

impl SessionNum {
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self(1);

    #[cfg(test)]
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The key of this session's event `seq`.
    pub(super) fn key(self, seq: u64) -> i64 {
        (self.0 << 32) | seq.min(u64::from(u32::MAX)) as i64
    }

    /// The seq in an event's key.
    pub(super) fn seq_in(key: i64) -> u64 {
        key as u64 & u64::from(u32::MAX)
    }
}

impl fmt::Display for SessionNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromSql for SessionNum {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl ToSql for SessionNum {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

columns!(SessionRecord {
    id,
    project_root,
    cwd,
    harness,
    title,
    status,
    exit_code,
    signal,
    ended_by,
    oom_killed,
    left_behind,
    archived_at,
    created_at,
    updated_at,
    options,
    external,
    transcript_path,
    pid,
    stdout_pipe_bytes,
    harness_session_id,
    continued_from,
    usage,
    last_seq;
    ..cost: SessionCost;
    no execution_binding, family_cpu_ms, family_rss_bytes, last_output_at
});

columns!(SessionCost {
    started_at,
    ended_at,
    cpu_ms,
    peak_rss_bytes,
    stdout_bytes,
    stdout_lines,
    stderr_bytes,
    stderr_lines,
});

/// A session's row, without the columns that only the store uses.
pub(super) struct SessionRow {
    pub num: SessionNum,
    pub record: SessionRecord,
}

columns!(SessionRow { num; ..record: SessionRecord });

impl SessionRow {
    pub(super) fn by_id(connection: &Connection, id: SessionId) -> rusqlite::Result<Option<Self>> {
        static QUERY: LazyLock<String> = LazyLock::new(|| select::<SessionRow>("id = ?1"));
        let mut statement = connection.prepare_cached(&QUERY)?;
        statement.query_row([id], Self::from_row).optional()
    }

    pub(super) fn by_num(
        connection: &Connection,
        num: SessionNum,
    ) -> rusqlite::Result<Option<Self>> {
        static QUERY: LazyLock<String> = LazyLock::new(|| select::<SessionRow>("num = ?1"));
        let mut statement = connection.prepare_cached(&QUERY)?;
        statement.query_row([num], Self::from_row).optional()
    }
}

/// The only column of the first row that `sql` finds.
pub(super) fn find<T: FromSql>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
) -> rusqlite::Result<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(values, |row| row.get(0)).optional()
}

/// The query for the columns of `T` of the sessions that meet `condition`.
pub(super) fn select<T: Columns>(condition: &str) -> String {
    let names = T::names().join(", ");
    format!("SELECT {names} FROM sessions WHERE {condition}")
}

/// Inserts a session's row.
pub(super) fn insert_session(
    connection: &Connection,
    record: &SessionRecord,
) -> rusqlite::Result<SessionNum> {
    let names = SessionRecord::names();
    let marks = vec!["?"; names.len()].join(", ");
    let sql = format!(
        "INSERT INTO sessions ({}) VALUES ({marks})",
        names.join(", ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement
        .insert(params_from_iter(record.values()))
        .map(SessionNum)
}

/// Updates some columns of a session's row.
pub(super) fn update_session(
    connection: &Connection,
    num: SessionNum,
    changes: &[Change<'_>],
) -> rusqlite::Result<()> {
    let names: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "UPDATE sessions SET {} = ? WHERE num = ?",
        names.join(" = ?, ")
    );
    let values = changes.iter().map(|(_, value)| *value);
    let mut statement = connection.prepare_cached(&sql)?;
    statement.execute(params_from_iter(values.chain([&num as &dyn ToSql])))?;
    Ok(())
}

macro_rules! event_query {
    ($order:literal) => {
        concat!(
            "SELECT key, kind, created_at, payload_json FROM events WHERE key > ?1 AND key <= ?2 ORDER BY ",
            $order
        )
    };
}

/// The events with keys above `?1` and up to `?2`: oldest first, and newest first.
pub(super) const EVENTS: &str = event_query!("key");
pub(super) const NEWEST_EVENTS: &str = event_query!("key DESC");

/// An event's row. Its texts borrow SQLite's memory.
pub(super) struct EventRow<'a> {
    pub seq: u64,
    pub kind: &'a str,
    pub at: Timestamp,
    pub payload_json: &'a str,
}

impl<'a> EventRow<'a> {
    /// Decodes a row of [`EVENTS`] or [`NEWEST_EVENTS`].
    pub(super) fn of(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        Ok(Self {
            seq: SessionNum::seq_in(row.get(0)?),
            kind: text(1)?,
            at: row.get(2)?,
            payload_json: text(3)?,
        })
    }
}

/// Prepared statement that inserts events.
pub(super) struct InsertEvent<'a>(CachedStatement<'a>);

impl<'a> InsertEvent<'a> {
    pub(super) fn prepare(connection: &'a Connection) -> rusqlite::Result<Self> {
        let sql =
            "INSERT INTO events (key, kind, created_at, payload_json) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql).map(Self)
    }

    pub(super) fn execute(
        &mut self,
        key: i64,
        kind: EventKind,
        at: Timestamp,
        payload_json: &str,
    ) -> rusqlite::Result<()> {
        self.0.execute(params![key, kind, at, payload_json])?;
        Ok(())
    }
}

/// Error for a text column that cannot be decoded.
pub(super) fn unreadable(
    err: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, err.into())
}
