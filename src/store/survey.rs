//! Counting what a database holds, from outside: how many sessions and events, of which kinds and sizes, and never
//! their text.
//!
//! Runs in the CLI's process, with a daemon beside it or without one. It only reads, and for a bounded time.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::inspect::open_immutable;
use super::reader::{SESSION_BY_NUM, session_row};
use super::schema::{open_for_reading, pragma};
use crate::api::{SessionRecord, Timestamp};

/// How long another connection's lock is waited for.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// How long until an interrupt is sent again.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(5);

/// Events of one session that are listed, the newest ones.
const EVENTS_LISTED: usize = 500;

/// Groups that are listed: harnesses are named by whoever registers a session.
const GROUPS_LISTED: usize = 50;

/// So many of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Of what: a status, a harness, a kind of event.
    pub name: String,
    /// How many.
    pub count: u64,
    /// What their payloads come to, in bytes; 0 for what has none.
    pub bytes: u64,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its schema version.
    pub schema: i64,
    /// Its size, in pages.
    pub pages: u64,
    /// Of those, the unused ones.
    pub free_pages: u64,
    /// A page's size, in bytes.
    pub page_bytes: u64,
    /// Sessions by status.
    pub sessions: Vec<Group>,
    /// Sessions by harness.
    pub harnesses: Vec<Group>,
    /// Sessions that somebody else runs.
    pub external: u64,
    /// Sessions that are archived.
    pub archived: u64,
    /// Sessions that have labels.
    pub labelled: u64,
    /// Events by kind; `None` if they are too many to be counted in time.
    pub events: Option<Vec<Group>>,
}

/// An event without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOutline {
    /// Its seq.
    pub seq: u64,
    /// Its kind.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Its payload's length, in bytes.
    pub bytes: u64,
}

/// A session, and its events without their text.
#[derive(Debug)]
pub struct SessionOutline {
    /// Its record.
    pub record: SessionRecord,
    /// All of its events, by kind.
    pub kinds: Vec<Group>,
    /// The newest of them, oldest first.
    pub events: Vec<EventOutline>,
}

/// Counts what the database at `path` holds, until `deadline`. For `is_alone` see [`super::inspect`].
///
/// # Errors
/// What SQLite says.
pub fn survey(path: &Path, deadline: Instant, is_alone: bool) -> Result<Survey, StoreError> {
    let connection = open(path, is_alone)?;
    let (survey, events) = until(&connection, deadline, || {
        let survey = count_sessions(&connection)?;
        let events = groups(
            &connection,
            "SELECT kind, count(*), sum(octet_length(payload_json)) FROM events GROUP BY kind ORDER BY kind",
            [],
        );
        Ok::<_, StoreError>((survey, events))
    })?;
    let events = match events {
        Ok(events) => Some(events),
        Err(err) if is_interrupt(&err) => None,
        Err(err) => return Err(err.into()),
    };
    Ok(Survey { events, ..survey })
}

fn count_sessions(connection: &Connection) -> Result<Survey, StoreError> {
    let sum = |condition: &str| {
        let query = format!("SELECT count(*) FROM sessions WHERE {condition}");
        connection.query_row(&query, [], |row| row.get(0))
    };
    let by = |column: &str| {
        let query = format!(
            "SELECT {column}, count(*), 0 FROM sessions GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {GROUPS_LISTED}"
        );
        groups(connection, &query, [])
    };
    Ok(Survey {
        schema: pragma(connection, "user_version")?,
        pages: pragma(connection, "page_count")?,
        free_pages: pragma(connection, "freelist_count")?,
        page_bytes: pragma(connection, "page_size")?,
        sessions: by("status")?,
        harnesses: by("harness")?,
        external: sum("external")?,
        archived: sum("archived_at IS NOT NULL")?,
        labelled: sum("labels <> '[]'")?,
        events: None,
    })
}

/// The session whose id begins with `prefix`, until `deadline`; `None` unless there is exactly one.
///
/// # Errors
/// What SQLite says, also that it was interrupted.
pub fn outline(
    path: &Path,
    deadline: Instant,
    is_alone: bool,
    prefix: &str,
) -> Result<Option<SessionOutline>, StoreError> {
    let connection = open(path, is_alone)?;
    until(&connection, deadline, || {
        // Every id is made of characters below `~`.
        let range = params![prefix, format!("{prefix}~")];
        let query = "SELECT min(num), count(*) FROM sessions WHERE id >= ?1 AND id < ?2";
        let (num, count): (Option<i64>, i64) =
            connection.query_row(query, range, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(num) = num.filter(|_| count == 1) else {
            return Ok(None);
        };
        let row = connection
            .query_row(SESSION_BY_NUM, [num], session_row)
            .optional()?;
        let Some((_, record)) = row else {
            return Ok(None);
        };
        let query = "SELECT kind, count(*), sum(octet_length(payload_json)) FROM events
             WHERE key > ?1 << 32 AND key < (?1 + 1) << 32 GROUP BY kind ORDER BY kind";
        let kinds = groups(&connection, query, [num])?;
        let events = newest_events(&connection, num)?;
        Ok(Some(SessionOutline {
            record,
            kinds,
            events,
        }))
    })
}

fn newest_events(connection: &Connection, num: i64) -> rusqlite::Result<Vec<EventOutline>> {
    let mut statement = connection.prepare(
        "SELECT key & 4294967295, kind, created_at, octet_length(payload_json) FROM events
         WHERE key > ?1 << 32 AND key < (?1 + 1) << 32 ORDER BY key DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![num, EVENTS_LISTED], |row| {
        Ok(EventOutline {
            seq: row.get(0)?,
            kind: row.get(1)?,
            at: Timestamp::from_millis(row.get(2)?),
            bytes: row.get(3)?,
        })
    })?;
    let mut events = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    events.reverse();
    Ok(events)
}

fn groups(
    connection: &Connection,
    query: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Group>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map(params, |row| {
        Ok(Group {
            name: row.get(0)?,
            count: row.get(1)?,
            bytes: row.get(2)?,
        })
    })?;
    rows.collect()
}

fn open(path: &Path, is_alone: bool) -> Result<Connection, StoreError> {
    let connection = match is_alone {
        true => open_immutable(path)?,
        false => open_for_reading(path)?,
    };
    connection.busy_timeout(BUSY_PATIENCE)?;
    Ok(connection)
}

/// Does `work` with `connection`, whose statements are interrupted from `deadline` on.
fn until<T>(connection: &Connection, deadline: Instant, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = bounded::<()>(0);
    let interrupt = connection.get_interrupt_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = deadline;
            // A disconnect is the end of the work. An interrupt that comes before the statement has begun is lost
            // (SQLite, sqlite3_interrupt): it is sent again.
            while is_done.recv_deadline(next) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
                next = Instant::now() + INTERRUPT_AGAIN;
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn is_interrupt(err: &rusqlite::Error) -> bool {
    err.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}
