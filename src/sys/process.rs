//! Waits for children, reaps them, and signals process groups.
//!
//! A child is waited for with `WNOWAIT`, and reaped only when it will not be signalled any more. While the zombie
//! exists, neither its pid nor its process group id can be reused (credentials(7)).

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Exit code, 0 to 255.
    Code(i32),
    /// Signal that terminated it.
    Signal(i32),
}

/// Resources used by a process and the children that it has waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// User and system time.
    pub cpu: Duration,
    /// Largest resident set of any one of them, in bytes.
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

/// A child that [`super::reap_adopted`] does not reap: a harness that no other thread of this process has started.
/// Dropping the value ends that.
#[derive(Debug)]
pub struct KeptChild(i32);

/// The kept children. A child can be kept by two threads for a moment, while one hands it over to the other.
static KEPT: Mutex<Vec<i32>> = Mutex::new(Vec::new());

impl KeptChild {
    pub fn new(pid: i32) -> Self {
        KEPT.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pid);
        Self(pid)
    }

    /// True if the child `pid` is kept.
    pub fn is_kept(pid: i32) -> bool {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.contains(&pid)
    }
}

impl Drop for KeptChild {
    fn drop(&mut self) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|pid| *pid == self.0) {
            kept.swap_remove(at);
        }
    }
}

/// Waits for the child `pid` to exit; returns its exit status, and its usage if the system reports that for a zombie.
/// Leaves the zombie in place.
///
/// # Errors
/// The error of waitid(2): ECHILD if it is not our child.
pub fn wait_exit(pid: i32) -> io::Result<(Exit, Option<ResourceUsage>)> {
    wait(pid, libc::WEXITED | libc::WNOWAIT)
}

/// Reaps the zombie of the child `pid`: from here on its pid can be reused.
///
/// # Errors
/// The error of waitid(2): ECHILD if it is not our child.
pub fn reap(pid: i32) -> io::Result<Exit> {
    wait(pid, libc::WEXITED).map(|(exit, _)| exit)
}

fn wait(pid: i32, options: libc::c_int) -> io::Result<(Exit, Option<ResourceUsage>)> {
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
/// The error of kill(2): ESRCH if the group has no member.
pub fn kill_group(pgid: i32, signal: i32) -> io::Result<()> {
    assert!(
        pgid > 1,
        "kill(2) takes 0 and -1 for groups that are not the session's"
    );
    super::send_signal(-pgid, signal)
}
