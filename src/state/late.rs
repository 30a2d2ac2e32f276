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
    /// Its streams are being closed.
    is_closing: bool,
}

/// These sessions, in the order of their ends.
#[derive(Default)]
pub(super) struct Late(Vec<LateSession>);

impl Late {
    pub(super) fn add(&mut self, id: SessionId, harness: Harness) {
        say!(SessionLate, session: id);
        self.0.push(LateSession {
            id,
            harness,
            is_closing: false,
        });
    }

    /// Removes a session whose thread has ended.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.0.retain(|entry| entry.id != id);
    }

    /// True if no such thread is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Closes the streams of the session `id`, if it is in the list.
    pub(super) fn close(&mut self, id: SessionId, why: CloseCause) {
        let mut entries = self.0.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.id == id) {
            entry.close(why);
        }
    }

    /// Closes the streams of the oldest sessions until fewer than `room` are open.
    pub(super) fn leave_below(&mut self, room: usize, why: CloseCause) {
        let open = self.0.iter().filter(|entry| !entry.is_closing).count();
        let excess = (open + 1).saturating_sub(room);
        let oldest = self.0.iter_mut().filter(|entry| !entry.is_closing);
        oldest.take(excess).for_each(|entry| entry.close(why));
    }
}

impl LateSession {
    fn close(&mut self, why: CloseCause) {
        if !std::mem::replace(&mut self.is_closing, true) {
            say!(LateStreamClosed, session: self.id, why);
            self.harness.close(why);
        }
    }
}
