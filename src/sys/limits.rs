//! Kernel limits of this process (setrlimit(2)), and how close it is to them.
//!
//! Called from every thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::checked;

/// A limited resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Descriptors of this process.
    OpenFiles,
    /// Processes and threads of this user.
    Processes,
    /// Address space of this process, in bytes.
    AddressSpace,
}

/// Soft and hard limit of this process; `None` is unlimited.
pub fn limit(resource: Resource) -> io::Result<(Option<u64>, Option<u64>)> {
    let limit = own(resource)?;
    let finite = |n| (n != libc::RLIM_INFINITY).then_some(n);
    Ok((finite(limit.rlim_cur), finite(limit.rlim_max)))
}

/// Soft limit on open files that this process inherited, once it has been raised.
static OPEN_FILES_BEFORE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Raises the soft limit on open files to the hard limit, which needs no privilege: the soft one is low for programs
/// that use select(2). Children get the old limit back (`give_back`).
pub fn raise_open_files() {
    let Ok(mut limit) = own(Resource::OpenFiles) else {
        return;
    };
    // Without prlimit(2) children could not get the old limit back, so nothing is raised.
    if !cfg!(target_os = "linux") || limit.rlim_cur >= limit.rlim_max {
        return;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit reads the struct, which outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
        OPEN_FILES_BEFORE.store(before, Ordering::Relaxed);
    }
}

/// The soft limit on open files before it was raised, for the next program; `None` if it was not.
pub fn open_files_before() -> Option<u64> {
    let before = OPEN_FILES_BEFORE.load(Ordering::Relaxed);
    (before != u64::MAX).then_some(before)
}

/// The previous program of this process has raised the soft limit on open files from `before`.
pub fn take_up_open_files(before: u64) {
    OPEN_FILES_BEFORE.store(before, Ordering::Relaxed);
}

/// Restores the inherited soft limit on open files for the child `pid`.
///
/// posix_spawn(3) has no attribute for it, so the child has the higher limit for a moment after `execve`. That is
/// shorter than loading a program, and the child has only three descriptors then.
pub(super) fn give_back(pid: i32) {
    let before = OPEN_FILES_BEFORE.load(Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    if before != u64::MAX
        && let Ok(mut limit) = super::os::prlimit(pid, libc::RLIMIT_NOFILE, None)
    {
        limit.rlim_cur = before.min(limit.rlim_max);
        // It may have ended, or have changed its user: then the limit is irrelevant or cannot be set.
        let _ = super::os::prlimit(pid, libc::RLIMIT_NOFILE, Some(&limit));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (pid, before);
}

/// Nice value of the calling thread (setpriority(2)), which its children inherit.
pub fn niceness() -> i32 {
    // SAFETY: getpriority takes two integers; it cannot fail for the caller itself.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Sets the nice value to 0 if RLIMIT_NICE or a privilege allows it. Must be called before other threads start.
pub fn reset_niceness() {
    if niceness() != 0 {
        // SAFETY: setpriority takes three integers. If it fails the nice value stays, and doctor reports it.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    }
}

/// Purpose of a descriptor, which decides how many must stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A launch: keeps some free for clients.
    Launch,
    /// A client: keeps some free for the store, the log, and ending sessions.
    Client,
}

/// True if `fd`, just opened, is one of the last descriptors, reserved for more important uses. The kernel assigns the
/// lowest free number (open(2)): all numbers below `fd` are in use.
pub fn is_scarce(fd: &impl AsFd, for_what: Use) -> bool {
    let Ok((Some(most), _)) = limit(Resource::OpenFiles) else {
        return false;
    };
    let kept = match for_what {
        Use::Launch => (most / 4).min(64),
        Use::Client => (most / 8).min(16),
    };
    let number = u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(0);
    number + kept >= most
}

/// The error of a launch that would need one of the reserved descriptors.
pub fn too_many_open_files() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// Text of `err`, with the name of the limit that was reached, if any.
pub fn explain(err: &io::Error) -> String {
    let (resource, what) = match err.raw_os_error() {
        Some(libc::EMFILE) => (
            Resource::OpenFiles,
            "the daemon's limit on open files (RLIMIT_NOFILE) is reached",
        ),
        Some(libc::EAGAIN) => (
            Resource::Processes,
            "no process or thread is to be had: the limit of this user (RLIMIT_NPROC), or of the machine, is reached",
        ),
        Some(libc::ENOMEM) => (
            Resource::AddressSpace,
            "no memory is to be had: the daemon's limit on address space (RLIMIT_AS), or the machine's memory, is reached",
        ),
        _ => return err.to_string(),
    };
    match limit(resource) {
        Ok((Some(most), _)) => format!("{what}; it is {most}: {err}"),
        _ => format!("{what}: {err}"),
    }
}

fn own(resource: Resource) -> io::Result<libc::rlimit> {
    let resource = match resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::AddressSpace => libc::RLIMIT_AS,
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit fills the struct, which outlives the call.
    checked(unsafe { libc::getrlimit(resource, &raw mut limit) }).map(|_| limit)
}
