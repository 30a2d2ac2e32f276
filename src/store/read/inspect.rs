//! Looking at a database from outside: is it ours, which schema has it, is it whole.
//!
//! Runs in the CLI's process, with a daemon beside it or without one. It only reads, for a bounded time, and knows
//! nothing of who asks.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::api::{LeftBehind, SessionId};
use crate::store::connect::{is_interrupt, open_to_look, until};
use crate::store::migrations::VERSION;
use crate::store::schema::{StoreError, known_version};

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
    let connection = open_to_look(path, is_alone)?;
    let schema = known_version(&connection)?;
    Ok(Inspection {
        schema,
        known_schema: VERSION as i64,
        integrity: quick_check(&connection, deadline)?,
    })
}

/// The sessions in the database at `path` that have left processes behind at their end, and those. `is_alone` as for
/// [`inspect`].
///
/// # Errors
/// As [`inspect`].
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::settings::durations;
    use crate::store::connect::open_for_writing;

    /// A database of our own in a directory of the test's, with so many events in it; it looks at it, and removes it.
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
        // The look leaves none of its own: no -wal or -shm of a database that nobody writes.
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
