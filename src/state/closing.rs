//! The closing facts of a session.
//!
//! Pure; used by the state thread.

use super::session::Session;
use crate::api::{EndedBy, SessionCost, Usage};
use crate::store::{End, Fact, NewEvent};
use crate::sys::Exit;

impl Session {
    /// Its closing facts, if it has a row.
    pub(super) fn closing(
        &self,
        cost: SessionCost,
        usage: Option<Box<Usage>>,
        event: NewEvent,
    ) -> Option<Fact> {
        Some(Fact::Ended {
            num: self.num?,
            end: Box::new(self.end_record()),
            cost,
            usage,
            events: vec![event],
        })
    }

    pub(super) fn end_record(&self) -> End {
        let exit = self.exit.map(|exited| exited.exit);
        let (exit_code, signal) = match exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let ended_by = match (exit, self.ending) {
            (Some(_), Some(ending)) => Some(ending.cause.into()),
            (Some(Exit::Code(_)), None) => Some(EndedBy::Exit),
            (Some(Exit::Signal(_)), None) => Some(EndedBy::Signal),
            // Without a pid it never started.
            (None, _) => self.pid.map(|_| EndedBy::Lost),
        };
        End {
            status: self.status(),
            exit_code,
            signal,
            ended_by,
            oom_killed: self
                .exit
                .is_some_and(|exited| exited.oom_killed && self.ending.is_none()),
            left_behind: self.left.clone(),
        }
    }
}
