//! Marks the processes of a session, so that they are recognised even if they try to hide.
//!
//! A process passes its limits on to all that it starts, through `fork`, `execve`, `setsid` and an empty environment.
//! The soft value of `RLIMIT_LOCKS`, unused by the kernel since Linux 2.4.25 (setrlimit(2)), carries the session's mark.
//!
//! Harness threads mark processes at their spawn; searches of any thread read the marks.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::prlimit;
use crate::sys::Family;

/// Bit of every mark; no meaningful limit has it.
const MARK: u64 = 1 << 62;

/// Mark of processes that have left their family, and of their descendants.
pub(super) const LEFT: u64 = MARK;

/// Removes the family's mark from this process, and so from its future children.
pub fn leave_family() {
    if locks(0, None).is_ok_and(|limit| is_mark(limit.rlim_cur)) {
        let _ = locks(0, Some(LEFT));
    }
}

/// While this value lives, processes that are started here carry a family's mark from their first instruction. One
/// spawn at a time: limits belong to the whole process.
pub(in crate::sys) struct Marking {
    restored: Option<u64>,
    _turn: MutexGuard<'static, ()>,
}

impl Marking {
    pub(in crate::sys) fn begin(family: &Family) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails if the hard limit is below the mark: then only environment and session identify the process.
        let before = locks(0, None).map(|limit| limit.rlim_cur);
        let restored = before.ok().filter(|_| locks(0, Some(mark(family))).is_ok());
        Self {
            restored,
            _turn: turn,
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        if let Some(soft) = self.restored {
            let _ = locks(0, Some(soft));
        }
    }
}

/// The mark of the processes of `family`.
pub(super) fn mark(family: &Family) -> u64 {
    MARK | (family.number & (MARK - 1))
}

fn is_mark(soft: u64) -> bool {
    soft != libc::RLIM_INFINITY && soft & MARK != 0
}

/// Sets the soft limit of the process `pid` (0: this one), if `soft` is given; returns the limit.
pub(super) fn locks(pid: i32, soft: Option<u64>) -> io::Result<libc::rlimit> {
    let mut limit = prlimit(pid, libc::RLIMIT_LOCKS, None)?;
    if let Some(soft) = soft {
        limit.rlim_cur = soft;
        prlimit(pid, libc::RLIMIT_LOCKS, Some(&limit))?;
    }
    Ok(limit)
}
