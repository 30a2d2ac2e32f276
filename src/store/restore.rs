//! A copy of the database in the place of the one that is there, which is kept.
//!
//! Runs in the CLI's process, which holds the daemon's lock meanwhile. It knows neither sessions nor events.

use std::io;
use std::path::{Path, PathBuf};

use super::generation;
use super::owner::{self, Heritage};
use super::schema::{StoreError, beside, known_version, with_time};
use super::{backup, connect};

/// What has been done.
#[derive(Debug)]
pub struct Restored {
    /// The size of the database, in bytes.
    pub bytes: u64,
    /// Where the database that was there is now; its log has the same name and `-wal`.
    pub replaced: Option<PathBuf>,
}

/// Puts a copy of the database in `file` in the place of the one at `path`, after a check of every page. What is there is
/// renamed to `.replaced-TIME`, with its log. A process that dies meanwhile leaves the old database or the new one, whole.
///
/// # Errors
/// `file` is no undamaged database of coven's, a daemon that lives serves the one at `path`, or what SQLite or the system say.
/// The database at `path` is as it was then.
pub fn restore(file: &Path, path: &Path) -> Result<Restored, StoreError> {
    check_unserved(path)?;
    file.metadata()?;
    // Without a log nothing is to be written beside it: its directory may be read-only.
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
    Ok(Restored { bytes, replaced })
}

/// Refuses where a daemon that lives serves the database although its lock is free. One that is damaged does not say.
fn check_unserved(path: &Path) -> Result<(), StoreError> {
    let heritage = connect::open_immutable(path).map(|connection| owner::look(&connection, path));
    match heritage {
        Ok(Ok(Heritage::Alive { pid })) => Err(StoreError::Owned { pid }),
        _ => Ok(()),
    }
}

/// Gives `copy` the name `path`; where the database that had it is now.
fn take_place(copy: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let replaced = with_time(path, "replaced");
    let is_kept = match std::fs::hard_link(path, &replaced) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::NotFound => false,
        Err(err) => return Err(err),
    };
    // From here on the log is another database's: a start after a crash sets it aside.
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
