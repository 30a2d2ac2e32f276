//! That a page of the database was not what it must be, and when: kept beside the database, which may not be writable then.
//!
//! Runs on the thread that meets it, or in the CLI's process. It knows nothing of what is in the pages.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::api::StoreDamage;
use crate::store::schema::beside;

fn file(database: &Path) -> PathBuf {
    beside(database, ".damaged")
}

/// What has been met in the database at `path` and not been found whole since.
pub fn read(database: &Path) -> Option<StoreDamage> {
    let bytes = std::fs::read(file(database)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Keeps it for the next start.
pub(super) fn write(database: &Path, damage: &StoreDamage) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file(database))?;
    file.write_all(&serde_json::to_vec(damage)?)
}

/// The database is whole.
pub(crate) fn forget(database: &Path) {
    // Usually there is none.
    let _ = std::fs::remove_file(file(database));
}
