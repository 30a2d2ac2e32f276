//! SIGINT and SIGTERM during `coven run`: before the launch request they end the command, afterwards they kill the
//! session. One thread receives the signals. It knows nothing of the session's output.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::daemon::remark;
use super::{CliError, ExitResult, Target};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, SessionStatus};
use crate::http::client::{Client, ClientError};
use crate::sys;

/// Which came first: the launch request or a stop signal.
enum First {
    Launch,
    Signal,
}

/// Facts shared by the signal thread and the session's thread, each set once.
#[derive(Default)]
pub(super) struct Interrupt {
    first: OnceLock<First>,
    /// The session's id, once the launch has been answered.
    id: OnceLock<String>,
    /// The signal that requested the session's end; `None` if the command ended first.
    signal: OnceLock<Option<i32>>,
    /// The kill request has been answered or refused; true if the session has ended.
    killed: OnceLock<bool>,
}

impl Interrupt {
    /// Starts the signal thread ([`on_stop_signal`]).
    pub(super) fn watch(target: Target) -> io::Result<Arc<Self>> {
        let interrupt = Arc::new(Self::default());
        let watched = Arc::clone(&interrupt);
        on_stop_signal(move |signal| watched.take_signals(signal, &target))?;
        Ok(interrupt)
    }

    /// Must be called before the launch request is sent: from here on a stop signal has a session to kill.
    pub(super) fn launching(&self) {
        if self.first.set(First::Launch).is_err() {
            // The signal thread ends the process.
            loop {
                std::thread::park();
            }
        }
    }

    /// Must be called with the session's id when the launch has been answered.
    pub(super) fn launched(&self, id: String) {
        let _ = self.id.set(id);
    }

    /// True if a stop signal has requested the session's end.
    pub(super) fn is_signalled(&self) -> bool {
        self.signal.get().is_some_and(Option::is_some)
    }

    /// The result of `run`. After a stop signal it waits for the answer to the kill, and is 128 plus the signal unless the
    /// session has ended by itself. From here on no signal kills the session: a detached one runs on.
    pub(super) fn outcome(&self, client: &mut Client, id: &str, outcome: ExitResult) -> ExitResult {
        let Some(signal) = self.signal.get_or_init(|| None) else {
            return outcome;
        };
        let is_over = *self.killed.wait();
        let shown = client.call(routes::ShowSession.of(id));
        if let Ok(record) = &shown
            && record.status.is_final()
            && record.status != SessionStatus::Killed
        {
            return outcome;
        }
        // Killed, dying, or gone with the daemon. Without a daemon, whoever is first exits: this or the signal thread.
        if let Err(err) = outcome {
            err.print();
        }
        if !is_over && !matches!(shown, Ok(_) | Err(ClientError::Api { .. })) {
            remark_on_unknown_end(id);
        }
        Ok(exit_code(*signal))
    }

    /// A second signal stays pending until the kill is answered: GNU timeout sends two at once.
    fn take_signals(&self, signal: i32, target: &Target) {
        if self.first.set(First::Signal).is_ok() {
            std::process::exit(exit_code(signal).into());
        }
        if self.signal.set(Some(signal)).is_err() {
            return;
        }
        // A launch that fails, or times out, ends the process.
        let id = self.id.wait();
        let is_over = kill(target, id).unwrap_or_else(|err| {
            err.print();
            false
        });
        let _ = self.killed.set(is_over);
        if is_over {
            // Only output is left, which the second signal must not cut.
            let _ = sys::wait_signal(sys::STOP_SIGNALS);
        }
        let _ = sys::wait_signal(sys::STOP_SIGNALS);
        if !is_over {
            remark_on_unknown_end(id);
        }
        std::process::exit(exit_code(signal).into());
    }
}

fn remark_on_unknown_end(id: &str) {
    remark(&format!(
        "session {id} may still run; end it: coven kill {id}"
    ));
}

/// Kills the session; returns true if it has ended.
fn kill(target: &Target, id: &str) -> Result<bool, CliError> {
    let mut client = target.connect()?;
    match client.call(routes::Kill.of(id)).map_err(CliError::from) {
        Err(err) if err.code().and_then(|code| code.known()) == Some(Code::SessionNotLive) => {
            Ok(true)
        }
        Err(err) => Err(err),
        Ok(_) => Ok(client.call(routes::ShowSession.of(id))?.status.is_final()),
    }
}

/// A shell's exit code for a command that `signal` ended.
fn exit_code(signal: i32) -> u8 {
    // Cannot fail: signal numbers are below 65 (signal(7)).
    128 + u8::try_from(signal).unwrap_or(0)
}

/// The session that a stop signal kills, if any.
#[derive(Clone, Default)]
pub(super) struct CurrentSession(Arc<Mutex<Option<String>>>);

impl CurrentSession {
    pub(super) fn set(&self, id: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts a thread that kills the current session at a stop signal, and ends this process ([`on_stop_signal`]).
pub(super) fn kill_on_signal(target: Target) -> io::Result<CurrentSession> {
    let current = CurrentSession::default();
    let watched = current.clone();
    on_stop_signal(move |signal| {
        if let Some(Err(err)) = watched.take().map(|id| kill(&target, &id)) {
            err.print();
        }
        std::process::exit(exit_code(signal).into());
    })?;
    Ok(current)
}

/// Starts a thread that calls `act` at SIGINT or SIGTERM. Must be called before any other thread starts, so that only this
/// one receives the signals.
pub(super) fn on_stop_signal(act: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    sys::block_signals(sys::STOP_SIGNALS);
    let wait = move || {
        if let Ok(signal) = sys::wait_signal(sys::STOP_SIGNALS) {
            act(signal);
        }
    };
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(wait).map(drop)
}
