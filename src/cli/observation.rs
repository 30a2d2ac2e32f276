//! What is to be seen of the daemon of a home: gathered once, for `daemon status`, `doctor` and `diagnostics`.
//!
//! A thread asks the daemon, since one that hangs can hold it for ever; service managers and manifests are looked at when
//! they are asked for. It knows no check, and not how it is shown.

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

/// The daemon of a home, as it is seen from outside.
pub(super) struct Observation {
    pub home: Home,
    pub status: Status,
    /// The process that listens on the socket, as the kernel has it.
    pub listener: Option<Peer>,
    /// systemd listens, and has handed the socket to the daemon.
    pub is_handed_over: bool,
    /// No connection has been taken.
    pub is_deaf: bool,
    /// The daemon's own record of itself.
    pub file: Option<DaemonFile>,
    /// The answer to `GET /capabilities`, if it came in time.
    pub capabilities: Option<Capabilities>,
    /// The process that is on record, if its pid has not gone to another.
    pub recorded: Option<i32>,
    /// Until when may be looked at the store.
    pub until: Instant,
    service: OnceLock<Service>,
    registry: OnceLock<Registry>,
}

/// How much is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Whether it runs.
    Status,
    /// Also who listens, and what the daemon can do.
    All,
}

enum Find {
    Listener(Option<Peer>),
    Status(Status),
    Capabilities(Option<Capabilities>),
}

impl Observation {
    /// Looks at the daemon of `home`, for [`durations::DOCTOR_PROBE`] at most: a connect waits for ever where a daemon that hangs has its queue
    /// full. What renders it has `within` for what it looks at besides.
    pub(super) fn of(home: &Home, depth: Depth, within: Duration) -> Self {
        let begun = Instant::now();
        let (found, finds) = bounded(3);
        let thread_home = home.clone();
        // It ends with this process at the latest.
        std::thread::spawn(move || {
            // A connect would have systemd start it.
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

    /// Its process, if it can be told from here: what it says itself is a pid of its own namespace.
    pub(super) fn pid(&self) -> Option<i32> {
        let listener = self.listener.filter(|_| !self.is_handed_over);
        listener.and_then(|listener| listener.pid).or(self.recorded)
    }

    /// What its process has to work with, if it says so.
    pub(super) fn process(&self) -> Option<&DaemonProcess> {
        self.capabilities.as_ref()?.process.as_ref()
    }

    /// Nothing is there, nor was anything left behind.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.status, Status::Stopped { .. } | Status::Failed(_))
    }

    /// Nobody has the database open, and what is not in its log is in the file itself: it is read without a lock, and
    /// without a file beside it.
    pub(super) fn is_store_alone(&self) -> bool {
        self.is_stopped() && self.wal_bytes() == 0
    }

    /// The length of the database's log.
    pub(super) fn wal_bytes(&self) -> u64 {
        let wal = store::beside(&self.home.database(), "-wal").metadata();
        wal.map_or(0, |meta| meta.len())
    }

    /// Who starts the daemon.
    pub(super) fn service(&self) -> &Service {
        self.service
            .get_or_init(|| Service::of(&self.home, self.pid()))
    }

    /// The adapters as a daemon would have them that is started from here.
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
