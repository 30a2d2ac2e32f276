//! Decides which log (`-wal`) belongs to the database. SQLite applies a `-wal` to any file with the database's name,
//! also to a copy that was put there after a crash. Each start and each copy therefore writes a new random generation
//! into the database. Each start also notes it in a file beside the database. A log is set aside where the two differ.
//!
//! Runs on the main thread at start, or in the CLI's process, before the database is opened. It reads no session or
//! event.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::connect::open_immutable;
use super::meta;
use super::schema::{StoreError, beside, directory, pragma, with_time};
use crate::api::SessionId;
use crate::sys;

/// Name of the record in the table `meta`.
const NAME: &str = "generation";

/// Suffix of the file beside the database: moving or copying `coven.sqlite3*` includes it.
const SUFFIX: &str = "-generation";

/// Content of the file beside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beside {
    /// The possible generations of the database: two while a new one is being written to disk, one afterwards.
    generations: Vec<Option<String>>,
    /// SQLite's schema cookie at that time. Within one file it only grows. The copies of `.backup`, `.dump` and
    /// `.recover` start again at a low value but keep the generation of their original.
    schema_cookie: u32,
}

/// Content of the database's file alone, without its log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// The file is empty or missing.
    Empty,
    /// The file has a SQLite header. A generation that cannot be read proves nothing: the process may have died during
    /// a checkpoint.
    Database {
        schema_cookie: u32,
        generation: Option<String>,
    },
    /// Not a SQLite database, or the header cannot be read.
    Unknown,
}

/// True if the log beside the database provably belongs to another one.
fn is_foreign(found: &Found, beside: &Beside) -> bool {
    match found {
        Found::Empty => true,
        Found::Unknown => false,
        Found::Database {
            schema_cookie,
            generation,
        } => {
            *schema_cookie < beside.schema_cookie
                || (generation.is_some() && !beside.generations.contains(generation))
        }
    }
}

/// Renames the log of the database at `path` if it belongs to another one, and returns its new name. A database without
/// a recorded generation (from an older coven) keeps its log.
///
/// # Errors
/// The log cannot be renamed.
pub(super) fn set_foreign_log_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let wal = beside(path, "-wal");
    let has_log = wal.metadata().is_ok_and(|meta| meta.len() > 0);
    let Some(known) = read_beside(path).filter(|_| has_log) else {
        return Ok(None);
    };
    if !is_foreign(&read_header(path), &known) {
        return Ok(None);
    }
    let aside = with_time(&wal, "orphaned");
    std::fs::rename(&wal, &aside)?;
    // Best effort: the index of a log is useless for another log, and SQLite rebuilds it.
    let _ = std::fs::remove_file(beside(path, "-shm"));
    Ok(Some(aside))
}

/// Gives the database at `path` a new generation. The file beside it names both the old and the new one until the new
/// one has been checkpointed into the database's file. A process that dies in between leaves a log that is still
/// accepted. If another process blocks the checkpoint, the old generation stays.
///
/// # Errors
/// Returns SQLite's or the system's error. The log is still accepted then.
pub(super) fn renew(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    if !checkpoint(connection)? {
        return Ok(());
    }
    let old = meta::read(connection, NAME)?;
    let new = random();
    let schema_cookie = pragma(connection, "schema_version")?;
    let note = |generations| {
        let beside = Beside {
            generations,
            schema_cookie,
        };
        write_beside(path, &beside)
    };
    note(vec![Some(new.clone()), old])?;
    meta::write(connection, NAME, &new)?;
    if checkpoint(connection)? {
        note(vec![Some(new)])?;
    }
    Ok(())
}

/// Gives the new copy at `path` a generation of its own.
pub(super) fn mark_copy(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    // A half-written copy is discarded: without a journal no second file is left beside it.
    connection.execute_batch("PRAGMA journal_mode = MEMORY")?;
    meta::write(&connection, NAME, &random())
}

/// Removes the generation file of the database at `path`, before a copy takes its place.
pub(super) fn forget(path: &Path) {
    let _ = std::fs::remove_file(beside(path, SUFFIX));
}

fn random() -> String {
    format!("{:016x}", SessionId::random().random_bits())
}

/// Copies the log into the database and truncates it, without waiting for readers; false if a reader blocks it.
fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "PRAGMA wal_checkpoint(TRUNCATE)";
    connection.query_row(query, [], |row| row.get::<_, i64>(0).map(|busy| busy == 0))
}

/// Reads the header of the database at `path`, and its generation.
fn read_header(path: &Path) -> Found {
    // SQLite, "Database File Format": the magic string, and the schema cookie at offset 40.
    let mut header = [0; 44];
    let read_header = File::open(path).and_then(|mut file| match file.metadata()?.len() {
        0 => Ok(true),
        _ => file.read_exact(&mut header).map(|()| false),
    });
    match read_header {
        Ok(true) => Found::Empty,
        Ok(false) if header.starts_with(b"SQLite format 3\0") => Found::Database {
            schema_cookie: u32::from_be_bytes([header[40], header[41], header[42], header[43]]),
            generation: open_immutable(path)
                .and_then(|connection| meta::read(&connection, NAME))
                .unwrap_or_default(),
        },
        // A log without its database belongs to no database that could come.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Found::Empty,
        _ => Found::Unknown,
    }
}

fn read_beside(path: &Path) -> Option<Beside> {
    serde_json::from_slice(&std::fs::read(beside(path, SUFFIX)).ok()?).ok()
}

/// Replaces the file and syncs it: after a power loss it must not be older than the database.
fn write_beside(path: &Path, content: &Beside) -> io::Result<()> {
    let name = beside(path, SUFFIX);
    let draft = name.with_added_extension("partial");
    // A process that died has left it.
    let _ = std::fs::remove_file(&draft);
    let mut file = sys::create_own(&draft)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, &name)?;
    File::open(directory(&name))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_is_proven_to_be_of_another_database_is_foreign() {
        let generation = |name: &str| Some(name.to_owned());
        let database = |schema_cookie, generation| Found::Database {
            schema_cookie,
            generation,
        };
        let one = Beside {
            generations: vec![generation("b")],
            schema_cookie: 20,
        };
        let two = Beside {
            generations: vec![generation("b"), generation("a")],
            ..one.clone()
        };
        let first = Beside {
            generations: vec![generation("b"), None],
            ..one.clone()
        };
        for (found, beside, expected) in [
            (database(20, generation("b")), &one, false),
            // VACUUM increments the cookie.
            (database(21, generation("b")), &one, false),
            (database(20, generation("a")), &one, true),
            // Between the two writes of `renew`.
            (database(20, generation("a")), &two, false),
            (database(20, generation("b")), &two, false),
            (database(20, generation("c")), &two, true),
            (database(20, None), &first, false),
            (database(20, None), &one, false),
            // A copy made by `.backup`; a database of an older schema.
            (database(1, generation("b")), &one, true),
            (database(19, None), &two, true),
            (Found::Empty, &one, true),
            (Found::Unknown, &one, false),
        ] {
            assert_eq!(is_foreign(&found, beside), expected, "{found:?} {beside:?}");
        }
    }
}
