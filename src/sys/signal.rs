//! Signal masks and dispositions. The daemon takes its signals in one thread, by `sigwait`: a handler
//! could do almost nothing safely (signal-safety(7)).

use std::io;
use std::mem::MaybeUninit;

use libc::c_int;

use super::checked;

/// A set of signals, as sigsetops(3) build it.
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// No signal at all.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and cannot fail for a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Every signal there is.
    pub fn full() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the set, and cannot fail for a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    pub(super) fn of(signals: &[c_int]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is initialised, and the numbers are libc's own constants.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    pub(super) fn as_ptr(&self) -> *const libc::sigset_t {
        &raw const self.0
    }
}

/// What asks a process to end.
pub const STOP_SIGNALS: &[c_int] = &[libc::SIGTERM, libc::SIGINT];

/// What a daemon takes: to end, to read its configuration again, and that a child has ended. A signal that is blocked
/// is kept also where its default is to be ignored (sigaction(2), kernel/signal.c).
pub const DAEMON_SIGNALS: &[c_int] = &[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];

/// The signal that says that a child has ended.
pub const CHILD_SIGNAL: c_int = libc::SIGCHLD;

/// The signal that asks a daemon to read its configuration again.
pub const RELOAD_SIGNAL: c_int = libc::SIGHUP;

/// Blocks `signals` in this thread and in every thread that it starts from now on, so that [`wait_signal`] can take
/// them. Called before the first thread is started.
pub fn block_signals(signals: &[c_int]) {
    // SAFETY: the set is initialised; a null old set is allowed (pthread_sigmask(3)).
    unsafe {
        libc::pthread_sigmask(
            libc::SIG_BLOCK,
            SignalSet::of(signals).as_ptr(),
            std::ptr::null_mut(),
        );
    }
}

/// Unblocks every signal in this thread: a mask outlives `execve`, and whoever started this process may
/// have left one behind.
pub fn unblock_all() {
    // SAFETY: as in `block_signals`.
    unsafe {
        libc::pthread_sigmask(
            libc::SIG_SETMASK,
            SignalSet::empty().as_ptr(),
            std::ptr::null_mut(),
        );
    }
}

/// Blocks until one of `signals`, which [`block_signals`] has blocked, arrives; returns its number.
///
/// # Errors
/// What sigwait(3) reports; it has no error that can happen with a valid set.
pub fn wait_signal(signals: &[c_int]) -> io::Result<i32> {
    let set = SignalSet::of(signals);
    let mut signal = 0;
    // SAFETY: the set is initialised, and `signal` outlives the call.
    match unsafe { libc::sigwait(set.as_ptr(), &raw mut signal) } {
        0 => Ok(signal),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Sets the dispositions that a daemon needs, whatever it was started with: the signals of a failed write become its
/// error (EPIPE, EFBIG), and children stay zombies until they are reaped. Under an ignored SIGCHLD the kernel would
/// take them away at once, and give their numbers to others (sigaction(2)).
pub fn set_daemon_dispositions() {
    let dispositions = [
        (libc::SIGPIPE, libc::SIG_IGN),
        (libc::SIGXFSZ, libc::SIG_IGN),
        (libc::SIGCHLD, libc::SIG_DFL),
    ];
    for (signal, disposition) in dispositions {
        // SAFETY: neither disposition is a handler: nothing runs in signal context.
        unsafe { libc::signal(signal, disposition) };
    }
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
/// What kill(2) reports: ESRCH, EPERM.
pub fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}
