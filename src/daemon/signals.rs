//! The signals thread: receives the daemon's signals, and notices changes in its home.
//!
//! Blocks until either arrives. It decides nothing about sessions: it sends events to the state thread.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::guard::{Guard, HomeCheck};
use super::home::Home;
use super::service::notify::Notifier;
use crate::adapters::{self, environment};
use crate::api::Timestamp;
use crate::observe::log::Reopener;
use crate::observe::say;
use crate::redact::{BadPattern, Redactor};
use crate::settings::durations;
use crate::state::StateEvent;
use crate::sys::passed::Passed;
use crate::sys::{self, Arrival, Arrivals};

/// Everything that a reload reads again.
pub(super) struct Reload {
    pub(super) adapters: Arc<adapters::SharedRegistry>,
    pub(super) environment: Arc<environment::SharedBase>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) log: Reopener,
}

impl Reload {
    fn run(&self, home: &Home) {
        // The log first: later messages belong to the new file.
        if let Err(err) = self.log.reopen() {
            say!(LogNotReopened, path: home.log_file().display(), reason: &err);
        }
        self.adapters.reload();
        let read_at = Timestamp::now();
        let (file, ignored) = environment::read_own(&home.env_file());
        self.environment.set_file(file, read_at);
        log_ignored(home, &ignored);
        let bad = self.redactor.reload(&home.redact_file());
        log_bad_patterns(home, &bad);
        say!(Reloaded, pid: std::process::id());
    }
}

/// Schedules the checks of the home.
pub(super) struct Lookout {
    guard: OnceLock<Mutex<Guard>>,
    /// Held while the signals thread takes an arrival: a closed gate leaves signals to the next program.
    gate: Mutex<()>,
    /// The system reports changes of names in the home.
    is_watched: AtomicBool,
    /// Reports changes of names; `None` if the system does not.
    names: OnceLock<Arc<File>>,
    events: Sender<StateEvent>,
}

impl Lookout {
    /// A lookout without a guard, for the start of the daemon.
    pub(super) fn new(events: Sender<StateEvent>) -> Arc<Self> {
        Arc::new(Self {
            guard: OnceLock::new(),
            gate: Mutex::new(()),
            is_watched: AtomicBool::new(true),
            names: OnceLock::new(),
            events,
        })
    }

    /// Keeps the signals thread from taking a signal, as long as the returned value lives.
    pub(super) fn close_gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor that reports names, for the next program.
    pub(super) fn names(&self) -> Option<Passed> {
        self.names.get().map(Passed::borrowed)
    }

    /// Sets the guard.
    pub(super) fn set(&self, guard: Guard) {
        // Set once: a process runs one daemon.
        let _ = self.guard.set(Mutex::new(guard));
    }

    /// The guard, even if a thread panicked with it; `None` while the daemon starts.
    pub(super) fn guard(&self) -> Option<MutexGuard<'_, Guard>> {
        let guard = self.guard.get()?;
        Some(guard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks the home for changes that the system does not report: before a launch, and with each retention sweep.
    pub(super) fn check_unwatched(&self) {
        let is_watched = self.is_watched.load(Ordering::Relaxed);
        if !is_watched || self.guard().is_some_and(|guard| guard.is_elsewhere()) {
            self.check();
        }
    }

    /// Watches the home, which is the working directory, and its `logs/`.
    fn watch(&self, arrivals: &mut Arrivals) -> io::Result<()> {
        let watched = arrivals.watch_names(Path::new("."));
        if let Some(names) = arrivals.names() {
            self.names.get_or_init(|| names);
        }
        watched.and_then(|()| arrivals.watch_names(&Home::entered().logs()))
    }

    fn check(&self) -> HomeCheck {
        let found = self
            .guard()
            .map_or(HomeCheck::Done, |mut guard| guard.check());
        if found == HomeCheck::Deleted {
            let _ = self.events.send(StateEvent::Stop);
        }
        found
    }
}

/// State of the signals thread.
pub(super) struct Signals {
    pub(super) events: Sender<StateEvent>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) reload: Reload,
    pub(super) lookout: Arc<Lookout>,
}

impl Signals {
    /// Starts the thread, which goes on with the `names` of the previous program.
    ///
    /// # Errors
    /// No descriptor or thread can be created.
    pub(super) fn start(self, names: Option<OwnedFd>) -> io::Result<()> {
        let mut arrivals = Arrivals::of_signals(sys::DAEMON_SIGNALS)?;
        if let Some(names) = names {
            arrivals.go_on(names);
        }
        if let Err(err) = self.lookout.watch(&mut arrivals) {
            self.lookout.is_watched.store(false, Ordering::Relaxed);
            // Unsupported systems report no names; that is no failure.
            if err.kind() != io::ErrorKind::Unsupported {
                say!(HomeUnwatched, reason: &err);
            }
        }
        sys::spawn_essential("signals", move || self.run(arrivals))
    }

    fn run(self, mut arrivals: Arrivals) {
        let mut quiet = Quiet::default();
        let lookout = Arc::clone(&self.lookout);
        while let Ok((arrival, _gate)) = arrivals.wait(quiet.due, || lookout.close_gate()) {
            let event = match arrival {
                Arrival::Signal(signal) => self.signal(signal, &mut quiet, &mut arrivals),
                Arrival::Names(names) => {
                    let is_own = |name| {
                        let guard = self.lookout.guard();
                        guard.is_some_and(|guard| guard.is_own(Path::new(name)))
                    };
                    if names.iter().any(is_own) {
                        quiet.disturb();
                    }
                    None
                }
                Arrival::Deadline => {
                    let guard = self.lookout.guard();
                    let is_emptied = guard.is_some_and(|guard| guard.is_emptied());
                    if !is_emptied || !quiet.wait_for_deletion() {
                        self.check_home(&mut quiet, &mut arrivals);
                    }
                    None
                }
            };
            if event.is_some_and(|event| self.events.send(event).is_err()) {
                // The state thread has ended.
                return;
            }
        }
    }

    /// Passes SIGTERM, SIGINT and SIGCHLD to the state thread. SIGHUP checks the home and reloads the configuration.
    fn signal(
        &self,
        signal: i32,
        quiet: &mut Quiet,
        arrivals: &mut Arrivals,
    ) -> Option<StateEvent> {
        if signal == sys::CHILD_SIGNAL {
            return Some(StateEvent::ChildEnded);
        }
        say!(Signal, signal);
        if signal != sys::RELOAD_SIGNAL {
            return Some(StateEvent::Stop);
        }
        self.check_home(quiet, arrivals);
        if let Some(home) = self.lookout.guard().map(|guard| guard.home().clone()) {
            self.notifier.reloading(|| self.reload.run(&home));
        }
        None
    }

    fn check_home(&self, quiet: &mut Quiet, arrivals: &mut Arrivals) {
        let found = self.lookout.check();
        *quiet = Quiet::default();
        // A directory that was created again needs a new watch. The start has logged it if watching fails.
        let _ = self.lookout.watch(arrivals);
        if found == HomeCheck::Again {
            quiet.look_again();
        }
    }
}

/// Delays a check of the home until its names have not changed for a while.
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

    /// Waits as long as deleting the whole home may take; false when that time is over.
    fn wait_for_deletion(&mut self) -> bool {
        let until = self.since.map(|since| since + durations::HOME_EMPTIED);
        let is_waiting = until.is_some_and(|until| Instant::now() < until);
        if is_waiting {
            self.due = until;
        }
        is_waiting
    }

    fn look_again(&mut self) {
        self.due = Some(Instant::now() + durations::HOME_LOCK_AGAIN);
    }
}

pub(super) fn log_bad_patterns(home: &Home, bad: &[BadPattern]) {
    let path = home.redact_file();
    for bad in bad {
        say!(RedactPatternRefused, path: path.display(), line: bad.line, reason: &bad.reason);
    }
}

pub(super) fn log_ignored(home: &Home, ignored: &[environment::Ignored]) {
    let path = home.env_file();
    for ignored in ignored {
        say!(EnvIgnored, path: path.display(), line: ignored.line, reason: &ignored.reason);
    }
}
