//! What SIGINT and SIGTERM do to `coven run`: before the launch is requested they end it, from then on they kill the
//! session. One thread takes the signals. It knows nothing of what the session prints.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::daemon::remark;
use super::follow::connect;
use super::{CliError, Home, Outcome};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, SessionStatus};
use crate::http::client::Client;
use crate::sys;

/// What came first: the launch request or a stop signal.
enum First {
    Launch,
    Signal,
}

/// What the thread of the signals and the one of the session tell each other. Each fact is set once.
#[derive(Default)]
pub(super) struct Interrupt {
    first: OnceLock<First>,
    /// The session's id, when the launch has been answered.
    id: OnceLock<String>,
    /// The signal that asked for the session's end; `None` where the command was over before one came.
    signal: OnceLock<Option<i32>>,
    /// The kill request has been answered or refused.
    kill_is_answered: OnceLock<()>,
}

impl Interrupt {
    /// Starts the thread that takes the signals. Called before any other thread is started, so that none but this one
    /// takes them.
    pub(super) fn watch(home: Home) -> io::Result<Arc<Self>> {
        sys::block_signals(sys::STOP_SIGNALS);
        let interrupt = Arc::new(Self::default());
        let watched = Arc::clone(&interrupt);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || watched.take_signals(&home))?;
        Ok(interrupt)
    }

    /// Called before the launch request is written: from here on a stop signal has a session to kill.
    pub(super) fn launching(&self) {
        if self.first.set(First::Launch).is_err() {
            // The thread of the signals ends the process.
            loop {
                std::thread::park();
            }
        }
    }

    /// Called with the session's id when the launch has been answered.
    pub(super) fn launched(&self, id: String) {
        let _ = self.id.set(id);
    }

    /// Whether a stop signal has asked for the session's end.
    pub(super) fn is_signalled(&self) -> bool {
        self.signal.get().is_some_and(Option::is_some)
    }

    /// What `run` ends with: after a stop signal not before the kill request is answered, and with 128 and the signal if
    /// it was that which ended the session. From here on a signal kills no session: one that is detached runs on.
    pub(super) fn outcome(&self, client: &mut Client, id: &str, outcome: Outcome) -> Outcome {
        let Some(signal) = self.signal.get_or_init(|| None) else {
            return outcome;
        };
        self.kill_is_answered.wait();
        match client.call(routes::ShowSession.of(id)) {
            Ok(record) if record.status.is_final() && record.status != SessionStatus::Killed => {
                outcome
            }
            // Killed, dying, or gone with the daemon.
            _ => outcome.map(|_| exit_code(*signal)),
        }
    }

    /// A second signal stays pending until the kill request is answered: GNU timeout sends two at once.
    fn take_signals(&self, home: &Home) {
        let Ok(signal) = sys::wait_signal(sys::STOP_SIGNALS) else {
            return;
        };
        if self.first.set(First::Signal).is_ok() {
            std::process::exit(exit_code(signal).into());
        }
        if self.signal.set(Some(signal)).is_err() {
            return;
        }
        // A launch that fails, or is not answered in time, ends the process.
        let id = self.id.wait();
        let is_over = kill(home, id).unwrap_or_else(|err| {
            err.print();
            false
        });
        let _ = self.kill_is_answered.set(());
        if is_over {
            // Nothing is left to wait for but output, which the signal that came with the first must not cut.
            let _ = sys::wait_signal(sys::STOP_SIGNALS);
        }
        let _ = sys::wait_signal(sys::STOP_SIGNALS);
        if !is_over {
            remark(&format!(
                "session {id} may still run; end it: coven kill {id}"
            ));
        }
        std::process::exit(exit_code(signal).into());
    }
}

/// Kills the session; returns whether it has ended.
fn kill(home: &Home, id: &str) -> Result<bool, CliError> {
    let mut client = connect(home)?;
    match client.call(routes::Kill.of(id)).map_err(CliError::from) {
        Err(err) if err.code().and_then(|code| code.known()) == Some(Code::SessionNotLive) => {
            Ok(true)
        }
        Err(err) => Err(err),
        Ok(_) => Ok(client.call(routes::ShowSession.of(id))?.status.is_final()),
    }
}

/// What a shell gives for a command that `signal` has ended.
fn exit_code(signal: i32) -> u8 {
    // Cannot fail: a signal's number is below 65 (signal(7)).
    128 + u8::try_from(signal).unwrap_or(0)
}

/// The session that a stop signal kills, if there is one.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<String>>>);

impl Current {
    pub(super) fn set(&self, id: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Starts a thread that a stop signal has kill the session of the moment, and end this process. Called before any other
/// thread is started.
pub(super) fn kill_on_signal(home: Home) -> io::Result<Current> {
    sys::block_signals(sys::STOP_SIGNALS);
    let current = Current::default();
    let watched = current.clone();
    let wait = move || {
        let Ok(signal) = sys::wait_signal(sys::STOP_SIGNALS) else {
            return;
        };
        if let Some(Err(err)) = watched.take().map(|id| kill(&home, &id)) {
            err.print();
        }
        std::process::exit(exit_code(signal).into());
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)?;
    Ok(current)
}
