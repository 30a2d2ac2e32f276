//! Measures the age of rows. Rows carry wall-clock times, which NTP and administrators change. Age is counted by the
//! clock since boot, and by the wall clock only across time that no daemon has observed.
//!
//! Runs on the writer thread, or in the CLI's process while no daemon runs. Pure but for [`Now::read`] and the record
//! in the table `meta`; it knows no session.

use std::sync::LazyLock;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::{Timestamp, UnconfirmedClock};
use crate::store::meta;
use crate::store::schema::StoreError;
use crate::sys;

/// Name of the record in the table `meta`.
const NAME: &str = "clock";

pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds by which the wall clock may drift from the clock since boot without counting as set: NTP slews less.
const STEP: i64 = 60 * 1000;

/// A longer unobserved jump of the wall clock counts only after being confirmed for `CONFIRMATION`. In milliseconds.
const UNOBSERVED_MAX: i64 = DAY;
const CONFIRMATION: i64 = DAY;

/// Milliseconds between two saves of the record: a crash loses at most this much observed time.
const SAVE_EVERY: i64 = 60 * 1000;

/// Most clock changes to remember; older ones are dropped.
const SPANS_MAX: usize = 100;

/// Upper bound of all times, in milliseconds: sums of a few such times do not overflow.
const TIME_MAX: u64 = 1 << 53;

/// Readings of the system's clocks, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    boot: &'static str,
    since_boot: i64,
    wall: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        // Without a boot id, only this process is known to run in the same boot.
        static PROCESS: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());
        let since_boot = sys::since_boot().as_millis();
        Self {
            boot: sys::boot_id().unwrap_or(&PROCESS),
            since_boot: i64::try_from(since_boot).unwrap_or(i64::MAX),
            wall: Timestamp::now().as_millis(),
        }
    }
}

/// A jump of the wall clock across unobserved time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    /// Length in milliseconds; negative if the wall clock went back.
    millis: i64,
    /// Observed time at which the gap was found or last changed.
    found: i64,
}

impl Gap {
    fn is_long(self) -> bool {
        self.millis > UNOBSERVED_MAX
    }

    /// The part that counts before it is confirmed.
    fn counted(self) -> i64 {
        if self.is_long() {
            0
        } else {
            self.millis.max(0)
        }
    }
}

/// A span in which the wall clock and the clock since boot advanced together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    /// The wall clock at the span's start.
    wall: i64,
    /// The observed time at the span's start and end.
    begin: i64,
    end: i64,
    /// Gap between the previous span and this one, until it is settled.
    gap: Option<Gap>,
}

impl Span {
    fn offset(&self) -> i64 {
        self.wall - self.begin
    }

    fn is_sane(&self) -> bool {
        let gap = self.gap.map_or(0, |gap| gap.millis);
        let times = [self.wall, self.begin, self.end, gap];
        times.iter().all(|time| time.unsigned_abs() < TIME_MAX)
    }
}

/// The observed history of the clocks; stored in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// The clocks' readings at the last observation.
    boot: String,
    since_boot: i64,
    wall: i64,
    /// Total observed time, in milliseconds.
    observed: i64,
    /// Oldest first; the last span is still open. Never empty.
    spans: Vec<Span>,
    /// Observed time of the last save.
    #[serde(skip)]
    saved: Option<i64>,
}

impl Clock {
    /// Loads the record of the database; without one, starts a new one.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let record = meta::read::<Self>(connection, NAME)?;
        if let Some(clock) = record.filter(Self::is_sane) {
            return Ok(clock);
        }
        let newest = "SELECT max(updated_at) FROM sessions";
        let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0))?;
        Ok(Self::begin(Now::read(), newest.map(Timestamp::from_millis)))
    }

    /// Loads the record and observes the clocks once.
    pub(crate) fn load_now(connection: &Connection) -> Result<Self, StoreError> {
        let mut clock = Self::load(connection)?;
        clock.observe(Now::read());
        Ok(clock)
    }

    /// A new record for a store whose newest row has the time `newest`.
    pub(super) fn begin(now: Now, newest: Option<Timestamp>) -> Self {
        let from = |boot: &str, since_boot, wall| Self {
            boot: boot.to_owned(),
            since_boot,
            wall,
            observed: 0,
            spans: vec![Span {
                wall,
                begin: 0,
                end: 0,
                gap: None,
            }],
            saved: None,
        };
        match newest {
            None => from(now.boot, now.since_boot, now.wall),
            Some(newest) => {
                // No daemon has observed the time since then.
                let mut clock = from("", 0, newest.as_millis());
                clock.observe(now);
                clock
            }
        }
    }

    /// True if this program can have written the record.
    fn is_sane(&self) -> bool {
        let times = [self.since_boot, self.wall, self.observed];
        !self.spans.is_empty()
            && times.iter().all(|time| time.unsigned_abs() < TIME_MAX)
            && self.spans.iter().all(Span::is_sane)
    }

    /// Records the clocks' readings; returns the milliseconds by which the wall clock was set since the last call, if
    /// it was.
    pub(crate) fn observe(&mut self, now: Now) -> Option<i64> {
        let is_observed = now.boot == self.boot && now.since_boot >= self.since_boot;
        let step = if is_observed {
            self.go_on(now)
        } else {
            self.meet_gap(now);
            None
        };
        now.boot.clone_into(&mut self.boot);
        self.since_boot = now.since_boot;
        self.wall = now.wall;
        self.confirm();
        self.tidy();
        step
    }

    /// Same boot: the clock since boot measures the time that passed.
    fn go_on(&mut self, now: Now) -> Option<i64> {
        let passed = now.since_boot - self.since_boot;
        let before = self.observed;
        self.observed += passed;
        let last = self.spans.last_mut()?;
        last.end = self.observed;
        let step = now.wall - self.observed - last.offset();
        if step.abs() <= STEP {
            return None;
        }
        // The wall clock was set at an unknown moment since the last call: both spans cover all of that time.
        self.spans.push(Span {
            wall: now.wall - passed,
            begin: before,
            end: self.observed,
            gap: None,
        });
        self.correct_gaps(step);
        Some(step)
    }

    /// Corrects unconfirmed gaps after the wall clock was set: they were measured by the old setting.
    fn correct_gaps(&mut self, step: i64) {
        let observed = self.observed;
        if step < 0 {
            self.take_from_gaps(-step);
            return;
        }
        // A clock that went back was wrong at boot. Any other is taken as right, and its gaps do not follow a change.
        let gaps = self.spans.iter_mut().filter_map(|span| span.gap.as_mut());
        if let Some(gap) = gaps.last().filter(|gap| gap.millis < 0) {
            gap.millis += step;
            gap.found = observed;
        }
    }

    /// Shortens the newest gaps by the time that the wall clock went back; returns what is left.
    fn take_from_gaps(&mut self, mut millis: i64) -> i64 {
        let gaps = self.spans.iter_mut().filter_map(|span| span.gap.as_mut());
        for gap in gaps.rev().filter(|gap| gap.millis > 0) {
            let taken = millis.min(gap.millis);
            gap.millis -= taken;
            millis -= taken;
        }
        millis
    }

    /// Another boot or machine: only the wall clock tells how much time has passed.
    fn meet_gap(&mut self, now: Now) {
        let mut millis = now.wall - self.wall;
        let newest = self.spans.iter_mut().rev().find(|span| span.gap.is_some());
        // The difference includes what the last boot's clock was behind.
        if let Some(span) = newest
            && let Some(behind) = span.gap.take_if(|gap| gap.millis < 0)
        {
            millis += behind.millis;
        }
        if millis < 0 {
            millis = -self.take_from_gaps(-millis);
        }
        // A short gap counts already; it is not corrected any more.
        for at in 0..self.spans.len() {
            if self.spans[at].gap.is_some_and(|gap| !gap.is_long()) {
                self.settle(at);
            }
        }
        self.spans.push(Span {
            wall: now.wall,
            begin: self.observed,
            end: self.observed,
            gap: Some(Gap {
                millis,
                found: self.observed,
            }),
        });
    }

    /// Settles the gaps that have been confirmed.
    fn confirm(&mut self) {
        for at in 0..self.spans.len() {
            let is_confirmed = |gap: Gap| self.observed - gap.found >= CONFIRMATION;
            if self.spans[at].gap.is_some_and(is_confirmed) {
                self.settle(at);
            }
        }
    }

    /// Adds a gap to the age of everything before it.
    fn settle(&mut self, at: usize) {
        let gap = self.spans[at].gap.take();
        let millis = gap.map_or(0, |gap| gap.millis.max(0));
        for span in &mut self.spans[..at] {
            span.begin -= millis;
            span.end -= millis;
        }
    }

    /// Joins spans between which the wall clock was not set, and drops the oldest beyond [`SPANS_MAX`].
    fn tidy(&mut self) {
        self.spans.dedup_by(|later, earlier| {
            let is_one = later.gap.is_none() && (later.offset() - earlier.offset()).abs() <= STEP;
            if is_one {
                earlier.end = later.end;
            }
            is_one
        });
        let excess = self.spans.len().saturating_sub(SPANS_MAX);
        self.spans.drain(..excess);
    }

    /// Total observed time, in milliseconds.
    pub(crate) fn observed(&self) -> i64 {
        self.observed
    }

    /// Recognises rows older than `age` milliseconds.
    pub(crate) fn older_than(&self, age: i64) -> Aged {
        self.aged(age, Gap::counted)
    }

    /// As [`Clock::older_than`], as if all gaps were confirmed.
    pub(crate) fn maybe_older_than(&self, age: i64) -> Aged {
        self.aged(age, |gap| gap.millis.max(0))
    }

    fn aged(&self, age: i64, counted: impl Fn(Gap) -> i64) -> Aged {
        let mut oldest_kept = self.observed - age;
        let mut eras = Vec::with_capacity(self.spans.len());
        for span in self.spans.iter().rev() {
            eras.push(Era {
                from: span.wall - STEP,
                until: span.offset() + span.end + STEP,
                old_before: span.offset() + oldest_kept,
            });
            oldest_kept += span.gap.map_or(0, &counted);
        }
        Aged {
            // Age 0: everything is old.
            is_all: age == 0,
            eras,
        }
    }

    /// The unconfirmed gaps, if any.
    pub(crate) fn unconfirmed(&self) -> Option<UnconfirmedClock> {
        let gaps = self.spans.iter().filter_map(|span| span.gap);
        let long: Vec<Gap> = gaps.filter(|gap| gap.is_long()).collect();
        let found = long.iter().map(|gap| gap.found).max()?;
        Some(UnconfirmedClock {
            difference_ms: long.iter().map(|gap| gap.millis).sum(),
            left_ms: CONFIRMATION - (self.observed - found),
        })
    }

    /// True if the stored record is older than [`SAVE_EVERY`].
    pub(crate) fn is_due(&self) -> bool {
        let is_old = |saved| self.observed - saved >= SAVE_EVERY;
        self.saved.is_none_or(is_old)
    }

    /// Writes the record.
    pub(crate) fn save(&mut self, connection: &Connection) -> Result<(), StoreError> {
        meta::write(connection, NAME, self)?;
        self.saved = Some(self.observed);
        Ok(())
    }
}

/// A span in wall-clock times, with its age limit.
#[derive(Debug, Clone, Copy)]
struct Era {
    from: i64,
    until: i64,
    /// Times before this, within the span or earlier, are old.
    old_before: i64,
}

/// Tells by a row's wall-clock time whether the row is old.
#[derive(Debug, Clone)]
pub(crate) struct Aged {
    is_all: bool,
    eras: Vec<Era>,
}

impl Aged {
    /// Treats all times before `at` as old.
    #[cfg(test)]
    pub(super) fn before(at: Timestamp) -> Self {
        let era = Era {
            from: i64::MIN,
            until: i64::MAX - 1,
            old_before: at.as_millis(),
        };
        Self {
            is_all: false,
            eras: vec![era],
        }
    }

    /// Treats nothing as old.
    pub(crate) fn nothing() -> Self {
        Self {
            is_all: false,
            eras: Vec::new(),
        }
    }

    /// True if a row of this time is old. If several spans show the time, the youngest counts. If none does, it counts
    /// as earlier than the spans that show later times.
    pub(crate) fn is_old(&self, at: Timestamp) -> bool {
        let at = at.as_millis();
        let later = || self.eras.iter().filter(|era| at <= era.until);
        let is_known = later().any(|era| at >= era.from);
        let mut possible = later().filter(|era| !is_known || at >= era.from).peekable();
        self.is_all || possible.peek().is_some() && possible.all(|era| at < era.old_before)
    }

    /// No time from here on is old.
    pub(crate) fn end(&self) -> Timestamp {
        let end = self
            .eras
            .iter()
            .map(|era| era.old_before.min(era.until + 1))
            .max();
        let end = end.unwrap_or(i64::MIN);
        Timestamp::from_millis(if self.is_all { i64::MAX } else { end })
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
