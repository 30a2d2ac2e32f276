//! Remembers in a file beside the database that SQLite found it damaged, and when. The database itself may not be
//! writable then.
//!
//! Runs on the thread that finds the damage, or in the CLI's process. It knows nothing of the pages' content.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::api::StoreDamage;
use crate::store::schema::beside;

fn file(database: &Path) -> PathBuf {
    beside(database, ".damaged")
}

/// The recorded damage of the database at `path`, unless a later check found it intact.
pub fn read(database: &Path) -> Option<StoreDamage> {
    let bytes = std::fs::read(file(database)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Records the damage for the next start.
pub(super) fn write(database: &Path, damage: &StoreDamage) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file(database))?;
    file.write_all(&serde_json::to_vec(damage)?)
}

/// Forgets the damage: the database is intact.
pub(crate) fn forget(database: &Path) {
    // Usually the file does not exist.
    let _ = std::fs::remove_file(file(database));
}
