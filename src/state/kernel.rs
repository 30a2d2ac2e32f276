//! The seam between decisions and the system: the clock, signals, harness threads. Orders to a harness thread and
//! writes to the store go through channels, whose other ends the simulation holds.
//!
//! Runs on the state thread. It knows no session.

use std::io;

use crossbeam_channel::Sender;

use super::Event;
use super::life::Now;
use crate::adapters::Program;
use crate::api::SessionId;
use crate::harness::{Go, Harness, Shared};
use crate::store::Done;
use crate::sys;

/// The system calls of the state thread.
pub(super) trait Kernel {
    fn now(&self) -> Now;

    /// Sends `signal` to the process group `pid`.
    ///
    /// # Errors
    /// The error of kill(2).
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
        shared: Shared,
        events: Sender<Event>,
        started: Done,
    ) -> io::Result<(Harness, Go)>;

    /// Reaps the adopted orphans that have ended.
    fn reap_adopted(&self);

    /// Returns free memory to the system.
    fn release_memory(&self);
}

/// The real system.
pub(super) struct RealKernel;

impl Kernel for RealKernel {
    fn now(&self) -> Now {
        Now::read()
    }

    fn signal(&self, pid: i32, signal: i32) -> io::Result<()> {
        sys::kill_group(pid, signal)
    }

    fn prepare(
        &self,
        id: SessionId,
        program: Program,
        shared: Shared,
        events: Sender<Event>,
        started: Done,
    ) -> io::Result<(Harness, Go)> {
        let report = move |report| {
            // The send fails only after the daemon has given up waiting for this harness.
            let _ = events.send(Event::Harness { id, report });
        };
        Harness::prepare(id, program, shared, report, started)
    }

    fn reap_adopted(&self) {
        sys::reap_adopted();
    }

    fn release_memory(&self) {
        sys::release_idle_memory();
    }
}
