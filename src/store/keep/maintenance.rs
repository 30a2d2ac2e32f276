//! The store's own housekeeping: sweeps, and giving back the space that they leave; all of it in small steps, between
//! which the writer does what it is there for. With it, what is only done when somebody asks: a whole vacuum.
//!
//! Runs on the writer thread. How the log is kept from copying meanwhile is the caller's to know: it passes `settle`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::clock::{Clock, Now};
use super::on_end::OnEndTimer;
use super::retention::Retention;
use super::status::StoreStatus;
use super::sweep::{self, Sweep};
use super::tails::Tails;
use crate::api::UnconfirmedClock;
use crate::observe::say;
use crate::settings::durations;
use crate::store::connect::{Pages, pages};
use crate::store::facts::{Answer, Chore, Done, Pruned, Refused, Request};
use crate::store::schema::StoreError;

/// Pages that one step of the vacuum moves: about a millisecond.
const VACUUM_PAGES: u32 = 64;

/// Free pages are given back once there are so many, in bytes: fewer are soon used again.
const VACUUM_FROM: u64 = 1024 * 1024;

/// What is being done of it.
pub(crate) struct Maintenance {
    retention: Retention,
    clock: Clock,
    sweep: Option<Sweep>,
    is_vacuuming: bool,
    next_sweep: Instant,
    /// Who waits for the end of the next whole sweep, and of the one that runs.
    prunes_next: Vec<Done>,
    prunes: Vec<Done>,
    /// How many days those two keep at most.
    days_next: Option<u32>,
    days: Option<u32>,
    vacuums: Vec<Done>,
    /// It has been said that the store is too large, and that nothing can be done about it.
    is_over_said: bool,
    pub(crate) on_end: OnEndTimer,
    /// Called with each sweep, for what else is to be looked at so often.
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

    /// Remembers who asks.
    pub(crate) fn ask(&mut self, chore: Chore, done: Done) {
        match chore {
            // A sweep that runs may be past what has become old enough since.
            Chore::Prune { days } => {
                self.prunes_next.push(done);
                self.days_next = self.days_next.into_iter().chain(days).min();
            }
            Chore::Vacuum => self.vacuums.push(done),
        }
    }

    /// Tells all who wait that the store cannot be written.
    pub(crate) fn refuse(&mut self, reason: &str) {
        let waiting = [&mut self.prunes, &mut self.prunes_next, &mut self.vacuums];
        for done in waiting.into_iter().flat_map(std::mem::take) {
            let reason = reason.to_owned();
            done(Err(Refused::Unavailable { reason }));
        }
        self.sweep = None;
        self.on_end.put_off();
    }

    /// Whether there is something to do now.
    pub(crate) fn is_busy(&self) -> bool {
        self.sweep.is_some()
            || self.is_vacuuming
            || !self.prunes_next.is_empty()
            || !self.vacuums.is_empty()
            || self.next_sweep <= Instant::now()
    }

    /// When there will be, if nothing else happens.
    pub(crate) fn due(&self) -> Instant {
        self.on_end
            .look_at
            .map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    /// What a session's launch has asked to be done now, if there is such a session.
    pub(crate) fn due_on_end(
        &mut self,
        connection: &Connection,
        status: &StoreStatus,
    ) -> Option<(Request, Done)> {
        self.on_end.look_at.filter(|at| *at <= Instant::now())?;
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

    /// The observed time, in milliseconds.
    pub(crate) fn observed(&self) -> i64 {
        self.clock.observed()
    }

    /// The pages have been counted: is there anything to sweep, or to give back?
    pub(crate) fn look(&mut self, connection: &Connection) {
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

    /// Does a little of what is to be done; whether the last free page has been given back, so that the file can become
    /// shorter.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        tails: &mut Tails,
        settle: &mut dyn FnMut(),
        status: &StoreStatus,
    ) -> bool {
        if status.chores_over.load(Ordering::Relaxed) {
            // Whoever waits is told so by this end of the channel going away.
            self.vacuums.clear();
        }
        if let Some(done) = self.vacuums.pop() {
            settle();
            status.is_vacuuming.store(true, Ordering::Relaxed);
            let result = vacuum(connection);
            status.is_vacuuming.store(false, Ordering::Relaxed);
            done(result.map(Answer::Vacuumed).map_err(Refused::from));
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
        step: Result<Option<Pruned>, StoreError>,
        connection: &Connection,
        status: &StoreStatus,
    ) {
        let retention = self.retention.within(self.days);
        let is_kept = || sweep::unconfirmed(connection, retention, &self.clock);
        let ended = step.and_then(|pruned| pruned.map(|sum| Ok((sum, is_kept()?))).transpose());
        let pruned = match ended {
            Ok(None) => return,
            Ok(Some((pruned, unconfirmed))) => Pruned {
                unconfirmed,
                ..pruned
            },
            Err(err) => {
                if let StoreError::Sqlite(err) = &err {
                    status.met(err);
                }
                let reason = err.to_string();
                say!(RetentionFailed, reason: &reason);
                self.refuse(&reason);
                self.next_sweep = Instant::now() + durations::RETENTION_RETRY;
                return;
            }
        };
        self.sweep = None;
        self.next_sweep = Instant::now() + durations::RETENTION_EVERY;
        (self.on_sweep)();
        if pruned.dropped.events > 0 {
            say!(OutputTruncated, sessions: pruned.sessions, events: pruned.dropped.events,
                bytes: pruned.dropped.bytes);
            status.truncated(pruned.dropped);
        }
        self.say_if_unconfirmed(pruned.unconfirmed, status);
        // No new sweep, however large the store still is: what this one has left, the next would leave, too.
        if let Ok(pages) = pages(connection) {
            self.say_if_over(pages);
            self.plan_vacuum(pages);
        }
        for done in self.prunes.drain(..) {
            done(Ok(Answer::Pruned(pruned)));
        }
    }

    /// Looks at the clocks; whether the record of them is to be written before the next sweep does so.
    pub(crate) fn observe_clock(&mut self, status: &StoreStatus) -> bool {
        let step = self.clock.observe(Now::read());
        if let Some(millis) = step {
            say!(ClockSet, seconds: millis / 1000);
            status.clock_set(millis);
        }
        self.clock.is_due()
    }

    /// Writes the record of the clocks.
    pub(crate) fn save_clock(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.clock.save(connection)
    }

    /// Once: it looks too old, and stays.
    fn say_if_unconfirmed(&self, unconfirmed: Option<UnconfirmedClock>, status: &StoreStatus) {
        if let Some(clock) = unconfirmed
            && !status.is_unconfirmed()
        {
            say!(RetentionWaits, difference_seconds: clock.difference_ms / 1000,
                left_seconds: clock.left_ms / 1000);
        }
        status.set_unconfirmed(unconfirmed);
    }

    /// Once: what is left belongs to live sessions, or is no output.
    fn say_if_over(&mut self, pages: Pages) {
        let over = self.retention.is_over(pages.used());
        if over && !self.is_over_said {
            let limit = self.retention.store_max.unwrap_or(0);
            say!(StoreOverLimit, limit_bytes: limit);
        }
        self.is_over_said = over;
    }

    /// Gives some free pages back; whether these were the last.
    fn vacuum_a_little(&mut self, connection: &Connection) -> bool {
        let left = incremental_vacuum(connection).and_then(|()| Ok(pages(connection)?.free));
        // What fails now is tried again when pages are counted the next time.
        self.is_vacuuming = left.as_ref().is_ok_and(|left| *left > 0);
        matches!(left, Ok(0))
    }
}

/// The pragma gives a row for each page, and does its work while they are read (SQLite, PRAGMA incremental_vacuum).
fn incremental_vacuum(connection: &Connection) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Brings the log into the database, whose file becomes as short as it can. Whoever reads an old state keeps it from
/// that; then a later checkpoint does it.
fn shorten(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::ZERO)?;
    let result = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(durations::STORE_LOCK)?;
    Ok(result?)
}

/// Writes the whole database anew; how many bytes that has given back.
///
/// # Errors
/// What SQLite says: there must be room for a second database.
pub(crate) fn vacuum(connection: &Connection) -> Result<u64, StoreError> {
    let before = pages(connection)?;
    connection.execute_batch("VACUUM")?;
    shorten(connection)?;
    let after = pages(connection)?;
    Ok(before.all.saturating_sub(after.all))
}
