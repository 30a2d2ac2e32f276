//! Looking at a database from outside: is it ours, which schema has it, is it whole.
//!
//! Runs in the CLI's process, with a daemon beside it or without one. It only reads, for a bounded time, and knows
//! nothing of who asks.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;
use super::schema::{VERSION, known_version, open_for_reading};
use crate::settings::durations;

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
    let connection = open(path, is_alone)?;
    let schema = known_version(&connection)?;
    Ok(Inspection {
        schema,
        known_schema: VERSION as i64,
        integrity: quick_check(&connection, deadline)?,
    })
}

/// A connection to look with.
pub(super) fn open(path: &Path, is_alone: bool) -> Result<Connection, StoreError> {
    let connection = match is_alone {
        true => open_immutable(path)?,
        false => open_for_reading(path)?,
    };
    connection.busy_timeout(durations::INSPECT_LOCK)?;
    Ok(connection)
}

/// What `quick_check` says by `deadline`. It ends with the first thing that it finds.
fn quick_check(connection: &Connection, deadline: Instant) -> rusqlite::Result<Integrity> {
    let found = until(connection, deadline, || {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match found {
        Ok(found) if found == "ok" => Ok(Integrity::Whole),
        Ok(found) => Ok(Integrity::Damaged(found)),
        Err(err) if is_interrupt(&err) => Ok(Integrity::Unfinished),
        Err(err) => Err(err),
    }
}

/// Does `work` with `connection`, whose statements are interrupted from `deadline` on.
pub(super) fn until<T>(connection: &Connection, deadline: Instant, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = bounded::<()>(0);
    let interrupt = connection.get_interrupt_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = deadline;
            // A disconnect is the end of the work. An interrupt that comes before the statement has begun is lost
            // (SQLite, sqlite3_interrupt): it is sent again.
            while is_done.recv_deadline(next) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
                next = Instant::now() + durations::INTERRUPT_AGAIN;
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Whether a statement was ended by [`until`].
pub(super) fn is_interrupt(err: &rusqlite::Error) -> bool {
    err.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::open_for_writing;

    /// A database of our own in a directory of the test's, with so many events in it; it looks at it, and removes it.
    fn inspected(name: &str, events: u64, deadline: Instant, is_alone: bool) -> Integrity {
        let dir = std::env::temp_dir().join(format!("coven-{name} ?#%-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("coven.sqlite3");
        let connection = open_for_writing(&path).unwrap();
        let insert = format!(
            "WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n LIMIT {events})
             INSERT INTO events (key, kind, created_at, payload_json) SELECT key, 'output', key, hex(key) FROM n"
        );
        connection.execute_batch(&insert).unwrap();
        if is_alone {
            drop(connection);
        }
        let found = inspect(&path, deadline, is_alone);
        let files = std::fs::read_dir(&dir).unwrap().count();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(files, if is_alone { 1 } else { 3 });
        found.unwrap().integrity
    }

    #[test]
    fn a_database_is_whole_beside_its_writer_and_alone_whatever_its_path() {
        let deadline = Instant::now() + durations::START;
        assert_eq!(inspected("beside", 10, deadline, false), Integrity::Whole);
        assert_eq!(inspected("alone", 10, deadline, true), Integrity::Whole);
    }

    #[test]
    fn a_check_that_takes_too_long_is_ended() {
        let found = inspected("large", 500_000, Instant::now(), true);
        assert_eq!(found, Integrity::Unfinished);
    }
}
