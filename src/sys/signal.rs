//! Signal masks and dispositions. One thread receives the daemon's signals synchronously: a signal handler could do
//! almost nothing safely (signal-safety(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::c_int;

use super::checked;

/// A set of signals (sigsetops(3)).
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and cannot fail for a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// The set of all signals.
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

    /// Adds the set to the mask of this thread, or makes it the mask.
    pub(super) fn mask(&self, how: c_int) {
        // SAFETY: the set is initialised; a null old set is allowed (pthread_sigmask(3)).
        unsafe { libc::pthread_sigmask(how, self.as_ptr(), std::ptr::null_mut()) };
    }
}

/// Signals that ask a process to end.
pub const STOP_SIGNALS: &[c_int] = &[libc::SIGTERM, libc::SIGINT];

/// Signals that a daemon handles: stop, reload, and the end of a child. A blocked signal stays pending even if its
/// default action is to be ignored (sigaction(2), kernel/signal.c).
pub const DAEMON_SIGNALS: &[c_int] = &[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];

/// The signal for the end of a child.
pub const CHILD_SIGNAL: c_int = libc::SIGCHLD;

/// The signal that makes a daemon reload its configuration.
pub const RELOAD_SIGNAL: c_int = libc::SIGHUP;

/// Blocks `signals` in this thread and in all threads that it starts later, so that [`wait_signal`] can receive them.
/// Must be called before the first thread starts.
pub fn block_signals(signals: &[c_int]) {
    SignalSet::of(signals).mask(libc::SIG_BLOCK);
}

/// Unblocks every signal in this thread: a mask survives `execve`, so the parent process may have left one.
pub fn unblock_all() {
    SignalSet::empty().mask(libc::SIG_SETMASK);
}

/// Blocks until one of `signals`, blocked by [`block_signals`], arrives; returns its number.
///
/// # Errors
/// The error of sigwait(3), which cannot occur with a valid set.
pub fn wait_signal(signals: &[c_int]) -> io::Result<i32> {
    let set = SignalSet::of(signals);
    let mut signal = 0;
    // SAFETY: the set is initialised, and `signal` outlives the call.
    match unsafe { libc::sigwait(set.as_ptr(), &raw mut signal) } {
        0 => Ok(signal),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Sets the dispositions that a daemon needs, independent of the inherited ones. Failed writes return EPIPE or EFBIG
/// instead of a signal. Children stay zombies until they are reaped: with SIGCHLD ignored the kernel would reap them at
/// once and could reuse their pids (sigaction(2)).
pub fn set_daemon_dispositions() {
    let dispositions = [
        (libc::SIGPIPE, libc::SIG_IGN),
        (libc::SIGXFSZ, libc::SIG_IGN),
        (libc::SIGCHLD, libc::SIG_DFL),
    ];
    for (signal, disposition) in dispositions {
        // SAFETY: neither disposition is a handler: no code runs in signal context.
        unsafe { libc::signal(signal, disposition) };
    }
}

/// Makes the program of `command` ignore what a terminal sends to all of its processes: Ctrl-C and Ctrl-\\.
pub fn ignore_interrupts(command: &mut Command) {
    let ignore = || {
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            // SAFETY: SIG_IGN is no handler, and signal(2) is async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure calls only signal(2), which is async-signal-safe.
    unsafe { command.pre_exec(ignore) };
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
/// The error of kill(2): ESRCH, EPERM.
pub fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}
