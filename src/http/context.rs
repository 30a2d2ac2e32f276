//! The state that all connection threads share: channel to the state thread, the store's readers, and the daemon's
//! identity.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::budget::MemoryBudget;
use super::live::LastPass;
use super::upgrade::Successors;
use crate::adapters::{self, environment};
use crate::api::{ApiError, DaemonProcess, Labels, SupervisorInfo, TITLE_MAX, Timestamp};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::state::{Command, Reply, StateEvent};
use crate::store::{Committed, Followers, Reader, StoreRequest, WriteQueue};

/// State shared by all connection threads.
pub struct Context {
    /// Channel to the state thread.
    pub state: Sender<StateEvent>,
    pub reader: Reader,
    /// Wakes long polls at a session's next commit.
    pub followers: Arc<Followers>,
    /// Redacts secrets in stored data, and counts them.
    pub redactor: Arc<Redactor>,
    /// The writer's queue, whose figures health shows.
    pub queue: WriteQueue,
    /// Number of live sessions, published by the state thread.
    pub live: Arc<AtomicU64>,
    /// The last live figures.
    pub last_pass: LastPass,
    pub adapters: Arc<adapters::SharedRegistry>,
    /// The environment that all sessions share.
    pub environment: Arc<environment::SharedBase>,
    pub daemon: Daemon,
    /// Most open connections.
    pub connections_max: usize,
    /// Time between SIGTERM and SIGKILL for processes that an ended session left running.
    pub sweep_grace: Duration,
    /// Memory budget of all large answers.
    pub answers: MemoryBudget,
    /// Memory budget of all large request bodies.
    pub bodies: MemoryBudget,
    /// Checks the home for changes that the system does not report.
    pub before_launch: Box<dyn Fn() + Send + Sync>,
    /// Finds and checks the program of an upgrade.
    pub successors: Box<dyn Successors>,
    /// Number of requests that wait for the daemon's end.
    pub awaiting_end: AtomicUsize,
    /// Set when the daemon stops: connections close after their answer, and long polls end.
    pub stopping: AtomicBool,
}

/// Identity of this daemon.
pub struct Daemon {
    pub pid: u32,
    pub started_at: Timestamp,
    /// The same time by the monotonic clock.
    pub started: Instant,
    /// Path of the socket, updated by the guard of the home.
    pub socket: Arc<RwLock<String>>,
    /// The socket, relative to the working directory.
    pub own_socket: PathBuf,
    /// Time of the last upgrade in place.
    pub upgraded_at: Option<Timestamp>,
    pub supervisor: SupervisorInfo,
    /// Longest duration of its stop.
    pub stop_within: Duration,
    /// Environment and limits of its process.
    pub process: DaemonProcess,
}

impl Context {
    /// Sends a command to the state thread, and waits for its answer.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ApiError> {
        self.ask_within(durations::STATE_ANSWER, command)
    }

    /// Sends `request` to the store through the state thread.
    pub(super) fn ask_store(&self, request: StoreRequest) -> Result<Committed, ApiError> {
        self.ask(|reply| Command::Store(request, reply))
    }

    /// As [`Context::ask`] with another timeout.
    pub(super) fn ask_within<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, ApiError> {
        let (reply, answer) = bounded(1);
        // A state thread that has ended drops the reply, which disconnects the channel.
        let _ = self.state.send(StateEvent::Command(command(reply)));
        match answer.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err(ApiError::ShuttingDown),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = patience.as_secs();
                let reason =
                    format!("it has not answered for {seconds} s; what was asked may still happen");
                let reason = reason.into();
                Err(ApiError::StoreUnavailable { reason })
            }
        }
    }

    /// Rejects a token in `texts`, the paths, ids or names in `field`, which are stored unchanged.
    pub(super) fn check_kept(&self, field: &str, texts: &[String]) -> Result<(), ApiError> {
        if !texts.iter().any(|text| self.redactor.holds_token(text)) {
            return Ok(());
        }
        let message =
            format!("{field} is stored unchanged, and holds a secret token: remove the token");
        Err(ApiError::invalid_field(field, message))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// `title` redacted and shortened for storage. Redaction comes first: it would not recognise a part of a secret.
pub(super) fn title(redactor: &Redactor, title: String) -> String {
    let mut title = redactor.redact_stored(title);
    title.truncate(title.floor_char_boundary(TITLE_MAX));
    title
}

/// Each of `labels` with its secrets redacted.
pub(super) fn labels(redactor: &Redactor, labels: Labels) -> Labels {
    let redacted = labels.0.into_iter();
    Labels(
        redacted
            .map(|label| redactor.redact_stored(label))
            .collect(),
    )
}
