//! What is to be seen of the daemon from outside, gathered once for all checks.
//!
//! A thread looks, since a daemon that hangs can hold it for ever. Knows no check.

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use crossbeam_channel::bounded;

use crate::api::routes::{self, Endpoint};
use crate::api::{Capabilities, DaemonProcess, Health};
use crate::daemon::control::{self, Status};
use crate::daemon::service::Service;
use crate::daemon::service::is_manager;
use crate::daemon::{DaemonFile, Home};
use crate::http::client::Client;
use crate::settings::durations;
use crate::sys::{self, Peer};

/// What is to be seen of the daemon.
pub(in crate::cli) struct Probe {
    pub(in crate::cli) status: Status,
    /// Who listens on the socket, as the kernel has it.
    pub(super) listener: Option<Peer>,
    /// systemd listens, and has handed the socket to the daemon.
    pub(super) is_handed_over: bool,
    /// Nobody has even taken a connection.
    pub(super) is_deaf: bool,
    /// What it put on record about itself.
    pub(super) file: Option<DaemonFile>,
    /// What it says it can do, if it could say so in time.
    pub(in crate::cli) capabilities: Option<Capabilities>,
    /// The process that is on record there, if it is still that process.
    pub(super) recorded: Option<i32>,
    /// Who starts it.
    pub(super) service: Service,
    /// Whose home it is, and so whose daemon.
    pub(super) owner: u32,
}

impl Probe {
    /// Looks, for [`durations::DOCTOR_PROBE`] at most: a connect waits for ever where a daemon that hangs has its queue
    /// full.
    pub(in crate::cli) fn of(home: &Home) -> Self {
        let (found, finds) = bounded(3);
        let thread_home = home.clone();
        // It ends with this process at the latest.
        std::thread::spawn(move || {
            // A connect would have systemd start it.
            if control::is_awaited(&thread_home) {
                let _ = found.send(Find::Status(control::status(&thread_home)));
                return;
            }
            let _ = found.send(Find::Listener(control::listener(&thread_home)));
            let status = control::status(&thread_home);
            let is_running = matches!(status, Status::Running(_));
            let _ = found.send(Find::Status(status));
            if is_running && let Ok(mut client) = Client::connect(&thread_home.socket()) {
                let _ = found.send(Find::Capabilities(
                    client.call(routes::Capabilities.request()).ok(),
                ));
            }
        });
        let mut probe = Self {
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
            recorded: control::daemon_pid(home),
            service: Service::default(),
            owner: owner(home),
        };
        let deadline = Instant::now() + durations::DOCTOR_PROBE;
        while let Ok(find) = finds.recv_deadline(deadline) {
            match find {
                Find::Listener(listener) => {
                    probe.listener = listener;
                    probe.is_deaf = false;
                }
                Find::Status(status) => probe.status = status,
                Find::Capabilities(capabilities) => probe.capabilities = capabilities,
            }
        }
        let listens = probe.listener.and_then(|listener| listener.pid);
        probe.is_handed_over = probe.recorded.is_some() && listens.is_some_and(is_manager);
        probe.service = Service::of(home, probe.pid());
        probe
    }

    /// The daemon's health, if it answers.
    pub(in crate::cli) fn health(&self) -> Option<&Health> {
        match &self.status {
            Status::Running(health) => Some(health),
            _ => None,
        }
    }

    /// Its process, if it can be told from here: what it says itself is a pid of its own namespace.
    pub(super) fn pid(&self) -> Option<i32> {
        let listener = self.listener.filter(|_| !self.is_handed_over);
        listener.and_then(|listener| listener.pid).or(self.recorded)
    }

    /// What its process has to work with, if it says so.
    pub(in crate::cli) fn process(&self) -> Option<&DaemonProcess> {
        self.capabilities.as_ref()?.process.as_ref()
    }

    /// No daemon runs, and systemd listens for its first client.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.status, Status::Stopped { is_awaited: true })
    }

    /// Nothing is there, nor was anything left behind.
    pub(in crate::cli) fn is_stopped(&self) -> bool {
        matches!(self.status, Status::Stopped { .. } | Status::Failed(_))
    }
}

enum Find {
    Listener(Option<Peer>),
    Status(Status),
    Capabilities(Option<Capabilities>),
}

/// Whose home it is: one that is not there yet will be this user's.
pub(super) fn owner(home: &Home) -> u32 {
    let meta = home.path().symlink_metadata();
    meta.map_or_else(|_| sys::euid(), |meta| meta.uid())
}
