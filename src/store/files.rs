//! The database's files by their names, and whether these still lead to the files that are open.
//!
//! Runs on whichever thread looks. It only asks for names: opening and closing such a file would give up the locks that
//! SQLite has on it (fcntl(2), "Record locking").

use std::path::{Path, PathBuf};

use super::schema::beside;
use crate::sys::named_file_id;

/// The suffixes of the names of the database, its log, and the log's index (SQLite, "WAL-mode File Format").
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
            ids: SUFFIXES.map(|suffix| named_file_id(&beside(path, suffix))),
        }
    }

    /// Where the database's name leads elsewhere, takes the names of its log and the log's index away: SQLite would apply them
    /// to whatever has the database's name by then. They stay open, and [`OpenFiles::put_back`] undoes it.
    pub fn set_aside(&self) {
        self.for_log_of_another(|name, is_ours| {
            if is_ours {
                let _ = std::fs::rename(name, aside(name));
            }
        });
    }

    /// Once everything is saved elsewhere: nobody needs what was set aside.
    pub fn remove_log(&self) {
        self.for_log_of_another(|name, is_ours| {
            let _ = std::fs::remove_file(aside(name));
            if is_ours {
                let _ = std::fs::remove_file(name);
            }
        });
    }

    /// Gives the log and its index their names again where the database has its own.
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

    /// Their names.
    pub fn names(&self) -> [PathBuf; 3] {
        SUFFIXES.map(|suffix| beside(&self.path, suffix))
    }

    /// The first whose name has gone, or leads to another file by now; `None` while all are in place.
    pub fn lost(&self) -> Option<PathBuf> {
        let mut files = self.all().into_iter();
        files.find_map(|(name, known)| (named_file_id(&name) != known).then_some(name))
    }
}

fn aside(name: &Path) -> PathBuf {
    name.with_added_extension("aside")
}
