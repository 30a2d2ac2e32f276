//! The way to the writer: a channel that is bounded in bytes, not in messages.
//!
//! Sending never blocks. Output is read from a pipe only with a [`Reservation`]; requests are bounded by the
//! connections that wait for them; other facts are a handful per session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use super::backlog::Pending;
use super::budget::{Budget, Reservation, Share};
use crate::api::{EventWriterHealth, StorageHealth, Timestamp, WriterState};
use crate::settings::durations;
use crate::store::facts::{Chore, Done, Fact, NewEvent, Refused, Request};
use crate::store::keep::status::{StoreStatus, Waiting};
use crate::store::rows::SessionNum;
use crate::sys::Wake;

/// Bytes that may wait for the writer before harnesses are held back.
const CAPACITY: usize = 8 * 1024 * 1024;

/// One thing for the writer to do.
pub(crate) enum Item {
    /// Somebody waits for it.
    Request(Request, Done),
    /// It has happened.
    Fact(Pending),
    /// Somebody waits for it, and it takes long.
    Chore(Chore, Done),
    /// Take the disk's figures.
    Measure,
    /// Answer, to show that the thread goes on.
    Ping(Sender<()>),
    /// Commit what is queued, and end.
    Stop,
}

/// What a writer that could not end in time still held.
#[derive(Debug)]
pub struct Unwritten {
    /// By session.
    pub sessions: HashMap<SessionNum, Waiting>,
    /// What the last attempt failed with, if it failed rather than hung.
    pub reason: Option<String>,
}

/// The writer's queue; every thread that has something to store holds a clone.
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

    /// One harness's share of the room for output; `waiter` is woken when there may be some again.
    pub fn share(&self, waiter: Arc<Wake>) -> Share {
        self.budget.share(waiter)
    }

    /// Hands over output that was read under `reservation`.
    pub fn output(&self, num: SessionNum, events: Vec<NewEvent>, mut reservation: Reservation) {
        let fact = Fact::Events { num, events };
        reservation.resize(fact.bytes());
        self.send_fact(fact, None, reservation);
    }

    /// Hands over what has happened; `done` is told when it is on disk.
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

    /// Asks for `request`; `done` is told what came of it.
    pub fn request(&self, request: Request, done: Done) {
        if let Err(refused) = available_unless(self.status.lost()) {
            return done(Err(refused));
        }
        self.send(Item::Request(request, done));
    }

    /// Asks for `chore`, which is done between other things; `done` is told what came of it.
    pub fn chore(&self, chore: Chore, done: Done) {
        if let Err(refused) = available_unless(self.status.lost()) {
            return done(Err(refused));
        }
        self.send(Item::Chore(chore, done));
    }

    /// Has the writer answer `reply` between two things that it does, also while the store cannot be written.
    pub fn ping(&self, reply: Sender<()>) {
        self.send(Item::Ping(reply));
    }

    /// Grows while SQLite works on one statement for long: a vacuum, for one.
    pub fn progress(&self) -> u64 {
        self.status.progress.load(Ordering::Relaxed)
    }

    /// Whether the store could be written when last tried, and its files are in place.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] with the reason, if not.
    pub fn check_available(&self) -> Result<(), Refused> {
        available_unless(self.status.failure())
    }

    /// As [`WriteQueue::check_available`], wherever the files are.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] with the reason, if not.
    pub fn check_writable(&self) -> Result<(), Refused> {
        available_unless(self.status.write_failure())
    }

    /// Breaks off the chore that runs, and refuses those that wait: what has happened is to be written now.
    pub fn end_chores(&self) {
        self.status.chores_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.send(Item::Stop);
    }

    fn send(&self, item: Item) {
        // The receiver is gone only after `Stop`, when whoever still sends has nobody left to tell.
        let _ = self.items.send(item);
    }

    /// How the writing of events goes.
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
        EventWriterHealth {
            state,
            queued_events: self.status.queued_events(),
            queued_bytes: self.budget.used() as u64,
            capacity_bytes: self.budget.capacity() as u64,
            dropped_output_events: 0,
            dropped_output_bytes: 0,
            transactions: self.status.transactions(),
            committed_events: self.status.committed_events(),
            last_error,
        }
    }

    /// What waits for a commit, and why it does.
    pub(crate) fn unwritten(&self) -> Unwritten {
        Unwritten {
            sessions: self.status.waiting(),
            reason: self.status.failure(),
        }
    }

    /// The last figures of the disk. Old ones are shown as they are, and new ones asked for.
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

    /// Sessions that have a record.
    pub fn sessions(&self) -> u64 {
        self.status.sessions()
    }
}

fn available_unless(reason: Option<String>) -> Result<(), Refused> {
    match reason {
        None => Ok(()),
        Some(reason) => Err(Refused::Unavailable { reason }),
    }
}
