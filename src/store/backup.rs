//! Copies of the whole database, and the check that reads all of it.
//!
//! Runs on the thread that asks, on a connection of its own, beside the writer. It knows neither sessions nor events.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::generation;
use super::schema::{StoreError, beside};
use crate::sys;

/// Whether every page of the database is as it must be.
///
/// # Errors
/// What SQLite finds wrong, or says.
pub(super) fn check_integrity(connection: &Connection) -> Result<(), StoreError> {
    check(connection, "PRAGMA integrity_check(1)")
}

/// The same but for whether the indexes have what the tables have, in less time.
///
/// # Errors
/// What SQLite finds wrong, or says.
pub(super) fn check_quickly(connection: &Connection) -> Result<(), StoreError> {
    check(connection, "PRAGMA quick_check(1)")
}

fn check(connection: &Connection, pragma: &str) -> Result<(), StoreError> {
    let found: String = connection.query_row(pragma, [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(StoreError::Damaged { found }),
    }
}

/// Writes a copy of the database of `connection`, as it is at this moment, to a new file of mode 0600; gives its size in bytes. Under its
/// name it is whole: until then it is called `<name>.partial`.
///
/// # Errors
/// The file is there already, or cannot be written; then nothing is left of it.
pub(super) fn backup(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let partial = copy.with_added_extension("partial");
    sys::create_own(&partial).map_err(|err| not_copied(&partial, &err))?;
    let written = copy_into(connection, &partial)
        .map_err(|err| not_copied(&partial, &err))
        // Unlike rename(2), link(2) takes nobody's place.
        .and_then(|bytes| match std::fs::hard_link(&partial, copy) {
            Ok(()) => Ok(bytes),
            Err(err) => Err(not_copied(copy, &err)),
        });
    remove_draft(&partial);
    Ok(written?)
}

/// Writes the database that `connection` has open, wherever its file is now, to `copy` (mode 0600), in the place of an
/// earlier copy; gives its size in bytes. Under its name it is whole.
///
/// # Errors
/// What SQLite or the system say; then nothing is left of it, and an earlier copy is as it was.
pub(super) fn save(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let partial = copy.with_added_extension("partial");
    let written = draft(connection, &partial)
        .and_then(|bytes| Ok(std::fs::rename(&partial, copy).map(|()| bytes)?));
    remove_draft(&partial);
    written
}

/// As [`copy_into`], to `file`, which is new and of mode 0600: what a dead process has left by its name is removed.
pub(super) fn draft(connection: &Connection, file: &Path) -> Result<u64, StoreError> {
    let _ = std::fs::remove_file(file);
    sys::create_own(file)?;
    copy_into(connection, file)
}

/// Removes what is left by the name of a draft, whether or not it became the copy.
pub(super) fn remove_draft(file: &Path) {
    let _ = std::fs::remove_file(file);
    // On a full disk SQLite leaves the copy's rollback journal behind.
    let _ = std::fs::remove_file(beside(file, "-journal"));
}

/// Which file it was: the disk that is full is then not the store's.
fn not_copied(file: &Path, err: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the copy {}: {err}", file.display()))
}

/// Writes the database of `connection` into the empty file `copy`, under a generation of its own.
fn copy_into(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let name = copy
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
    // An empty file is one that may be written (SQLite, VACUUM INTO).
    connection.execute("VACUUM INTO ?1", [name])?;
    generation::mark_copy(copy)?;
    let file = OpenOptions::new().read(true).open(copy)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
