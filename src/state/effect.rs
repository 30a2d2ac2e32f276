//! Effects that follow a session's input: plain values, which [`super::perform`] executes.
//!
//! Created on the state thread. It knows neither the session, nor the log, nor any system call.

use std::time::Duration;

use super::{Killed, Launched, Reply};
use crate::api::{ApiError, Failure, LeftBehind, SessionStatus};
use crate::observe::field::KillCause;
use crate::store::Fact;
use crate::sys::Exit;

/// One effect.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends this signal, SIGTERM or SIGKILL, to the process group of this pid.
    /// [`Input::Terminated`](super::life::Input::Terminated) reports the result.
    Terminate(i32, i32),
    /// Sends SIGKILL to the process group of this pid.
    Kill(i32),
    /// Tells the harness thread that no input follows.
    EndInput,
    /// Makes the harness thread reap the zombie and end. With `sweep`, a grace period, it first ends all processes of
    /// the session.
    Reap {
        sweep: Option<Duration>,
    },
    /// Makes the harness thread drain without waiting for processes that hold the streams.
    Hurry,
    /// Makes the harness thread reap the zombie, and read late output.
    ReadOn,
    /// Stores a fact.
    Record(Fact),
    /// Stores the closing facts; [`Input::Closed`](super::life::Input::Closed) follows.
    Close(Fact),
    AnswerLaunch(Reply<Launched>, Result<Launched, ApiError>),
    AnswerKill(Reply<Killed>, Result<Killed, ApiError>),
    Log(LogLine),
}

/// A log line about a session.
#[derive(Debug)]
pub(super) enum LogLine {
    Started(i32),
    Ended {
        status: SessionStatus,
        exit: Exit,
        oom_killed: bool,
    },
    /// The reason why it never had a process.
    NotStarted(ApiError),
    Signalled(i32, KillCause),
    /// The processes left behind, and their number.
    LeftBehind(LeftBehind, usize),
    KillFailed(Failure),
    HarnessLost(Failure),
    /// Name of an input that does not fit the phase.
    Unexpected(&'static str),
}
