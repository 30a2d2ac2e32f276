//! Opening files that are the daemon's own: closed to others from the moment that they are there. Called from every thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens `path` to read it. A link is refused (ELOOP), and a FIFO by this name holds nobody.
///
/// # Errors
/// What open(2) reports.
pub fn open_own(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Makes the new file `path`, mode 0600.
///
/// # Errors
/// What open(2) reports: EEXIST also for a link.
pub fn create_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Opens `path` to append to it, with `flags` of open(2); makes it, mode 0600, where it is not there.
///
/// # Errors
/// What open(2) reports.
pub fn append_own(path: &Path, flags: libc::c_int) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    options.custom_flags(flags).open(path)
}
