//! Which log belongs to which database: SQLite applies a `-wal` to whatever file has the database's name, also to a copy
//! that was put there after a crash. So each start, and each copy, writes a new random generation into the database, and
//! each start notes it in a file beside it. A log is set aside where the two differ.
//!
//! Runs on the main thread at start, or in the CLI's process, before the database is opened. It knows no other content.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::connect::open_immutable;
use super::meta;
use super::schema::{StoreError, beside, pragma, with_time};
use crate::api::SessionId;

/// The name of the record in the table `meta`.
const NAME: &str = "generation";

/// The suffix of the file beside the database: a move or a copy of `coven.sqlite3*` takes it along.
const SUFFIX: &str = "-generation";

/// What is in the file beside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beside {
    /// Those that the database can have: two from before the new one is written until it is on disk.
    generations: Vec<Option<String>>,
    /// SQLite's schema cookie at that time. It never gets smaller in one file, but begins anew in the copies of `.backup`,
    /// `.dump` and `.recover`, which have the generation of their original.
    schema_cookie: u32,
}

/// What the database's file says by itself, without its log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// It has no content.
    Empty,
    /// It has a header. A generation that cannot be read says nothing: the process may have died while the log was copied.
    Database {
        schema_cookie: u32,
        generation: Option<String>,
    },
    /// It is no SQLite database, or its header cannot be read.
    Unknown,
}

/// Whether the log beside a database belongs to another one.
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

/// Sets the log of the database at `path` aside if it belongs to another one; where it is then. Without a generation on
/// record, as in a home of an older coven, it is taken as it is.
///
/// # Errors
/// The log cannot be renamed.
pub(super) fn set_foreign_log_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let wal = beside(path, "-wal");
    let has_log = wal.metadata().is_ok_and(|meta| meta.len() > 0);
    let Some(known) = read_beside(path).filter(|_| has_log) else {
        return Ok(None);
    };
    if !is_foreign(&look(path), &known) {
        return Ok(None);
    }
    let aside = with_time(&wal, "orphaned");
    std::fs::rename(&wal, &aside)?;
    // The index of that log is of no use for another one.
    let _ = std::fs::remove_file(beside(path, "-shm"));
    Ok(Some(aside))
}

/// Gives the database at `path` a new generation. The file beside it names the old one, too, until the new one is in the
/// database's own file: a process that dies in between leaves a log that is taken. A database whose log another process keeps
/// from being copied keeps the generation that it has.
///
/// # Errors
/// What SQLite or the system say. The log is still taken then.
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
///
/// # Errors
/// What SQLite says.
pub(super) fn mark_copy(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    // Nobody needs a copy that is half written: without a journal nothing is left beside it.
    connection.execute_batch("PRAGMA journal_mode = MEMORY")?;
    meta::write(&connection, NAME, &random())
}

/// Removes what is on record beside the database at `path`: for a copy that takes its place.
pub(super) fn forget(path: &Path) {
    let _ = std::fs::remove_file(beside(path, SUFFIX));
}

fn random() -> String {
    format!("{:016x}", SessionId::random().random_bits())
}

/// Copies the whole log into the database and empties it, without waiting for a reader; whether that was possible.
fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "PRAGMA wal_checkpoint(TRUNCATE)";
    connection.query_row(query, [], |row| row.get::<_, i64>(0).map(|busy| busy == 0))
}

fn look(path: &Path) -> Found {
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
        // A database that was removed leaves a log of no other one.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Found::Empty,
        _ => Found::Unknown,
    }
}

fn read_beside(path: &Path) -> Option<Beside> {
    serde_json::from_slice(&std::fs::read(beside(path, SUFFIX)).ok()?).ok()
}

/// On disk when it returns, also after a power loss: the database may then have the new generation.
fn write_beside(path: &Path, content: &Beside) -> io::Result<()> {
    let name = beside(path, SUFFIX);
    let draft = name.with_added_extension("partial");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, &name)?;
    let dir = match name.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir)?.sync_all()
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
            // A vacuum counts the cookie up.
            (database(21, generation("b")), &one, false),
            (database(20, generation("a")), &one, true),
            // Between the two writes.
            (database(20, generation("a")), &two, false),
            (database(20, generation("b")), &two, false),
            (database(20, generation("c")), &two, true),
            (database(20, None), &first, false),
            (database(20, None), &one, false),
            // A copy that `.backup` made; a database of an older schema.
            (database(1, generation("b")), &one, true),
            (database(19, None), &two, true),
            (Found::Empty, &one, true),
            (Found::Unknown, &one, false),
        ] {
            assert_eq!(is_foreign(&found, beside), expected, "{found:?} {beside:?}");
        }
    }
}
