//! Messages between a harness thread and the state thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::Waiter;
use super::pump::PumpHandover;
use crate::api::{EndCause, Failure, SessionCost, Timestamp, Usage};
use crate::observe::field::CloseCause;
use crate::sys::{Exit, Process};

/// Reports of a harness thread to the state thread, in this order, each at most once except `InputClosed`.
#[derive(Debug)]
pub enum Report {
    /// The harness runs; its pid is also its process group.
    Started { pid: i32 },
    /// The harness could not be spawned; the thread has ended.
    SpawnFailed { reason: Failure },
    /// The harness has closed its stdin.
    InputClosed,
    /// The harness has reached a limit, and must be ended.
    LimitReached(EndCause),
    /// The harness has exited; its pipes may still hold output. The zombie stays until the thread is ordered to reap.
    Exited(HarnessExit),
    /// All of its output and input is in the writer's queue.
    Drained(Drained),
    /// The thread has failed and reads no more. The process may still run.
    Lost { reason: Failure },
    /// `ended` processes of the session were ended; none is left, or the rest does not end.
    Swept { ended: usize },
    /// No process holds its late streams, or they are closed; the thread has ended. Not reported without late streams.
    LateEnded,
    /// The thread does nothing more; another one goes on with this.
    HandedOver(Box<PumpHandover>),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HarnessExit {
    pub exit: Exit,
    /// When the thread saw it.
    pub at: Timestamp,
    /// Bytes in its pipes at that time.
    pub unread: usize,
    /// The OOM killer killed it, or a child that it waited for.
    pub oom_killed: bool,
}

/// Result of a drain.
#[derive(Debug)]
pub struct Drained {
    pub cost: SessionCost,
    pub usage: Option<Box<Usage>>,
    /// A process that the harness left behind still holds a stream, which is read on: its further output is late.
    pub is_late: bool,
    /// Processes that it left behind; empty if its end was requested, since that ends them all.
    pub left: Vec<Process>,
}

/// A client's input.
#[derive(Debug)]
pub struct ClientInput {
    /// Text for the harness's stdin.
    pub data: String,
    /// Text of a message, which is recorded instead of `data`; `None` records `data`.
    pub message: Option<String>,
    /// Closes stdin afterwards.
    pub eof: bool,
}

/// Orders of the state thread to a harness thread.
#[derive(Debug)]
pub(crate) enum Order {
    /// Record this input, and write it to the harness's stdin.
    Input(ClientInput),
    /// No input follows, since the exit is known: record the held rest.
    InputOver,
    /// The session's end was requested: wait for no holder of the streams after the exit.
    End,
    /// Read no more, report [`Report::HandedOver`], and end behind the gate. What has been reported before is completed
    /// first.
    HandOver(Waiter),
    /// Read what the late streams hold, and close them.
    Close(CloseCause),
    /// No signal will be sent to the process any more. With `sweep`, the grace between SIGTERM and SIGKILL, first end
    /// all processes of the session. Then reap the zombie, read late streams on, and end. It is one order, so that no
    /// signal can come between: the search identifies the session's processes by the zombie's pid.
    Reap { sweep: Option<Duration> },
}

/// Runs `life`, and reports a panic, which would otherwise leave the session as it is for ever. The panic hook logs it.
pub(super) fn reporting_panics(report: impl Fn(Report), life: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(life)).is_err() {
        let reason = "the harness thread panicked".into();
        report(Report::Lost { reason });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_thread_that_panics_wherever_it_is_reports_that_it_is_lost() {
        let reports = RefCell::new(Vec::new());
        let report = |report| reports.borrow_mut().push(report);
        reporting_panics(report, || {});
        assert!(reports.borrow().is_empty());
        reporting_panics(report, || panic!("as the test wants"));
        assert!(matches!(reports.borrow()[..], [Report::Lost { .. }]));
    }
}
