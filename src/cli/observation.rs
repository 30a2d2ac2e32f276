//! A daemon's state seen from outside: gathered once for `daemon status`, `doctor` and `diagnostics`.
//!
//! A thread asks the daemon, since a hanging daemon can block it for ever. Service managers and manifests are read at
//! first use. It knows no check, and not how it is printed.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::adapters::{ManifestSources, Registry};
use crate::api::routes::{self, Endpoint};
use crate::api::{Capabilities, DaemonProcess, Health};
use crate::daemon::service::{Service, is_manager};
use crate::daemon::status::{self, Status};
use crate::daemon::{DaemonFile, Home};
use crate::http::client::Client;
use crate::settings::durations;
use crate::store;
use crate::sys::Peer;

/// State of a home's daemon, seen from outside.
pub(super) struct Observation {
    pub home: Home,
    pub status: Status,
    /// The process that listens on the socket, as the kernel reports it.
    pub listener: Option<Peer>,
    /// systemd listens, and has passed the socket to the daemon.
    pub is_handed_over: bool,
    /// No connection was accepted.
    pub is_deaf: bool,
    /// Content of `daemon.json`.
    pub file: Option<DaemonFile>,
    /// The answer to `GET /capabilities`, if it arrived in time.
    pub capabilities: Option<Capabilities>,
    /// The recorded pid, if that process still runs.
    pub recorded: Option<i32>,
    /// Deadline for database queries.
    pub until: Instant,
    service: OnceLock<Service>,
    registry: OnceLock<Registry>,
}

/// Extent of an observation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Only the state.
    Status,
    /// Also the listener, and the daemon's capabilities.
    All,
}

enum Find {
    Listener(Option<Peer>),
    Status(Status),
    Capabilities(Option<Capabilities>),
}

impl Observation {
    /// Inspects the daemon of `home` for at most [`durations::DOCTOR_PROBE`]: a connect can block for ever if a hanging
    /// daemon's queue is full. The caller has `within` in total for other queries.
    pub(super) fn of(home: &Home, depth: Depth, within: Duration) -> Self {
        let begun = Instant::now();
        let (found, finds) = bounded(3);
        let thread_home = home.clone();
        // The thread ends with the process at the latest.
        std::thread::spawn(move || {
            // A connection would make systemd start the daemon.
            if depth == Depth::All && !status::is_awaited(&thread_home) {
                let _ = found.send(Find::Listener(status::listener(&thread_home)));
            }
            let status = Status::of(&thread_home);
            let is_running = matches!(status, Status::Running(_));
            let _ = found.send(Find::Status(status));
            if depth == Depth::All
                && is_running
                && let Ok(mut client) = Client::connect(&thread_home.socket())
            {
                let capabilities = client.call(routes::Capabilities.request()).ok();
                let _ = found.send(Find::Capabilities(capabilities));
            }
        });
        let mut seen = Self {
            home: home.clone(),
            status: Status::Stale {
                reason: "it does not even take a connection".into(),
                pid: None,
                locked: true,
            },
            listener: None,
            is_handed_over: false,
            is_deaf: true,
            file: home.read_daemon_file(),
            capabilities: None,
            recorded: status::daemon_pid(home),
            until: begun + within,
            service: OnceLock::new(),
            registry: OnceLock::new(),
        };
        let deadline = begun + durations::DOCTOR_PROBE;
        while let Ok(find) = finds.recv_deadline(deadline) {
            match find {
                Find::Listener(listener) => (seen.listener, seen.is_deaf) = (listener, false),
                Find::Status(status) => seen.status = status,
                Find::Capabilities(capabilities) => seen.capabilities = capabilities,
            }
        }
        let listens = seen.listener.and_then(|listener| listener.pid);
        seen.is_handed_over = seen.recorded.is_some() && listens.is_some_and(is_manager);
        seen
    }

    /// The daemon's health, if it answers.
    pub(super) fn health(&self) -> Option<&Health> {
        self.status.health()
    }

    /// Pid of the daemon, if known here: its own answer has the pid of its own namespace.
    pub(super) fn pid(&self) -> Option<i32> {
        let listener = self.listener.filter(|_| !self.is_handed_over);
        listener.and_then(|listener| listener.pid).or(self.recorded)
    }

    /// Environment and limits of the daemon's process, if it reports them.
    pub(super) fn process(&self) -> Option<&DaemonProcess> {
        self.capabilities.as_ref()?.process.as_ref()
    }

    /// No daemon runs, and none has left anything behind.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.status, Status::Stopped { .. } | Status::Failed(_))
    }

    /// No process has the database open, and its log is empty: it is read without locks and without files beside it.
    pub(super) fn is_store_alone(&self) -> bool {
        self.is_stopped() && self.wal_bytes() == 0
    }

    /// Size of the database's log, in bytes.
    pub(super) fn wal_bytes(&self) -> u64 {
        let wal = store::beside(&self.home.database(), "-wal").metadata();
        wal.map_or(0, |meta| meta.len())
    }

    /// The service that starts the daemon.
    pub(super) fn service(&self) -> &Service {
        self.service
            .get_or_init(|| Service::of(&self.home, self.pid()))
    }

    /// The registry of a daemon that is started from here.
    pub(super) fn registry(&self) -> &Registry {
        self.registry.get_or_init(|| {
            let executable = std::env::current_exe().unwrap_or_default();
            Registry::load(
                &executable,
                &ManifestSources::from_env(self.home.adapters()),
            )
        })
    }
}
