//! `POST /sessions/:id/kill`: ends a live session, or the processes that an ended one left running.
//!
//! Runs on the connection thread. The state thread ends live sessions; an ended session has no owner, so its processes
//! are searched for here.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::call::Call;
use super::response::Answer;
use super::sessions::{accepted, not_live};
use crate::api::{ApiError, KillRequest, LeftBehind, SessionId, SessionRecord, routes};
use crate::harness;
use crate::observe::say;
use crate::settings::durations;
use crate::state::{Acceptance, Command, Killed, StateEvent};
use crate::sys::{self, Family};

/// `POST /sessions/:id/kill`
pub(super) fn kill(call: &Call<'_, routes::Kill>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let KillRequest { signal, sweep } = call.body_or_default()?;
    if !signal.ends() {
        let signal = signal.number();
        return deliver(call, id, signal, sweep);
    }
    // A sweep is normally complete before it is answered.
    let patience = match sweep {
        true => durations::STATE_ANSWER,
        false => durations::KILL_WAIT,
    };
    let (reply, answer) = bounded(1);
    // A state thread that has ended drops the reply, which disconnects the channel.
    let kill = Command::Kill { id, signal, reply };
    let _ = call.context.state.send(StateEvent::Command(kill));
    let refusal = match call.server.recv_unless_parked(&answer, patience) {
        Ok(Ok(Killed::Ended { swept })) => return accepted(call, sweep.then_some(swept)),
        // The kill is accepted; a harness that needs time to die is no failure.
        Err(RecvTimeoutError::Timeout) => return accepted(call, sweep.then_some(0)),
        Ok(Ok(Killed::NotLive)) => not_live(call, id, ApiError::ExternalSessionNotKillable { id })?,
        Ok(Err(err)) => err,
        Err(RecvTimeoutError::Disconnected) => ApiError::ShuttingDown,
    };
    match refusal {
        ApiError::SessionNotLive { .. } if sweep => sweep_ended(call, id),
        refusal => refuse(call, refusal),
    }
}

fn deliver(
    call: &Call<'_, routes::Kill>,
    id: SessionId,
    signal: i32,
    sweep: bool,
) -> Result<Answer, ApiError> {
    if sweep {
        let message = "sweep goes with a signal that ends the session, TERM or KILL";
        return Err(ApiError::invalid_field("sweep", message));
    }
    match call
        .context
        .ask(|reply| Command::Signal { id, signal, reply })
    {
        Ok(Acceptance::Accepted) => accepted(call, None),
        Ok(Acceptance::NotLive) => refuse(
            call,
            not_live(call, id, ApiError::ExternalSessionNotKillable { id })?,
        ),
        Err(refusal) => refuse(call, refusal),
    }
}

/// Adds the processes that an ended session left running to the error.
fn refuse(call: &Call<'_, routes::Kill>, refusal: ApiError) -> Result<Answer, ApiError> {
    Err(match refusal {
        ApiError::SessionNotLive { id, status, .. } => ApiError::SessionNotLive {
            id,
            status,
            left_behind: Some(running(&left_of(call, id)?.1)),
        },
        refusal => refusal,
    })
}

/// Ends the processes that the session left running.
fn sweep_ended(call: &Call<'_, routes::Kill>, id: SessionId) -> Result<Answer, ApiError> {
    /// One sweep of a session at a time: two would both count the same processes. Sessions share a few locks.
    static TURNS: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];
    let turn = &TURNS[id.random_bits() as usize % TURNS.len()];
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let (record, families) = left_of(call, id)?;
    let ended = sys::end_families(&families, call.context.sweep_grace, durations::FAMILY_END);
    let swept = ended.pids.len();
    if swept > 0 {
        say!(SessionSwept, session: id, pid: record.pid, processes: swept);
    }
    match running(&families) {
        left_behind if left_behind.0.is_empty() => accepted(call, Some(swept)),
        left_behind => Err(ApiError::SweepFailed { id, left_behind }),
    }
}

/// The session's record and the identity of its processes. `None` if its harness still runs: then another daemon owns
/// it, and this database is a copy of that daemon's.
fn left_of(
    call: &Call<'_, routes::Kill>,
    id: SessionId,
) -> Result<(SessionRecord, Vec<Family>), ApiError> {
    let (record, mark) = call.context.reader.session_and_mark(id)?;
    let is_run = match (record.pid, &mark) {
        (Some(pid), Some(mark)) => sys::is_running(pid, mark),
        _ => false,
    };
    let family = (!is_run).then(|| Family {
        known: record.left_behind.known(),
        ..harness::family(id, None)
    });
    Ok((record, family.into_iter().collect()))
}

/// The running processes of `families`.
fn running(families: &[Family]) -> LeftBehind {
    let processes = sys::members(families).into_iter();
    LeftBehind::new(processes.map(|(_, process)| process).collect())
}
