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
