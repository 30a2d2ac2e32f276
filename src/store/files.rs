//! Checks by name whether the database's open files are still in place.
//!
//! Runs on any thread. It only calls stat(2): opening and closing such a file would release the locks that SQLite has
//! on it (fcntl(2), "Record locking").

use std::path::{Path, PathBuf};

use super::schema::beside;
use crate::sys::named_file_id;

/// Suffixes of the database, its log, and the log's index (SQLite, "WAL-mode File Format").
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Identities (device, inode) of the files that the store has open.
pub struct OpenFiles {
    path: PathBuf,
    ids: [Option<(u64, u64)>; 3],
}

impl OpenFiles {
    /// The files of the database at `path`, which has just been opened.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ids: SUFFIXES.map(|suffix| named_file_id(&beside(path, suffix))),
        }
    }

    /// If the database's name leads to another file, renames the log and its index: SQLite would apply them to that
    /// file. The open descriptors stay valid; [`OpenFiles::put_back`] undoes the renames.
    pub fn set_aside(&self) {
        self.for_log_of_another(|name, is_ours| {
            if is_ours {
                let _ = std::fs::rename(name, aside(name));
            }
        });
    }

    /// Removes the renamed files, once their content is saved elsewhere.
    pub fn remove_log(&self) {
        self.for_log_of_another(|name, is_ours| {
            let _ = std::fs::remove_file(aside(name));
            if is_ours {
                let _ = std::fs::remove_file(name);
            }
        });
    }

    /// Renames the log and its index back, if the database's name leads to the open file again.
    pub fn put_back(&self) {
        let [(database, known), log @ ..] = self.all();
        if named_file_id(&database) != known {
            return;
        }
        for (name, known) in log {
            if named_file_id(&aside(&name)).is_some_and(|id| Some(id) == known) {
                let _ = std::fs::rename(aside(&name), name);
            }
        }
    }

    fn for_log_of_another(&self, act: impl Fn(&Path, bool)) {
        let [(database, known), log @ ..] = self.all();
        if named_file_id(&database) == known {
            return;
        }
        for (name, known) in log {
            act(&name, named_file_id(&name) == known);
        }
    }

    fn all(&self) -> [(PathBuf, Option<(u64, u64)>); 3] {
        let mut ids = self.ids.into_iter();
        self.names().map(|name| (name, ids.next().flatten()))
    }

    /// Names of the database, its log and the log's index.
    pub fn names(&self) -> [PathBuf; 3] {
        SUFFIXES.map(|suffix| beside(&self.path, suffix))
    }

    /// The first name that is gone or leads to another file; `None` while all three are in place.
    pub fn lost(&self) -> Option<PathBuf> {
        let mut files = self.all().into_iter();
        files.find_map(|(name, known)| (named_file_id(&name) != known).then_some(name))
    }
}

fn aside(name: &Path) -> PathBuf {
    name.with_added_extension("aside")
}
