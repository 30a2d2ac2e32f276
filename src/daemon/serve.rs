//! The daemon's process: opens everything, starts the threads, and runs the state thread on the main thread until a
//! stop.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, RwLock};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::conclude::conclude;
use super::error::{ServeError, io_error, store_error};
use super::guard::{Guard, Opened};
use super::handover::successor::Successors;
use super::handover::take_up::{self, Executed, Origin};
use super::handover::{Handover, collect};
use super::home::{DaemonFile, Home};
use super::log_place::{self, LogPlace};
use super::service::notify::{Notifier, Teller};
use super::settings::Settings;
use super::signals::{Lookout, Reload, Signals, log_bad_patterns, log_ignored};
use super::{failure, open, service};
use crate::adapters::{self, environment};
use crate::http;
use crate::observe::log::Log;
use crate::observe::{field, say};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::state::{Outcome, Publisher, State, StateEvent};
use crate::store::{
    Followers, IdempotencyKey, OpenFiles, Reader, StoreError, StoreStatus, WriteQueue, Writer,
};
use crate::sys;

/// Options of a daemon.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Log to the home's file instead of stderr.
    pub log_to_file: bool,
    /// Go on with the daemon of the previous program.
    pub executed: Option<Executed>,
}

/// Serves `home` until SIGTERM, SIGINT or a client's stop; calls `ready` once its own health request has been answered.
///
/// # Errors
/// [`ServeError`]: why it could not start, or what is not on disk at its end.
pub fn serve(home: &Home, options: ServeOptions, ready: impl FnOnce()) -> Result<(), ServeError> {
    let has_served = Cell::new(false);
    let is_ready = || {
        has_served.set(true);
        failure::forget(home);
        ready();
    };
    let executed = options.executed.clone();
    let serve = || serve_locked(home, options, is_ready);
    let served = match executed {
        Some(executed) => serve_executed(&executed, &has_served, serve),
        None => serve(),
    };
    match &served {
        // A concurrent start's failure is obsolete.
        Ok(()) => failure::forget(home),
        Err(err) => failure::tell(home, err, has_served.get()),
    }
    served
}

/// Serves as `serve` does. If this program fails before it has taken everything up, executes the previous one again.
fn serve_executed(
    executed: &Executed,
    has_served: &Cell<bool>,
    serve: impl FnOnce() -> Result<(), ServeError>,
) -> Result<(), ServeError> {
    let served = catch_unwind(AssertUnwindSafe(serve));
    if !has_served.get() {
        match &served {
            Ok(Err(err)) => executed.go_back(&err.to_string()),
            Ok(Ok(())) => {}
            Err(_) => executed.go_back("the new program has panicked"),
        }
    }
    served.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Prepares the process, takes the lock, and serves.
fn serve_locked(
    home: &Home,
    options: ServeOptions,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let mut begun = match &options.executed {
        Some(executed) => open::take_up_home(executed)?,
        None => open::enter_home(home)?,
    };
    let home = &begun.home.clone();
    let log_place = (!options.log_to_file).then(LogPlace::of_stderr);
    // Best effort: without the record only finding the log fails.
    let _ = log_place::record(home, log_place.as_ref());
    let (base, ignored, misspelt) = open::read_environment(home);
    let settings = Settings::from_env()?;
    prepare_process(options.log_to_file);
    let (redactor, bad_patterns) = Redactor::load(&home.redact_file());
    let redactor = Arc::new(redactor.storing_secrets(!settings.redact));
    let log = Log::start(
        log_place::destination(log_place.as_ref()),
        &settings.log_filter,
        settings.log_format,
        Arc::clone(&redactor),
    );
    let log = log.map_err(|err| home.io(&home.log_file(), err))?;
    log_bad_patterns(home, &bad_patterns);
    log_ignored(home, &ignored);
    for (name, meant) in &misspelt {
        say!(SettingMisspelt, name: field::Text(name), meant: field::Text(meant));
    }
    let configured = Configured {
        settings,
        base,
        redactor,
        log_place,
    };
    let is_executed = options.executed.is_some();
    let served = run(&mut begun, &log, configured, options.executed, ready);
    // The guard removes a running daemon's files; a start that failed earlier removes its own here.
    if !is_executed && home.is_locked_by(&begun.lock) && !is_served_by_another(&served) {
        // A client can connect to the service manager's socket: the manager then starts the daemon again.
        if begun.is_socket_own {
            let _ = std::fs::remove_file(home.socket());
        }
        let _ = std::fs::remove_file(home.daemon_file());
    }
    if let Err(err) = &served {
        say!(DaemonFailed, code: err.code(), reason: err);
    }
    served
}

/// True if another daemon serves the store without the lock, and so owns the home's files.
fn is_served_by_another(served: &Result<(), ServeError>) -> bool {
    let Err(ServeError::Store { err, .. }) = served else {
        return false;
    };
    matches!(err, StoreError::Owned { .. })
}

/// Sets the process attributes of a daemon. Must be called before the first thread: each thread inherits the signal
/// mask, and the signals wait for the signals thread.
fn prepare_process(log_to_file: bool) {
    sys::set_daemon_dispositions();
    sys::adopt_orphans();
    sys::raise_open_files();
    if log_to_file {
        // Only for a daemon that a command started, which runs for weeks; a service manager sets its own value.
        sys::reset_niceness();
    }
    sys::share_free_memory();
    // Best effort: each launch retries, and is refused without the reserve.
    let _ = sys::keep_reserve();
    sys::block_signals(sys::DAEMON_SIGNALS);
}

/// The configuration, as read at the start.
struct Configured {
    settings: Settings,
    base: environment::Base,
    redactor: Arc<Redactor>,
    log_place: Option<LogPlace>,
}

/// State and channels that the daemon's threads share.
pub(super) struct Shared {
    settings: Settings,
    pub(super) origin: Origin,
    file: DaemonFile,
    /// Path of the socket, which follows a moved home.
    shown_socket: Arc<RwLock<String>>,
    events: Sender<StateEvent>,
    pub(super) queue: WriteQueue,
    reader: Reader,
    files: Arc<OpenFiles>,
    pub(super) status: Arc<StoreStatus>,
    followers: Arc<Followers>,
    live: Arc<AtomicU64>,
    adapters: Arc<adapters::SharedRegistry>,
    environment: Arc<environment::SharedBase>,
    pub(super) redactor: Arc<Redactor>,
    /// Location of the log, if it is not the home's file.
    log_place: Option<LogPlace>,
    pub(super) lookout: Arc<Lookout>,
}

/// The open store and socket, and the parts that only one thread gets.
struct Parts {
    listener: UnixListener,
    writer: Writer,
    inbox: Receiver<StateEvent>,
    idempotency: Vec<IdempotencyKey>,
    shared: Shared,
}

/// Opens the store and the socket, starts the threads in the order of their dependencies, and serves.
///
/// What the previous program has handed over is changed only once nothing else can fail: until then, that program can
/// be executed again.
fn run(
    begun: &mut open::Begun,
    log: &Log,
    configured: Configured,
    executed: Option<Executed>,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let handed_over = begun.handover.take().zip(executed);
    let notifier = Notifier::from_env();
    let teller = notifier
        .start()
        .map_err(io_error("no thread to notify the service manager"))?;
    let Parts {
        listener,
        writer,
        inbox,
        idempotency,
        shared,
    } = open_parts(begun, configured, handed_over.as_ref())?;
    let mut state = state(inbox, idempotency, &teller, &shared);
    let server = http::Server::prepare(listener, context(&shared))
        .map_err(io_error("no thread for connections"))?;
    start_guard(begun, &server, log, &shared)?;
    let _watching = start_watchdog(&notifier, &shared, handed_over.is_none())?;
    match handed_over {
        None => {
            start_signals(None, &notifier, log, &shared)?;
            server.open(None);
            open::announce(&begun.home, &shared.file)?;
        }
        Some((handover, executed)) => {
            let rooms = take_up::Rooms {
                server: &server,
                state: &mut state,
                shared: &shared,
            };
            rooms.take_up(handover, executed, |names| {
                start_signals(names, &notifier, log, &shared)
            })?;
            // The file has the same pid; an older one may lack a field. The guard writes it again if it is lost.
            let _ = begun.home.write_daemon_file(&shared.file);
        }
    }
    ready();
    teller.ready();
    // Memory that only the start needed.
    sys::release_idle_memory();
    let served = serve_until_stop(&server, state, writer, log, &notifier, &shared);
    // Also before the reason of a failed end is sent, which is to be the last status.
    teller.flush();
    served
}

/// Opens the store and the socket, and everything that the threads share.
fn open_parts(
    begun: &mut open::Begun,
    configured: Configured,
    handed_over: Option<&(Handover, Executed)>,
) -> Result<Parts, ServeError> {
    let home = &begun.home;
    let settings = configured.settings;
    let origin = match handed_over {
        None => Origin::new().map_err(io_error("this program's own path"))?,
        Some((handover, executed)) => handover.origin(executed),
    };
    let file = open::daemon_file(home, &settings, origin.started_at);
    let running = handed_over.map(|(handover, _)| handover.state.nums());
    let store = open::open_store(home, settings.retention, running)?;
    #[cfg(debug_assertions)]
    take_up::fail_as_told("store").map_err(io_error("a failure"))?;
    let listener = open::listen(home, begun.listener.take())?;
    if handed_over.is_none() {
        say!(SocketBound, socket: home.socket().display());
    }
    let idempotency = store.idempotency_keys().map_err(store_error(home))?;
    let status = store.status();
    let (events, inbox) = unbounded();
    let lookout = Lookout::new(events.clone());
    let followers = Arc::new(Followers::default());
    let (writer, reader, files) = store
        .start(
            Arc::clone(&followers),
            open::on_end(settings.on_end, events.clone()),
            open::check_home(&lookout),
        )
        .map_err(store_error(home))?;
    let shared = Shared {
        adapters: open::load_adapters(home, &origin.installed),
        settings,
        origin,
        file,
        shown_socket: Arc::new(RwLock::new(home.socket().display().to_string())),
        events,
        queue: writer.queue(),
        reader,
        files,
        status,
        followers,
        live: Arc::default(),
        environment: Arc::new(environment::SharedBase::new(configured.base)),
        redactor: configured.redactor,
        log_place: configured.log_place,
        lookout,
    };
    Ok(Parts {
        listener,
        writer,
        inbox,
        idempotency,
        shared,
    })
}

/// Runs the state thread until the daemon stops. A handover that fails leaves everything as it was.
fn serve_until_stop(
    server: &http::Server,
    mut state: State,
    writer: Writer,
    log: &Log,
    notifier: &Arc<Notifier>,
    shared: &Shared,
) -> Result<(), ServeError> {
    let rooms = collect::Rooms {
        server,
        notifier,
        log,
        shared,
    };
    loop {
        match state.run() {
            Outcome::Stopped(stopped) => {
                break conclude(stopped, server, writer, &shared.lookout);
            }
            Outcome::HandOver(handed_over) => rooms.hand_over(handed_over, &mut state),
        }
    }
}

/// Starts the watchdog, which ends when the returned sender is dropped. Behind an upgrade the log has it already.
fn start_watchdog(
    notifier: &Arc<Notifier>,
    shared: &Shared,
    is_logged: bool,
) -> Result<Sender<()>, ServeError> {
    let (watching, end) = bounded(0);
    let period = notifier
        .start_watchdog(shared.events.clone(), shared.queue.clone(), end)
        .map_err(io_error("no thread for the watchdog"))?;
    if let Some(period) = period.filter(|_| is_logged) {
        say!(WatchdogStarted, period_ms: period.as_millis() as u64);
    }
    Ok(watching)
}

/// The state thread's state.
fn state(
    inbox: Receiver<StateEvent>,
    idempotency: Vec<IdempotencyKey>,
    teller: &Teller,
    shared: &Shared,
) -> State {
    let teller = teller.clone();
    let publisher = Publisher {
        live: Arc::clone(&shared.live),
        tell: Box::new(move |change| teller.tell(change)),
    };
    State::new(
        inbox,
        shared.events.clone(),
        shared.queue.clone(),
        shared.settings.limits,
        Arc::clone(&shared.redactor),
        idempotency,
        publisher,
    )
}

/// The connection threads' context.
fn context(shared: &Shared) -> http::Context {
    let settings = &shared.settings;
    http::Context {
        state: shared.events.clone(),
        reader: shared.reader.clone(),
        followers: Arc::clone(&shared.followers),
        redactor: Arc::clone(&shared.redactor),
        queue: shared.queue.clone(),
        live: Arc::clone(&shared.live),
        last_pass: http::LastPass::default(),
        adapters: Arc::clone(&shared.adapters),
        environment: Arc::clone(&shared.environment),
        daemon: http::Daemon {
            pid: std::process::id(),
            started_at: shared.file.started_at,
            started: shared.origin.started,
            upgraded_at: shared.origin.upgraded_at,
            socket: Arc::clone(&shared.shown_socket),
            own_socket: Home::entered().socket(),
            supervisor: service::own().info(),
            stop_within: durations::stop_within(settings.limits.kill_grace),
            process: settings.process(),
        },
        connections_max: settings.connections_max,
        sweep_grace: durations::sweep_grace(settings.limits.kill_grace),
        answers: http::MemoryBudget::default(),
        bodies: http::MemoryBudget::default(),
        before_launch: open::check_home(&shared.lookout),
        successors: Box::new(Successors {
            installed: shared.origin.installed.clone(),
            reader: shared.reader.clone(),
            queue: shared.queue.clone(),
        }),
        awaiting_end: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
    }
}

/// Starts guarding the home's open files.
fn start_guard(
    begun: &open::Begun,
    server: &http::Server,
    log: &Log,
    shared: &Shared,
) -> Result<(), ServeError> {
    let open = Opened {
        rebinder: server.rebinder(),
        log: log.reopener(),
        log_place: shared.log_place.clone(),
        adapters: Arc::clone(&shared.adapters),
        files: Arc::clone(&shared.files),
        reader: shared.reader.clone(),
        status: Arc::clone(&shared.status),
    };
    let open::Begun {
        home,
        lock,
        is_socket_own,
        ..
    } = begun;
    let lock = lock
        .try_clone()
        .map_err(io_error("no descriptor for the lock"))?;
    let shown_socket = Arc::clone(&shared.shown_socket);
    let file = shared.file.clone();
    let guard = Guard::new(home.clone(), lock, *is_socket_own, file, shown_socket, open);
    shared.lookout.set(guard);
    Ok(())
}

fn start_signals(
    names: Option<OwnedFd>,
    notifier: &Arc<Notifier>,
    log: &Log,
    shared: &Shared,
) -> Result<(), ServeError> {
    let signals = Signals {
        events: shared.events.clone(),
        notifier: Arc::clone(notifier),
        reload: Reload {
            adapters: Arc::clone(&shared.adapters),
            environment: Arc::clone(&shared.environment),
            redactor: Arc::clone(&shared.redactor),
            log: log.reopener(),
        },
        lookout: Arc::clone(&shared.lookout),
    };
    signals
        .start(names)
        .map_err(io_error("no thread for signals"))
}
