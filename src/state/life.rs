//! A session's life: its phases, what can happen to it, and one table of what may follow what. The model is the action
//! table of s6-supervise.
//!
//! Pure; used by the state thread. It knows neither the session nor what is done when something happens to it.

use std::slice;
use std::time::Instant;

use super::{Killed, Reply};
use crate::api::{ApiError, EndCause, Timestamp};
use crate::harness::Report;
use crate::store::SessionNum;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The writer has its row, and the harness thread waits for that to be on disk.
    Creating,
    /// The harness thread spawns its program.
    Starting,
    /// The harness runs.
    Running,
    /// The harness has exited; its thread reads what the pipes still hold.
    Exited,
    /// The output is read, and the thread ends what the harness has left behind. Nothing is signalled any more.
    Sweeping,
    /// The writer has its closing facts. Such a session is no longer live: whoever reads it as ended can
    /// archive it at once.
    Ended,
    /// Its closing facts are on disk, or it never had a row.
    Gone,
}

/// What can happen to a session.
#[derive(Debug)]
pub(super) enum Input {
    /// Its row is on disk.
    Created(SessionNum),
    /// Its row cannot be written.
    NotCreated(ApiError),
    /// Its harness thread has something to tell.
    Report(Report),
    /// A client asks for its end; with true without a grace period.
    Kill(Reply<Killed>, bool),
    /// Its end is asked for by nobody who waits for it.
    End(EndCause),
    /// SIGTERM has been sent, or why it has not.
    Terminated(Result<(), String>),
    /// Its deadline has passed: the time limit, or the end of the grace period.
    Deadline,
    /// The daemon was asked to stop a second time: the grace period is over.
    EndGrace,
    /// Its closing facts are on disk.
    Closed,
}

/// The moment at which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) at: Timestamp,
}

impl Now {
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

    /// The table: the phases that `input` can lead to from this one. There is none where it does not fit, which is a bug.
    pub(super) fn after(self, input: &Input) -> &'static [Self] {
        use Phase::*;
        match (self, input) {
            (Gone, _) => &[],
            // An end can be asked for at any time, and changes no phase: what comes of it does.
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
                (Exited, Report::Drained { .. }) => &[Sweeping, Ended],
                (Sweeping, Report::Swept { .. }) => &[Ended],
                // Nobody follows the process any more: it never starts, or is ended.
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

    /// Whether the process, as far as there was one, has exited.
    pub(super) fn has_exited(self) -> bool {
        matches!(self, Self::Exited) || self.is_drained()
    }

    /// Whether all that the harness wrote has been read.
    pub(super) fn is_drained(self) -> bool {
        matches!(self, Self::Sweeping | Self::Ended | Self::Gone)
    }
}

impl Input {
    /// Its name, for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::NotCreated(_) => "not_created",
            Self::Report(Report::Started { .. }) => "started",
            Self::Report(Report::SpawnFailed { .. }) => "spawn_failed",
            Self::Report(Report::InputClosed) => "input_closed",
            Self::Report(Report::LimitReached(_)) => "limit_reached",
            Self::Report(Report::Exited { .. }) => "exited",
            Self::Report(Report::Drained { .. }) => "drained",
            Self::Report(Report::Lost { .. }) => "lost",
            Self::Report(Report::Swept { .. }) => "swept",
            Self::Report(Report::LateEnded) => "late_ended",
            Self::Kill(..) => "kill",
            Self::End(_) => "end",
            Self::Terminated(_) => "terminated",
            Self::Deadline => "deadline",
            Self::EndGrace => "end_grace",
            Self::Closed => "closed",
        }
    }
}
