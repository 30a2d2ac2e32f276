//! Ended sessions whose streams are still held by a process that the harness left behind: the harness thread reads on.
//!
//! Runs on the state thread. They are not live; only the handle of their thread is kept.

use crate::api::SessionId;
use crate::harness::Harness;
use crate::observe::field::CloseCause;
use crate::observe::say;

/// An ended session with open streams.
struct LateSession {
    id: SessionId,
    harness: Harness,
    /// Its streams are being closed, for this reason.
    closing: Option<CloseCause>,
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
            harness,
            closing: None,
        };
        if self.is_stopping {
            entry.close(CloseCause::Stop);
        }
        self.sessions.push(entry);
    }

    /// Goes on with a session of the previous program.
    pub(super) fn take_up(&mut self, id: SessionId, closing: Option<CloseCause>, harness: Harness) {
        self.sessions.push(LateSession {
            id,
            harness,
            closing,
        });
        self.repeat_order(id);
    }

    /// Another thread, `harness`, has gone on with the streams of the session `id`.
    pub(super) fn resume(&mut self, id: SessionId, harness: Harness) {
        if let Some(entry) = self.sessions.iter_mut().find(|entry| entry.id == id) {
            entry.harness = harness;
        }
        self.repeat_order(id);
    }

    /// Repeats the order that the last thread of the session `id` may not have received.
    fn repeat_order(&self, id: SessionId) {
        if let Some(entry) = self.sessions.iter().find(|entry| entry.id == id)
            && let Some(why) = entry.closing
        {
            entry.harness.close(why);
        }
    }

    /// The sessions with the handles of their threads.
    pub(super) fn harnesses(&self) -> impl Iterator<Item = (SessionId, &Harness)> {
        self.sessions.iter().map(|entry| (entry.id, &entry.harness))
    }

    /// The sessions, with the reason why their streams are being closed, if they are.
    pub(super) fn entries(&self) -> impl Iterator<Item = (SessionId, Option<CloseCause>)> {
        self.sessions.iter().map(|entry| (entry.id, entry.closing))
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
        let mut entries = self.sessions.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.id == id) {
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
            self.harness.close(why);
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
