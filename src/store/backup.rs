//! Copies the whole database, and checks its integrity.
//!
//! Runs on the thread that asks, on a connection of its own, beside the writer. It knows neither sessions nor events.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::generation;
use super::schema::{StoreError, beside};
use crate::sys;

/// Checks every page of the database.
///
/// # Errors
/// [`StoreError::Damaged`] with the first finding, or SQLite's error.
pub(super) fn check_integrity(connection: &Connection) -> Result<(), StoreError> {
    check(connection, "PRAGMA integrity_check(1)")
}

/// As [`check_integrity`], but faster: does not compare the indexes with their tables.
///
/// # Errors
/// [`StoreError::Damaged`] with the first finding, or SQLite's error.
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

/// The name of `copy` until it is complete.
pub fn partial_name(copy: &Path) -> PathBuf {
    copy.with_added_extension("partial")
}

/// Copies the database of `connection`, in its current state, to a new file of mode 0600; returns the size in bytes.
/// The copy has the name [`partial_name`] until it is complete.
///
/// # Errors
/// The file exists already, or cannot be written; then nothing of it is left.
pub(super) fn backup(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let partial = partial_name(copy);
    sys::create_own(&partial).map_err(|err| not_copied(&partial, &err))?;
    let written = copy_into(connection, &partial)
        .map_err(|err| not_copied(&partial, &err))
        // Unlike rename(2), link(2) never replaces an existing file.
        .and_then(|bytes| match std::fs::hard_link(&partial, copy) {
            Ok(()) => Ok(bytes),
            Err(err) => Err(not_copied(copy, &err)),
        });
    remove_draft(&partial);
    Ok(written?)
}

/// Copies the database that `connection` has open to `copy` (mode 0600), replacing an earlier copy; returns the size in
/// bytes. Works also when the database's name is gone. The copy gets its name when it is complete.
///
/// # Errors
/// Returns SQLite's or the system's error; then nothing of it is left, and an earlier copy is unchanged.
pub(super) fn save(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let partial = partial_name(copy);
    let written = draft(connection, &partial)
        .and_then(|bytes| Ok(std::fs::rename(&partial, copy).map(|()| bytes)?));
    remove_draft(&partial);
    written
}

/// As [`copy_into`], to the new file `file` of mode 0600. Removes a draft that a dead process left there.
pub(super) fn draft(connection: &Connection, file: &Path) -> Result<u64, StoreError> {
    let _ = std::fs::remove_file(file);
    sys::create_own(file)?;
    copy_into(connection, file)
}

/// Removes the draft's name, whether or not it became the copy.
pub(super) fn remove_draft(file: &Path) {
    let _ = std::fs::remove_file(file);
    // On a full disk SQLite leaves the copy's rollback journal behind.
    let _ = std::fs::remove_file(beside(file, "-journal"));
}

/// Names the file in the error: the full disk may be another one than the store's.
fn not_copied(file: &Path, err: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the copy {}: {err}", file.display()))
}

/// Copies the database of `connection` into the empty file `copy`, under a new generation.
fn copy_into(connection: &Connection, copy: &Path) -> Result<u64, StoreError> {
    let name = copy
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
    // VACUUM INTO accepts an empty file (SQLite, VACUUM).
    connection.execute("VACUUM INTO ?1", [name])?;
    generation::mark_copy(copy)?;
    let file = OpenOptions::new().read(true).open(copy)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
