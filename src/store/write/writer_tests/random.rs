//! Random work of some sessions on a disk that fails now and then, against a plain model: nothing is lost, doubled or out
//! of order, whatever else the writer is asked for meanwhile.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::random::{Random, rounds};
use crate::store::Paused;

/// What is expected of one session.
struct Expected {
    id: SessionId,
    /// Numbers of its events, in the order in which they were sent.
    sent: Vec<u64>,
    title: String,
    has_ended: bool,
    is_archived: bool,
}

struct Tried {
    served: Served,
    random: Random,
    /// Commits that the disk still refuses.
    refused: Arc<AtomicUsize>,
    sessions: HashMap<SessionNum, Expected>,
    /// Answers to facts, which may come late.
    facts: Vec<Receiver<Result<Committed, Refused>>>,
    sent: u64,
    paused: Option<Paused>,
    refusals: usize,
}

impl Tried {
    fn new(seed: u64) -> Self {
        let refused = Arc::new(AtomicUsize::new(0));
        let served = Served::on_disk({
            let refused = Arc::clone(&refused);
            move || {
                let take = |left: usize| left.checked_sub(1);
                let order = Ordering::Relaxed;
                refused.fetch_update(order, order, take).is_ok()
            }
        });
        Self {
            served,
            random: Random::new(seed),
            refused,
            sessions: HashMap::new(),
            facts: Vec::new(),
            sent: 0,
            paused: None,
            refusals: 0,
        }
    }

    fn pick(&mut self) -> SessionNum {
        let mut nums: Vec<_> = self.sessions.keys().copied().collect();
        nums.sort_by_key(|num| num.0);
        *self.random.pick(&nums)
    }

    /// A request's answer; `None` if the store could not be written. The writer must not be paused.
    fn ask(&mut self, request: StoreRequest) -> Option<Committed> {
        match self.served.ask(request) {
            Ok(committed) => Some(committed),
            Err(Refused::Unavailable { .. }) => {
                self.refusals += 1;
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn create(&mut self) {
        let new = new_session();
        let (id, title) = (new.record.id, new.record.title.clone());
        if let Some(Committed::Created(num)) = self.ask(StoreRequest::Create(Box::new(new))) {
            let expected = Expected {
                id,
                sent: Vec::new(),
                title,
                has_ended: false,
                is_archived: false,
            };
            assert!(self.sessions.insert(num, expected).is_none());
        }
    }

    fn send_events(&mut self, num: SessionNum) {
        let count = self.random.below(4) as u64;
        let numbers = self.sent..self.sent + count;
        self.sent += count;
        let message = |number: u64| NewEvent::error(Code::SendInputFailed, &number.to_string());
        let events = numbers.clone().map(message).collect();
        self.sessions.get_mut(&num).unwrap().sent.extend(numbers);
        self.facts
            .push(self.served.tell(Fact::Events { num, events }));
    }

    fn edit(&mut self, num: SessionNum) {
        let (id, title) = (self.sessions[&num].id, self.random.text(8));
        let edit = Edit {
            title: Some(title.clone()),
            ..Edit::default()
        };
        if self.ask(StoreRequest::Edit { id, edit }).is_some() {
            self.sessions.get_mut(&num).unwrap().title = title;
        }
    }

    fn end_or_archive(&mut self, num: SessionNum) {
        let expected = self.sessions.get_mut(&num).unwrap();
        if !std::mem::replace(&mut expected.has_ended, true) {
            self.facts.push(self.served.tell(ended(num)));
            return;
        }
        // It may not have ended on disk yet: what was sent before comes first.
        let (id, archived) = (expected.id, self.random.one_in(2));
        if self.ask(StoreRequest::Archive { id, archived }).is_some() {
            self.sessions.get_mut(&num).unwrap().is_archived = archived;
        }
    }

    fn step(&mut self) {
        if self.paused.is_some() && self.random.one_in(3) {
            self.paused = None;
        }
        let is_paused = self.paused.is_some();
        if self.sessions.is_empty() || (self.sessions.len() < 4 && self.random.one_in(20)) {
            return if is_paused {
                self.paused = None
            } else {
                self.create()
            };
        }
        let num = self.pick();
        match self.random.below(16) {
            0 => self.refused.store(self.random.below(4), Ordering::Relaxed),
            1 if !is_paused => self.edit(num),
            2 if !is_paused => self.end_or_archive(num),
            3 if !is_paused && self.random.one_in(3) => self.paused = self.served.queue.pause(LONG),
            4 if !is_paused => self.served.settle(),
            5 if !is_paused => self.served.queue.shorten_log(LONG),
            6 if !is_paused => {
                let chore = match self.random.one_in(2) {
                    true => Chore::Prune { days: Some(1) },
                    false => Chore::Vacuum,
                };
                self.served.chore(chore);
            }
            7 => self.served.queue.rest(),
            _ => self.send_events(num),
        }
    }

    fn check(&mut self) {
        self.paused = None;
        self.refused.store(0, Ordering::Relaxed);
        for fact in self.facts.drain(..) {
            fact.recv_timeout(LONG).unwrap().unwrap();
            // One answer each.
            assert!(
                fact.recv_timeout(LONG)
                    .is_err_and(|end| end.is_disconnected())
            );
        }
        until(|| self.served.queue.check_available().is_ok());
        let health = self.served.queue.health();
        assert_eq!((health.queued_events, health.queued_bytes), (0, 0));
        assert_eq!(health.committed_events, self.served.stored());
        assert_eq!(self.served.queue.sessions(), self.sessions.len() as u64);
        for (num, expected) in &self.sessions {
            let seqs = self.served.seqs(*num);
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
            let messages = self.served.messages(expected.id);
            let (numbers, notes): (Vec<_>, Vec<_>) = messages
                .into_iter()
                .map(|message| message.parse::<u64>().map_err(|_| message))
                .partition(Result::is_ok);
            let numbers: Vec<u64> = numbers.into_iter().map(Result::unwrap).collect();
            assert_eq!(numbers, expected.sent);
            let says = "the event store could not be written for ";
            assert!(
                notes
                    .iter()
                    .all(|note| note.as_ref().is_err_and(|note| note.starts_with(says)))
            );
            let record = self.served.reader.session(expected.id).unwrap();
            assert_eq!(record.title, expected.title);
            assert_eq!(record.status.is_final(), expected.has_ended);
            assert_eq!(record.archived_at.is_some(), expected.is_archived);
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_in_any_order_of_work_and_outages() {
    let mut refusals = 0;
    for seed in 0..rounds(2) {
        let mut tried = Tried::new(seed as u64);
        for round in 0..3 {
            for _ in 0..60 {
                tried.step();
            }
            // Printed where the check fails: what repeats it.
            println!("seed {seed}, round {round}");
            tried.check();
        }
        refusals += tried.refusals;
        tried.served.writer.take().unwrap().stop(LONG).unwrap();
        assert_eq!(tried.served.log_bytes(), 0);
    }
    assert!(refusals > 0);
}
