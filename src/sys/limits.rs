//! What the kernel limits a process to (setrlimit(2)), and how near this one is to it.
//!
//! Called from every thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::checked;

/// Something that the kernel limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Descriptors of this process.
    OpenFiles,
    /// Processes and threads of this user.
    Processes,
    /// Address space of this process, in bytes.
    AddressSpace,
}

/// The soft and the hard limit of this process; `None` is no limit.
///
/// # Errors
/// What getrlimit(2) reports.
pub fn limit(resource: Resource) -> io::Result<(Option<u64>, Option<u64>)> {
    let limit = own(resource)?;
    let finite = |n| (n != libc::RLIM_INFINITY).then_some(n);
    Ok((finite(limit.rlim_cur), finite(limit.rlim_max)))
}

/// The soft limit on open files that this process was started with, once it has been raised.
static OPEN_FILES_BEFORE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Raises the soft limit on open files to the hard one, which needs no privilege: the soft one is low for the sake of
/// programs that use select(2). What this process starts gets the old one back (`give_back`).
pub fn raise_open_files() {
    let Ok(mut limit) = own(Resource::OpenFiles) else {
        return;
    };
    // Where nobody can be given the old limit back, nothing is raised.
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

/// Gives the child `pid` the soft limit on open files that this process was started with.
///
/// posix_spawn(3) has no attribute for it, so that for an instant after `execve` the child has the higher one: less
/// than it takes a program to be loaded, on a machine that is not overloaded. Nothing is below the lower one then but
/// its three descriptors.
pub(super) fn give_back(pid: i32) {
    let before = OPEN_FILES_BEFORE.load(Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    if before != u64::MAX
        && let Ok(mut limit) = super::os::prlimit(pid, libc::RLIMIT_NOFILE, None)
    {
        limit.rlim_cur = before.min(limit.rlim_max);
        // It may have ended, or be another user's by now: then it needs nothing, or is out of reach.
        let _ = super::os::prlimit(pid, libc::RLIMIT_NOFILE, Some(&limit));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (pid, before);
}

/// The niceness of the calling thread (setpriority(2)), which what it starts inherits.
pub fn niceness() -> i32 {
    // SAFETY: getpriority takes two integers; it cannot fail for the caller itself.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Sets it to 0, where RLIMIT_NICE or the privilege allow that. To be called before any other thread is started.
pub fn reset_niceness() {
    if niceness() != 0 {
        // SAFETY: setpriority takes three integers. Where it is refused the niceness stays, and doctor says so.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    }
}

/// Who may use a descriptor when there are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A launch: leaves some for clients.
    Launch,
    /// A client: leaves some for the store, the log, and for ending sessions.
    Client,
}

/// Whether `fd`, just opened, is one of the last that there are, which are not for this use. The kernel gives the lowest
/// number that is free (open(2)): all below it are taken.
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

/// The error of a launch that would take one of the last descriptors.
pub fn too_many_open_files() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// What `err` says, and which limit it is that has been reached, if it is one.
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
