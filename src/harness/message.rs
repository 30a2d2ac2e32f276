//! What a harness thread and the state thread tell each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::api::{EndCause, SessionCost, Timestamp, Usage};
use crate::observe::field::CloseCause;
use crate::sys::{Exit, Process};

/// What a harness thread tells the state thread, in this order, each at most once but for the input's.
#[derive(Debug)]
pub enum Report {
    /// It runs, in a process group with this number.
    Started { pid: i32 },
    /// It could not be started; the thread has ended.
    SpawnFailed { reason: String },
    /// It no longer reads its stdin.
    InputClosed,
    /// It has come to one of its limits, and is to be ended.
    LimitReached(EndCause),
    /// It has exited; its pipes may still hold output. The zombie stays until the thread is told to reap.
    Exited(HarnessExit),
    /// All of its output and input is in the writer's queue, and this is what it cost and used. If `is_late`, something that it has
    /// left behind still holds a stream, which is read on.
    Drained {
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        is_late: bool,
        /// What it has left behind; none where its end was asked for, which is that of all.
        left: Vec<Process>,
    },
    /// The thread has failed, and reads no more. The process may still run.
    Lost { reason: String },
    /// Nothing is left of what the harness has started, or it does not end. So many processes were ended.
    Swept { ended: usize },
    /// Nothing holds its streams any more, or they are closed; the thread has ended. Not reported if none was late.
    LateEnded,
}

/// A harness's exit.
#[derive(Debug, Clone, Copy)]
pub struct HarnessExit {
    /// How it ended.
    pub exit: Exit,
    /// When that was seen.
    pub at: Timestamp,
    /// What its pipes held then, in bytes.
    pub unread: usize,
    /// The kernel has killed it, or one that it has waited for, because memory ran out.
    pub oom_killed: bool,
}

/// What a client has sent.
#[derive(Debug)]
pub struct ClientInput {
    /// What the harness reads.
    pub data: String,
    /// What of it is put on record, where that is a message by itself: its text. All of it otherwise.
    pub message: Option<String>,
    /// Whether stdin is closed after it.
    pub eof: bool,
}

/// What the state thread tells a harness thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Put this on record, and write it to the harness's stdin.
    Input(ClientInput),
    /// No input follows: the harness's exit is known. What of it is held back is put on record.
    InputOver,
    /// Its end is asked for: wait for nobody who holds its streams behind its exit.
    End,
    /// Close its late streams, once what they hold is read.
    Close(CloseCause),
    /// Nobody will signal the process any more. End whatever the harness has started, in its group or not, where there is
    /// a `sweep`, which is the grace between SIGTERM and SIGKILL; then take the zombie away, read late streams on, and end. One order, since no signal can fall between the
    /// two: until the zombie is taken away its pid is no other process's, and the search for what it has started knows it
    /// by that.
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
