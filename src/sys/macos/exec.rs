//! The program of this process as a descriptor, and the execution of another one.
//!
//! macOS executes no descriptor: the path of the open file is executed.

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens the program of this process.
pub fn own_program() -> io::Result<OwnedFd> {
    Ok(File::open(std::env::current_exe()?)?.into())
}

/// Creates a file without a name.
pub fn memory_file() -> io::Result<File> {
    let name = format!("coven-handover-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// execve(2) of an open file; both lists end with a null. Returns only if that fails.
pub(in crate::sys) fn execute(
    program: RawFd,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
) -> io::Error {
    let mut path = [0 as libc::c_char; libc::PATH_MAX as usize];
    // SAFETY: F_GETPATH writes at most PATH_MAX bytes with a NUL; the caller's lists are null-terminated, and point to
    // NUL-terminated strings.
    unsafe {
        if libc::fcntl(program, libc::F_GETPATH, path.as_mut_ptr()) == 0 {
            libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
        }
    }
    io::Error::last_os_error()
}

/// Does nothing: the name is that of the executed file.
pub fn name_process() {}
