//! A pump that goes on in the next program, or on another thread of this one.
//!
//! Runs on the harness thread. What is derived is named where the pump is taken apart.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Pump, READ_FIRST, Stage, ThreadState};
#[cfg(test)]
use crate::adapters::SessionLimits;
use crate::harness::HarnessShared;
use crate::harness::input::{InputHandover, InputRecord, StdinPipe, WaitingInput};
use crate::harness::limits::LimitWatch;
use crate::harness::redacted::RedactedHandover;
use crate::harness::source::{Source, SourceHandover};
use crate::harness::tally::Tally;
use crate::harness::telemetry::TelemetryReader;
use crate::redact::Redactor;
use crate::store::SessionNum;
use crate::sys::{self, KeptChild, OomWatch, passed};

/// State of a pump, with its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct PumpHandover {
    pub(crate) num: SessionNum,
    pub(in crate::harness) tally: Tally,
    pid: i32,
    sources: Vec<SourceHandover>,
    #[serde(skip_serializing_if = "Option::is_none")]
    telemetry: Option<TelemetryReader>,
    limits: LimitWatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<InputHandover>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RedactedHandover>,
    /// The values that the session's redactor removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
    stage: Stage,
    is_ending: bool,
    oom: Option<OomWatch>,
    #[serde(with = "passed::optional_instant")]
    read_at: Option<std::time::Instant>,
    /// Keeps the zombie until a thread reaps it; `None` in the next program, and for a session that has ended.
    #[serde(skip)]
    kept: Option<KeptChild>,
}

impl PumpHandover {
    /// The session's redactor, by the `shared` one.
    pub fn redactor(&self, shared: &Arc<Redactor>) -> Arc<Redactor> {
        match self.values.is_empty() {
            true => Arc::clone(shared),
            false => shared.for_values(self.values.clone()),
        }
    }

    /// The harness's zombie stays until the returned value is dropped; `None` if it has been reaped.
    pub(in crate::harness) fn keep_child(&mut self) -> Option<KeptChild> {
        let is_late = matches!(self.stage, Stage::Late(_));
        let kept = self.kept.take();
        kept.or_else(|| (!is_late).then(|| KeptChild::new(self.pid)))
    }
}

#[cfg(test)]
impl PumpHandover {
    /// A pump without descriptors, for a simulated thread.
    pub fn simulated(num: SessionNum, pid: i32) -> Self {
        Self {
            num,
            tally: Tally::default(),
            pid,
            sources: Vec::new(),
            telemetry: None,
            limits: LimitWatch::new(SessionLimits::default()),
            input: None,
            record: None,
            values: Vec::new(),
            stage: Stage::Running,
            is_ending: false,
            oom: None,
            read_at: None,
            kept: None,
        }
    }
}

impl Pump {
    /// # Errors
    /// No descriptor is left.
    pub(in crate::harness) fn hand_over(
        mut self,
        context: &ThreadState,
    ) -> io::Result<PumpHandover> {
        self.end_hold();
        let Self {
            pid,
            // The next program watches the process anew.
            exit_watch: _,
            sources,
            // One for each session.
            _place: _,
            telemetry,
            limits,
            input,
            record,
            buffer: _,
            stage,
            is_ending,
            // This order.
            end: _,
            oom,
            read_at,
            rest_until: _,
            // It has just ended.
            held_since: _,
        } = self;
        let redactor = &context.shared.redactor;
        let kept = (!matches!(stage, Stage::Late(_))).then(|| KeptChild::new(pid));
        let sources = sources.into_iter().map(|source| source.hand_over(redactor));
        Ok(PumpHandover {
            num: context.num,
            tally: context.tally.copy(),
            pid,
            sources: sources.collect::<io::Result<_>>()?,
            telemetry,
            limits,
            input: input.map(StdinPipe::hand_over),
            record: record.map(|record| record.hand_over(redactor)),
            values: redactor.values(),
            stage,
            is_ending,
            oom,
            read_at,
            kept,
        })
    }

    /// # Errors
    /// The harness's exit cannot be watched.
    pub(in crate::harness) fn take_up(
        handover: PumpHandover,
        backlog: &WaitingInput,
        shared: &HarnessShared,
    ) -> io::Result<Self> {
        let HarnessShared {
            pipes, redactor, ..
        } = shared;
        let PumpHandover {
            num,
            // The context has it.
            tally: _,
            pid,
            sources,
            telemetry,
            limits,
            input,
            record,
            // The redactor has them.
            values: _,
            stage,
            is_ending,
            oom,
            read_at,
            // The thread has it.
            kept: _,
        } = handover;
        let exit_watch = match stage {
            Stage::Running => Some(sys::exit_watch(pid)?),
            Stage::Draining(_) | Stage::Late(_) => None,
        };
        let sources = sources
            .into_iter()
            .map(|source| Source::take_up(source, num, pipes, redactor));
        Ok(Self {
            pid,
            exit_watch,
            sources: sources.collect(),
            _place: pipes.enter(|_| {}),
            telemetry,
            limits,
            input: input.map(|input| StdinPipe::take_up(input, backlog)),
            record: record.map(|record| InputRecord::take_up(record, redactor)),
            buffer: vec![0; READ_FIRST],
            stage,
            is_ending,
            end: None,
            oom,
            read_at,
            rest_until: None,
            held_since: None,
        })
    }
}
