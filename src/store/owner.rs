//! Whose the database is: the daemon that has opened it for serving is on record in it, and a copy tells by that that it
//! is one.
//!
//! Runs on the main thread at start, or in the CLI's process. Pure but for [`Owner::here`] and the look at a process; it
//! signals nobody.

use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::meta;
use super::schema::StoreError;
use crate::sys;

/// The name of the record in the table `meta`.
const NAME: &str = "owner";

/// A daemon, and the file that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pid: i32,
    /// What tells the process from a later one with its pid.
    process_mark: String,
    /// A pid means nothing in another boot, or in another namespace.
    boot: String,
    pid_namespace: Option<String>,
    /// Device and inode of the database's file: a copy has others.
    file: (u64, u64),
}

/// What the last owner means for whoever opens the database now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heritage {
    /// Nobody has served it, or the system does not tell processes apart.
    Unknown,
    /// Its owner is proven dead, in this boot and namespace: what it has left behind can be ended.
    Dead,
    /// Its owner lives and serves it.
    Alive {
        /// That daemon.
        pid: i32,
    },
    /// Its owner lives and serves another file: this one is a copy, and the processes in it are the owner's.
    Copy {
        /// That daemon.
        pid: i32,
    },
    /// Its owner lived in another boot or in another PID namespace: its pids say nothing here.
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

/// What the `last` owner means for `now`, which opens the database; `is_alive` says whether the last one's process lives.
fn heritage(last: Option<&Owner>, now: Option<&Owner>, is_alive: bool) -> Heritage {
    let (Some(last), Some(now)) = (last, now) else {
        return Heritage::Unknown;
    };
    let is_here = last.boot == now.boot && last.pid_namespace == now.pid_namespace;
    let is_self = last.pid == now.pid && last.process_mark == now.process_mark;
    match (is_here, is_alive && !is_self) {
        (false, _) => Heritage::Elsewhere,
        (true, false) => Heritage::Dead,
        (true, true) if last.file == now.file => Heritage::Alive { pid: last.pid },
        (true, true) => Heritage::Copy { pid: last.pid },
    }
}

/// What the owner on record means for this process, which has opened the database at `path`. One of an older schema has
/// none.
///
/// # Errors
/// What SQLite says.
pub(super) fn look(connection: &Connection, path: &Path) -> Result<Heritage, StoreError> {
    let query = "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'";
    let has_meta: bool = connection.query_row(query, [], |row| row.get(0))?;
    let last = match has_meta {
        true => meta::read::<Owner>(connection, NAME)?,
        false => None,
    };
    let is_alive = last
        .as_ref()
        .is_some_and(|last| last.pid > 1 && sys::is_running(last.pid, &last.process_mark));
    Ok(heritage(
        last.as_ref(),
        Owner::here(path).as_ref(),
        is_alive,
    ))
}

/// Puts this process on record as the owner.
///
/// # Errors
/// What SQLite says.
pub(super) fn claim(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    // Without a way to tell processes apart nobody is on record, and nobody is proven dead later.
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
            (None, Some(&now), false, Heritage::Unknown),
            (Some(&last), None, true, Heritage::Unknown),
            (Some(&last), Some(&now), false, Heritage::Dead),
            (Some(&last), Some(&now), true, Heritage::Alive { pid: 10 }),
            (Some(&last), Some(&copy), true, Heritage::Copy { pid: 10 }),
            (Some(&last), Some(&copy), false, Heritage::Dead),
            (Some(&last), Some(&other_boot), true, Heritage::Elsewhere),
            (Some(&last), Some(&other_boot), false, Heritage::Elsewhere),
            (
                Some(&last),
                Some(&other_namespace),
                true,
                Heritage::Elsewhere,
            ),
            (Some(&last), Some(&no_namespace), false, Heritage::Elsewhere),
            // A process that has replaced its program is itself; one that got the pid later is not.
            (Some(&last), Some(&last), true, Heritage::Dead),
            (Some(&last), Some(&same_pid), false, Heritage::Dead),
        ] {
            assert_eq!(
                heritage(last, now, is_alive),
                expected,
                "{last:?} {now:?} {is_alive}"
            );
        }
    }
}
