//! Which output goes, and when: by age, and by the size of the store; the oldest ended sessions first, and never a live
//! one. Records and all other events stay.
//!
//! Runs on the writer thread in small steps between two batches, or in the CLI's process while no daemon runs. A step
//! is a transaction of its own; what it takes away, [`super::truncation`] does.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::tails::{Tail, Tails};
use super::truncation::{self, Cut};
use crate::api::Timestamp;
use crate::store::connect::pages;
use crate::store::facts::Pruned;
use crate::store::rows::SessionNum;
use crate::store::schema::StoreError;

/// What one step takes at most, in bytes on disk and in events: some milliseconds.
const STEP_BYTES: u64 = 2 * 1024 * 1024;
const STEP_EVENTS: u64 = 5000;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// How much is kept; `None` means all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days for which an ended session's output is kept.
    pub days: Option<u32>,
    /// What the store may take on disk, in bytes.
    pub store_max: Option<u64>,
    /// What the output of one session may take on disk, in bytes.
    pub session_max: Option<u64>,
}

/// Why output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is older than this.
    Age(Timestamp),
    /// The store is larger than it may be.
    Size,
}

/// An ended session that has output.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    num: SessionNum,
    /// Its place in the order of sweeps: when its record was last changed, which is when it ended, or when something that
    /// its harness has left behind wrote last.
    updated_at: i64,
}

/// One pass over the ended sessions: first by age, then, if the store is too large, by size.
#[derive(Debug)]
pub(crate) struct Sweep {
    retention: Retention,
    why: Why,
    /// Whether the first session has been looked for, for this reason: behind the last there is no current one, either.
    is_begun: bool,
    /// The session that is being worked on, and how far.
    current: Option<(Candidate, u64)>,
    has_taken_of_current: bool,
    pruned: Pruned,
}

impl Sweep {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            // Nothing is older than the beginning of time.
            why: Why::Age(
                retention
                    .days
                    .map_or(Timestamp::from_millis(i64::MIN), cutoff),
            ),
            is_begun: false,
            current: None,
            has_taken_of_current: false,
            pruned: Pruned::default(),
        }
    }

    /// Takes a little away; what it came to in all, once there is nothing more to do.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        tails: &mut Tails,
    ) -> Result<Option<Pruned>, StoreError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.next(connection, None)?;
        }
        let Some((candidate, after)) = self.current else {
            return self.next_reason(connection);
        };
        let room = match self.why {
            Why::Age(_) => u64::MAX,
            Why::Size => match excess(connection, &self.retention)? {
                0 => return Ok(Some(self.pruned)),
                excess => excess,
            },
        };
        let cut = Cut {
            bytes_max: room.min(STEP_BYTES),
            events_max: STEP_EVENTS,
            ..self.why.cut(candidate, after)
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tail = Tail::of(&transaction, candidate.num)?;
        let (dropped, through) = truncation::truncate(&transaction, candidate.num, cut, &mut tail)?;
        tail.write(&transaction, candidate.num)?;
        transaction.commit()?;
        tails.remove(&candidate.num);
        if through == 0 {
            self.next(connection, Some(candidate))?;
            return Ok(None);
        }
        self.pruned.dropped += dropped;
        self.pruned.sessions += u64::from(!self.has_taken_of_current);
        self.has_taken_of_current = true;
        // The event that says what is gone is the first of the next range.
        self.current = Some((candidate, through - 1));
        Ok(None)
    }

    /// Goes on to the session behind `last`, if there is one.
    fn next(&mut self, connection: &Connection, last: Option<Candidate>) -> Result<(), StoreError> {
        let next = candidate_after(connection, self.why, last)?;
        self.current = next.map(|candidate| (candidate, 0));
        self.has_taken_of_current = false;
        Ok(())
    }

    /// What is done by age is looked at by size; that done, the sweep is over.
    fn next_reason(&mut self, connection: &Connection) -> Result<Option<Pruned>, StoreError> {
        if matches!(self.why, Why::Age(_)) && is_over(connection, &self.retention)? {
            self.why = Why::Size;
            self.is_begun = false;
            return Ok(None);
        }
        Ok(Some(self.pruned))
    }
}

impl Why {
    /// What of a session goes for this reason.
    fn cut(self, candidate: Candidate, after: u64) -> Cut {
        let before = match self {
            // All of its output is as old.
            Self::Age(cutoff) if candidate.updated_at < cutoff.as_millis() => None,
            Self::Age(cutoff) => Some(cutoff),
            Self::Size => None,
        };
        Cut {
            after,
            until: u64::MAX,
            before,
            bytes_max: u64::MAX,
            events_max: u64::MAX,
        }
    }
}

/// What a sweep would take, without taking it.
pub(crate) fn preview(connection: &Connection, retention: Retention) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let mut aged = Vec::new();
    let mut freed_by_age = 0;
    if let Some(days) = retention.days {
        let why = Why::Age(cutoff(days));
        let mut last = None;
        while let Some(candidate) = candidate_after(connection, why, last)? {
            let (dropped, freed) =
                truncation::measure(connection, candidate.num, why.cut(candidate, 0))?;
            pruned.dropped += dropped;
            pruned.sessions += u64::from(dropped.events > 0);
            freed_by_age += freed;
            if dropped.events > 0 {
                aged.push(candidate.num);
            }
            last = Some(candidate);
        }
    }
    let mut excess = match pages(connection)?.used().saturating_sub(freed_by_age) {
        used if retention.store_max.is_some_and(|limit| used > limit) => {
            excess(connection, &retention)?.saturating_sub(freed_by_age)
        }
        _ => 0,
    };
    let mut last = None;
    while excess > 0
        && let Some(candidate) = candidate_after(connection, Why::Size, last)?
    {
        last = Some(candidate);
        if aged.contains(&candidate.num) {
            continue;
        }
        let cut = Cut {
            bytes_max: excess,
            ..Why::Size.cut(candidate, 0)
        };
        let (dropped, freed) = truncation::measure(connection, candidate.num, cut)?;
        pruned.dropped += dropped;
        pruned.sessions += u64::from(dropped.events > 0);
        excess = excess.saturating_sub(freed);
    }
    Ok(pruned)
}

fn cutoff(days: u32) -> Timestamp {
    Timestamp::from_millis(Timestamp::now().as_millis() - i64::from(days) * DAY_MILLIS)
}

/// The first session behind `last`, in the order in which they ended, that may have output to lose.
fn candidate_after(
    connection: &Connection,
    why: Why,
    last: Option<Candidate>,
) -> Result<Option<Candidate>, StoreError> {
    let begun_before = match why {
        Why::Age(cutoff) => cutoff.as_millis(),
        Why::Size => i64::MAX,
    };
    let (updated_at, num) = last.map_or((i64::MIN, 0), |last| (last.updated_at, last.num.0));
    let mut statement = connection.prepare_cached(
        "SELECT num, updated_at FROM sessions
         WHERE stored_bytes > 0 AND status NOT IN ('created', 'running')
             AND (updated_at, num) > (?1, ?2) AND min(created_at, updated_at) < ?3
         ORDER BY updated_at, num LIMIT 1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Candidate {
            num: SessionNum(row.get(0)?),
            updated_at: row.get(1)?,
        })
    };
    let found = statement.query_row(params![updated_at, num, begun_before], read);
    Ok(found.optional()?)
}

/// Whether the store is larger than it may be.
pub(crate) fn is_over(connection: &Connection, retention: &Retention) -> Result<bool, StoreError> {
    let used = pages(connection)?.used();
    Ok(retention.store_max.is_some_and(|limit| used > limit))
}

/// By how many bytes the store is larger than it should become: a sixteenth below its limit, so that not every batch
/// meets it again. 0 as long as it is within.
fn excess(connection: &Connection, retention: &Retention) -> Result<u64, StoreError> {
    let Some(limit) = retention.store_max else {
        return Ok(0);
    };
    let goal = limit - limit / 16;
    Ok(pages(connection)?.used().saturating_sub(goal))
}
