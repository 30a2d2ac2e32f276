//! The copy of the database that is made before an upgrade in place migrates the schema.
//!
//! Made by the connection thread of the upgrade while sessions run; removed by the writer thread. It knows no schema.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::clock::{Aged, Clock, DAY};
use crate::api::Timestamp;
use crate::store::backup;
use crate::store::connect::pages;
use crate::store::schema::{StoreError, beside, directory};
use crate::sys;

/// Observed time after which the copy is removed, in milliseconds.
const KEPT: i64 = DAY;

/// Bytes that the copy leaves free, for the output of running sessions: the largest log that SQLite keeps.
const ROOM_LEFT: u64 = 64 * 1024 * 1024;

/// Suffix of the database's name, in front of the version.
const SUFFIX: &str = ".before-";

/// The copy of `database` from before its migration to schema version `version`.
pub(crate) fn place(database: &Path, version: usize) -> PathBuf {
    beside(database, &format!("{SUFFIX}{version}"))
}

/// Copies the database of `connection` to [`place`], replacing the copy of an earlier attempt.
///
/// # Errors
/// The file system has no room for it, or SQLite's or the system's error. Then an earlier copy is unchanged.
pub(crate) fn copy(
    connection: &Connection,
    database: &Path,
    version: usize,
) -> Result<(), StoreError> {
    check_room(connection, database)?;
    backup::save(connection, &place(database, version)).map(|_| ())
}

/// Checks that a copy has room.
///
/// # Errors
/// It has none, or SQLite's or the system's error.
pub(crate) fn check_room(connection: &Connection, database: &Path) -> Result<(), StoreError> {
    let (used, free) = (pages(connection)?.used(), sys::free_bytes(database)?);
    if free < used.saturating_add(ROOM_LEFT) {
        let why = format!(
            "no room for a copy of the database: it takes {used} bytes, and {ROOM_LEFT} must stay free; {free} are free"
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, why).into());
    }
    Ok(())
}

/// Removes the copies of `database` that are older than [`KEPT`], also drafts that a crash left behind.
pub(super) fn remove_old(database: &Path, clock: &Clock) {
    remove(database, &clock.older_than(KEPT));
}

fn remove(database: &Path, aged: &Aged) {
    let begin = beside(Path::new(database.file_name().unwrap_or_default()), SUFFIX);
    // Best effort: the next sweep tries again.
    for entry in std::fs::read_dir(directory(database))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let is_copy = name.as_bytes().starts_with(begin.as_os_str().as_bytes());
        let changed = entry.metadata().map(|meta| meta.mtime() * 1000);
        if is_copy && changed.is_ok_and(|at| aged.is_old(Timestamp::from_millis(at))) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_copies_are_removed_and_nothing_else_is() {
        let dir = std::env::temp_dir().join(format!("coven-before-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let database = dir.join("coven.sqlite3");
        let connection = Connection::open(&database).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
                 CREATE TABLE t (x); INSERT INTO t VALUES (7);",
            )
            .unwrap();
        copy(&connection, &database, 12).unwrap();
        // An attempt that failed left a copy of that name.
        copy(&connection, &database, 12).unwrap();
        let kept = place(&database, 12);
        let draft = backup::partial_name(&place(&database, 13));
        std::fs::write(&draft, "").unwrap();
        let other = dir.join("coven.sqlite3.backup");
        std::fs::write(&other, "").unwrap();
        let is_whole = Connection::open(&kept)
            .unwrap()
            .query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0));
        assert_eq!(is_whole, Ok(7));

        let now = Timestamp::now().as_millis();
        remove(&database, &Aged::before(Timestamp::from_millis(now - DAY)));
        assert!(kept.exists() && draft.exists());
        remove(&database, &Aged::before(Timestamp::from_millis(now + DAY)));
        assert!(!kept.exists() && !draft.exists());
        assert!(database.exists() && other.exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
