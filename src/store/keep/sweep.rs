//! Executes the retention planner's steps: a sweep deletes output, a preview only sums it.
//!
//! A sweep runs on the writer thread in small steps between two batches, or in the CLI's process while no daemon runs.
//! Each step is one transaction; [`super::truncation`] deletes.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::clock::Clock;
use super::retention::{Candidate, Next, Planner, Retention};
use super::tails::{Tail, Tails};
use super::truncation;
use crate::api::{Timestamp, UnconfirmedClock};
use crate::store::connect::pages;
use crate::store::facts::SweepResult;
use crate::store::schema::StoreError;

/// A running sweep.
#[derive(Debug)]
pub(crate) struct Sweep(Planner);

impl Sweep {
    pub(crate) fn new(retention: Retention, clock: &Clock) -> Self {
        Self(Planner::new(retention, retention.aged(clock)))
    }

    /// Runs one step; returns the totals when the sweep is complete.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        tails: &mut Tails,
    ) -> Result<Option<SweepResult>, StoreError> {
        match self.0.next(pages(connection)?.used()) {
            Next::Find { last, before } => self.0.found(candidate_after(connection, last, before)?),
            Next::Take { num, cut } => {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let mut tail = Tail::of(&transaction, num)?;
                let taken = truncation::truncate(&transaction, num, cut, &mut tail)?;
                if taken.is_some() {
                    tail.write(&transaction, num)?;
                    transaction.commit()?;
                    tails.remove(&num);
                }
                // The `output_truncated` event becomes the first row of the next range.
                self.0
                    .took(taken.map(|taken| (taken.dropped, taken.through - 1)));
            }
            Next::Done(pruned) => return Ok(Some(pruned)),
        }
        Ok(None)
    }
}

/// Sums what a sweep would delete.
pub(crate) fn preview(
    connection: &Connection,
    retention: Retention,
    clock: &Clock,
) -> Result<SweepResult, StoreError> {
    let mut planner = Planner::new(retention, retention.aged(clock));
    let mut used = pages(connection)?.used();
    loop {
        match planner.next(used) {
            Next::Find { last, before } => {
                planner.found(candidate_after(connection, last, before)?)
            }
            Next::Take { num, cut } => {
                let taken = truncation::measure(connection, num, cut)?;
                used = used.saturating_sub(taken.map_or(0, |taken| taken.freed));
                planner.took(taken.map(|taken| (taken.dropped, taken.through)));
            }
            Next::Done(pruned) => {
                return Ok(SweepResult {
                    unconfirmed: unconfirmed(connection, retention, clock)?,
                    ..pruned
                });
            }
        }
    }
}

/// The reason why old output is kept, if any: by the wall clock it is too old, but no daemon has observed that time pass.
pub(crate) fn unconfirmed(
    connection: &Connection,
    retention: Retention,
    clock: &Clock,
) -> Result<Option<UnconfirmedClock>, StoreError> {
    let Some(unconfirmed) = clock.unconfirmed() else {
        return Ok(None);
    };
    let (aged, maybe_aged) = (retention.aged(clock), retention.maybe_aged(clock));
    let mut statement = connection.prepare_cached(
        "SELECT created_at, updated_at FROM sessions
         WHERE stored_bytes > 0 AND status NOT IN ('created', 'running')
             AND min(created_at, updated_at) < ?1",
    )?;
    let mut rows = statement.query([maybe_aged.end()])?;
    while let Some(row) = rows.next()? {
        let times: [Timestamp; 2] = [row.get(0)?, row.get(1)?];
        let waits = |at: &Timestamp| maybe_aged.is_old(*at) && !aged.is_old(*at);
        if times.iter().any(waits) {
            return Ok(Some(unconfirmed));
        }
    }
    Ok(None)
}

/// The first ended session after `last`, in the order of their ends, that may have output to delete.
fn candidate_after(
    connection: &Connection,
    last: Option<Candidate>,
    before: Option<Timestamp>,
) -> Result<Option<Candidate>, StoreError> {
    let begun_before = before.map_or(i64::MAX, Timestamp::as_millis);
    let (updated_at, num) = last.map_or((i64::MIN, 0), |last| (last.updated_at, last.num.0));
    let mut statement = connection.prepare_cached(
        "SELECT num, updated_at FROM sessions
         WHERE stored_bytes > 0 AND status NOT IN ('created', 'running')
             AND (updated_at, num) > (?1, ?2) AND min(created_at, updated_at) < ?3
         ORDER BY updated_at, num LIMIT 1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Candidate {
            num: row.get(0)?,
            updated_at: row.get(1)?,
        })
    };
    let found = statement.query_row(params![updated_at, num, begun_before], read);
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EventKind, SessionId, SessionRecord, SessionStatus};
    use crate::random::{Random, rounds};
    use crate::store::keep::clock::Now;
    use crate::store::migrations;
    use crate::store::rows::{InsertEvent, insert_session};
    use crate::store::schema::{PAGE_BYTES, migrate};

    const DAY: i64 = 24 * 60 * 60 * 1000;

    /// A database of sessions that ended in the last hundred days.
    fn database(random: &mut Random) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "page_size", PAGE_BYTES)
            .unwrap();
        migrate(&mut connection, 0..migrations::version()).unwrap();
        for _ in 0..8 {
            // Half a day away from each limit: time passes during the test.
            let ended = Timestamp::now().as_millis() - DAY / 2 - random.below(100) as i64 * DAY;
            let text = String::new;
            let record = SessionRecord {
                status: *random.pick(&SessionStatus::ALL),
                created_at: Timestamp::from_millis(ended - 30 * DAY),
                updated_at: Timestamp::from_millis(ended),
                ..SessionRecord::new(SessionId::random(), text(), text(), text())
            };
            let num = insert_session(&connection, &record).unwrap();
            let mut tail = Tail::default();
            let mut insert = InsertEvent::prepare(&connection).unwrap();
            for day in 0..random.below(30) as i64 {
                let length = 10 + random.below(30_000);
                let payload = format!(r#"{{"data":"{}","stream":"stdout"}}"#, "x".repeat(length));
                let kind = *random.pick(&[EventKind::Output, EventKind::Status]);
                tail.last_seq += 1;
                if kind == EventKind::Output {
                    tail.add_output(payload.len(), None);
                }
                let at = Timestamp::from_millis(ended - (30 - day) * DAY);
                insert
                    .execute(num.key(tail.last_seq), kind, at, &payload)
                    .unwrap();
            }
            drop(insert);
            tail.write(&connection, num).unwrap();
        }
        connection
    }

    fn clock() -> Clock {
        Clock::begin(Now::read(), None)
    }

    fn sweep(connection: &mut Connection, retention: Retention) -> SweepResult {
        let mut sweep = Sweep::new(retention, &clock());
        loop {
            if let Some(pruned) = sweep.step(connection, &mut Tails::new()).unwrap() {
                return pruned;
            }
        }
    }

    #[test]
    fn a_preview_says_what_the_sweep_then_takes() {
        for seed in 0..rounds(20) {
            let mut random = Random::new(seed as u64);
            let mut connection = database(&mut random);
            let by_age = Retention {
                days: Some(random.below(110) as u32),
                ..Retention::default()
            };
            // Deletes the output of all ended sessions.
            let by_size = Retention {
                store_max: Some(1),
                ..Retention::default()
            };
            for retention in [by_age, by_size] {
                let previewed = preview(&connection, retention, &clock()).unwrap();
                assert_eq!(sweep(&mut connection, retention), previewed, "{seed}");
                let rest = preview(&connection, retention, &clock()).unwrap();
                assert_eq!(rest, SweepResult::default(), "{seed}");
            }
        }
    }
}
