//! Limits that a harness thread checks: the longest time without output, and the number of tokens.
//!
//! It decides by the clock and by reported reads; it reads nothing itself.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::adapters::SessionLimits;
use crate::api::EndCause;
use crate::sys::passed;

/// The limits of one harness, until one is reached.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LimitWatch {
    #[serde(default, skip_serializing_if = "passed::is_default")]
    limits: SessionLimits,
    /// Time since the last read, not counting times without room in the store.
    #[serde(with = "passed::instant")]
    idle_since: Instant,
    #[serde(default, skip_serializing_if = "passed::is_default")]
    is_reached: bool,
}

impl LimitWatch {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            idle_since: Instant::now(),
            is_reached: false,
        }
    }

    /// Records a read, or that none was possible.
    pub(super) fn was_active(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Time at which the harness exceeds its idle limit.
    pub(super) fn idle_until(&self) -> Option<Instant> {
        let limit = self.limits.idle.filter(|_| !self.is_reached);
        limit.map(|limit| self.idle_since + limit)
    }

    /// The limit that is reached now, reported once: only while the harness runs; for idleness only while its pipes are
    /// read.
    pub(super) fn reached(
        &mut self,
        is_running: bool,
        is_held: bool,
        tokens: Option<u64>,
    ) -> Option<EndCause> {
        if self.is_reached || !is_running {
            return None;
        }
        let is_idle = || !is_held && self.idle_until().is_some_and(|at| at <= Instant::now());
        let cause = if self.limits.tokens.is_some_and(|max| tokens >= Some(max)) {
            EndCause::TokenLimit
        } else if is_idle() {
            EndCause::Idle
        } else {
            return None;
        };
        self.is_reached = true;
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limit_is_told_once_and_only_of_a_harness_that_runs() {
        let mut watch = LimitWatch::new(SessionLimits {
            tokens: Some(10),
            ..SessionLimits::default()
        });
        assert_eq!(watch.reached(true, false, Some(9)), None);
        assert_eq!(watch.reached(false, false, Some(10)), None);
        assert_eq!(
            watch.reached(true, false, Some(10)),
            Some(EndCause::TokenLimit)
        );
        assert_eq!(watch.reached(true, false, Some(11)), None);
    }

    #[test]
    fn a_harness_that_is_held_back_is_not_idle() {
        let mut watch = LimitWatch::new(SessionLimits {
            idle: Some(Duration::ZERO),
            ..SessionLimits::default()
        });
        assert_eq!(watch.reached(true, true, None), None);
        assert_eq!(watch.reached(true, false, None), Some(EndCause::Idle));
        assert_eq!(watch.idle_until(), None);
    }
}
