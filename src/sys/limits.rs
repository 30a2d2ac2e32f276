//! What the kernel limits a process to (setrlimit(2)), and how near this one is to it.
//!
//! Called from every thread.

use std::io;

/// Something that the kernel limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Descriptors of this process.
    OpenFiles,
    /// Processes and threads of this user.
    Processes,
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

fn own(resource: Resource) -> io::Result<libc::rlimit> {
    let resource = match resource {
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit fills the struct, which outlives the call.
    match unsafe { libc::getrlimit(resource, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}
