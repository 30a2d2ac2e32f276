//! Inspects a database from outside: application, schema version, integrity.
//!
//! Runs in the CLI's process, with or without a running daemon. It only reads, until a deadline.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::api::{LeftBehind, SessionId};
use crate::store::backup;
use crate::store::connect::{is_interrupt, open_to_look, until};
use crate::store::migrations;
use crate::store::schema::{StoreError, known_version};

/// Result of an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub schema: i64,
    /// The schema version that this build reads and writes.
    pub known_schema: i64,
    /// Result of `quick_check`.
    pub integrity: Integrity,
}

/// Result of SQLite's `quick_check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrity {
    Whole,
    /// The first finding.
    Damaged(String),
    /// The deadline ended the check.
    Unfinished,
}

/// Inspects the database at `path` until `deadline`. `is_alone` says that no process has it open: then it is read
/// without locks, and without a `-wal` or `-shm`.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`], or SQLite's error.
pub fn inspect(path: &Path, deadline: Instant, is_alone: bool) -> Result<Inspection, StoreError> {
    let connection = open_to_look(path, is_alone)?;
    let schema = known_version(&connection)?;
    Ok(Inspection {
        schema,
        known_schema: migrations::version() as i64,
        integrity: quick_check(&connection, deadline)?,
    })
}

/// The sessions in the database at `path` that left processes behind, and these processes. `is_alone` as for
/// [`inspect`].
pub fn left_behind(
    path: &Path,
    is_alone: bool,
) -> Result<Vec<(SessionId, LeftBehind)>, StoreError> {
    let connection = open_to_look(path, is_alone)?;
    let query = "SELECT id, left_behind FROM sessions WHERE left_behind IS NOT NULL ORDER BY num";
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Runs `quick_check` until `deadline`. It stops at the first finding.
fn quick_check(connection: &Connection, deadline: Instant) -> Result<Integrity, StoreError> {
    match until(connection, deadline, || backup::check_quickly(connection)) {
        Ok(()) => Ok(Integrity::Whole),
        Err(StoreError::Damaged { found }) => Ok(Integrity::Damaged(found)),
        Err(StoreError::Sqlite(err)) if is_interrupt(&err) => Ok(Integrity::Unfinished),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::settings::durations;
    use crate::store::connect::open_for_writing;

    /// Inspects a new database with `events` events, and removes it.
    fn inspected(name: &str, events: u64, deadline: Instant, is_alone: bool) -> Integrity {
        let dir = std::env::temp_dir().join(format!("coven-{name} ?#%-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("coven.sqlite3");
        let (connection, _) = open_for_writing(&path).unwrap();
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
        // The inspection must leave no -wal or -shm beside an unused database.
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
