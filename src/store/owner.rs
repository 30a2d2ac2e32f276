//! Records which daemon serves the database, and in which file. A copy recognises by that record that it is a copy.
//!
//! Runs on the main thread at start, or in the CLI's process. It reads the process table and signals no process.

use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::meta;
use super::schema::StoreError;
use crate::sys;

/// Name of the record in the table `meta`.
const NAME: &str = "owner";

/// A daemon, and the file that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pid: i32,
    /// Tells the daemon from a later process with the same pid.
    process_mark: String,
    /// A pid is meaningful only within one boot and one PID namespace.
    boot: String,
    pid_namespace: Option<String>,
    /// Device and inode of the database's file: a copy has others.
    file: (u64, u64),
}

/// State of the last owner, as seen from the process that opens the database now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastOwner {
    /// No owner is on record, or this system cannot identify processes.
    Unknown,
    /// The owner is dead, proven in the same boot and namespace: its leftover processes may be killed.
    Dead,
    /// The owner lives and serves this file.
    Alive { pid: i32 },
    /// The owner lives and serves another file: this one is a copy, and the processes recorded in it are the owner's.
    Copy { pid: i32 },
    /// The owner ran in another boot or PID namespace: its pids mean nothing here.
    Elsewhere,
}

impl Owner {
    /// This process, as the owner of the database at `path`.
    fn here(path: &Path) -> Option<Self> {
        let pid = std::process::id() as i32;
        Some(Self {
            pid,
            process_mark: sys::process_mark(pid)?,
            boot: sys::boot_id()?.to_owned(),
            pid_namespace: sys::pid_namespace(),
            file: sys::file_id(&path.metadata().ok()?),
        })
    }
}

/// Compares the `last` owner with `now`, the process that opens the database; `is_alive`: the last owner's process
/// lives.
fn compare(last: Option<&Owner>, now: Option<&Owner>, is_alive: bool) -> LastOwner {
    let (Some(last), Some(now)) = (last, now) else {
        return LastOwner::Unknown;
    };
    let is_here = last.boot == now.boot && last.pid_namespace == now.pid_namespace;
    let is_self = last.pid == now.pid && last.process_mark == now.process_mark;
    match (is_here, is_alive && !is_self) {
        (false, _) => LastOwner::Elsewhere,
        (true, false) => LastOwner::Dead,
        (true, true) if last.file == now.file => LastOwner::Alive { pid: last.pid },
        (true, true) => LastOwner::Copy { pid: last.pid },
    }
}

/// State of the recorded owner, for the process that opens the database at `path`. An older schema has no record.
pub(super) fn last_owner(connection: &Connection, path: &Path) -> Result<LastOwner, StoreError> {
    let query = "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'";
    let has_meta: bool = connection.query_row(query, [], |row| row.get(0))?;
    let last = match has_meta {
        true => meta::read::<Owner>(connection, NAME)?,
        false => None,
    };
    let is_alive = last
        .as_ref()
        .is_some_and(|last| last.pid > 1 && sys::is_running(last.pid, &last.process_mark));
    Ok(compare(last.as_ref(), Owner::here(path).as_ref(), is_alive))
}

/// Records this process as the owner.
pub(super) fn claim(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    // If this system cannot identify processes, no owner is recorded and none can be proven dead later.
    match Owner::here(path) {
        Some(owner) => meta::write(connection, NAME, &owner),
        None => meta::remove(connection, NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: i32) -> Owner {
        Owner {
            pid,
            process_mark: format!("boot/{pid}"),
            boot: "boot".into(),
            pid_namespace: Some("pid:[1]".into()),
            file: (1, 2),
        }
    }

    #[test]
    fn only_an_owner_that_is_proven_dead_lets_its_processes_be_ended() {
        let (last, now) = (owner(10), owner(20));
        let copy = Owner {
            file: (1, 3),
            ..now.clone()
        };
        let other_boot = Owner {
            boot: "other".into(),
            ..now.clone()
        };
        let other_namespace = Owner {
            pid_namespace: Some("pid:[2]".into()),
            ..now.clone()
        };
        let no_namespace = Owner {
            pid_namespace: None,
            ..now.clone()
        };
        let same_pid = Owner {
            process_mark: "boot/99".into(),
            ..owner(10)
        };
        for (last, now, is_alive, expected) in [
            (None, Some(&now), false, LastOwner::Unknown),
            (Some(&last), None, true, LastOwner::Unknown),
            (Some(&last), Some(&now), false, LastOwner::Dead),
            (Some(&last), Some(&now), true, LastOwner::Alive { pid: 10 }),
            (Some(&last), Some(&copy), true, LastOwner::Copy { pid: 10 }),
            (Some(&last), Some(&copy), false, LastOwner::Dead),
            (Some(&last), Some(&other_boot), true, LastOwner::Elsewhere),
            (Some(&last), Some(&other_boot), false, LastOwner::Elsewhere),
            (
                Some(&last),
                Some(&other_namespace),
                true,
                LastOwner::Elsewhere,
            ),
            (
                Some(&last),
                Some(&no_namespace),
                false,
                LastOwner::Elsewhere,
            ),
            // After exec(2) a process is still itself; a later process with the same pid is not.
            (Some(&last), Some(&last), true, LastOwner::Dead),
            (Some(&last), Some(&same_pid), false, LastOwner::Dead),
        ] {
            assert_eq!(
                compare(last, now, is_alive),
                expected,
                "{last:?} {now:?} {is_alive}"
            );
        }
    }
}
