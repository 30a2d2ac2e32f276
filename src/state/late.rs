//! The sessions that have ended while something that their harness has left behind still holds a stream: the harness thread
//! reads on.
//!
//! Runs on the state thread. They are not live: what is kept of one is the hold on its thread.

use crate::api::SessionId;
use crate::harness::Harness;
use crate::observe::field::CloseCause;
use crate::observe::say;

/// A session whose streams are read behind its end.
struct Entry {
    id: SessionId,
    harness: Harness,
    /// Its streams are being closed.
    is_closing: bool,
}

/// Those sessions, in the order in which they ended.
#[derive(Default)]
pub(super) struct Late(Vec<Entry>);

impl Late {
    pub(super) fn add(&mut self, id: SessionId, harness: Harness) {
        say!(SessionLate, session: id);
        self.0.push(Entry {
            id,
            harness,
            is_closing: false,
        });
    }

    /// Its thread has ended.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.0.retain(|entry| entry.id != id);
    }

    /// Whether no thread of such a session is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has the streams of the session `id` closed, if it is one of these.
    pub(super) fn close(&mut self, id: SessionId, why: CloseCause) {
        let mut entries = self.0.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.id == id) {
            entry.close(why);
        }
    }

    /// Has the streams of the oldest closed, until fewer than `room` are left open.
    pub(super) fn leave_below(&mut self, room: usize, why: CloseCause) {
        let open = self.0.iter().filter(|entry| !entry.is_closing).count();
        let excess = (open + 1).saturating_sub(room);
        let oldest = self.0.iter_mut().filter(|entry| !entry.is_closing);
        oldest.take(excess).for_each(|entry| entry.close(why));
    }
}

impl Entry {
    fn close(&mut self, why: CloseCause) {
        if !std::mem::replace(&mut self.is_closing, true) {
            say!(LateStreamClosed, session: self.id, why);
            self.harness.close(why);
        }
    }
}
