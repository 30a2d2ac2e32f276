//! How old what the store holds is. Rows carry the wall clock's time, which NTP and administrators set; the age is counted by
//! the clock since boot, and by the wall clock only across what no daemon has observed.
//!
//! Runs on the writer thread, or in the CLI's process while no daemon runs. A pure planner but for [`Now::read`] and the
//! record in the table `meta`; it knows nothing of sessions.

use std::sync::LazyLock;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::{Timestamp, UnconfirmedClock};
use crate::store::meta;
use crate::store::schema::StoreError;
use crate::sys;

/// The name of the record in the table `meta`.
const NAME: &str = "clock";

pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;

/// By how much the wall clock may part from the clock since boot and still count as not set: NTP slews less.
const STEP: i64 = 60 * 1000;

/// A longer difference of the wall clock's that nobody has observed has to be confirmed, for as long as this.
const UNOBSERVED_MAX: i64 = DAY;
const CONFIRMATION: i64 = DAY;

/// The record is written once so much has passed since: a crash costs no more of what was observed.
const SAVE_EVERY: i64 = 60 * 1000;

/// How often the wall clock can have been set, before the oldest of these is forgotten.
const SPANS_MAX: usize = 100;

/// No clock shows more, in milliseconds: sums of a few such times do not overflow.
const TIME_MAX: u64 = 1 << 53;

/// What the system's clocks show, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    boot: &'static str,
    since_boot: i64,
    wall: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        // Where the system does not tell, only this process is known to be in the same boot.
        static PROCESS: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());
        let since_boot = sys::since_boot().as_millis();
        Self {
            boot: sys::boot_id().unwrap_or(&PROCESS),
            since_boot: i64::try_from(since_boot).unwrap_or(i64::MAX),
            wall: Timestamp::now().as_millis(),
        }
    }
}

/// A difference of the wall clock's over a time that nobody has observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    /// Negative where the wall clock was behind what it had shown before.
    millis: i64,
    /// The observed time at which it was found, or changed.
    found: i64,
}

impl Gap {
    fn is_long(self) -> bool {
        self.millis > UNOBSERVED_MAX
    }

    /// What of it counts before it is confirmed.
    fn counted(self) -> i64 {
        if self.is_long() {
            0
        } else {
            self.millis.max(0)
        }
    }
}

/// A span in which the wall clock went as the clock since boot did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    /// The wall clock at its beginning.
    wall: i64,
    /// The observed time at its beginning and at its end.
    begin: i64,
    end: i64,
    /// What lies between the last span and this, until it is confirmed and counted in the spans before.
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

/// What has been observed of the clocks; kept in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// What the clocks showed when they were looked at last.
    boot: String,
    since_boot: i64,
    wall: i64,
    /// How much time has been observed in all.
    observed: i64,
    /// In the order in which they came to pass; the last one goes on. Never empty.
    spans: Vec<Span>,
    /// The observed time at which the record was written last.
    #[serde(skip)]
    saved: Option<i64>,
}

impl Clock {
    /// The record in the database. Where there is none, one that begins now.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let record = meta::read::<Self>(connection, NAME)?;
        if let Some(clock) = record.filter(Self::is_sane) {
            return Ok(clock);
        }
        let newest = "SELECT max(updated_at) FROM sessions";
        let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0))?;
        Ok(Self::begin(Now::read(), newest.map(Timestamp::from_millis)))
    }

    /// The record in the database, brought up to now.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn load_now(connection: &Connection) -> Result<Self, StoreError> {
        let mut clock = Self::load(connection)?;
        clock.observe(Now::read());
        Ok(clock)
    }

    /// A record that begins now, of a store whose newest row is of the time `newest`.
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
                // Nobody has observed what lies between the two.
                let mut clock = from("", 0, newest.as_millis());
                clock.observe(now);
                clock
            }
        }
    }

    /// Whether it can have been written by this program.
    fn is_sane(&self) -> bool {
        let times = [self.since_boot, self.wall, self.observed];
        !self.spans.is_empty()
            && times.iter().all(|time| time.unsigned_abs() < TIME_MAX)
            && self.spans.iter().all(Span::is_sane)
    }

    /// Takes note of what the clocks show; by how much the wall clock has been set since the last time, if it was.
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

    /// The same boot: the clock since boot says how much time has passed.
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
        // It was set at some time since the last look: both spans reach over all of that.
        self.spans.push(Span {
            wall: now.wall - passed,
            begin: before,
            end: self.observed,
            gap: None,
        });
        self.correct_gaps(step);
        Some(step)
    }

    /// The wall clock has been set while a gap before it is not confirmed: that gap was measured by the clock as it was.
    fn correct_gaps(&mut self, step: i64) {
        let observed = self.observed;
        if step < 0 {
            self.take_from_gaps(-step);
            return;
        }
        // A clock that was behind what it had shown before was wrong at the boot. Any other is right as far as is known,
        // and ages do not follow it when it is set.
        let gaps = self.spans.iter_mut().filter_map(|span| span.gap.as_mut());
        if let Some(gap) = gaps.last().filter(|gap| gap.millis < 0) {
            gap.millis += step;
            gap.found = observed;
        }
    }

    /// Time that the wall clock takes back was not in the newest gaps. What is left of it.
    fn take_from_gaps(&mut self, mut millis: i64) -> i64 {
        let gaps = self.spans.iter_mut().filter_map(|span| span.gap.as_mut());
        for gap in gaps.rev().filter(|gap| gap.millis > 0) {
            let taken = millis.min(gap.millis);
            gap.millis -= taken;
            millis -= taken;
        }
        millis
    }

    /// Another boot, or another machine: the wall clock is all that tells how much time has passed.
    fn meet_gap(&mut self, now: Now) {
        let mut millis = now.wall - self.wall;
        let newest = self.spans.iter_mut().rev().find(|span| span.gap.is_some());
        // What the last boot's clock was behind is in this difference.
        if let Some(span) = newest
            && let Some(behind) = span.gap.take_if(|gap| gap.millis < 0)
        {
            millis += behind.millis;
        }
        if millis < 0 {
            millis = -self.take_from_gaps(-millis);
        }
        // A short one counts already, and is not corrected from now on.
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

    /// Counts the gaps that have been confirmed.
    fn confirm(&mut self) {
        for at in 0..self.spans.len() {
            let is_confirmed = |gap: Gap| self.observed - gap.found >= CONFIRMATION;
            if self.spans[at].gap.is_some_and(is_confirmed) {
                self.settle(at);
            }
        }
    }

    /// What is before a gap becomes older by it.
    fn settle(&mut self, at: usize) {
        let gap = self.spans[at].gap.take();
        let millis = gap.map_or(0, |gap| gap.millis.max(0));
        for span in &mut self.spans[..at] {
            span.begin -= millis;
            span.end -= millis;
        }
    }

    /// Joins spans between which the wall clock was not set, and keeps their number within its bound.
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

    /// How much time has been observed in all, in milliseconds.
    pub(crate) fn observed(&self) -> i64 {
        self.observed
    }

    /// What is older than `age` milliseconds.
    pub(crate) fn older_than(&self, age: i64) -> Aged {
        self.aged(age, Gap::counted)
    }

    /// The same if everything that is unconfirmed were confirmed.
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
            // There is no age to measure.
            is_all: age == 0,
            eras,
        }
    }

    /// Which differences are not confirmed yet, if any.
    pub(crate) fn unconfirmed(&self) -> Option<UnconfirmedClock> {
        let gaps = self.spans.iter().filter_map(|span| span.gap);
        let long: Vec<Gap> = gaps.filter(|gap| gap.is_long()).collect();
        let found = long.iter().map(|gap| gap.found).max()?;
        Some(UnconfirmedClock {
            difference_ms: long.iter().map(|gap| gap.millis).sum(),
            left_ms: CONFIRMATION - (self.observed - found),
        })
    }

    /// Whether the record in the database is older than it may be.
    pub(crate) fn is_due(&self) -> bool {
        let is_old = |saved| self.observed - saved >= SAVE_EVERY;
        self.saved.is_none_or(is_old)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn save(&mut self, connection: &Connection) -> Result<(), StoreError> {
        meta::write(connection, NAME, self)?;
        self.saved = Some(self.observed);
        Ok(())
    }
}

/// A span, as the wall clock showed it.
#[derive(Debug, Clone, Copy)]
struct Era {
    from: i64,
    until: i64,
    /// What is of an earlier time in it, or of a time before it, is old.
    old_before: i64,
}

/// Tells by a row's time whether it is older than some age.
#[derive(Debug, Clone)]
pub(crate) struct Aged {
    is_all: bool,
    eras: Vec<Era>,
}

impl Aged {
    /// What is of an earlier time than this is.
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

    /// Nothing is.
    pub(crate) fn nothing() -> Self {
        Self {
            is_all: false,
            eras: Vec::new(),
        }
    }

    /// Whether a row of this time is. Where the wall clock has shown it more than once, the youngest counts; where no span
    /// has it, it is taken to be before those that show later times.
    pub(crate) fn is_old(&self, at: Timestamp) -> bool {
        let at = at.as_millis();
        let later = || self.eras.iter().filter(|era| at <= era.until);
        let is_known = later().any(|era| at >= era.from);
        let mut possible = later().filter(|era| !is_known || at >= era.from).peekable();
        self.is_all || possible.peek().is_some() && possible.all(|era| at < era.old_before)
    }

    /// Nothing of this time or later is.
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
