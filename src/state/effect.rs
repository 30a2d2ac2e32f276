//! What follows when something happens to a session: plain values, which [`super::perform`] carries out.
//!
//! Made on the state thread. It must not know the session, the log or any system call.

use std::time::Duration;

use super::{Killed, Launched, Reply};
use crate::api::{ApiError, LeftBehind, SessionStatus};
use crate::observe::field::KillCause;
use crate::store::Fact;
use crate::sys::Exit;

/// One thing that is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send this signal, SIGTERM or SIGKILL, to the process group of this pid; [`Input::Terminated`](super::life::Input::Terminated)
    /// says what came of it.
    Terminate(i32, i32),
    /// Send SIGKILL to it.
    Kill(i32),
    /// Tell the harness thread that no input follows.
    EndInput,
    /// Have it take the zombie away and end, after whatever the harness has started where there is a sweep, which is its
    /// grace.
    Reap {
        sweep: Option<Duration>,
    },
    /// Have it wait for nobody who still holds the harness's streams.
    Hurry,
    /// Have it take the zombie away, and read the late streams on.
    ReadOn,
    /// Have this written.
    Record(Fact),
    /// Have the closing facts written; [`Input::Closed`](super::life::Input::Closed) follows.
    Close(Fact),
    AnswerLaunch(Reply<Launched>, Result<Launched, ApiError>),
    AnswerKill(Reply<Killed>, Result<Killed, ApiError>),
    Log(Line),
}

/// A line of the log about a session.
#[derive(Debug)]
pub(super) enum Line {
    Started(i32),
    Ended {
        status: SessionStatus,
        exit: Exit,
        oom_killed: bool,
    },
    /// Why it never had a process.
    NotStarted(ApiError),
    Signalled(i32, KillCause),
    /// What it has left behind, and how many processes that are.
    LeftBehind(LeftBehind, usize),
    KillFailed(String),
    HarnessLost(String),
    /// The name of an input that does not fit.
    Unexpected(&'static str),
}
