//! What every connection's thread has at hand: the way to the state thread, the store's readers, and who this daemon is.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::budget::Budget;
use super::live::LastPass;
use crate::adapters::{self, environment};
use crate::api::{ApiError, DaemonProcess, PROMPT_KEPT_MAX, SupervisorInfo, TITLE_MAX, Timestamp};
use crate::redact::Redactor;
use crate::settings::durations;
use crate::state::{Command, Event, Reply};
use crate::store::{Answer, Followers, Reader, Request, WriteQueue};

/// What every connection's thread has at hand.
pub struct Context {
    /// The way to the state thread.
    pub state: Sender<Event>,
    /// The store, to read.
    pub reader: Reader,
    /// To wait for a session's next event.
    pub followers: Arc<Followers>,
    /// Takes secrets out of what is stored, and counts them.
    pub redactor: Arc<Redactor>,
    /// The writer's figures, for health.
    pub queue: WriteQueue,
    /// Live sessions, as the state thread publishes them.
    pub live: Arc<AtomicU64>,
    /// The last live figures.
    pub last_pass: LastPass,
    /// The harnesses.
    pub adapters: Arc<adapters::SharedRegistry>,
    /// What every session's environment begins with.
    pub environment: Arc<environment::SharedBase>,
    /// Who this daemon is.
    pub daemon: Daemon,
    /// Connections that can be open at once.
    pub connections_max: usize,
    /// Between SIGTERM and SIGKILL for what an ended session has left running.
    pub sweep_grace: Duration,
    /// The memory of all large answers.
    pub answers: Budget,
    /// The memory of all large request bodies.
    pub bodies: Budget,
    /// Has whoever guards the home look at it for what the system does not tell of.
    pub before_launch: Box<dyn Fn() + Send + Sync>,
    /// Requests that wait for the end of the daemon.
    pub awaiting_end: AtomicUsize,
    /// Set when the daemon is about to go: connections close after their answer, and nobody waits.
    pub stopping: AtomicBool,
}

/// Who this daemon is.
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// The same, by a clock that nobody sets.
    pub started: Instant,
    /// The path of its socket, as whoever guards the home publishes it.
    pub socket: Arc<RwLock<String>>,
    /// Who runs it.
    pub supervisor: SupervisorInfo,
    /// The longest that its stop takes.
    pub stop_within: Duration,
    /// What it has to work with.
    pub process: DaemonProcess,
}

impl Context {
    /// Sends a command to the state thread, and waits for its answer.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ApiError> {
        self.ask_within(durations::STATE_ANSWER, command)
    }

    /// Has the store do `request`, by way of the state thread.
    pub(super) fn ask_store(&self, request: Request) -> Result<Answer, ApiError> {
        self.ask(|reply| Command::Store(request, reply))
    }

    /// As [`Context::ask`], with another bound on the wait.
    pub(super) fn ask_within<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, ApiError> {
        let (reply, answer) = bounded(1);
        // A state thread that has ended drops the reply, which is the answer.
        let _ = self.state.send(Event::Command(command(reply)));
        match answer.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err(ApiError::ShuttingDown),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = patience.as_secs();
                let reason =
                    format!("it has not answered for {seconds} s; what was asked may still happen");
                Err(ApiError::StoreUnavailable { reason })
            }
        }
    }

    /// `text` as it may be stored.
    pub(super) fn redacted(&self, text: String) -> String {
        self.redactor.redact_stored(text)
    }

    /// Refuses a token in `texts`, the paths, ids or names in `field`, which are stored unchanged.
    pub(super) fn check_kept(&self, field: &str, texts: &[String]) -> Result<(), ApiError> {
        if !texts.iter().any(|text| self.redactor.holds_token(text)) {
            return Ok(());
        }
        let message =
            format!("{field} is stored unchanged, and holds a secret token: remove the token");
        Err(ApiError::invalid_field(field, message))
    }

    /// `title` as it may be stored. Secrets are taken out before it is cut: a part of one would not be recognised.
    pub(super) fn title(&self, title: String) -> String {
        let mut title = self.redacted(title);
        title.truncate(title.floor_char_boundary(TITLE_MAX));
        title
    }

    /// The beginning of `prompt` as it may be stored: of a long one no more than is kept is read for it.
    pub(super) fn prompt(&self, prompt: &str) -> String {
        self.redactor
            .redact_stored_beginning(prompt, PROMPT_KEPT_MAX)
    }

    /// Each of `texts` as it may be stored.
    pub(super) fn all_redacted(&self, texts: Vec<String>) -> Vec<String> {
        let redacted = texts.into_iter().map(|text| self.redacted(text));
        redacted.collect()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
