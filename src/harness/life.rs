//! A harness thread after the spawn: pump, wait for the exit, drain, reap, late streams.

use std::io;
use std::time::Duration;

use super::context::ThreadState;
use super::message::{Order, Report, reporting_panics};
use super::pump::Pump;
use super::start::{Ends, family};
use crate::api::Failure;
use crate::observe::{metrics, say};
use crate::settings::durations;
use crate::store::{Done, Fact};
use crate::sys;

/// Runs the thread after the spawn, if that succeeded.
pub(super) fn run(started: io::Result<(i32, Ends)>, on_record: Done, context: &ThreadState) {
    let (report, redactor) = (&context.report, &context.shared.redactor);
    let pump = match started.and_then(|(pid, ends)| Pump::new(pid, ends, redactor)) {
        Ok(pump) => pump,
        Err(err) => {
            return report(Report::SpawnFailed {
                reason: Failure::explained(&err),
            });
        }
    };
    context.tally.start();
    announce(&pump, on_record, context);
    follow(pump, context);
}

/// How a harness thread goes on behind the harness's end.
enum Next {
    /// All is read and reaped.
    Ended,
    /// A process that the harness left behind holds a stream.
    Late,
    /// Another thread follows the harness.
    HandOver,
}

/// Follows a running harness, or the late streams of one that has ended, to the end or to the order to hand over.
pub(super) fn follow(mut pump: Pump, context: &ThreadState) {
    let mut next = match pump.is_late() {
        true => Next::Late,
        false => follow_harness(&mut pump, context),
    };
    if matches!(next, Next::Late) {
        next = read_late(&mut pump, context);
    }
    if matches!(next, Next::HandOver) {
        let end = pump.take_end();
        let handed_over = pump.hand_over(context).map(Box::new);
        let report = handed_over.map_or_else(|err| lost(&err), Report::HandedOver);
        (context.report)(report);
        // Ends with execve(2), or once the handover has failed. If each thread ended by itself it would unmap its stack,
        // and each unmapping interrupts the other processors.
        if let Some(end) = end {
            drop(end.wait());
        }
    }
}

fn follow_harness(pump: &mut Pump, context: &ThreadState) -> Next {
    let (report, pid) = (&context.report, pump.pid());
    let mut next = Next::Ended;
    reporting_panics(report, || match pump.run(context) {
        Ok(None) => next = Next::HandOver,
        Ok(Some(drained)) => {
            if drained.is_late {
                next = Next::Late;
            }
            report(Report::Drained(drained));
        }
        Err(err) => report(lost(&err)),
    });
    if matches!(next, Next::HandOver) {
        return next;
    }
    if let Some(grace) = await_reap(pump, context) {
        let ended = sweep(pid, grace, context);
        // The holders of the streams have been ended with the session.
        let rest = match std::mem::replace(&mut next, Next::Ended) {
            Next::Late => pump.finish(context),
            Next::Ended | Next::HandOver => Ok(()),
        };
        report(rest.map_or_else(|err| lost(&err), |()| Report::Swept { ended }));
    }
    if let Err(err) = sys::reap(pid) {
        say!(ReapFailed, session: context.id, pid, reason: &err);
    }
    next
}

fn read_late(pump: &mut Pump, context: &ThreadState) -> Next {
    let say_lost = |reason: &str| say!(HarnessLost, session: context.id, reason: &reason);
    let mut next = Next::Ended;
    // The session has ended: a panic is only logged.
    reporting_panics(
        |_| say_lost("the harness thread panicked"),
        || match pump.run_late(context) {
            Ok(true) => {}
            Ok(false) => next = Next::HandOver,
            Err(err) => say_lost(&err.to_string()),
        },
    );
    if matches!(next, Next::Ended) {
        (context.report)(Report::LateEnded);
    }
    next
}

/// Waits for the order to reap; returns the grace of the sweep before it. Records input that is still passed to a
/// failed pump.
fn await_reap(pump: &mut Pump, context: &ThreadState) -> Option<Duration> {
    // A disconnected channel means that the daemon is ending.
    while let Ok(order) = context.orders.recv() {
        let reap = match order {
            Order::Reap { sweep } => Some(sweep),
            _ => None,
        };
        // The panic hook has logged it; nothing else is to be done.
        reporting_panics(|_| (), || pump.take(order, context));
        if let Some(sweep) = reap {
            return sweep;
        }
    }
    None
}

fn lost(err: &io::Error) -> Report {
    Report::Lost { reason: err.into() }
}

/// Ends the processes that the harness left behind, before the session is final: if the daemon dies meanwhile, the
/// session is unfinished, and the next daemon continues. Returns the number of ended processes.
fn sweep(pid: i32, grace: Duration, context: &ThreadState) -> usize {
    let ended = sys::end_families(
        &[family(context.id, Some(pid))],
        grace,
        durations::FAMILY_END,
    );
    if !ended.pids.is_empty() {
        say!(SessionSwept, session: context.id, pid: Some(pid), processes: ended.pids.len());
    }
    if !ended.is_complete {
        let reason = "a process of the session does not end";
        say!(KillFailed, session: Some(context.id), reason: &reason);
    }
    ended.pids.len()
}

/// Records that the harness runs, before any of its output is recorded.
fn announce(pump: &Pump, started: Done, context: &ThreadState) {
    let pid = pump.pid();
    metrics::LAUNCHES.add(1);
    let fact = Fact::Started {
        num: context.num,
        pid,
        process_mark: sys::process_mark(pid),
        stdout_pipe_bytes: pump.stdout_pipe_bytes(),
        at: context.tally.started_at(),
    };
    context.shared.queue.fact(fact, Some(started));
    pump.start(context.num);
    (context.report)(Report::Started { pid });
}
