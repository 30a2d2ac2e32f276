//! Looking at a database from outside: is it ours, which schema has it, is it whole.
//!
//! Runs in the CLI's process, with a daemon beside it or without one. It only reads, for a bounded time, and knows
//! nothing of who asks.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;
use super::schema::{APPLICATION_ID, VERSION, open_for_reading, pragma};

/// How long another connection's lock is waited for: a daemon that starts replays the log under one.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// What was found in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its schema version.
    pub schema: i64,
    /// The schema version that this build reads and writes.
    pub known_schema: i64,
    /// What `quick_check` says.
    pub integrity: Integrity,
}

/// What SQLite's `quick_check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrity {
    /// It has found nothing.
    Whole,
    /// The first thing that it found.
    Damaged(String),
    /// It was ended before it was through.
    Unfinished,
}

/// Looks at the database at `path` until `deadline`. With `is_alone`, nobody else has it open, and everything is in
/// the file itself: it is read without a lock, and without a `-wal` or `-shm` beside it.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`], or what SQLite says.
pub fn inspect(path: &Path, deadline: Instant, is_alone: bool) -> Result<Inspection, StoreError> {
    let connection = match is_alone {
        true => open_immutable(path)?,
        false => open_for_reading(path)?,
    };
    connection.busy_timeout(BUSY_PATIENCE)?;
    let (done, is_done) = bounded::<()>(0);
    let interrupt = connection.get_interrupt_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A disconnect is the end of the work.
            if is_done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let result = look(&connection);
        drop(done);
        result
    })
}

fn look(connection: &Connection) -> Result<Inspection, StoreError> {
    let schema: i64 = pragma(connection, "user_version")?;
    let application: i32 = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    if schema > VERSION as i64 {
        return Err(StoreError::Newer { found: schema });
    }
    // The first thing that it finds is enough: it ends there.
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let integrity = match found {
        Ok(found) if found == "ok" => Integrity::Whole,
        Ok(found) => Integrity::Damaged(found),
        Err(err) if err.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Integrity::Unfinished
        }
        Err(err) => return Err(err.into()),
    };
    Ok(Inspection {
        schema,
        known_schema: VERSION as i64,
        integrity,
    })
}

/// A connection that takes no lock and writes no file (SQLite, "URI Filenames", `immutable`).
fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(byte.into());
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}
