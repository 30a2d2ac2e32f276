//! The daemon's process: everything is opened, the threads are started, and the main thread becomes the state
//! thread until the daemon is to stop.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::error::{ServeError, io_error, store_error};
use super::guard::{Guard, Opened, Rescue, bind};
use super::home::{DaemonFile, Home};
use super::log_place::{self, LogPlace};
use super::service::notify::{Notifier, Teller};
use super::settings::Settings;
use super::signals::{Lookout, Reload, Signals, log_bad_patterns, log_ignored};
use super::{failure, recover, service};
use crate::adapters::{self, ManifestSources, environment};
use crate::api::{CONTRACT, StopReport, Timestamp, UnwrittenSession, VERSION};
use crate::http;
use crate::http::client::{Client, ClientError};
use crate::observe::log::Log;
use crate::observe::{field, say};
use crate::redact::Redactor;
use crate::settings::{self, durations};
use crate::state::{Event, Limits, Published, State, Stopped, Unfinished};
use crate::store::{
    Followers, IdempotencyKey, OnEndTimer, OpenFiles, Reader, Retention, Store, StoreError,
    StoreStatus, Unwritten, WriteQueue, Writer,
};
use crate::sys;

/// How a daemon is to serve.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Log to the home's file rather than to stderr.
    pub log_to_file: bool,
}

/// Serves `home` until SIGTERM or SIGINT; `ready` is called once health has answered.
///
/// # Errors
/// [`ServeError`]: why it could not begin, or what is not on disk at its end.
pub fn serve(home: &Home, options: ServeOptions, ready: impl FnOnce()) -> Result<(), ServeError> {
    let has_served = Cell::new(false);
    let is_ready = || {
        has_served.set(true);
        failure::forget(home);
        ready();
    };
    let served = serve_locked(home, options, is_ready);
    match &served {
        // A start that failed beside it is of no interest any more.
        Ok(()) => failure::forget(home),
        Err(err) => failure::tell(home, err, has_served.get()),
    }
    served
}

/// Prepares the process, takes the lock, and serves.
fn serve_locked(
    home: &Home,
    options: ServeOptions,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    sys::keep_inherited_descriptors();
    let activated =
        service::activation::handed_over(&home.socket()).map_err(ServeError::Activation)?;
    if activated.is_none() {
        home.check_own()?;
    }
    home.prepare()?;
    let lock = take_lock(home)?;
    let log_place = (!options.log_to_file).then(LogPlace::of_stderr);
    // Without it the log is only not found.
    let _ = log_place::record(home, log_place.as_ref());
    // From here on names in it lead there wherever it is moved.
    std::env::set_current_dir(home.path()).map_err(|err| home.io(home.path(), err))?;
    let is_activated = activated.is_some();
    let (base, ignored) = read_environment(home);
    let settings = Settings::from_env()?;
    prepare_process(options);
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
    let configured = Configured {
        settings,
        base,
        redactor,
        log_place,
    };
    let served = run(home, configured, activated, &lock, &log, ready);
    // What a running daemon has is its guard's to remove. One that has not come to that point leaves nothing, either; but
    // what is there is another's where that one serves the store without this lock.
    let is_anothers = matches!(
        &served,
        Err(ServeError::Store {
            err: StoreError::Owned { .. },
            ..
        })
    );
    if home.is_locked_by(&lock) && !is_anothers {
        // On the service manager's socket somebody answers: it starts the daemon again.
        if !is_activated {
            let _ = std::fs::remove_file(home.socket());
        }
        let _ = std::fs::remove_file(home.daemon_file());
    }
    if let Err(err) = &served {
        let reason = err.to_string();
        say!(DaemonFailed, code: err.code(), reason: &reason);
    }
    served
}

/// What sessions are given of the process's environment and of the file `env`, which sets the daemon from here on too; and
/// what is not taken of the file.
fn read_environment(home: &Home) -> (environment::Base, Vec<environment::Ignored>) {
    let read_at = Timestamp::now();
    let (file, ignored) = environment::read_own(&home.env_file());
    settings::set_from_file(file.iter());
    let base = environment::Base::inherit(std::env::vars_os()).with_file(file, read_at);
    (base, ignored)
}

/// Sets what the kernel keeps of a daemon's process. To be called before the first thread: each inherits the signal mask,
/// and the signals wait for the thread that takes them.
fn prepare_process(options: ServeOptions) {
    sys::set_daemon_dispositions();
    sys::adopt_orphans();
    sys::raise_open_files();
    if options.log_to_file {
        // One that a command has started runs for weeks; a service manager knows what it has set.
        sys::reset_niceness();
    }
    sys::share_free_memory();
    // Each launch tries again, and is refused without it.
    let _ = sys::keep_reserve();
    sys::block_signals(sys::DAEMON_SIGNALS);
}

/// What is configured, as it was read at the start.
struct Configured {
    settings: Settings,
    base: environment::Base,
    redactor: Arc<Redactor>,
    log_place: Option<LogPlace>,
}

/// What the daemon's threads share.
struct Shared {
    started: Instant,
    file: DaemonFile,
    /// The path of the socket, which follows the home where that is moved.
    shown_socket: Arc<RwLock<String>>,
    /// To the state thread.
    events: Sender<Event>,
    /// To the writer.
    queue: WriteQueue,
    reader: Reader,
    /// The database's files.
    files: Arc<OpenFiles>,
    status: Arc<StoreStatus>,
    followers: Arc<Followers>,
    /// Sessions that are live.
    live: Arc<AtomicU64>,
    adapters: Arc<adapters::Published>,
    environment: Arc<environment::Published>,
    redactor: Arc<Redactor>,
    /// Where the log goes, if not to the home's file.
    log_place: Option<LogPlace>,
    lookout: Arc<Lookout>,
}

/// Opens the store and the socket, starts the threads in the order of what they need, and serves.
fn run(
    home: &Home,
    configured: Configured,
    activated: Option<UnixListener>,
    lock: &File,
    log: &Log,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let settings = configured.settings;
    let (started, file) = (Instant::now(), daemon_file(home, &settings));
    let notifier = Notifier::from_env();
    let teller = notifier
        .start()
        .map_err(io_error("no thread to notify the service manager"))?;
    let store = open_store(home, settings.retention)?;
    let is_socket_own = activated.is_none();
    let listener = listen(home, activated)?;
    let idempotency = store.idempotency_keys().map_err(store_error(home))?;
    let status = store.status();
    let (events, inbox) = unbounded();
    let lookout = Lookout::new(events.clone());
    let followers = Arc::new(Followers::default());
    let (writer, reader, files) = store
        .start(
            Arc::clone(&followers),
            on_end(settings.on_end, events.clone()),
            look(&lookout),
        )
        .map_err(store_error(home))?;
    let shared = Shared {
        started,
        file,
        shown_socket: Arc::new(RwLock::new(home.socket().display().to_string())),
        events,
        queue: writer.queue(),
        reader,
        files,
        status,
        followers,
        live: Arc::default(),
        adapters: load_adapters(home)?,
        environment: Arc::new(environment::Published::new(configured.base)),
        redactor: configured.redactor,
        log_place: configured.log_place,
        lookout,
    };
    let state = state(inbox, idempotency, &settings, &teller, &shared);
    let server = http::Server::start(listener, context(&settings, &shared))
        .map_err(io_error("no thread for connections"))?;
    start_guard(home, lock, is_socket_own, &server, log, &shared)?;
    start_signals(&notifier, log, &shared)?;
    announce(home, &shared.file)?;
    ready();
    teller.ready();
    // What only the start needed.
    sys::release_idle_memory();
    // Dropped, it ends the watchdog.
    let (_watching, end) = bounded(0);
    notifier
        .start_watchdog(shared.events, shared.queue, end)
        .map_err(io_error("no thread for the watchdog"))?;
    let stopped = state.run();
    finish(stopped, &server, writer, &shared.lookout)
}

/// What `daemon.json` says of this process.
fn daemon_file(home: &Home, settings: &Settings) -> DaemonFile {
    let pid = std::process::id() as i32;
    let stop_within = durations::stop_within(settings.kill_grace);
    DaemonFile {
        pid,
        started_at: Timestamp::now(),
        socket: home.socket().display().to_string(),
        process_mark: sys::process_mark(pid),
        stop_within_ms: Some(stop_within.as_millis() as u64),
    }
}

/// The socket that was handed over, or the home's own.
fn listen(home: &Home, activated: Option<UnixListener>) -> Result<UnixListener, ServeError> {
    let socket = home.socket();
    let listener = match activated {
        Some(listener) => listener,
        None => bind(&socket).map_err(io_error("the socket cannot be bound"))?,
    };
    say!(SocketBound, socket: socket.display());
    Ok(listener)
}

fn load_adapters(home: &Home) -> Result<Arc<adapters::Published>, ServeError> {
    let own_executable = std::env::current_exe().map_err(io_error("this program's own path"))?;
    let sources = ManifestSources::from_env(home.adapters());
    let adapters = adapters::Published::load(own_executable, sources);
    Ok(Arc::new(adapters))
}

/// What the main thread becomes once all the others run.
fn state(
    inbox: Receiver<Event>,
    idempotency: Vec<IdempotencyKey>,
    settings: &Settings,
    teller: &Teller,
    shared: &Shared,
) -> State {
    let limits = Limits {
        sessions: settings.sessions_max,
        kill_grace: settings.kill_grace,
        drain_max: settings.drain_max,
    };
    let teller = teller.clone();
    let published = Published {
        live: Arc::clone(&shared.live),
        tell: Box::new(move |change| teller.tell(change)),
    };
    State::new(
        inbox,
        shared.events.clone(),
        shared.queue.clone(),
        Arc::clone(&shared.redactor),
        limits,
        idempotency,
        published,
    )
}

/// What the connections' threads have at hand.
fn context(settings: &Settings, shared: &Shared) -> http::Context {
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
            started: shared.started,
            socket: Arc::clone(&shared.shown_socket),
            supervisor: service::own().info(),
            stop_within: durations::stop_within(settings.kill_grace),
            process: settings.process(),
        },
        connections_max: settings.connections_max,
        sweep_grace: durations::sweep_grace(settings.kill_grace),
        answers: http::Budget::default(),
        bodies: http::Budget::default(),
        before_launch: look(&shared.lookout),
        awaiting_end: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
    }
}

/// Has what is open in the home guarded from now on.
fn start_guard(
    home: &Home,
    lock: &File,
    is_socket_own: bool,
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
    let lock = lock
        .try_clone()
        .map_err(io_error("no descriptor for the lock"))?;
    let shown_socket = Arc::clone(&shared.shown_socket);
    let file = shared.file.clone();
    let guard = Guard::new(home.clone(), lock, is_socket_own, file, shown_socket, open);
    shared.lookout.set(guard);
    Ok(())
}

fn start_signals(notifier: &Arc<Notifier>, log: &Log, shared: &Shared) -> Result<(), ServeError> {
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
    signals.start().map_err(io_error("no thread for signals"))
}

/// Ends what still runs once no session is live, and says how the daemon has ended: to who asked for that, and to who
/// started it.
fn finish(
    stopped: Stopped,
    server: &http::Server,
    writer: Writer,
    lookout: &Lookout,
) -> Result<(), ServeError> {
    if let Some(mut guard) = lookout.guard() {
        guard.end();
    }
    server.finish(durations::STOP_ANSWERS);
    // Who has given up on the store has waited for it already.
    let patience = match stopped.unfinished.is_empty() {
        true => durations::STOP_WRITER,
        false => Duration::ZERO,
    };
    let written = writer.stop(patience);
    let mut report = conclude(&stopped.unfinished, written.err());
    let mut guard = lookout.guard();
    let rescue = guard
        .as_mut()
        .map_or(Rescue::NotNeeded, |guard| guard.rescue());
    match &rescue {
        Rescue::NotNeeded => {}
        Rescue::Saved(copy) => report.recovered = Some(copy.display().to_string()),
        Rescue::Failed(reason) => report.lose_store(reason),
    }
    say!(DaemonStopped, clean: report.clean);
    for reply in &stopped.replies {
        let _ = reply.send(Ok(report.clone()));
    }
    server.finish_all(durations::STOP_ANSWERS);
    let deleted = guard.and_then(|guard| {
        guard.leave();
        guard.deleted_home().map(Path::to_owned)
    });
    ended(report, deleted, rescue)
}

/// How the daemon has ended, as its exit code and stderr say it.
fn ended(report: StopReport, deleted: Option<PathBuf>, rescue: Rescue) -> Result<(), ServeError> {
    match (deleted, rescue) {
        (Some(home), Rescue::Failed(reason)) => Err(ServeError::HomeDeleted {
            home,
            saved: Err(reason),
        }),
        (Some(home), Rescue::Saved(copy)) => Err(ServeError::HomeDeleted {
            home,
            saved: Ok(copy),
        }),
        (_, Rescue::Failed(reason)) => Err(ServeError::Unsaved { reason }),
        _ if report.clean => Ok(()),
        _ => Err(ServeError::Unwritten(report)),
    }
}

/// One daemon a home: who holds the lock.
fn take_lock(home: &Home) -> Result<File, ServeError> {
    let lock = home.open_lock()?;
    if lock.try_lock().is_ok() {
        return Ok(lock);
    }
    already_running(home)?;
    // flock(2) has no time limit: a thread waits in it, and this one waits for the thread.
    let (taken, result) = bounded(1);
    let spawned = thread::Builder::new().name("lock".into()).spawn(move || {
        if lock.lock().is_ok() {
            let _ = taken.send(lock);
        }
    });
    spawned.map_err(io_error("no thread to wait for the lock"))?;
    match result.recv_timeout(durations::LOCK) {
        Ok(lock) => Ok(lock),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            already_running(home)?;
            Err(ServeError::Locked {
                lock: home.lock_file(),
            })
        }
    }
}

/// The lock alone proves nothing: a daemon is believed to run if it answers.
fn already_running(home: &Home) -> Result<(), ServeError> {
    match Client::connect_within(&home.socket(), durations::OWN_HEALTH) {
        Ok((_, health)) => {
            let pid = Some(health.daemon.pid);
            Err(ServeError::AlreadyRunning { pid })
        }
        // One that answers that it is full is one that runs.
        Err(ClientError::Api { .. }) => Err(ServeError::AlreadyRunning { pid: None }),
        Err(_) => Ok(()),
    }
}

fn open_store(home: &Home, retention: Retention) -> Result<Store, ServeError> {
    let mut store =
        Store::open(&Home::entered().database(), retention).map_err(store_error(home))?;
    if let Some(aside) = store.foreign_log() {
        say!(LogOrphaned, path: home.database().display(), aside: home.path().join(aside).display());
    }
    say!(StoreOpened, path: home.database().display(), sessions: store.status().sessions());
    recover::orphan_unfinished(&mut store).map_err(store_error(home))?;
    store.claim().map_err(store_error(home))?;
    Ok(store)
}

/// What carries out `onEnd`, which ends what the state thread still keeps of a session.
fn on_end(delay: Duration, events: Sender<Event>) -> OnEndTimer {
    let on_deleted = move |id| {
        // A state thread that has ended keeps nothing.
        let _ = events.send(Event::Deleted { id });
    };
    OnEndTimer::new(delay, Box::new(on_deleted))
}

/// Has the home looked at for what the system does not tell of.
fn look(lookout: &Arc<Lookout>) -> Box<dyn Fn() + Send + Sync> {
    let lookout = Arc::clone(lookout);
    Box::new(move || lookout.look_at_untold())
}

/// Sees that the daemon answers, and says so: in `daemon.json`, then in the log. Who reads the line finds the file.
fn announce(home: &Home, file: &DaemonFile) -> Result<(), ServeError> {
    let socket = home.socket();
    let (_, health) =
        Client::connect_within(&socket, durations::OWN_HEALTH).map_err(ServeError::NoHealth)?;
    let written = home.write_daemon_file(file);
    written.map_err(|err| ServeError::Home(home.io(&home.daemon_file(), err)))?;
    say!(ContractServed, contract: field::Version(health.api_version.as_str()),
        expected: field::Version(CONTRACT), version: field::Version(VERSION), pid: health.daemon.pid,
        socket: socket.display());
    Ok(())
}

/// What is not on disk of the sessions that were given up: each has its line in the log.
fn conclude(given_up: &[Unfinished], unwritten: Option<Unwritten>) -> StopReport {
    let (waiting, reason) = match unwritten {
        Some(Unwritten { sessions, reason }) => (sessions, reason),
        None => Default::default(),
    };
    let lost = given_up.iter().filter_map(|session| {
        let waiting = session.num.and_then(|num| waiting.get(&num));
        // The store may have taken it after all, at the last moment.
        (!session.closed || waiting.is_some()).then(|| UnwrittenSession {
            session_id: session.id,
            events: waiting.map_or(0, |waiting| waiting.events),
            bytes: waiting.map_or(0, |waiting| waiting.bytes),
            exited: session.exited,
            unread_bytes: session.unread,
        })
    });
    let lost: Vec<UnwrittenSession> = lost.collect();
    for session in &lost {
        say!(SessionUnwritten, session: session.session_id, events: session.events, bytes: session.bytes,
            unread_bytes: session.unread_bytes, exited: session.exited);
    }
    if lost.is_empty() {
        return StopReport::clean();
    }
    let reason = reason.unwrap_or_else(|| match lost.iter().all(|session| session.exited) {
        true => "the store does not answer".into(),
        false => "a process cannot be ended".into(),
    });
    StopReport::unclean(reason, lost)
}
