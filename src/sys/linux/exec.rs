//! The program of this process as a descriptor, and the execution of another one.
//!
//! Runs on the main thread, and in the handler of a fatal signal.

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use crate::sys::owned;

/// Opens the program of this process, also if its file has been deleted or replaced (proc(5), `exe`).
pub fn own_program() -> io::Result<OwnedFd> {
    // SAFETY: the path is NUL-terminated, and the descriptor is new and ours alone.
    unsafe {
        owned(libc::open(
            c"/proc/self/exe".as_ptr(),
            libc::O_PATH | libc::O_CLOEXEC,
        ))
    }
}

/// Creates a file in memory.
pub fn memory_file() -> io::Result<File> {
    // SAFETY: the name is NUL-terminated, and the descriptor is new and ours alone.
    unsafe {
        owned(libc::memfd_create(
            c"coven-handover".as_ptr(),
            libc::MFD_CLOEXEC,
        ))
    }
    .map(File::from)
}

/// execveat(2) of an open descriptor; both lists end with a null. Returns only if that fails.
pub(in crate::sys) fn execute(
    program: RawFd,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
) -> io::Error {
    // SAFETY: the caller's lists are null-terminated, and point to NUL-terminated strings.
    unsafe {
        let (argv, env) = (argv.as_ptr(), env.as_ptr());
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            argv,
            env,
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Sets the name of this process (prctl(2), `PR_SET_NAME`): execveat(2) of a descriptor leaves the descriptor's number.
pub fn name_process() {
    // SAFETY: the name is NUL-terminated, and shorter than 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"coven".as_ptr()) };
}
