//! Facts and requests that wait for a transaction. Each session has a lane, and lanes are served in turn: a quiet
//! session does not wait behind another's flood.
//!
//! Runs on the writer thread. It knows the session and the size of each fact, not its meaning.

use std::collections::{HashMap, VecDeque};

use super::budget::{Reservation, Share};
use crate::api::Failure;
use crate::store::facts::{Done, Fact, Refused, StoreRequest};
use crate::store::rows::SessionNum;

/// A fact that waits for its commit.
pub(crate) struct Pending {
    pub fact: Fact,
    pub done: Option<Done>,
    /// Its bytes are released when the fact is on disk.
    pub reservation: Reservation,
}

/// The content of one transaction. Facts come first: a request must see the facts of its session that came before it.
#[derive(Default)]
pub(crate) struct Work {
    pub facts: Vec<Pending>,
    pub requests: Vec<(StoreRequest, Done)>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.requests.is_empty()
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().map(|pending| &pending.fact)
    }

    /// True if a session ends in this transaction.
    pub(crate) fn has_end(&self) -> bool {
        self.facts().any(|fact| matches!(fact, Fact::Ended { .. }))
    }

    /// Refuses the requests; the facts are kept.
    pub(crate) fn refuse_requests(&mut self, reason: &Failure) {
        for (_, done) in self.requests.drain(..) {
            done(Err(Refused::Unavailable {
                reason: reason.clone(),
            }));
        }
    }
}

/// Everything that waits for a later transaction.
#[derive(Default)]
pub(crate) struct Backlog {
    requests: Vec<(StoreRequest, Done)>,
    lanes: HashMap<SessionNum, VecDeque<Pending>>,
    /// The sessions that have a lane, in the order of their turns.
    turns: VecDeque<SessionNum>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.turns.is_empty()
    }

    pub(crate) fn add_request(&mut self, request: StoreRequest, done: Done) {
        self.requests.push((request, done));
    }

    pub(crate) fn add_fact(&mut self, pending: Pending) {
        let num = pending.fact.num();
        let turns = &mut self.turns;
        let lane = self.lanes.entry(num).or_insert_with(|| {
            turns.push_back(num);
            VecDeque::new()
        });
        lane.push_back(pending);
    }

    /// Moves all requests to `work`, and one fact of each session in turn until these have `most` bytes.
    pub(crate) fn move_to(&mut self, work: &mut Work, most: usize) {
        let mut bytes = 0;
        while bytes < most
            && let Some(num) = self.turns.pop_front()
        {
            let Some(lane) = self.lanes.get_mut(&num) else {
                continue;
            };
            if let Some(pending) = lane.pop_front() {
                bytes += pending.fact.bytes();
                work.facts.push(pending);
            }
            if lane.is_empty() {
                self.lanes.remove(&num);
            } else {
                self.turns.push_back(num);
            }
        }
        work.requests.append(&mut self.requests);
    }

    /// Moves all requests to `work`, and the facts of sessions with at most [`Share::LEAST`] bytes waiting.
    pub(crate) fn move_quiet_to(&mut self, work: &mut Work) {
        let lanes = &mut self.lanes;
        self.turns.retain(|num| {
            let is_quiet = lanes
                .get(num)
                .is_none_or(|lane| bytes(lane) <= Share::LEAST);
            if is_quiet && let Some(lane) = lanes.remove(num) {
                work.facts.extend(lane);
            }
            !is_quiet
        });
        work.requests.append(&mut self.requests);
    }
}

fn bytes(lane: &VecDeque<Pending>) -> usize {
    lane.iter().map(|pending| pending.fact.bytes()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;
    use crate::api::Code;
    use crate::store::NewEvent;

    fn add(backlog: &mut Backlog, num: i64, message: &str) {
        let event = NewEvent::error(Code::StoreUnavailable, message);
        backlog.add_fact(Pending {
            fact: Fact::Events {
                num: SessionNum(num),
                events: vec![event],
            },
            done: None,
            reservation: Budget::new(0).reserve(0),
        });
    }

    /// Numbers of the sessions whose facts are moved, in order.
    fn moved(backlog: &mut Backlog, most: usize) -> Vec<i64> {
        let mut work = Work::default();
        backlog.move_to(&mut work, most);
        work.facts().map(|fact| fact.num().0).collect()
    }

    #[test]
    fn a_quiet_session_is_served_before_the_rest_of_a_flood() {
        let mut backlog = Backlog::default();
        for _ in 0..5 {
            add(&mut backlog, 1, &"x".repeat(1000));
        }
        add(&mut backlog, 2, "a line");
        assert_eq!(moved(&mut backlog, 1500), [1, 2, 1]);
        // The turns continue where they stopped.
        add(&mut backlog, 3, "another");
        assert_eq!(moved(&mut backlog, usize::MAX), [1, 3, 1, 1]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn floods_can_be_left_behind() {
        let mut backlog = Backlog::default();
        add(&mut backlog, 1, &"x".repeat(2 * Share::LEAST));
        add(&mut backlog, 2, "a line");
        add(&mut backlog, 1, "the end of the flood");
        add(&mut backlog, 2, "the next");
        let mut work = Work::default();
        backlog.move_quiet_to(&mut work);
        let quiet: Vec<i64> = work.facts().map(|fact| fact.num().0).collect();
        assert_eq!(quiet, [2, 2]);
        add(&mut backlog, 2, "a line");
        assert_eq!(moved(&mut backlog, usize::MAX), [1, 2, 1]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_sessions_facts_keep_their_order() {
        let mut backlog = Backlog::default();
        for n in 0..100 {
            add(&mut backlog, n % 3, &n.to_string());
        }
        let mut work = Work::default();
        while !backlog.is_empty() {
            backlog.move_to(&mut work, 200);
        }
        for num in 0..3 {
            let of_session = work.facts().filter(|fact| fact.num().0 == num);
            let shown: Vec<i64> = of_session
                .map(|fact| match fact {
                    Fact::Events { events, .. } => {
                        let payload: serde_json::Value =
                            serde_json::from_str(&events[0].payload_json).unwrap();
                        payload["message"].as_str().unwrap().parse().unwrap()
                    }
                    other => panic!("{other:?}"),
                })
                .collect();
            let expected: Vec<i64> = (0..100).filter(|n| n % 3 == num).collect();
            assert_eq!(shown, expected);
        }
    }
}
