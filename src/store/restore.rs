//! Replaces the database by a copy, and keeps the replaced one.
//!
//! Runs in the CLI's process, which holds the daemon's lock meanwhile. It knows neither sessions nor events.

use std::io;
use std::path::{Path, PathBuf};

use super::generation;
use super::owner::{self, LastOwner};
use super::schema::{StoreError, beside, known_version, with_time};
use super::{backup, connect};
use crate::api::Restored;

/// Checks every page of the database in `file`, and puts a copy of it at `path`. The database that was there is renamed
/// to `.replaced-TIME`, together with its log. A process that dies meanwhile leaves either the old or the new database,
/// complete.
///
/// # Errors
/// `file` is not an undamaged database of coven's, a live daemon serves the database at `path`, or SQLite's or the
/// system's error. The database at `path` is unchanged then.
pub fn restore(file: &Path, path: &Path) -> Result<Restored, StoreError> {
    check_unserved(path)?;
    file.metadata()?;
    // Without a log the source is opened immutable: its directory may be read-only.
    let source = match beside(file, "-wal").symlink_metadata() {
        Ok(_) => connect::open_for_copying(file)?,
        Err(_) => connect::open_immutable(file)?,
    };
    if known_version(&source)? == 0 {
        return Err(StoreError::Foreign);
    }
    backup::check_integrity(&source)?;
    let partial = path.with_added_extension("restoring");
    let placed =
        backup::draft(&source, &partial).and_then(|bytes| Ok((bytes, take_place(&partial, path)?)));
    backup::remove_draft(&partial);
    let (bytes, replaced) = placed?;
    Ok(Restored {
        ok: true,
        bytes,
        replaced: replaced.map(|path| path.display().to_string()),
    })
}

/// Fails if a live daemon serves the database although its lock is free. A damaged database cannot be asked; it passes.
fn check_unserved(path: &Path) -> Result<(), StoreError> {
    let last_owner =
        connect::open_immutable(path).map(|connection| owner::last_owner(&connection, path));
    match last_owner {
        Ok(Ok(LastOwner::Alive { pid })) => Err(StoreError::Owned { pid }),
        _ => Ok(()),
    }
}

/// Renames `copy` to `path`; returns the new name of the replaced database.
fn take_place(copy: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let replaced = with_time(path, "replaced");
    let is_kept = match std::fs::hard_link(path, &replaced) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::NotFound => false,
        Err(err) => return Err(err),
    };
    // From here on the log belongs to the replaced database: a start after a crash sets it aside.
    if let Err(err) = std::fs::rename(copy, path) {
        let _ = std::fs::remove_file(&replaced);
        return Err(err);
    }
    let wal = beside(path, "-wal");
    if wal.symlink_metadata().is_ok() {
        std::fs::rename(wal, beside(&replaced, "-wal"))?;
    }
    let _ = std::fs::remove_file(beside(path, "-shm"));
    generation::forget(path);
    Ok(is_kept.then_some(replaced))
}
