//! The channel to the writer thread, bounded in bytes instead of messages.
//!
//! Sending never blocks. Output is read from a pipe only with a [`Reservation`]. Requests are bounded by the
//! connections that wait for them; each session sends only a few other facts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::backlog::Pending;
use super::budget::{Budget, Reservation, Share};
use crate::api::{EventWriterHealth, Failure, Fault, StorageHealth, Timestamp, WriterState};
use crate::settings::durations;
use crate::store::facts::{Chore, Done, Fact, NewEvent, Refused, StoreRequest};
use crate::store::keep::status::{StoreStatus, Waiting};
use crate::store::rows::SessionNum;
use crate::sys::Wake;

/// Bytes that may wait for the writer before it stops the harness threads' reads: 8 MiB.
const CAPACITY: usize = 8 * 1024 * 1024;

/// A message to the writer thread.
pub(crate) enum Item {
    /// A request; the callback gets the answer.
    Request(StoreRequest, Done),
    /// A fact.
    Fact(Pending),
    /// Long work; the callback gets the answer.
    Chore(Chore, Done),
    /// Measures the disk.
    Measure,
    /// Answers, to prove that the writer thread makes progress.
    Ping(Sender<()>),
    /// Copies the log into the database and truncates it, if no reader is in the way; then disconnects.
    Shorten(Sender<()>),
    /// Releases memory.
    Rest,
    /// Commits everything queued, answers, and then writes nothing until the receiver is disconnected.
    Pause(Sender<()>, Receiver<()>),
    /// Commits everything queued, then ends the thread.
    Stop,
}

/// The uncommitted events of a writer that did not stop in time.
#[derive(Debug)]
pub struct Unwritten {
    /// Number and bytes of events by session.
    pub sessions: HashMap<SessionNum, Waiting>,
    /// Error of the last attempt, if it failed; `None` if it hangs.
    pub reason: Option<Failure>,
}

/// A writer that writes nothing; dropping it ends that.
pub struct Paused {
    _resume: Sender<()>,
}

/// The writer's queue; every thread that writes to the store holds a clone.
#[derive(Clone)]
pub struct WriteQueue {
    items: Sender<Item>,
    budget: Arc<Budget>,
    status: Arc<StoreStatus>,
}

impl WriteQueue {
    pub(crate) fn new(items: Sender<Item>, status: Arc<StoreStatus>) -> Self {
        Self {
            items,
            budget: Budget::new(CAPACITY),
            status,
        }
    }

    /// A harness's share of the budget; `waiter` is woken when there may be room again.
    pub fn share(&self, waiter: Arc<Wake>) -> Share {
        self.budget.share(waiter)
    }

    /// Sends output that was read under `reservation`.
    pub fn output(&self, num: SessionNum, events: Vec<NewEvent>, mut reservation: Reservation) {
        let fact = Fact::Events { num, events };
        reservation.resize(fact.bytes());
        self.send_fact(fact, None, reservation);
    }

    /// Sends a fact; `done` is called after the commit.
    pub fn fact(&self, fact: Fact, done: Option<Done>) {
        let reservation = self.budget.reserve(fact.bytes());
        self.send_fact(fact, done, reservation);
    }

    fn send_fact(&self, fact: Fact, done: Option<Done>, reservation: Reservation) {
        self.status.queued(&fact);
        self.send(Item::Fact(Pending {
            fact,
            done,
            reservation,
        }));
    }

    /// Sends `request`; `done` gets the answer, or the refusal.
    pub fn request(&self, request: StoreRequest, done: Done) {
        if let Err(refused) = available_unless(self.status.lost().map(Failure::from)) {
            return done(Err(refused));
        }
        self.send(Item::Request(request, done));
    }

    /// Sends `chore`, which runs between transactions; `done` gets the answer, or the refusal.
    pub fn chore(&self, chore: Chore, done: Done) {
        if let Err(refused) = available_unless(self.status.lost().map(Failure::from)) {
            return done(Err(refused));
        }
        self.send(Item::Chore(chore, done));
    }

    /// Makes the writer thread answer `reply` between two steps, also while the store cannot be written.
    pub fn ping(&self, reply: Sender<()>) {
        self.send(Item::Ping(reply));
    }

    /// Copies the log into the database and truncates it, if no reader is in the way, while the writer goes on. Returns
    /// once that is done, or after `patience`.
    pub fn shorten_log(&self, patience: Duration) {
        let (done, is_done) = bounded(0);
        self.send(Item::Shorten(done));
        let _ = is_done.recv_timeout(patience);
    }

    /// Makes the writer thread release what the idle daemon does not need: the pages that SQLite's connections keep, and
    /// free memory.
    pub fn rest(&self) {
        self.send(Item::Rest);
    }

    /// Makes the writer commit everything queued, and then write nothing as long as the returned value lives. `None` if
    /// it has not done so within `patience`.
    pub fn pause(&self, patience: Duration) -> Option<Paused> {
        let ((paused, is_paused), (resume, resumed)) = (bounded(1), bounded(0));
        self.send(Item::Pause(paused, resumed));
        is_paused.recv_timeout(patience).ok()?;
        Some(Paused { _resume: resume })
    }

    /// A counter that grows while SQLite executes one long statement, such as a vacuum.
    pub fn progress(&self) -> u64 {
        self.status.progress.load(Ordering::Relaxed)
    }

    /// Checks that the last write succeeded, and that the database's files are in place.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] with the reason, if not.
    pub fn check_available(&self) -> Result<(), Refused> {
        available_unless(self.status.failure())
    }

    /// As [`WriteQueue::check_available`], but ignores missing files.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] with the reason, if the last write failed.
    pub fn check_writable(&self) -> Result<(), Refused> {
        available_unless(self.status.write_failure())
    }

    /// Interrupts a running vacuum and drops waiting ones: at a stop, facts must be written first.
    pub fn end_chores(&self) {
        self.status.chores_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.send(Item::Stop);
    }

    fn send(&self, item: Item) {
        // The receiver is gone only after `Stop`; then no client waits any more.
        let _ = self.items.send(item);
    }

    /// State of the writer for `GET /health`.
    pub fn health(&self) -> EventWriterHealth {
        let failure = self.status.failure();
        let log = self.status.log_trouble();
        let is_failed = failure.is_some() || log.as_ref().is_some_and(|log| log.is_failed);
        let state = if is_failed {
            WriterState::Failed
        } else if log.is_some() || self.budget.held_back() > 0 {
            WriterState::Pressured
        } else {
            WriterState::Healthy
        };
        let last_error = failure.or(log.map(|log| log.reason));
        let fault = last_error.as_ref().and_then(Failure::fault);
        let (last_errno, last_sqlite_code) = match fault {
            Some(Fault::Errno(code)) => (Some(code), None),
            Some(Fault::Sqlite(code)) => (None, Some(code)),
            None => (None, None),
        };
        EventWriterHealth {
            state,
            queued_events: self.status.queued_events(),
            queued_bytes: self.budget.used() as u64,
            capacity_bytes: self.budget.capacity() as u64,
            dropped_output_events: 0,
            dropped_output_bytes: 0,
            transactions: self.status.transactions(),
            committed_events: self.status.committed_events(),
            last_error: last_error.map(|failure| failure.to_string()),
            last_errno,
            last_sqlite_code,
        }
    }

    /// The uncommitted events by session, and the reason.
    pub(crate) fn unwritten(&self) -> Unwritten {
        Unwritten {
            sessions: self.status.waiting(),
            reason: self.status.failure(),
        }
    }

    /// The last disk figures. If they are stale, requests new ones for the next call.
    pub fn storage(&self) -> StorageHealth {
        let storage = self.status.storage();
        let age = Timestamp::now().as_millis() - storage.measured_at.as_millis();
        if age > durations::MEASURE_STALE.as_millis() as i64
            && !self.status.measuring.swap(true, Ordering::Relaxed)
        {
            self.send(Item::Measure);
        }
        storage
    }

    /// Number of sessions with a record.
    pub fn sessions(&self) -> u64 {
        self.status.sessions()
    }
}

fn available_unless(reason: Option<Failure>) -> Result<(), Refused> {
    match reason {
        None => Ok(()),
        Some(reason) => Err(Refused::Unavailable { reason }),
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
