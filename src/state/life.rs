//! A session's phases, its inputs, and the table of allowed transitions. Modelled on the action table of s6-supervise.
//!
//! Pure; used by the state thread. It knows neither the session nor the effects.

use std::slice;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Killed, Reply};
use crate::api::{ApiError, EndCause, Failure, KillSignal, Timestamp};
use crate::harness::Report;
use crate::store::SessionNum;

/// Phase of a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The row is with the writer; the harness thread waits for its commit.
    Creating,
    /// The harness thread spawns the program.
    Starting,
    Running,
    /// The harness has exited; its thread drains the pipes.
    Exited,
    /// The output is read; the thread ends the processes that the harness left behind. No signal is sent from here on.
    Sweeping,
    /// The closing facts are with the writer. The session is no longer live: a client that reads it as ended can
    /// archive it at once.
    Ended,
    /// The closing facts are on disk, or there never was a row.
    Gone,
}

/// An input of a session.
#[derive(Debug)]
pub(super) enum Input {
    /// The row is on disk.
    Created(SessionNum),
    /// The row could not be written.
    NotCreated(ApiError),
    /// A report of the harness thread.
    Report(Report),
    /// A client ends it: SIGKILL skips the grace period.
    Kill(Reply<Killed>, KillSignal),
    /// Ends the session for a cause other than a client's kill.
    End(EndCause),
    /// The result of sending SIGTERM.
    Terminated(Result<(), Failure>),
    /// The deadline has passed: the time limit, or the end of the grace period.
    Deadline,
    /// A second stop signal: ends the grace period.
    EndGrace,
    /// The closing facts are on disk.
    Closed,
}

/// The time of an input, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputTime {
    pub(super) instant: Instant,
    pub(super) at: Timestamp,
}

impl InputTime {
    pub(super) fn read() -> Self {
        Self {
            instant: Instant::now(),
            at: Timestamp::now(),
        }
    }
}

impl Phase {
    pub(super) const ALL: [Self; 7] = [
        Self::Creating,
        Self::Starting,
        Self::Running,
        Self::Exited,
        Self::Sweeping,
        Self::Ended,
        Self::Gone,
    ];

    /// The table: the phases to which `input` can lead from this one. Empty if the input does not fit, which is a bug.
    pub(super) fn after(self, input: &Input) -> &'static [Self] {
        use Phase::*;
        match (self, input) {
            (Gone, _) => &[],
            // An end can be requested at any time; only its results change the phase.
            (_, Input::Kill(..) | Input::End(_) | Input::EndGrace) => self.itself(),
            (Creating, Input::Created(_)) => &[Starting, Ended],
            (Creating, Input::NotCreated(_)) => &[Gone],
            (Running | Exited, Input::Deadline) => self.itself(),
            (Running, Input::Terminated(_)) => &[Running],
            (Ended, Input::Closed) => &[Gone],
            (_, Input::Report(report)) => match (self, report) {
                (Starting, Report::Started { .. }) => &[Running],
                (Starting, Report::SpawnFailed { .. }) => &[Ended],
                (Running, Report::InputClosed | Report::LimitReached(_)) => &[Running],
                (Running, Report::Exited { .. }) => &[Exited],
                (Exited, Report::Drained(_)) => &[Sweeping, Ended],
                (Sweeping, Report::Swept { .. }) => &[Ended],
                // No thread can follow the process any more: it never starts, or it is ended.
                (Creating, Report::Lost { .. }) => &[Creating],
                (Starting | Sweeping, Report::Lost { .. }) => &[Ended],
                (Running | Exited, Report::Lost { .. }) => &[Sweeping],
                _ => &[],
            },
            _ => &[],
        }
    }

    fn itself(self) -> &'static [Self] {
        slice::from_ref(&Self::ALL[self as usize])
    }

    /// True if the process has exited, or never started.
    pub(super) fn has_exited(self) -> bool {
        matches!(self, Self::Exited) || self.is_drained()
    }

    /// True if all output of the harness has been read.
    pub(super) fn is_drained(self) -> bool {
        matches!(self, Self::Sweeping | Self::Ended | Self::Gone)
    }
}

impl Input {
    /// The input's name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::NotCreated(_) => "not_created",
            Self::Report(Report::Started { .. }) => "started",
            Self::Report(Report::SpawnFailed { .. }) => "spawn_failed",
            Self::Report(Report::InputClosed) => "input_closed",
            Self::Report(Report::LimitReached(_)) => "limit_reached",
            Self::Report(Report::Exited { .. }) => "exited",
            Self::Report(Report::Drained(_)) => "drained",
            Self::Report(Report::Lost { .. }) => "lost",
            Self::Report(Report::Swept { .. }) => "swept",
            Self::Report(Report::LateEnded) => "late_ended",
            Self::Report(Report::HandedOver(_)) => "handed_over",
            Self::Kill(..) => "kill",
            Self::End(_) => "end",
            Self::Terminated(_) => "terminated",
            Self::Deadline => "deadline",
            Self::EndGrace => "end_grace",
            Self::Closed => "closed",
        }
    }
}
