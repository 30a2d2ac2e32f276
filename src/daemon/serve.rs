//! The daemon's process: everything is opened, the threads are started, and the main thread becomes the state
//! thread until the daemon is to stop.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

use super::guard::{Guard, Opened, Rescue};
use super::home::{DaemonFile, Home, HomeError};
use super::notify::{Notifier, Teller};
use super::settings::Settings;
use super::signals::{Lookout, Reload, Signals, log_bad_patterns, log_ignored};
use super::{listener, recover, supervisor};
use crate::adapters::{self, ManifestSources, environment};
use crate::api::{CONTRACT, Code, StopReport, Timestamp, UnwrittenSession, VERSION};
use crate::http;
use crate::http::client::{Client, ClientError};
use crate::observe::log::{Destination, Log};
use crate::observe::{field, say};
use crate::redact::Redactor;
use crate::settings::{self, BadSetting, durations};
use crate::state::{Limits, Published, State, Stopped, Unfinished};
use crate::store::{Followers, Retention, Store, StoreError, Unwritten, Writer};
use crate::sys;

/// How a daemon is to serve.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Log to the home's file rather than to stderr.
    pub log_to_file: bool,
}

/// Why a daemon does not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The home cannot be used.
    Home(HomeError),
    /// Another daemon serves this home.
    AlreadyRunning {
        /// Its process, if that could be learned.
        pid: Option<u32>,
    },
    /// Another process holds the lock, and does not answer.
    Locked { lock: PathBuf },
    /// The store cannot be opened.
    Store { path: PathBuf, err: StoreError },
    /// An environment variable has a value that it cannot have.
    Setting(BadSetting),
    /// The daemon does not answer its own request.
    NoHealth(ClientError),
    /// The socket that the service manager has handed over cannot be served.
    Activation(String),
    /// What the system says.
    Io { what: &'static str, err: io::Error },
    /// The daemon has stopped, and this is not on disk.
    Unwritten(StopReport),
    /// The database's files had gone while the daemon ran, and what it had open could not be saved.
    Unsaved { reason: String },
    /// The home was deleted while the daemon ran.
    HomeDeleted {
        home: PathBuf,
        /// The copy of the database, or why there is none.
        saved: Result<PathBuf, String>,
    },
}

impl ServeError {
    /// The CLI's code for it.
    pub fn code(&self) -> Code {
        match self {
            Self::Home(err) => err.code(),
            Self::AlreadyRunning { .. } => Code::DaemonAlreadyRunning,
            Self::Locked { .. } => Code::DaemonLocked,
            Self::Store { err, .. } => err.code(),
            Self::Unwritten(_) | Self::Unsaved { .. } => Code::StoreUnavailable,
            Self::HomeDeleted { .. } => Code::HomeDeleted,
            Self::Setting(_) => Code::InvalidSetting,
            Self::Activation(_) => Code::SocketRefused,
            Self::NoHealth(_) | Self::Io { .. } => Code::DaemonStartFailed,
        }
    }

    /// The exit code of a daemon that ends with it. A service manager does not start a daemon again whose home somebody has
    /// deleted: it would make the home anew.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::HomeDeleted { .. } if supervisor::is_systemds() => supervisor::STAY_DOWN,
            _ => 1,
        }
    }

    /// The daemon that was there before, where that is why.
    pub fn running_pid(&self) -> Option<u32> {
        match self {
            Self::AlreadyRunning { pid } => *pid,
            _ => None,
        }
    }

    /// What to try next.
    pub fn next(&self) -> String {
        match self {
            Self::Home(err) => err.mend(),
            Self::AlreadyRunning { .. }
            | Self::Locked { .. }
            | Self::Activation(_)
            | Self::HomeDeleted { .. } => self.code().next().unwrap_or_default().into(),
            Self::Store { path, err } => err.advice(path),
            Self::Setting(bad) => bad.mend(),
            Self::NoHealth(_) | Self::Io { .. } | Self::Unwritten(_) | Self::Unsaved { .. } => {
                "look at the end of logs/daemon.log in COVEN_HOME".into()
            }
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(err) => write!(f, "{err}"),
            Self::AlreadyRunning { pid: Some(pid) } => {
                write!(f, "a daemon is already running (pid {pid})")
            }
            Self::AlreadyRunning { pid: None } => write!(f, "a daemon is already running"),
            Self::Locked { lock } => {
                write!(
                    f,
                    "another process holds {}, and does not answer",
                    lock.display()
                )
            }
            Self::Store { path, err } => {
                write!(f, "the store {} cannot be opened: {err}", path.display())
            }
            Self::Setting(bad) => write!(f, "{bad}"),
            Self::NoHealth(err) => write!(
                f,
                "the daemon does not answer its own health request: {err}"
            ),
            Self::Activation(what) => write!(f, "{what}"),
            Self::Io { what, err } => write!(f, "{what}: {err}"),
            Self::Unwritten(report) => write!(f, "stopped, but {report}"),
            Self::Unsaved { reason } => write!(
                f,
                "stopped, but the database's files had gone, and what was open could not be saved: {reason}"
            ),
            Self::HomeDeleted { home, saved } => {
                write!(f, "{} was deleted while the daemon ran; ", home.display())?;
                match saved {
                    Ok(copy) => write!(f, "its database is saved as {}", copy.display()),
                    Err(reason) => write!(f, "its database could not be saved: {reason}"),
                }
            }
        }
    }
}

impl From<BadSetting> for ServeError {
    fn from(bad: BadSetting) -> Self {
        Self::Setting(bad)
    }
}

impl From<HomeError> for ServeError {
    fn from(err: HomeError) -> Self {
        Self::Home(err)
    }
}

/// Serves `home` until SIGTERM or SIGINT; `ready` is called once health has answered.
///
/// # Errors
/// [`ServeError`]: why it could not begin, or what is not on disk at its end.
pub fn serve(home: &Home, options: ServeOptions, ready: impl FnOnce()) -> Result<(), ServeError> {
    sys::keep_inherited_descriptors();
    let activated = listener::handed_over(&home.socket()).map_err(ServeError::Activation)?;
    if activated.is_none() {
        home.check_own()?;
    }
    home.prepare()?;
    let lock = take_lock(home)?;
    // From here on names in it lead there wherever it is moved.
    std::env::set_current_dir(home.path()).map_err(|err| home.io(home.path(), err))?;
    let is_activated = activated.is_some();
    let (base, ignored) = read_environment(home);
    let settings = Settings::from_env()?;
    prepare_process(options);
    let destination = match options.log_to_file {
        true => Destination::File(Home::entered().log_file()),
        false => Destination::Stderr,
    };
    let (redactor, bad_patterns) = Redactor::load(&home.redact_file());
    let redactor = Arc::new(redactor.storing_secrets(!settings.redact));
    let log = Log::start(
        destination,
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
}

fn run(
    home: &Home,
    configured: Configured,
    activated: Option<UnixListener>,
    lock: &File,
    log: &Log,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let Configured {
        settings,
        base,
        redactor,
    } = configured;
    let started = Instant::now();
    let started_at = Timestamp::now();
    let notifier = Notifier::from_env();
    let teller = notifier
        .start()
        .map_err(io_error("no thread to notify the service manager"))?;
    let store = open_store(home, settings.retention)?;
    let is_socket_own = activated.is_none();
    let listener = match activated {
        Some(listener) => listener,
        None => listener::bind(&home.socket()).map_err(io_error("the socket cannot be bound"))?,
    };
    let socket = home.socket();
    say!(SocketBound, socket: socket.display());
    let idempotency = store.idempotency_keys().map_err(store_error(home))?;
    let followers = Arc::new(Followers::default());
    let (events, inbox) = unbounded();
    let lookout = Lookout::new(events.clone());
    let status = store.status();
    let (writer, reader, files) = store
        .start(Arc::clone(&followers), look(&lookout))
        .map_err(store_error(home))?;
    let live = Arc::new(AtomicU64::new(0));
    let limits = Limits {
        sessions: settings.sessions_max,
        kill_grace: settings.kill_grace,
        drain_max: settings.drain_max,
    };
    let state = State::new(
        inbox,
        events.clone(),
        writer.queue(),
        Arc::clone(&redactor),
        limits,
        idempotency,
        published(&live, &teller),
    );
    let own_executable = std::env::current_exe().map_err(io_error("this program's own path"))?;
    let sources = ManifestSources::from_env(home.adapters());
    let adapters = Arc::new(adapters::Published::load(own_executable, sources));
    let environment = Arc::new(environment::Published::new(base));
    let (of_state, of_writer) = (events.clone(), writer.queue());
    let shown_socket = Arc::new(RwLock::new(home.socket().display().to_string()));
    let stop_within = durations::stop_within(settings.kill_grace);
    let server = http::Server::start(
        listener,
        http::Context {
            state: events.clone(),
            reader: reader.clone(),
            followers,
            redactor: Arc::clone(&redactor),
            queue: writer.queue(),
            live,
            adapters: Arc::clone(&adapters),
            environment: Arc::clone(&environment),
            daemon: http::Daemon {
                pid: std::process::id(),
                started_at,
                started,
                socket: Arc::clone(&shown_socket),
                supervisor: supervisor::own().info(),
                stop_within,
                process: settings.process(),
            },
            connections_max: settings.connections_max,
            answers: http::Budget::default(),
            before_launch: look(&lookout),
            awaiting_end: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        },
    )
    .map_err(io_error("no thread for connections"))?;
    let pid = std::process::id() as i32;
    let daemon_file = DaemonFile {
        pid,
        started_at,
        socket: home.socket().display().to_string(),
        process_mark: sys::process_mark(pid),
        stop_within_ms: Some(stop_within.as_millis() as u64),
    };
    let open = Opened {
        rebinder: server.rebinder(),
        log: log.reopener(),
        adapters: Arc::clone(&adapters),
        files,
        reader,
        status,
    };
    let lock = lock
        .try_clone()
        .map_err(io_error("no descriptor for the lock"))?;
    lookout.set(Guard::new(
        home.clone(),
        lock,
        is_socket_own,
        daemon_file.clone(),
        shown_socket,
        open,
    ));
    let signals = Signals {
        events,
        notifier: Arc::clone(&notifier),
        reload: Reload {
            adapters,
            environment,
            redactor,
            log: log.reopener(),
        },
        lookout: Arc::clone(&lookout),
    };
    signals.start().map_err(io_error("no thread for signals"))?;
    announce(home, &daemon_file)?;
    ready();
    teller.ready();
    // What the rules' compilation needed, a megabyte.
    sys::release_free_memory();
    // Dropped, it ends the watchdog.
    let (_watching, end) = bounded(0);
    notifier
        .start_watchdog(of_state, of_writer, end)
        .map_err(io_error("no thread for the watchdog"))?;
    let stopped = state.run();
    finish(stopped, &server, writer, &lookout)
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

/// Has the home looked at for what the system does not tell of.
fn look(lookout: &Arc<Lookout>) -> Box<dyn Fn() + Send + Sync> {
    let lookout = Arc::clone(lookout);
    Box::new(move || lookout.look_at_untold())
}

/// What the state thread publishes, and where.
fn published(live: &Arc<AtomicU64>, teller: &Teller) -> Published {
    let teller = teller.clone();
    Published {
        live: Arc::clone(live),
        tell: Box::new(move |change| teller.tell(change)),
    }
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

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |err| ServeError::Io { what, err }
}

fn store_error(home: &Home) -> impl Fn(StoreError) -> ServeError {
    let path = home.database();
    move |err| ServeError::Store {
        path: path.clone(),
        err,
    }
}
