//! Children and their groups: how they ended, and how to end them.
//!
//! A child is watched with `WNOWAIT` and reaped only when nobody will signal it any more: while the zombie
//! is there, neither its pid nor its process group can be given to another (credentials(7)).

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited, with this code (0–255).
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What a process and the children that it has waited for have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// The most that one of them had resident, in bytes.
    pub peak_rss: u64,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(signal) => write!(f, "signal:{signal}"),
        }
    }
}

/// Waits for the child `pid` to exit and says how, and what it has used where the system tells that of a zombie;
/// leaves the zombie in place.
///
/// # Errors
/// What waitid(2) reports: ECHILD if it is not ours.
pub fn wait_exit(pid: i32) -> io::Result<(Exit, Option<Usage>)> {
    wait(pid, libc::WEXITED | libc::WNOWAIT)
}

/// Takes the zombie of the child `pid` away: from here on its pid can belong to another process.
///
/// # Errors
/// What waitid(2) reports: ECHILD if it is not ours.
pub fn reap(pid: i32) -> io::Result<Exit> {
    wait(pid, libc::WEXITED).map(|(exit, _)| exit)
}

fn wait(pid: i32, options: libc::c_int) -> io::Result<(Exit, Option<Usage>)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        let usage = match super::os::waitid(pid, &mut info, options) {
            Ok(usage) => usage,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        // SAFETY: waitid has succeeded, so that this is a SIGCHLD siginfo, whose si_status is valid.
        let (code, status) = unsafe {
            let info = info.assume_init_ref();
            (info.si_code, info.si_status())
        };
        let exit = match code {
            libc::CLD_EXITED => Exit::Code(status),
            _ => Exit::Signal(status),
        };
        return Ok((exit, usage));
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
