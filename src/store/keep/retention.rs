//! Decides which output is deleted, by age and by the store's size: the oldest ended sessions first, never a live one.
//! A prompt counts as output; records and all other events stay.
//!
//! Pure: the caller reports what it found, deleted, and what is in use. [`super::sweep`] executes the plan, or sums it
//! for a preview.

use std::collections::HashMap;

use super::clock::{Aged, Clock, DAY};
use super::truncation::Cut;
use crate::api::Timestamp;
use crate::store::facts::{Dropped, SweepResult};
use crate::store::rows::SessionNum;

/// Most that one step deletes, in bytes on disk and in events: some milliseconds.
const STEP_BYTES: u64 = 2 * 1024 * 1024;
const STEP_EVENTS: u64 = 5000;

/// Retention limits; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days for which output of an ended session is kept.
    pub days: Option<u32>,
    /// Bytes on disk that the store may use.
    pub store_max: Option<u64>,
    /// Bytes on disk that one session's output may use.
    pub session_max: Option<u64>,
}

impl Retention {
    /// The same limits with at most `days` days, and at least one.
    pub(crate) fn within(self, days: Option<u32>) -> Self {
        let asked = days.map(|days| days.max(1));
        Self {
            days: self.days.into_iter().chain(asked).min(),
            ..self
        }
    }

    /// Recognises rows that are too old by `clock`.
    pub(super) fn aged(&self, clock: &Clock) -> Aged {
        let days = self
            .days
            .map(|days| clock.older_than(i64::from(days) * DAY));
        days.unwrap_or(Aged::nothing())
    }

    /// As [`Retention::aged`], as if all gaps of the clock were confirmed.
    pub(super) fn maybe_aged(&self, clock: &Clock) -> Aged {
        let days = self
            .days
            .map(|days| clock.maybe_older_than(i64::from(days) * DAY));
        days.unwrap_or(Aged::nothing())
    }

    /// True if a store with `used` bytes in use exceeds its limit.
    pub(crate) fn is_over(&self, used: u64) -> bool {
        self.store_max.is_some_and(|limit| used > limit)
    }

    /// Bytes to free from a store over its limit: down to a sixteenth below the limit, so that the next batch does not
    /// exceed it again.
    fn excess(&self, used: u64) -> u64 {
        let goal = self.store_max.map(|limit| limit - limit / 16);
        goal.map_or(0, |goal| used.saturating_sub(goal))
    }
}

/// An ended session with output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub num: SessionNum,
    /// Its position in the sweep's order: when it ended, or when a process that its harness left behind last wrote.
    pub updated_at: i64,
}

/// The planner's next step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next<'a> {
    /// Find the first candidate after `last` that started before `before`; report it to [`Planner::found`].
    Find {
        last: Option<Candidate>,
        before: Option<Timestamp>,
    },
    /// Delete `cut` of a session's output; report it to [`Planner::took`].
    Take { num: SessionNum, cut: Cut<'a> },
    /// The sweep is complete, with these totals.
    Done(SweepResult),
}

/// Why output is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Age,
    Size,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Behind(Option<Candidate>),
    Session(Candidate),
    /// No candidate is left for this reason.
    End,
}

/// One pass over the ended sessions: first by age, then by size if the store is over its limit.
#[derive(Debug)]
pub(super) struct Planner {
    retention: Retention,
    aged: Aged,
    why: Why,
    at: At,
    /// Seq after which to go on, for each session that lost output.
    taken: HashMap<SessionNum, u64>,
    dropped: Dropped,
}

impl Planner {
    pub(super) fn new(retention: Retention, aged: Aged) -> Self {
        Self {
            retention,
            aged,
            why: Why::Age,
            at: At::Behind(None),
            taken: HashMap::new(),
            dropped: Dropped::default(),
        }
    }

    /// The next step, while `used` bytes of the store are in use.
    pub(super) fn next(&mut self, used: u64) -> Next<'_> {
        if let (At::End, Why::Age) = (self.at, self.why)
            && self.retention.is_over(used)
        {
            self.why = Why::Size;
            self.at = At::Behind(None);
        }
        let (aged, room) = match self.why {
            Why::Age => (Some(&self.aged), u64::MAX),
            Why::Size => (None, self.retention.excess(used)),
        };
        match self.at {
            At::Behind(last) if room > 0 => Next::Find {
                last,
                before: aged.map(Aged::end),
            },
            At::Session(candidate) if room > 0 => Next::Take {
                num: candidate.num,
                cut: Cut {
                    after: self.taken.get(&candidate.num).copied().unwrap_or(0),
                    until: u64::MAX,
                    // If a session's last output is old, all of it is.
                    aged: aged
                        .filter(|aged| !aged.is_old(Timestamp::from_millis(candidate.updated_at))),
                    bytes_max: room.min(STEP_BYTES),
                    events_max: STEP_EVENTS,
                },
            },
            _ => Next::Done(self.pruned()),
        }
    }

    /// Reports the candidate that was searched.
    pub(super) fn found(&mut self, candidate: Option<Candidate>) {
        self.at = candidate.map_or(At::End, At::Session);
    }

    /// Reports the deleted output and the seq after which to go on; `None` if nothing was left to delete.
    pub(super) fn took(&mut self, taken: Option<(Dropped, u64)>) {
        let At::Session(candidate) = self.at else {
            return;
        };
        match taken {
            Some((dropped, after)) => {
                self.dropped += dropped;
                self.taken.insert(candidate.num, after);
            }
            None => self.at = At::Behind(Some(candidate)),
        }
    }

    fn pruned(&self) -> SweepResult {
        SweepResult {
            sessions: self.taken.len() as u64,
            dropped: self.dropped,
            unconfirmed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    #[derive(Debug, Clone)]
    struct Output {
        seq: u64,
        at: i64,
        bytes: u64,
    }

    /// Ended sessions in the order of their ends, with their output.
    type Model = Vec<(Candidate, Vec<Output>)>;

    const NOW: i64 = 100 * DAY;

    fn used(model: &Model) -> u64 {
        let outputs = model.iter().flat_map(|(_, outputs)| outputs);
        outputs.map(|output| output.bytes).sum()
    }

    fn model(random: &mut Random) -> Model {
        let mut sessions = 0;
        let mut updated_at = 0;
        std::iter::repeat_with(|| {
            sessions += 1;
            updated_at += random.below(10) as i64 * DAY;
            let count = random.below(20) as u64;
            let outputs = (1..=count).map(|seq| Output {
                seq: 2 * seq,
                at: updated_at - (count - seq) as i64 * DAY,
                bytes: 1 + random.below(600_000) as u64,
            });
            let num = SessionNum(sessions);
            (Candidate { num, updated_at }, outputs.collect())
        })
        .take(12)
        .collect()
    }

    /// Applies the rules event by event; returns how many events are deleted.
    fn keep(model: &mut Model, retention: Retention) -> u64 {
        let before = model
            .iter()
            .map(|(_, outputs)| outputs.len())
            .sum::<usize>();
        if let Some(days) = retention.days {
            let cutoff = NOW - i64::from(days) * DAY;
            for (_, outputs) in model.iter_mut() {
                outputs.retain(|output| output.at >= cutoff);
            }
        }
        if retention.is_over(used(model)) {
            for session in 0..model.len() {
                while retention.excess(used(model)) > 0 && !model[session].1.is_empty() {
                    model[session].1.remove(0);
                }
            }
        }
        let after = model
            .iter()
            .map(|(_, outputs)| outputs.len())
            .sum::<usize>();
        (before - after) as u64
    }

    /// Executes the planner's steps.
    fn sweep(model: &mut Model, retention: Retention) -> SweepResult {
        let cutoff = |days| Timestamp::from_millis(NOW - i64::from(days) * DAY);
        let aged = retention
            .days
            .map_or(Aged::nothing(), |days| Aged::before(cutoff(days)));
        let mut planner = Planner::new(retention, aged);
        loop {
            match planner.next(used(model)) {
                Next::Done(pruned) => return pruned,
                Next::Find { last, .. } => {
                    let place = |candidate: &Candidate| (candidate.updated_at, candidate.num);
                    let is_next = |candidate: &Candidate| {
                        last.is_none_or(|last| place(candidate) > place(&last))
                    };
                    let mut candidates = model.iter().map(|(candidate, _)| *candidate);
                    planner.found(candidates.find(is_next));
                }
                Next::Take { num, cut } => {
                    let (_, outputs) = &mut model[num.0 as usize - 1];
                    let taken = take(outputs, cut);
                    planner.took(taken);
                }
            }
        }
    }

    fn take(outputs: &mut Vec<Output>, cut: Cut<'_>) -> Option<(Dropped, u64)> {
        let mut dropped = Dropped::default();
        let mut through = None;
        while let Some(output) = outputs.first() {
            assert!(output.seq > cut.after);
            let at = Timestamp::from_millis(output.at);
            let is_young = cut.aged.is_some_and(|aged| !aged.is_old(at));
            if is_young || dropped.bytes >= cut.bytes_max || dropped.events >= cut.events_max {
                break;
            }
            let output = outputs.remove(0);
            dropped.events += 1;
            dropped.bytes += output.bytes;
            through = Some(output.seq);
        }
        through.map(|through| (dropped, through))
    }

    #[test]
    fn a_request_keeps_fewer_days_and_never_more() {
        for (own, asked, kept) in [
            (Some(30), Some(7), Some(7)),
            (Some(7), Some(30), Some(7)),
            (None, Some(7), Some(7)),
            (Some(7), None, Some(7)),
            (Some(7), Some(0), Some(1)),
            (None, None, None),
        ] {
            let retention = Retention {
                days: own,
                ..Retention::default()
            };
            assert_eq!(retention.within(asked).days, kept);
        }
    }

    #[test]
    fn retention_in_steps_deletes_the_events_that_the_rules_name_one_by_one() {
        for seed in 0..rounds(300) {
            let mut random = Random::new(seed as u64);
            let mut model = model(&mut random);
            let retention = Retention {
                days: (!random.one_in(3)).then(|| random.below(100) as u32),
                store_max: (!random.one_in(3)).then(|| random.below(40_000_000) as u64),
                session_max: None,
            };
            let mut kept = model.clone();
            let dropped = keep(&mut kept, retention);
            let whole = model.clone();
            let pruned = sweep(&mut model, retention);
            let seqs = |model: &Model| -> Vec<Vec<u64>> {
                let of = |outputs: &Vec<Output>| outputs.iter().map(|output| output.seq).collect();
                model.iter().map(|(_, outputs)| of(outputs)).collect()
            };
            assert_eq!(seqs(&model), seqs(&kept), "{seed} {retention:?}");
            assert_eq!(pruned.dropped.events, dropped, "{seed}");
            assert_eq!(pruned.dropped.bytes, used(&whole) - used(&model), "{seed}");
            let changed = whole
                .iter()
                .zip(&model)
                .filter(|(a, b)| a.1.len() > b.1.len());
            assert_eq!(pruned.sessions, changed.count() as u64, "{seed}");
        }
    }

    #[test]
    fn no_output_is_deleted_without_a_limit() {
        let mut model = model(&mut Random::new(1));
        let retention = Retention {
            session_max: Some(1),
            ..Retention::default()
        };
        assert_eq!(sweep(&mut model, retention), SweepResult::default());
    }
}
