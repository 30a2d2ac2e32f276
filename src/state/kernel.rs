//! The seam between decisions and the system: the clock, signals, harness threads. Orders to a harness thread and
//! writes to the store go through channels, whose other ends the simulation holds.
//!
//! Runs on the state thread. It knows no session.

use std::io;

use crossbeam_channel::Sender;

use super::StateEvent;
use super::life::InputTime;
use crate::adapters::Program;
use crate::api::SessionId;
use crate::harness::{Go, Harness, HarnessShared, PumpHandover, Report, Waiter};
use crate::store::Done;
use crate::sys;

/// The system calls of the state thread.
pub(super) trait Kernel {
    fn now(&self) -> InputTime;

    /// Sends `signal` to the process group `pid`.
    fn signal(&self, pid: i32, signal: i32) -> io::Result<()>;

    /// Starts the thread that spawns `program` on [`Go`]. It sends its reports to `events`, and calls `started` once
    /// the start is on disk.
    ///
    /// # Errors
    /// No descriptor, thread or memory is available.
    fn prepare(
        &self,
        id: SessionId,
        program: Program,
        shared: HarnessShared,
        events: Sender<StateEvent>,
        started: Done,
    ) -> io::Result<(Harness, Go)>;

    /// Starts the thread that goes on with `handover` behind the gate `begin`.
    ///
    /// # Errors
    /// No descriptor or thread is available.
    fn take_up(
        &self,
        id: SessionId,
        handover: PumpHandover,
        shared: HarnessShared,
        events: Sender<StateEvent>,
        begin: Waiter,
    ) -> io::Result<Harness>;

    /// Reaps the adopted orphans that have ended.
    fn reap_adopted(&self);
}

/// The real system.
pub(super) struct RealKernel;

impl Kernel for RealKernel {
    fn now(&self) -> InputTime {
        InputTime::read()
    }

    fn signal(&self, pid: i32, signal: i32) -> io::Result<()> {
        sys::kill_group(pid, signal)
    }

    fn prepare(
        &self,
        id: SessionId,
        program: Program,
        shared: HarnessShared,
        events: Sender<StateEvent>,
        started: Done,
    ) -> io::Result<(Harness, Go)> {
        Harness::prepare(id, program, shared, reporter(id, events), started)
    }

    fn take_up(
        &self,
        id: SessionId,
        handover: PumpHandover,
        shared: HarnessShared,
        events: Sender<StateEvent>,
        begin: Waiter,
    ) -> io::Result<Harness> {
        Harness::take_up(id, handover, shared, reporter(id, events), begin)
    }

    fn reap_adopted(&self) {
        sys::reap_adopted();
    }
}

/// The way of a harness thread's reports to `events`.
fn reporter(id: SessionId, events: Sender<StateEvent>) -> impl Fn(Report) + Clone + Send + 'static {
    move |report| {
        // The send fails only after the daemon has given up waiting for this harness.
        let _ = events.send(StateEvent::Harness { id, report });
    }
}
