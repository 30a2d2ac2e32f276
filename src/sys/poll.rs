//! Waits for descriptors, and connects, with a deadline. Called from every thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{SUN_PATH_MAX, checked, os};

/// A descriptor to wait for, and the result.
pub struct Interest<'a> {
    fd: BorrowedFd<'a>,
    events: i16,
    ready: i16,
}

impl<'a> Interest<'a> {
    fn of(fd: &'a impl AsFd, events: i16) -> Self {
        Self {
            fd: fd.as_fd(),
            events,
            ready: 0,
        }
    }

    /// Waits until a read would not block: data, end of file, or an error.
    pub fn readable(fd: &'a impl AsFd) -> Self {
        Self::of(fd, libc::POLLIN)
    }

    /// Waits until a write would not block.
    pub fn writable(fd: &'a impl AsFd) -> Self {
        Self::of(fd, libc::POLLOUT)
    }

    /// Waits only for the peer's full close: poll(2) always reports POLLHUP and POLLERR. A peer that only shut down its
    /// writing side, as `nc -N` does, still expects the answer.
    pub fn hangup(fd: &'a impl AsFd) -> Self {
        Self::of(fd, 0)
    }

    /// True if the last [`poll`] found this descriptor ready.
    pub fn is_ready(&self) -> bool {
        self.ready != 0
    }
}

/// Blocks until one of `interests` is ready (true) or `deadline` has passed (false).
///
/// # Errors
/// The error of poll(2), except EINTR: then it waits for the remaining time.
pub fn poll(interests: &mut [Interest<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds: Vec<libc::pollfd> = interests
        .iter()
        .map(|i| libc::pollfd {
            fd: i.fd.as_raw_fd(),
            events: i.events,
            revents: 0,
        })
        .collect();
    loop {
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let n = match checked(os::poll(&mut fds, timeout)) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        };
        for (interest, fd) in interests.iter_mut().zip(&fds) {
            interest.ready = fd.revents;
        }
        return Ok(n > 0);
    }
}

/// Connects to the Unix socket at `path` within `patience`. connect(2) waits while the listener's queue is full, as
/// long as SO_SNDTIMEO allows (socket(7)). Writes on the stream keep that timeout.
///
/// # Errors
/// The error of socket(2) or connect(2); `WouldBlock` after `patience`.
pub fn connect_within(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        // SAFETY: all-zero is a valid sockaddr_un.
        ..unsafe { std::mem::zeroed() }
    };
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > SUN_PATH_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let stream = UnixStream::from(os::unix_socket()?);
    stream.set_write_timeout(Some(patience))?;
    loop {
        // SAFETY: the address is initialised, its path ends with a NUL, and it outlives the call.
        let connected = checked(unsafe {
            let (address, length) = ((&raw const address).cast(), size_of::<libc::sockaddr_un>());
            libc::connect(stream.as_raw_fd(), address, length as libc::socklen_t)
        });
        match connected {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            connected => return connected.map(|_| stream),
        }
    }
}

/// Makes reads and writes of `fd` fail with `WouldBlock` instead of blocking.
pub fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for both calls; F_GETFL and F_SETFL take and give integers.
    unsafe {
        let flags = checked(libc::fcntl(raw, libc::F_GETFL))?;
        checked(libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}
