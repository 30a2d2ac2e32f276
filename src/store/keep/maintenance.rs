//! The store's housekeeping: retention sweeps, `onEnd`, and returning free pages, in small steps between two batches.
//! Also runs a whole vacuum on request.
//!
//! Runs on the writer thread. It does not know the log: the caller passes `settle`, which waits for a running
//! checkpoint.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::Connection;

use super::before;
use super::clock::{Clock, Now};
use super::on_end::OnEndTimer;
use super::retention::Retention;
use super::status::StoreStatus;
use super::sweep::{self, Sweep};
use super::tails::Tails;
use crate::api::{Failure, UnconfirmedClock};
use crate::observe::say;
use crate::settings::durations;
use crate::store::connect::{Pages, pages, truncate_log};
use crate::store::facts::{Chore, Committed, Done, Refused, StoreRequest, SweepResult};
use crate::store::schema::StoreError;

/// Pages that one step of the incremental vacuum moves: about a millisecond.
const VACUUM_PAGES: u32 = 64;

/// Bytes of free pages from which they are returned: fewer are soon reused.
const VACUUM_FROM: u64 = 1024 * 1024;

/// State of all housekeeping work.
pub(crate) struct Maintenance {
    retention: Retention,
    clock: Clock,
    sweep: Option<Sweep>,
    is_vacuuming: bool,
    next_sweep: Instant,
    /// Callbacks of clients that wait for the next sweep, and for the running one.
    prunes_next: Vec<Done>,
    prunes: Vec<Done>,
    /// Most days that those two sweeps keep.
    days_next: Option<u32>,
    days: Option<u32>,
    vacuums: Vec<Done>,
    /// The log already says that the store is too large and no output can be deleted.
    is_over_said: bool,
    pub(crate) on_end: OnEndTimer,
    /// Called with each sweep, for other hourly checks.
    on_sweep: Box<dyn Fn() + Send + Sync>,
}

impl Maintenance {
    pub(crate) fn new(
        retention: Retention,
        clock: Clock,
        on_end: OnEndTimer,
        on_sweep: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            retention,
            clock,
            sweep: None,
            is_vacuuming: false,
            next_sweep: Instant::now(),
            prunes_next: Vec::new(),
            prunes: Vec::new(),
            days_next: None,
            days: None,
            vacuums: Vec::new(),
            is_over_said: false,
            on_end,
            on_sweep,
        }
    }

    pub(crate) fn session_max(&self) -> Option<u64> {
        self.retention.session_max
    }

    /// Queues a chore with its callback.
    pub(crate) fn ask(&mut self, chore: Chore, done: Done) {
        match chore {
            // A running sweep may have passed output that has become old since.
            Chore::Prune { days } => {
                self.prunes_next.push(done);
                self.days_next = self.days_next.into_iter().chain(days).min();
            }
            Chore::Vacuum => self.vacuums.push(done),
        }
    }

    /// Refuses all waiting chores: the store cannot be written.
    pub(crate) fn refuse(&mut self, reason: &Failure) {
        let waiting = [&mut self.prunes, &mut self.prunes_next, &mut self.vacuums];
        for done in waiting.into_iter().flat_map(std::mem::take) {
            let reason = reason.clone();
            done(Err(Refused::Unavailable { reason }));
        }
        self.sweep = None;
        self.on_end.put_off();
    }

    /// True if a step can run now.
    pub(crate) fn is_busy(&self) -> bool {
        self.sweep.is_some()
            || self.is_vacuuming
            || !self.prunes_next.is_empty()
            || !self.vacuums.is_empty()
            || self.next_sweep <= Instant::now()
    }

    /// Time of the next scheduled step.
    pub(crate) fn due(&self) -> Instant {
        self.on_end
            .check_at
            .map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    /// The next `onEnd` request that is due.
    pub(crate) fn due_on_end(
        &mut self,
        connection: &Connection,
        status: &StoreStatus,
    ) -> Option<(StoreRequest, Done)> {
        self.on_end.check_at.filter(|at| *at <= Instant::now())?;
        self.observe_clock(status);
        match self.on_end.due(connection, &self.clock) {
            Ok(due) => due,
            Err(err) => {
                say!(OnEndFailed, session: None, reason: &err);
                self.on_end.put_off();
                None
            }
        }
    }

    /// Observed time, in milliseconds.
    pub(crate) fn observed(&self) -> i64 {
        self.clock.observed()
    }

    /// Starts a sweep if the store is over its limit, and a vacuum if enough pages are free.
    pub(crate) fn check_size(&mut self, connection: &Connection) {
        let Ok(pages) = pages(connection) else {
            return;
        };
        if self.retention.is_over(pages.used()) {
            self.sweep
                .get_or_insert_with(|| Sweep::new(self.retention, &self.clock));
        } else {
            self.is_over_said = false;
        }
        self.plan_vacuum(pages);
    }

    fn plan_vacuum(&mut self, pages: Pages) {
        self.is_vacuuming |= pages.free >= VACUUM_FROM;
    }

    /// Runs one step; true if it returned the last free page, so that the file can be truncated.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        tails: &mut Tails,
        settle: &mut dyn FnMut(),
        status: &StoreStatus,
    ) -> bool {
        if status.chores_over.load(Ordering::Relaxed) {
            // Dropping the callbacks answers those who wait: their channel disconnects.
            self.vacuums.clear();
        }
        if let Some(done) = self.vacuums.pop() {
            settle();
            status.is_vacuuming.store(true, Ordering::Relaxed);
            let result = vacuum(connection);
            status.is_vacuuming.store(false, Ordering::Relaxed);
            done(result.map(Committed::Vacuumed).map_err(Refused::from));
            return false;
        }
        if self.sweep.is_none()
            && (!self.prunes_next.is_empty() || self.next_sweep <= Instant::now())
        {
            self.prunes = std::mem::take(&mut self.prunes_next);
            self.days = self.days_next.take();
            self.observe_clock(status);
            let saved = self.clock.save(connection);
            self.sweep = Some(Sweep::new(self.retention.within(self.days), &self.clock));
            if let Err(err) = saved {
                self.swept(Err(err), connection, status);
                return false;
            }
        }
        let Some(sweep) = &mut self.sweep else {
            return self.vacuum_a_little(connection);
        };
        let step = sweep.step(connection, tails);
        status.removed();
        self.swept(step, connection, status);
        false
    }

    fn swept(
        &mut self,
        step: Result<Option<SweepResult>, StoreError>,
        connection: &Connection,
        status: &StoreStatus,
    ) {
        let retention = self.retention.within(self.days);
        let is_kept = || sweep::unconfirmed(connection, retention, &self.clock);
        let ended = step.and_then(|pruned| pruned.map(|sum| Ok((sum, is_kept()?))).transpose());
        let pruned = match ended {
            Ok(None) => return,
            Ok(Some((pruned, unconfirmed))) => SweepResult {
                unconfirmed,
                ..pruned
            },
            Err(err) => {
                if let StoreError::Sqlite(err) = &err {
                    status.met(err);
                }
                let reason = Failure::from(&err);
                say!(RetentionFailed, reason: &reason);
                self.refuse(&reason);
                self.next_sweep = Instant::now() + durations::RETENTION_RETRY;
                return;
            }
        };
        self.sweep = None;
        self.next_sweep = Instant::now() + durations::RETENTION_EVERY;
        (self.on_sweep)();
        before::remove_old(status.path(), &self.clock);
        if pruned.dropped.events > 0 {
            say!(OutputTruncated, sessions: pruned.sessions, events: pruned.dropped.events,
                bytes: pruned.dropped.bytes);
            status.truncated(pruned.dropped);
        }
        self.say_if_unconfirmed(pruned.unconfirmed, status);
        // Starts no new sweep even if the store is still too large: it would find nothing more.
        if let Ok(pages) = pages(connection) {
            self.say_if_over(pages);
            self.plan_vacuum(pages);
        }
        for done in self.prunes.drain(..) {
            done(Ok(Committed::Pruned(pruned)));
        }
    }

    /// Observes the clocks; true if the record should be saved before the next sweep saves it.
    pub(crate) fn observe_clock(&mut self, status: &StoreStatus) -> bool {
        let step = self.clock.observe(Now::read());
        if let Some(millis) = step {
            say!(ClockSet, seconds: millis / 1000);
            status.clock_set(millis);
        }
        self.clock.is_due()
    }

    /// Saves the record of the clocks.
    pub(crate) fn save_clock(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.clock.save(connection)
    }

    /// Logs once that output looks too old but is kept.
    fn say_if_unconfirmed(&self, unconfirmed: Option<UnconfirmedClock>, status: &StoreStatus) {
        if let Some(clock) = unconfirmed
            && !status.is_unconfirmed()
        {
            say!(RetentionWaits, difference_seconds: clock.difference_ms / 1000,
                left_seconds: clock.left_ms / 1000);
        }
        status.set_unconfirmed(unconfirmed);
    }

    /// Logs once that the store is over its limit, although only live sessions and records are left.
    fn say_if_over(&mut self, pages: Pages) {
        let over = self.retention.is_over(pages.used());
        if over && !self.is_over_said {
            let limit = self.retention.store_max.unwrap_or(0);
            say!(StoreOverLimit, limit_bytes: limit);
        }
        self.is_over_said = over;
    }

    /// Returns some free pages to the file system; true if they were the last.
    fn vacuum_a_little(&mut self, connection: &Connection) -> bool {
        let left = incremental_vacuum(connection).and_then(|()| Ok(pages(connection)?.free));
        // A failure is retried after the next measurement.
        self.is_vacuuming = left.as_ref().is_ok_and(|left| *left > 0);
        matches!(left, Ok(0))
    }
}

/// The pragma returns one row for each page, and frees a page per row read (SQLite, PRAGMA incremental_vacuum).
fn incremental_vacuum(connection: &Connection) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Rewrites the whole database; returns the number of bytes freed.
///
/// # Errors
/// Returns SQLite's error; the disk must have room for a second copy.
pub(crate) fn vacuum(connection: &Connection) -> Result<u64, StoreError> {
    let before = pages(connection)?;
    connection.execute_batch("VACUUM")?;
    // So that the file shrinks. If a reader of an old snapshot blocks it, a later checkpoint does it.
    truncate_log(connection)?;
    let after = pages(connection)?;
    Ok(before.all.saturating_sub(after.all))
}
