//! Opens the daemon's own files so that other users never have access. Called from every thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens `path` for reading. Fails on a symbolic link (ELOOP), and does not block on a FIFO.
pub fn open_own(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Opens `path` for reading. Follows symbolic links, and does not block on a FIFO.
pub fn open_followed(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Creates the new file `path` with mode 0600.
///
/// # Errors
/// The error of open(2): EEXIST also for a symbolic link.
pub fn create_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Opens `path` for appending, with `flags` of open(2); creates it with mode 0600 if it does not exist.
pub fn append_own(path: &Path, flags: libc::c_int) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    options.custom_flags(flags).open(path)
}
