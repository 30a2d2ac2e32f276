//! The thread that takes the daemon's signals, and notices what changes in its home.
//!
//! It blocks until one of the two comes. It decides nothing about sessions: what concerns them is an event of the state
//! thread's.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::guard::{Guard, Look};
use super::home::Home;
use super::notify::Notifier;
use crate::adapters;
use crate::observe::log::Reopener;
use crate::observe::say;
use crate::redact::{BadPattern, Redactor};
use crate::settings::durations;
use crate::state::Event;
use crate::sys::{self, Arrival, Arrivals};

/// What can change while the daemon serves.
pub(super) struct Reload {
    pub(super) adapters: Arc<adapters::Published>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) log: Reopener,
}

impl Reload {
    fn run(&self, home: &Home) {
        // First: what is said of the rest is for the new file.
        if let Err(err) = self.log.reopen() {
            say!(LogNotReopened, path: home.log_file().display(), reason: &err);
        }
        self.adapters.reload();
        let bad = self.redactor.reload(&home.redact_file());
        log_bad_patterns(home, &bad);
        say!(Reloaded, pid: std::process::id());
    }
}

/// The thread that takes the signals, and looks at the home when names in it have changed.
pub(super) struct Signals {
    pub(super) events: Sender<Event>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) reload: Reload,
    pub(super) guard: Arc<Mutex<Guard>>,
}

impl Signals {
    /// # Errors
    /// No descriptor or thread is to be had.
    pub(super) fn start(self) -> io::Result<()> {
        let mut arrivals = Arrivals::of_signals(sys::DAEMON_SIGNALS)?;
        if let Err(err) = watch(&mut arrivals) {
            say!(HomeUnwatched, reason: &err);
        }
        sys::spawn_essential("signals", move || self.run(arrivals))
    }

    fn run(self, mut arrivals: Arrivals) {
        let mut quiet = Quiet::default();
        while let Ok(arrival) = arrivals.wait(quiet.due) {
            let event = match arrival {
                Arrival::Signal(signal) => self.signal(signal, &mut quiet, &mut arrivals),
                Arrival::Names(names) => {
                    let guard = guarded(&self.guard);
                    if names.iter().any(|name| guard.is_own(Path::new(name))) {
                        quiet.disturb();
                    }
                    None
                }
                Arrival::Deadline => self.look(&mut quiet, &mut arrivals),
            };
            if event.is_some_and(|event| self.events.send(event).is_err()) {
                // The state thread has ended.
                return;
            }
        }
    }

    /// SIGTERM, SIGINT and SIGCHLD are events of the state thread's; SIGHUP has the home looked at, and the configuration
    /// read again.
    fn signal(&self, signal: i32, quiet: &mut Quiet, arrivals: &mut Arrivals) -> Option<Event> {
        if signal == sys::CHILD_SIGNAL {
            return Some(Event::ChildEnded);
        }
        say!(Signal, signal);
        if signal != sys::RELOAD_SIGNAL {
            return Some(Event::Stop);
        }
        let event = self.look(quiet, arrivals);
        let home = guarded(&self.guard).home().clone();
        self.notifier.reloading(|| self.reload.run(&home));
        event
    }

    fn look(&self, quiet: &mut Quiet, arrivals: &mut Arrivals) -> Option<Event> {
        let look = guarded(&self.guard).look();
        *quiet = Quiet::default();
        // A directory that was made anew is another one. Where this fails, the start has said so.
        let _ = watch(arrivals);
        match look {
            Look::Done => {}
            Look::Again => quiet.look_again(),
            Look::Deleted => return Some(Event::Stop),
        }
        None
    }
}

/// Watches the home, which is the working directory, and its `logs/`.
fn watch(arrivals: &mut Arrivals) -> io::Result<()> {
    arrivals.watch_names(Path::new("."))?;
    arrivals.watch_names(&Home::entered().logs())
}

/// When to look at the home: once its names have been quiet for a while.
#[derive(Default)]
struct Quiet {
    since: Option<Instant>,
    due: Option<Instant>,
}

impl Quiet {
    fn disturb(&mut self) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.due = Some((now + durations::HOME_QUIET).min(since + durations::HOME_QUIET_MAX));
    }

    fn look_again(&mut self) {
        self.due = Some(Instant::now() + durations::HOME_LOCK_AGAIN);
    }
}

/// The guard, whatever became of a thread that had it.
pub(super) fn guarded(guard: &Mutex<Guard>) -> MutexGuard<'_, Guard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn log_bad_patterns(home: &Home, bad: &[BadPattern]) {
    let path = home.redact_file();
    for bad in bad {
        say!(RedactPatternRefused, path: path.display(), line: bad.line, reason: &bad.reason);
    }
}
