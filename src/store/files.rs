//! The database's files by their names, and whether these still lead to the files that are open.
//!
//! Runs on whichever thread looks. It only asks for names: opening and closing such a file would give up the locks that
//! SQLite has on it (fcntl(2), "Record locking").

use std::path::{Path, PathBuf};

use super::schema::beside;
use crate::sys;

/// The suffixes of the names of the database, its log and the log's index.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The files that the store has open.
pub struct OpenFiles {
    path: PathBuf,
    ids: [Option<(u64, u64)>; 3],
}

impl OpenFiles {
    /// Those of the database at `path`, which has just been opened.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ids: SUFFIXES.map(|suffix| id(&beside(path, suffix))),
        }
    }

    /// Their names.
    pub fn names(&self) -> [PathBuf; 3] {
        SUFFIXES.map(|suffix| beside(&self.path, suffix))
    }

    /// The first whose name has gone, or leads to another file by now; `None` while all are in place.
    pub fn lost(&self) -> Option<PathBuf> {
        let mut files = self.names().into_iter().zip(self.ids);
        files.find_map(|(name, known)| (id(&name) != known).then_some(name))
    }
}

fn id(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|meta| sys::file_id(&meta))
}
