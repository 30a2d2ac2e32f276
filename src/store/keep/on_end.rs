//! What launches have asked to be done with their sessions' records after the end (`onEnd`): whose time has come, and when
//! to look for the next.
//!
//! Runs on the writer thread. It only reads: [`Request::OnEnd`] does it, and sees whether it still holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::clock::Clock;
use crate::api::{OnEnd, SessionId};
use crate::observe::say;
use crate::settings::durations;
use crate::store::columns::{Columns, columns};
use crate::store::facts::{Answer, Done, Refused, Request};
use crate::store::rows::select;
use crate::store::schema::StoreError;

/// A session whose `onEnd` is still to be carried out.
#[derive(Debug)]
pub(crate) struct Awaiting {
    id: SessionId,
    /// When its closing status was stored, in the time that [`Clock`] has observed.
    on_end_since: i64,
}

columns!(Awaiting { id, on_end_since });

/// When `onEnd` is carried out.
pub struct OnEndTimer {
    /// How long after the closing status, in milliseconds.
    delay: i64,
    /// `None` while no session awaits it.
    pub(crate) look_at: Option<Instant>,
    /// Called with each session that it deletes. Must not block.
    on_deleted: Arc<dyn Fn(SessionId) + Send + Sync>,
}

impl OnEndTimer {
    /// One that looks at once: sessions can await it since before this start.
    pub fn new(delay: Duration, on_deleted: Box<dyn Fn(SessionId) + Send + Sync>) -> Self {
        Self {
            delay: delay.as_millis() as i64,
            look_at: Some(Instant::now()),
            on_deleted: on_deleted.into(),
        }
    }

    /// Has it look now: a session has ended.
    pub(crate) fn look(&mut self) {
        self.look_at = Some(Instant::now());
    }

    /// What was to be done cannot be, for now.
    pub(crate) fn put_off(&mut self) {
        if self.look_at.is_some() {
            self.look_at = Some(Instant::now() + durations::ON_END_RETRY);
        }
    }

    /// A request whose time has come by `clock`. It looks again behind that; where there is none, when the next is due.
    /// A time that is not observed yet is from before a reboot, which has cost the clock's last minute: nobody follows then.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn due(
        &mut self,
        connection: &Connection,
        clock: &Clock,
    ) -> Result<Option<(Request, Done)>, StoreError> {
        let query = select::<Awaiting>("on_end_since IS NOT NULL ORDER BY on_end_since");
        let mut statement = connection.prepare_cached(&query)?;
        let mut rows = statement.query([])?;
        let mut least = None;
        while let Some(row) = rows.next()? {
            let Awaiting { id, on_end_since } = Awaiting::from_row(row)?;
            let age = clock.observed() - on_end_since;
            if !(0..self.delay).contains(&age) {
                return Ok(Some((Request::OnEnd { id }, self.done(id))));
            }
            least.get_or_insert(self.delay - age);
        }
        self.look_at = least.map(|millis| Instant::now() + Duration::from_millis(millis as u64));
        Ok(None)
    }

    /// Says what came of it.
    fn done(&self, session: SessionId) -> Done {
        let on_deleted = Arc::clone(&self.on_deleted);
        Box::new(move |answer| match answer {
            Ok(Answer::Deleted(id)) => {
                say!(OnEndDone, session, action: OnEnd::Delete);
                on_deleted(id);
            }
            Ok(Answer::Record(_)) => say!(OnEndDone, session, action: OnEnd::Archive),
            Err(Refused::Unavailable { reason }) => {
                say!(OnEndFailed, session: Some(session), reason: &reason);
            }
            // It has been called off.
            _ => {}
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SessionRecord;
    use crate::store::keep::clock::Now;
    use crate::store::migrations::VERSION;
    use crate::store::rows::insert_session;
    use crate::store::schema::migrate;

    const DELAY: i64 = 30_000;

    /// A database of sessions that have ended so many milliseconds ago; `None` awaits nothing.
    fn database(ages: &[Option<i64>]) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0..VERSION).unwrap();
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
        // A clock that has observed nothing yet.
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
        assert!(timer.look_at.is_some_and(|at| wait.contains(&at)));
        assert!(!is_due(&mut timer, &[None]));
        assert_eq!(timer.look_at, None);
        // What failed without it does not have it look.
        timer.put_off();
        assert_eq!(timer.look_at, None);
    }

    #[test]
    fn what_the_store_refuses_is_tried_again_after_a_pause() {
        let mut timer = timer();
        assert!(is_due(&mut timer, &[Some(DELAY)]));
        assert!(timer.look_at.is_some_and(|at| at <= Instant::now()));
        let before = Instant::now();
        timer.put_off();
        assert!(
            timer
                .look_at
                .is_some_and(|at| at >= before + durations::ON_END_RETRY)
        );
    }
}
