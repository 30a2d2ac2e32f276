//! Ended sessions whose streams are still held by a process that the harness left behind: the harness thread reads on.
//!
//! Runs on the state thread. They are not live; only the handle of their thread is kept.

use std::mem;

use serde::{Deserialize, Serialize};

use crate::api::SessionId;
use crate::harness::{Harness, PumpHandover};
use crate::observe::field::CloseCause;
use crate::observe::say;

/// An ended session with open streams.
#[derive(Serialize, Deserialize)]
pub(super) struct LateSession {
    pub(super) id: SessionId,
    /// `None` in a next program that has not started its thread yet.
    #[serde(skip)]
    pub(super) harness: Option<Harness>,
    /// Its streams are being closed, for this reason.
    closing: Option<CloseCause>,
    /// What its thread has left to the thread that goes on.
    pub(super) pump: Option<Box<PumpHandover>>,
}

/// These sessions, in the order of their ends.
#[derive(Default)]
pub(super) struct Late {
    sessions: Vec<LateSession>,
    /// The daemon stops: streams are closed at once.
    is_stopping: bool,
}

impl Late {
    pub(super) fn add(&mut self, id: SessionId, harness: Harness) {
        say!(SessionLate, session: id);
        let mut entry = LateSession {
            id,
            harness: Some(harness),
            closing: None,
            pump: None,
        };
        if self.is_stopping {
            entry.close(CloseCause::Stop);
        }
        self.sessions.push(entry);
    }

    /// Takes all sessions out.
    pub(super) fn take_all(&mut self) -> Vec<LateSession> {
        mem::take(&mut self.sessions)
    }

    /// Goes on with sessions that have been taken out, here or in the previous program.
    pub(super) fn put_back(&mut self, sessions: Vec<LateSession>) {
        self.sessions.extend(sessions);
    }

    pub(super) fn find(&mut self, id: SessionId) -> Option<&mut LateSession> {
        self.sessions.iter_mut().find(|entry| entry.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LateSession> {
        self.sessions.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut LateSession> {
        self.sessions.iter_mut()
    }

    /// Removes a session whose thread has ended.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.sessions.retain(|entry| entry.id != id);
    }

    /// True if no such thread is left.
    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.sessions.iter().any(|entry| entry.id == *id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Closes the streams of the session `id`, if it is in the list.
    pub(super) fn close(&mut self, id: SessionId, why: CloseCause) {
        if let Some(entry) = self.find(id) {
            entry.close(why);
        }
    }

    /// Closes the streams of the oldest sessions until fewer than `room` are open.
    pub(super) fn make_room(&mut self, room: usize) {
        let entries = self.sessions.iter();
        let open = entries.filter(|entry| entry.closing.is_none()).count();
        let excess = (open + 1).saturating_sub(room);
        let open = self
            .sessions
            .iter_mut()
            .filter(|entry| entry.closing.is_none());
        let oldest = open.take(excess);
        oldest.for_each(|entry| entry.close(CloseCause::Room));
    }

    /// Closes all streams, also those of sessions that end later.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        for entry in &mut self.sessions {
            entry.close(CloseCause::Stop);
        }
    }
}

impl LateSession {
    fn close(&mut self, why: CloseCause) {
        if self.closing.replace(why).is_none() {
            say!(LateStreamClosed, session: self.id, why);
            self.repeat_order();
        }
    }

    /// Another thread has gone on with its streams.
    pub(super) fn resume(&mut self, harness: Harness) {
        self.harness = Some(harness);
        self.repeat_order();
    }

    /// Repeats the order that its last thread may not have received.
    pub(super) fn repeat_order(&self) {
        if let (Some(harness), Some(why)) = (&self.harness, self.closing) {
            harness.close(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::harness::Order;

    #[test]
    fn a_new_session_closes_as_many_of_the_oldest_as_it_needs_and_a_deletion_its_own() {
        let mut late = Late::default();
        let all = [1, 2, 3].map(|number| {
            let id: SessionId = format!("00000000-0000-4000-8000-{number:012}")
                .parse()
                .unwrap();
            let (harness, orders) = Harness::new(Arc::default()).unwrap();
            late.add(id, harness);
            (id, orders)
        });
        let closed = || {
            all.each_ref().map(|(_, orders)| {
                let orders = orders.try_iter().map(|order| match order {
                    Order::Close(why) => format!("{why:?}"),
                    other => panic!("{other:?}"),
                });
                orders.collect::<Vec<_>>().join(" ")
            })
        };
        late.make_room(4);
        assert_eq!(closed(), ["", "", ""]);
        late.make_room(3);
        assert_eq!(closed(), ["Room", "", ""]);
        // The first is being closed: it takes no place any more.
        late.make_room(3);
        assert_eq!(closed(), ["", "", ""]);
        late.close(all[2].0, CloseCause::Deleted);
        assert_eq!(closed(), ["", "", "Deleted"]);
        late.stop();
        assert_eq!(closed(), ["", "Stop", ""]);
        for (id, _) in &all {
            assert!(late.contains(id) && !late.is_empty());
            late.forget(*id);
            assert!(!late.contains(id));
        }
        assert!(late.is_empty());
    }
}
