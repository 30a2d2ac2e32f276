//! Opens what a daemon serves from: its home, environment, store, socket and adapters; and announces that it serves.
//!
//! Runs on the main thread of the daemon, before its first session. It knows no thread and no channel but the one that
//! `onEnd` reports to.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::error::{ServeError, io_error, store_error};
use super::guard::bind;
use super::handover::Handover;
use super::handover::take_up::Executed;
use super::home::{DaemonFile, Home};
use super::lock::take_lock;
use super::settings::{Settings, misspelt};
use super::signals::Lookout;
use super::{recover, service};
use crate::adapters::{self, ManifestSources, environment};
use crate::api::{CONTRACT, Timestamp, version};
use crate::http::client::Client;
use crate::observe::{field, say};
use crate::settings::{self, durations};
use crate::state::StateEvent;
use crate::store::{OnEndTimer, Retention, SessionNum, Store};
use crate::sys;

/// What a daemon holds before it opens the store.
pub(super) struct Begun {
    pub(super) home: Home,
    pub(super) lock: File,
    /// The service manager's socket, or that of the previous program.
    pub(super) listener: Option<UnixListener>,
    pub(super) is_socket_own: bool,
    pub(super) handover: Option<Handover>,
}

/// Checks and locks the home, and makes it the working directory.
pub(super) fn enter_home(home: &Home) -> Result<Begun, ServeError> {
    sys::keep_inherited_descriptors();
    let activated =
        service::activation::handed_over(&home.socket()).map_err(ServeError::Activation)?;
    if activated.is_none() {
        home.check_own()?;
    }
    home.prepare()?;
    let lock = take_lock(home)?;
    // From here on relative names lead into the home wherever it is moved.
    std::env::set_current_dir(home.path()).map_err(|err| home.io(home.path(), err))?;
    Ok(Begun {
        home: home.clone(),
        lock,
        is_socket_own: activated.is_none(),
        listener: activated,
        handover: None,
    })
}

/// The home of the previous program, which is the working directory.
pub(super) fn take_up_home(executed: &Executed) -> Result<Begun, ServeError> {
    let failed = io_error("the handover cannot be taken up");
    let handover = executed.read().map_err(&failed)?;
    Ok(Begun {
        home: Home::moved_to((&handover.home).into()),
        lock: handover.lock.duplicate().map_err(&failed)?.into(),
        listener: Some(handover.listener.duplicate().map_err(&failed)?.into()),
        is_socket_own: handover.is_socket_own,
        handover: Some(handover),
    })
}

/// Content of `daemon.json` for this process.
pub(super) fn daemon_file(home: &Home, settings: &Settings, started_at: Timestamp) -> DaemonFile {
    let pid = std::process::id() as i32;
    let stop_within = durations::stop_within(settings.limits.kill_grace);
    DaemonFile {
        pid,
        started_at,
        socket: home.socket().display().to_string(),
        process_mark: sys::process_mark(pid),
        stop_within_ms: Some(stop_within.as_millis() as u64),
    }
}

/// The socket passed by the service manager, or a new one.
pub(super) fn listen(
    home: &Home,
    activated: Option<UnixListener>,
) -> Result<UnixListener, ServeError> {
    let socket = home.socket();
    match activated {
        Some(listener) => Ok(listener),
        None => bind(&socket).map_err(io_error("the socket cannot be bound")),
    }
}

pub(super) fn load_adapters(home: &Home, own_path: &Path) -> Arc<adapters::SharedRegistry> {
    let sources = ManifestSources::from_env(home.adapters());
    let adapters = adapters::SharedRegistry::load(own_path.to_owned(), sources);
    Arc::new(adapters)
}

/// Opens the store; without sessions of a previous program that are `running`, it recovers those of a dead daemon.
pub(super) fn open_store(
    home: &Home,
    retention: Retention,
    running: Option<Vec<SessionNum>>,
) -> Result<Store, ServeError> {
    let path = Home::entered().database();
    let store = match running {
        None => Store::open(&path, retention),
        Some(_) => Store::reopen(&path, retention),
    };
    let mut store = store.map_err(store_error(home))?;
    if let Some(aside) = store.foreign_log() {
        say!(LogOrphaned, path: home.database().display(), aside: home.path().join(aside).display());
    }
    if running.is_none() {
        say!(StoreOpened, path: home.database().display(), sessions: store.status().sessions());
    }
    recover::orphan_unfinished(&mut store, &running.unwrap_or_default())
        .map_err(store_error(home))?;
    store.claim().map_err(store_error(home))?;
    Ok(store)
}

/// The timer for `onEnd`; after a deletion the state thread drops its own records of the session.
pub(super) fn on_end(delay: Duration, events: Sender<StateEvent>) -> OnEndTimer {
    let on_deleted = move |id| {
        // A state thread that has ended keeps no records.
        let _ = events.send(StateEvent::Deleted { id });
    };
    OnEndTimer::new(delay, Box::new(on_deleted))
}

/// Checks the home for changes that the system does not report.
pub(super) fn check_home(lookout: &Arc<Lookout>) -> Box<dyn Fn() + Send + Sync> {
    let lookout = Arc::clone(lookout);
    Box::new(move || lookout.check_unwatched())
}

/// Checks that the daemon answers, then writes `daemon.json` and the log line: a reader of the line finds the file.
pub(super) fn announce(home: &Home, file: &DaemonFile) -> Result<(), ServeError> {
    let socket = home.socket();
    let (_, health) =
        Client::connect_within(&socket, durations::OWN_HEALTH).map_err(ServeError::NoHealth)?;
    let written = home.write_daemon_file(file);
    written.map_err(|err| ServeError::Home(home.io(&home.daemon_file(), err)))?;
    say!(ContractServed, contract: field::Version(health.api_version.as_str()),
        expected: field::Version(CONTRACT), version: field::Version(version()), pid: health.daemon.pid,
        socket: socket.display());
    Ok(())
}

/// Reads the sessions' environment from the process and from the file `env`, whose settings also apply to the daemon.
/// Also returns the ignored lines of the file, and the misspelt settings.
pub(super) fn read_environment(
    home: &Home,
) -> (
    environment::Base,
    Vec<environment::Ignored>,
    Vec<(String, String)>,
) {
    let read_at = Timestamp::now();
    let (file, ignored) = environment::read_own(&home.env_file());
    settings::set_from_file(file.iter());
    let misspelt = misspelt(&file);
    let base = environment::Base::inherit(std::env::vars_os()).with_file(file, read_at);
    (base, ignored, misspelt)
}
