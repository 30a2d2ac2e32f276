//! Descriptors to wait on: wakes, signals, and changes of the log's files.
//!
//! Runs on the thread that waits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::pipe;
use crate::sys::{self, Arrival, checked, owned};

/// A descriptor that one thread waits on and another makes readable: a pipe.
#[derive(Debug)]
pub struct Wake {
    reader: File,
    writer: File,
}

impl Wake {
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        sys::set_nonblocking(&reader)?;
        sys::set_nonblocking(&writer)?;
        Ok(Self {
            reader: reader.into(),
            writer: writer.into(),
        })
    }

    /// Makes the descriptor readable until [`Wake::clear`]. Never blocks; may be repeated.
    pub fn wake(&self) {
        // A full pipe is readable anyway.
        let _ = (&self.writer).write(&[1]);
    }

    /// Undoes all wakes so far.
    pub fn clear(&self) {
        let mut sink = [0; 256];
        while matches!((&self.reader).read(&mut sink), Ok(n) if n == sink.len()) {}
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Input of the signals thread. Names in directories are not watched on macOS: each request checks them.
pub struct Arrivals {
    signals: Vec<libc::c_int>,
}

impl Arrivals {
    /// Receives `signals`, which [`sys::block_signals`] has blocked.
    pub fn of_signals(signals: &[libc::c_int]) -> io::Result<Self> {
        Ok(Self {
            signals: signals.to_vec(),
        })
    }

    /// Never called on macOS: no names are watched.
    pub fn go_on(&mut self, _names: OwnedFd) {}

    /// Always `None` on macOS.
    pub fn names(&self) -> Option<Arc<File>> {
        None
    }

    /// Not supported on macOS.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`]
    pub fn watch_names(&mut self, _dir: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Blocks until a signal arrives, then calls `behind`, and returns its value, too: sigwait(3) knows no deadline, and
    /// takes the signal at once.
    pub fn wait<T>(
        &self,
        _deadline: Option<Instant>,
        behind: impl Fn() -> T,
    ) -> io::Result<(Arrival, T)> {
        let signal = sys::wait_signal(&self.signals)?;
        Ok((Arrival::Signal(signal), behind()))
    }
}

/// Becomes readable when entries of a directory change, or a watched file is written: a kqueue with `EVFILT_VNODE`.
#[derive(Debug)]
pub struct LogWatch {
    queue: OwnedFd,
    /// Held open: closing it removes it from the kqueue.
    _dir: File,
}

impl LogWatch {
    /// Watches the directory `dir`; writes to its files only after [`LogWatch::watch_file`].
    pub fn new(dir: &Path) -> io::Result<Self> {
        let dir = File::open(dir)?;
        // SAFETY: kqueue takes nothing, and its descriptor is new and ours alone; fcntl takes integers.
        let queue = unsafe {
            let queue = owned(libc::kqueue())?;
            checked(libc::fcntl(
                queue.as_raw_fd(),
                libc::F_SETFD,
                libc::FD_CLOEXEC,
            ))?;
            queue
        };
        let watch = Self { queue, _dir: dir };
        watch.watch_file(&watch._dir)?;
        Ok(watch)
    }

    /// Also reports writes to `file`, until it is closed. May be repeated.
    pub fn watch_file(&self, file: &File) -> io::Result<()> {
        let change = libc::kevent {
            ident: file.as_raw_fd() as usize,
            filter: libc::EVFILT_VNODE,
            flags: libc::EV_ADD | libc::EV_CLEAR,
            fflags: libc::NOTE_WRITE | libc::NOTE_EXTEND | libc::NOTE_RENAME,
            data: 0,
            udata: std::ptr::null_mut(),
        };
        let none = std::ptr::null_mut();
        // SAFETY: kevent reads the one change, which outlives the call, and writes nothing.
        let result = unsafe {
            libc::kevent(
                self.queue.as_raw_fd(),
                &raw const change,
                1,
                none,
                0,
                std::ptr::null(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Discards all reports so far.
    pub fn clear(&self) {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = [const { std::mem::MaybeUninit::<libc::kevent>::uninit() }; 16];
        // SAFETY: kevent writes at most 16 events into the array, waits for none, and both outlive the call.
        unsafe {
            libc::kevent(
                self.queue.as_raw_fd(),
                std::ptr::null(),
                0,
                events.as_mut_ptr().cast(),
                16,
                &raw const now,
            )
        };
    }
}

impl AsFd for LogWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
