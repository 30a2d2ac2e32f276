//! Children and their groups: how they ended, and how to end them.
//!
//! A child is watched with `WNOWAIT` and reaped only when nobody will signal it any more: while the zombie
//! is there, neither its pid nor its process group can be given to another (credentials(7)).

use std::fmt;
use std::io;
use std::mem::MaybeUninit;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited, with this code (0–255).
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(signal) => write!(f, "signal:{signal}"),
        }
    }
}

/// Waits for the child `pid` to exit and says how, leaving the zombie in place.
///
/// # Errors
/// What waitid(2) reports: ECHILD if it is not ours.
pub fn wait_exit(pid: i32) -> io::Result<Exit> {
    wait(pid, libc::WEXITED | libc::WNOWAIT)
}

/// Takes the zombie of the child `pid` away: from here on its pid can belong to another process.
///
/// # Errors
/// What waitid(2) reports: ECHILD if it is not ours.
pub fn reap(pid: i32) -> io::Result<Exit> {
    wait(pid, libc::WEXITED)
}

fn wait(pid: i32, options: libc::c_int) -> io::Result<Exit> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: waitid fills the struct when it returns 0; all-zero is a valid siginfo_t.
        let result =
            unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, info.as_mut_ptr(), options) };
        if result == 0 {
            // SAFETY: waitid returned 0, so that this is a SIGCHLD siginfo, whose si_status is valid.
            let (code, status) = unsafe {
                let info = info.assume_init_ref();
                (info.si_code, info.si_status())
            };
            return Ok(match code {
                libc::CLD_EXITED => Exit::Code(status),
                _ => Exit::Signal(status),
            });
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

/// Sends `signal` to every process of the group `pgid`.
///
/// # Errors
/// What kill(2) reports: ESRCH if the group has no member left.
pub fn kill_group(pgid: i32, signal: i32) -> io::Result<()> {
    assert!(
        pgid > 1,
        "kill(2) takes 0 and -1 for groups that are not the session's"
    );
    super::send_signal(-pgid, signal)
}
