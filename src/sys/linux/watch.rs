//! Descriptors for a waiting thread: woken by another thread, a signal, or a change of files.
//!
//! Each belongs to the thread that waits; a [`Wake`] is shared. They do not know the reason of the wait.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::sys::signal::SignalSet;
use crate::sys::spawn::c_string;
use crate::sys::{Arrival, Interest, checked, owned, poll};

/// A descriptor that one thread waits on and another makes readable: an eventfd.
#[derive(Debug)]
pub struct Wake(pub(super) File);

impl Wake {
    /// # Errors
    /// The error of eventfd(2): no descriptor or memory is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers; on success the descriptor is new and ours alone.
        let fd = unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) };
        Ok(Self(fd?.into()))
    }

    /// Makes the descriptor readable until [`Wake::clear`]. Never blocks; may be repeated.
    pub fn wake(&self) {
        // EAGAIN means that the counter is full: the descriptor is readable anyway.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Undoes all wakes so far.
    pub fn clear(&self) {
        // EAGAIN means that there was none.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Becomes readable when a file in a directory is written, created or renamed: an inotify instance.
#[derive(Debug)]
pub struct LogWatch(File);

impl LogWatch {
    /// Watches the directory `dir` and the files in it.
    ///
    /// # Errors
    /// The error of inotify_init1(2) or inotify_add_watch(2): no such directory, or too many watches.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let events = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO;
        let file = inotify()?;
        add_watch(&file, dir, events)?;
        Ok(Self(file))
    }

    /// Also reports writes to `file`, which is in the directory: inotify does so anyway.
    pub fn watch_file(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Discards all reports so far.
    pub fn clear(&self) {
        // EAGAIN means that nothing is left; an overflowed queue has reported that as well.
        let mut sink = [0; 16 * 1024];
        while matches!((&self.0).read(&mut sink), Ok(n) if n > 0) {}
    }
}

impl AsFd for LogWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Input of the signals thread: signals (signalfd(2)), and changes of names in a few directories (inotify(7)). Writes
/// to files are not reported.
pub struct Arrivals {
    signals: File,
    names: Option<Arc<File>>,
}

impl Arrivals {
    /// Receives `signals`, which [`crate::sys::block_signals`] has blocked.
    ///
    /// # Errors
    /// The error of signalfd(2): no descriptor or memory is left.
    pub fn of_signals(signals: &[libc::c_int]) -> io::Result<Self> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let set = SignalSet::of(signals);
        // SAFETY: the set is initialised and outlives the call; the descriptor is new and ours alone.
        let signals = unsafe { owned(libc::signalfd(-1, set.as_ptr(), flags)) }?;
        Ok(Self {
            signals: signals.into(),
            names: None,
        })
    }

    /// Goes on with the `names` that another program has watched, and their reports.
    pub fn go_on(&mut self, names: OwnedFd) {
        self.names = Some(Arc::new(names.into()));
    }

    /// The descriptor that reports names, once a directory is watched. Closing the last one waits for the kernel, 10 to
    /// 25 ms: inotify(7) frees the watches behind a grace period of its readers (SRCU).
    pub fn names(&self) -> Option<Arc<File>> {
        self.names.clone()
    }

    /// Also watches the names in the directory `dir`. May be repeated.
    ///
    /// # Errors
    /// The error of inotify_init1(2) or inotify_add_watch(2): no such directory, or too many watches.
    pub fn watch_names(&mut self, dir: &Path) -> io::Result<()> {
        let changes = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE;
        let own = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF;
        let names = match self.names.take() {
            Some(names) => names,
            None => Arc::new(inotify()?),
        };
        add_watch(self.names.insert(names), dir, changes | own)
    }

    /// Blocks until something arrives, or `deadline` has passed. Also returns the value of `before_taking`, which is called
    /// before the arrival is taken.
    pub fn wait<T>(
        &self,
        deadline: Option<Instant>,
        before_taking: impl Fn() -> T,
    ) -> io::Result<(Arrival, T)> {
        loop {
            let mut interests = vec![Interest::readable(&self.signals)];
            interests.extend(self.names.as_deref().map(Interest::readable));
            let has_come = poll(&mut interests, deadline)?;
            let taking = before_taking();
            if !has_come {
                return Ok((Arrival::Deadline, taking));
            }
            if let Some(signal) = self.next_signal()? {
                return Ok((Arrival::Signal(signal), taking));
            }
            let names = self.changed_names();
            if !names.is_empty() {
                return Ok((Arrival::Names(names), taking));
            }
        }
    }

    fn next_signal(&self) -> io::Result<Option<i32>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.signals).read(&mut info) {
            // The signal's number is the first field (signalfd(2)).
            Ok(_) => Ok(Some(i32::from_ne_bytes([
                info[0], info[1], info[2], info[3],
            ]))),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The changed names; an empty name stands for a directory itself, or for an overflowed queue.
    fn changed_names(&self) -> Vec<OsString> {
        const HEAD: usize = size_of::<libc::inotify_event>();
        let mut names = Vec::new();
        let mut buffer = [0; 16 * 1024];
        let Some(mut file) = self.names.as_deref() else {
            return names;
        };
        while let Ok(n @ 1..) = file.read(&mut buffer) {
            let mut rest = &buffer[..n];
            // The header's last field is the length of the name, padded with NULs (inotify(7)).
            while let Some((head, behind)) = rest.split_at_checked(HEAD) {
                let length = head.last_chunk().copied().map_or(0, u32::from_ne_bytes) as usize;
                let (name, next) = behind.split_at(length.min(behind.len()));
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                names.push(OsStr::from_bytes(name).to_owned());
                rest = next;
            }
        }
        names
    }
}

/// A descriptor that reports file changes.
fn inotify() -> io::Result<File> {
    // SAFETY: inotify_init1 takes an integer, and its descriptor is new and ours alone.
    unsafe { owned(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK)) }.map(File::from)
}

/// Makes `file` report `events` of the directory `dir`.
fn add_watch(file: &File, dir: &Path, events: u32) -> io::Result<()> {
    let (dir, events) = (c_string(dir.as_os_str())?, events | libc::IN_ONLYDIR);
    // SAFETY: `dir` is NUL-terminated and outlives the call; the descriptor is borrowed.
    checked(unsafe { libc::inotify_add_watch(file.as_raw_fd(), dir.as_ptr(), events) }).map(drop)
}
