//! Replaces the program of this process (execve(2)), and executes the previous one again if the new one fails.
//!
//! Runs on the main thread, and in the handler of a fatal signal. It knows neither sessions nor documents.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use super::os::execute;
use super::signal::SignalSet;
use super::{DAEMON_SIGNALS, checked};

/// A program with its arguments and environment, ready for execve(2).
#[derive(Debug)]
pub struct Execution {
    program: RawFd,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// The form that execve(2) takes.
struct Pointers {
    program: RawFd,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
}

impl Execution {
    /// The open `program`, with the arguments `argv` and the environment of this process. Arguments with a NUL are left
    /// out: none that this process got has one.
    pub fn new(program: RawFd, argv: impl IntoIterator<Item = OsString>) -> Self {
        let variable = |(name, value): (OsString, OsString)| {
            CString::new([name.into_vec(), value.into_vec()].join(&b'=')).ok()
        };
        let argv = argv.into_iter();
        Self {
            program,
            argv: argv
                .filter_map(|arg| CString::new(arg.into_vec()).ok())
                .collect(),
            env: std::env::vars_os().filter_map(variable).collect(),
        }
    }

    /// Replaces this process's program. Returns only if that fails: then all threads go on.
    pub fn execute(&self) -> io::Error {
        self.pointers().execute()
    }

    fn pointers(&self) -> Pointers {
        let pointers = |strings: &[CString]| {
            let strings = strings.iter().map(|string| string.as_ptr());
            strings.chain([std::ptr::null()]).collect()
        };
        Pointers {
            program: self.program,
            argv: pointers(&self.argv),
            env: pointers(&self.env),
        }
    }
}

impl Pointers {
    /// Calls nothing that is unsafe in a signal handler (signal-safety(7)).
    fn execute(&self) -> io::Error {
        execute(self.program, &self.argv, &self.env)
    }
}

/// The executions that follow a fatal signal, the alarm, and the end of the program.
static ON_CRASH: AtomicPtr<Pointers> = AtomicPtr::new(null_mut());
static ON_ALARM: AtomicPtr<Pointers> = AtomicPtr::new(null_mut());
static ON_EXIT: AtomicPtr<Pointers> = AtomicPtr::new(null_mut());

/// Signals by which a program fails.
const FATAL: [libc::c_int; 6] = [
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

/// Prepares the signals of a program behind execve(2): the mask and the timer are those of the program before.
pub fn prepare_executed() {
    set_alarm(Duration::ZERO);
    SignalSet::of(DAEMON_SIGNALS).mask(libc::SIG_SETMASK);
}

/// Until [`disarm`], a fatal signal leads to `on_crash`, the end of `within` to `on_alarm`, and exit(3) to `on_exit`. Called
/// once, before other threads.
pub fn arm(on_crash: Execution, on_alarm: Execution, on_exit: Execution, within: Duration) {
    // They live until the end of the process: a handler can run at any time.
    let keep = |execution: Execution| {
        let execution: &'static Execution = Box::leak(Box::new(execution));
        Box::into_raw(Box::new(execution.pointers()))
    };
    ON_CRASH.store(keep(on_crash), Ordering::SeqCst);
    ON_ALARM.store(keep(on_alarm), Ordering::SeqCst);
    ON_EXIT.store(keep(on_exit), Ordering::SeqCst);
    // SAFETY: the function does not unwind. Without memory for it, only this way back is missing.
    unsafe { libc::atexit(go_back_at_exit) };
    handle(&FATAL, go_back as *const () as libc::sighandler_t);
    handle(&[libc::SIGALRM], go_back as *const () as libc::sighandler_t);
    set_alarm(within);
}

/// The program serves: no signal leads back any more.
pub fn disarm() {
    set_alarm(Duration::ZERO);
    ON_CRASH.store(null_mut(), Ordering::SeqCst);
    ON_ALARM.store(null_mut(), Ordering::SeqCst);
    ON_EXIT.store(null_mut(), Ordering::SeqCst);
    handle(&FATAL, libc::SIG_DFL);
    handle(&[libc::SIGALRM], libc::SIG_DFL);
}

fn handle(signals: &[libc::c_int], handler: libc::sighandler_t) {
    for &signal in signals {
        // SAFETY: the handler calls only what signal-safety(7) allows; all other fields of the struct may be zero.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            // std gives threads an alternate stack, for a stack overflow.
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, null_mut());
        }
    }
}

/// Handler: executes the previous program. The signal stays blocked, which that program undoes.
extern "C" fn go_back(signal: libc::c_int) {
    let to = match signal {
        libc::SIGALRM => &ON_ALARM,
        _ => &ON_CRASH,
    };
    execute_at(to);
    // SAFETY: signal and raise are allowed in a handler; the default action ends the process once the signal is unblocked.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// For atexit(3): also the end of `main`, and so a panic of the main thread, leads here.
extern "C" fn go_back_at_exit() {
    execute_at(&ON_EXIT);
}

/// Executes the program at `to`, if there is one.
fn execute_at(to: &AtomicPtr<Pointers>) {
    // SAFETY: the pointer is null, or leads to a value that is never freed.
    if let Some(execution) = unsafe { to.load(Ordering::SeqCst).as_ref() } {
        let _ = execution.execute();
    }
}

/// Sends SIGALRM to this process `within` this time; never for zero.
fn set_alarm(within: Duration) {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: within.as_secs() as libc::time_t,
            tv_usec: within.subsec_micros() as libc::suseconds_t,
        },
    };
    // SAFETY: setitimer reads the struct, which outlives the call; a null old value is allowed.
    let _ = checked(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, null_mut()) });
}
