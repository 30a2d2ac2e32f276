//! Finds the ended sessions whose `onEnd` is due, and the time of the next one.
//!
//! Runs on the writer thread. It only reads: [`StoreRequest::OnEnd`] executes it, and checks that it is still wanted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::clock::Clock;
use crate::api::{OnEnd, SessionId};
use crate::observe::say;
use crate::settings::durations;
use crate::store::columns::{Columns, columns};
use crate::store::facts::{Committed, Done, Refused, StoreRequest};
use crate::store::rows::select;
use crate::store::schema::StoreError;

/// A session whose `onEnd` is pending.
#[derive(Debug)]
pub(crate) struct Awaiting {
    id: SessionId,
    /// When its final status was stored, in the observed time of [`Clock`].
    on_end_since: i64,
}

columns!(Awaiting { id, on_end_since });

/// Schedule of pending `onEnd` actions.
pub struct OnEndTimer {
    /// Delay after the final status, in milliseconds.
    delay: i64,
    /// Time of the next check; `None` while no session is pending.
    pub(crate) check_at: Option<Instant>,
    /// Called for each session that it deletes. Must not block.
    on_deleted: Arc<dyn Fn(SessionId) + Send + Sync>,
}

impl OnEndTimer {
    /// A timer that checks at once: sessions may be pending from before this start.
    pub fn new(delay: Duration, on_deleted: Box<dyn Fn(SessionId) + Send + Sync>) -> Self {
        Self {
            delay: delay.as_millis() as i64,
            check_at: Some(Instant::now()),
            on_deleted: on_deleted.into(),
        }
    }

    /// Checks at once: a session has ended.
    pub(crate) fn check_now(&mut self) {
        self.check_at = Some(Instant::now());
    }

    /// Retries after [`durations::ON_END_RETRY`]: the store refused it.
    pub(crate) fn put_off(&mut self) {
        if self.check_at.is_some() {
            self.check_at = Some(Instant::now() + durations::ON_END_RETRY);
        }
    }

    /// The first request that is due by `clock`; the next check follows it. Without one, the next check is when the
    /// next session is due. A time in the future is from before a reboot that lost the clock's last minute; it is due.
    pub(crate) fn due(
        &mut self,
        connection: &Connection,
        clock: &Clock,
    ) -> Result<Option<(StoreRequest, Done)>, StoreError> {
        let query = select::<Awaiting>("on_end_since IS NOT NULL ORDER BY on_end_since");
        let mut statement = connection.prepare_cached(&query)?;
        let mut rows = statement.query([])?;
        let mut least = None;
        while let Some(row) = rows.next()? {
            let Awaiting { id, on_end_since } = Awaiting::from_row(row)?;
            let age = clock.observed() - on_end_since;
            if !(0..self.delay).contains(&age) {
                return Ok(Some((StoreRequest::OnEnd { id }, self.done(id))));
            }
            least.get_or_insert(self.delay - age);
        }
        self.check_at = least.map(|millis| Instant::now() + Duration::from_millis(millis as u64));
        Ok(None)
    }

    /// Callback that logs the result.
    fn done(&self, session: SessionId) -> Done {
        let on_deleted = Arc::clone(&self.on_deleted);
        Box::new(move |answer| match answer {
            Ok(Committed::Deleted(id)) => {
                say!(OnEndDone, session, action: OnEnd::Delete);
                on_deleted(id);
            }
            Ok(Committed::Record(_)) => say!(OnEndDone, session, action: OnEnd::Archive),
            Err(Refused::Unavailable { reason }) => {
                say!(OnEndFailed, session: Some(session), reason: &reason);
            }
            // It was cancelled.
            _ => {}
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SessionRecord;
    use crate::store::keep::clock::Now;
    use crate::store::migrations;
    use crate::store::rows::insert_session;
    use crate::store::schema::migrate;

    const DELAY: i64 = 30_000;

    /// A database of sessions that ended `ages` milliseconds ago; `None` has no pending `onEnd`.
    fn database(ages: &[Option<i64>]) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0..migrations::version()).unwrap();
        for age in ages {
            let text = String::new;
            let record = SessionRecord::new(SessionId::random(), text(), text(), text());
            let num = insert_session(&connection, &record).unwrap();
            let update = "UPDATE sessions SET on_end_since = ?2 WHERE num = ?1";
            let since = age.map(|age: i64| -age);
            connection
                .execute(update, rusqlite::params![num, since])
                .unwrap();
        }
        connection
    }

    fn timer() -> OnEndTimer {
        OnEndTimer::new(
            Duration::from_millis(DELAY as u64),
            Box::new(|_| unreachable!()),
        )
    }

    fn is_due(timer: &mut OnEndTimer, ages: &[Option<i64>]) -> bool {
        // A clock whose observed time is 0.
        let clock = Clock::begin(Now::read(), None);
        timer.due(&database(ages), &clock).unwrap().is_some()
    }

    #[test]
    fn a_session_is_due_when_its_delay_is_over_and_before_a_reboot_that_lost_the_time() {
        for (ages, expected) in [
            (&[][..], false),
            (&[None], false),
            (&[Some(0)], false),
            (&[Some(DELAY - 1)], false),
            (&[Some(DELAY)], true),
            (&[Some(0), None, Some(2 * DELAY)], true),
            (&[Some(-1)], true),
            (&[Some(0), Some(-1)], true),
        ] {
            assert_eq!(is_due(&mut timer(), ages), expected, "{ages:?}");
        }
    }

    #[test]
    fn the_timer_waits_for_the_oldest_only_and_for_nothing_where_none_awaits() {
        let mut timer = timer();
        let before = Instant::now();
        assert!(!is_due(&mut timer, &[Some(0), Some(10_000), None]));
        let left = Duration::from_millis(20_000);
        let wait = before + left..=Instant::now() + left;
        assert!(timer.check_at.is_some_and(|at| wait.contains(&at)));
        assert!(!is_due(&mut timer, &[None]));
        assert_eq!(timer.check_at, None);
        // An unrelated failure starts no timer.
        timer.put_off();
        assert_eq!(timer.check_at, None);
    }

    #[test]
    fn an_on_end_that_the_store_refuses_is_retried_after_a_pause() {
        let mut timer = timer();
        assert!(is_due(&mut timer, &[Some(DELAY)]));
        assert!(timer.check_at.is_some_and(|at| at <= Instant::now()));
        let before = Instant::now();
        timer.put_off();
        assert!(
            timer
                .check_at
                .is_some_and(|at| at >= before + durations::ON_END_RETRY)
        );
    }
}
