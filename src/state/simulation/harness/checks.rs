//! What must be true of a simulated harness after each step, and of the record of its end.

use super::{SimulatedThread, ThreadStage, UNREAD};
use crate::api::{EndedBy, SessionStatus};
use crate::state::simulation::{GRACE, SLOW, World};
use crate::store::End;
use crate::sys::Exit;

impl SimulatedThread {
    /// Checks that the process ends in time, and that nothing is read for nobody.
    pub(in crate::state::simulation) fn check(&self, world: &World) {
        let is_there = self.is_open() && !self.handover.is_away();
        let is_read_on = is_there && (self.is_deleted || world.stopped_at.is_some());
        assert!(
            !is_read_on,
            "late streams of a deleted session, or behind a stop"
        );
        let waits = self.stage == ThreadStage::Draining && self.is_end_wanted;
        assert!(
            !waits || self.is_hurried || self.handover.is_away(),
            "the drain of a session that is being ended waits for a holder"
        );
        if !self.is_alive() || self.is_refused || self.is_lost_known {
            return;
        }
        let Some(started_at) = self.started_at else {
            return;
        };
        if let Some((_, at)) = self.asked {
            let at = world
                .hurried_at
                .map_or(at + GRACE, |now| now.min(at + GRACE));
            let limit = at.max(started_at) + SLOW + world.upgrades.took;
            assert!(world.now <= limit, "it lives on after its grace");
        }
        if let (None, Some(limit)) = (self.asked, self.time_limit) {
            let end = started_at + limit + SLOW + world.upgrades.took;
            assert!(world.now <= end, "it lives on after its time");
        }
    }

    /// Whether the state thread knows of its exit, and the bytes that it still expects.
    pub(in crate::state::simulation) fn known_end(&self) -> (bool, usize) {
        let is_lost = self.is_lost_known && self.pid.is_some();
        let is_read = self.is_drain_known || is_lost || !self.is_exit_known;
        let unread = if is_read { 0 } else { UNREAD };
        (self.is_exit_known || is_lost, unread)
    }

    /// Checks the record of its end.
    pub(in crate::state::simulation) fn check_end(&self, end: &End) {
        let exit = self
            .exited
            .filter(|_| self.is_exit_known && !self.is_lost_known);
        let exit = exit.map(|(exit, _)| exit);
        let (by, status) = match (exit, self.asked) {
            (Some(_), Some((cause, _))) => (Some(cause.into()), SessionStatus::Killed),
            (Some(Exit::Code(0)), None) => (Some(EndedBy::Exit), SessionStatus::Completed),
            (Some(Exit::Code(_)), None) => (Some(EndedBy::Exit), SessionStatus::Failed),
            (Some(Exit::Signal(_)), None) => (Some(EndedBy::Signal), SessionStatus::Failed),
            (None, _) => (self.pid.map(|_| EndedBy::Lost), SessionStatus::Failed),
        };
        assert_eq!((end.ended_by, end.status), (by, status));
        assert!(!self.is_alive(), "it lives on behind its end");
        if status == SessionStatus::Killed {
            assert_eq!(self.family, 0, "its processes live on behind its end");
        }
    }

    /// Checks a recorded kill.
    pub(in crate::state::simulation) fn check_kill(&self, cause: &str) {
        let asked = self.asked.map(|(cause, _)| EndedBy::from(cause).as_str());
        assert_eq!(asked, Some(cause));
    }
}
