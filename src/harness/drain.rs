//! The drain between a harness's exit and its session's end: the content of the pipes is read, and for a limited time
//! also the output of processes that hold them.
//!
//! Runs on the harness thread. It decides by the clock and by reported reads; it reads nothing itself.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::tally::Exited;
use crate::settings::durations;
use crate::sys::passed;

/// The holder of a pipe after the harness's exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Holder {
    /// Not checked yet: most pipes close with their harness.
    Unknown,
    /// No process of the session, as far as known, or one that is about to be ended.
    Nobody,
    Family,
}

/// A running drain.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drain {
    pub(super) exited: Exited,
    #[serde(with = "passed::instant")]
    begun: Instant,
    /// Longest duration while a process of the session holds a pipe.
    most: Duration,
    /// Time without room in the store, which does not count.
    held: Duration,
    /// Time of the last read with data, or of the start.
    #[serde(with = "passed::instant")]
    quiet_since: Instant,
    holder: Holder,
    is_over: bool,
}

impl Drain {
    /// A drain that starts at `now`.
    pub(super) fn new(exited: Exited, now: Instant, most: Duration) -> Self {
        Self {
            exited,
            begun: now,
            most,
            held: Duration::ZERO,
            quiet_since: now,
            holder: Holder::Unknown,
            is_over: false,
        }
    }

    /// Time at which it is over if nothing is read until then.
    pub(super) fn deadline(&self) -> Instant {
        self.end().min(self.quiet_until())
    }

    fn end(&self) -> Instant {
        let most = match self.holder {
            Holder::Family => self.most,
            Holder::Unknown | Holder::Nobody => durations::DRAIN_MAX,
        };
        self.begun + most + self.held
    }

    fn quiet_until(&self) -> Instant {
        let quiet = match self.holder {
            Holder::Family => durations::DRAIN_HELD_QUIET,
            Holder::Unknown | Holder::Nobody => durations::DRAIN_QUIET,
        };
        self.quiet_since + quiet
    }

    /// Records a read with data.
    pub(super) fn was_read(&mut self, now: Instant) {
        self.quiet_since = now;
    }

    /// Records that the store had no room for `held`: the pipes' content at the exit is read in any case.
    pub(super) fn was_held(&mut self, held: Duration, now: Instant) {
        self.held += held;
        self.quiet_since = now;
    }

    /// The session's end was requested: holders are about to be ended, too.
    pub(super) fn hurry(&mut self) {
        self.holder = Holder::Nobody;
    }

    /// Checks the clock after a wait. `is_idle`: the pipes were waited for and had no data, so the thread was not just late.
    /// `has_read_rest`: the pipes' content at the exit has been read. `asks` checks whether a process of the session holds a pipe.
    pub(super) fn check(
        &mut self,
        now: Instant,
        is_idle: bool,
        has_read_rest: bool,
        asks: impl FnOnce() -> bool,
    ) {
        let is_quiet = is_idle && now >= self.quiet_until();
        // A process that writes for ever is not waited for; the harness's own output came before.
        let is_late = has_read_rest && now >= self.end();
        if !is_quiet && !is_late {
            return;
        }
        if self.holder == Holder::Unknown {
            self.holder = match asks() {
                true => Holder::Family,
                false => Holder::Nobody,
            };
            self.is_over = self.holder == Holder::Nobody;
            return;
        }
        self.is_over = true;
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// True if no data has arrived recently.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet_since.elapsed() >= durations::DRAIN_QUIET
    }

    /// True if a process of the session is known to hold a pipe.
    pub(super) fn is_held(&self) -> bool {
        self.holder == Holder::Family
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Timestamp;

    fn drain(begun: Instant) -> Drain {
        let exited = Exited {
            at: Timestamp::from_millis(0),
            usage: None,
        };
        Drain::new(exited, begun, Duration::from_secs(5))
    }

    /// Milliseconds after the start at which a drain is over, if data arrives at the times `reads`.
    fn over_after(mut drain: Drain, reads: &[u64], is_held: bool) -> u64 {
        let begun = drain.begun;
        let mut reads = reads.iter().map(|ms| begun + Duration::from_millis(*ms));
        let mut next = reads.next();
        loop {
            let deadline = drain.deadline();
            let (now, is_idle) = match next {
                Some(at) if at < deadline => (at, false),
                _ => (deadline, true),
            };
            drain.check(now, is_idle, true, || is_held);
            if drain.is_over() {
                return (now - begun).as_millis() as u64;
            }
            if !is_idle {
                drain.was_read(now);
                next = reads.next();
            }
        }
    }

    #[test]
    fn pipes_that_nobody_holds_are_drained_when_they_are_quiet() {
        let now = Instant::now();
        assert_eq!(over_after(drain(now), &[], false), 100);
        assert_eq!(over_after(drain(now), &[50, 120], false), 220);
        let steady: Vec<u64> = (0..200).map(|n| n * 50).collect();
        assert_eq!(over_after(drain(now), &steady, false), 1000);
    }

    #[test]
    fn pipes_that_a_process_of_the_session_holds_are_read_for_longer() {
        let now = Instant::now();
        assert_eq!(over_after(drain(now), &[], true), 2000);
        assert_eq!(over_after(drain(now), &[50, 1500], true), 3500);
        let steady: Vec<u64> = (0..200).map(|n| n * 50).collect();
        assert_eq!(over_after(drain(now), &steady, true), 5000);
        let slow = [1500, 3000, 4500, 6000];
        assert_eq!(over_after(drain(now), &slow, true), 5000);
    }

    #[test]
    fn a_session_whose_end_is_asked_for_waits_for_no_holder() {
        let now = Instant::now();
        let mut ending = drain(now);
        ending.hurry();
        assert_eq!(over_after(ending, &[], true), 100);
        let mut later = drain(now);
        later.check(now + durations::DRAIN_QUIET, true, true, || true);
        assert!(later.is_held() && !later.is_over());
        later.hurry();
        assert_eq!(over_after(later, &[], true), 100);
    }

    #[test]
    fn the_time_without_room_in_the_store_does_not_count() {
        let now = Instant::now();
        let mut drain = drain(now);
        let held = Duration::from_secs(60);
        drain.was_held(held, now + held);
        let steady: Vec<u64> = (0..200).map(|n| 60_000 + n * 50).collect();
        assert_eq!(over_after(drain, &steady, false), 61_000);
    }

    #[test]
    fn the_content_of_the_pipes_at_the_exit_is_read_in_any_case() {
        let now = Instant::now();
        let mut drain = drain(now);
        drain.check(now + Duration::from_secs(60), false, false, || false);
        assert!(!drain.is_over());
        drain.check(now + Duration::from_secs(60), false, true, || false);
        assert!(drain.is_over());
    }
}
