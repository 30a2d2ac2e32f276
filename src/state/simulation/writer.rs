//! A simulated writer: it commits facts in order, also behind failures, and refuses requests meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, unbounded};

use super::harness::{SimulatedThread, ThreadStage};
use super::{Disk, Millis, Move, World};
use crate::api::{EndedBy, EventKind, Failure, SessionId, SessionRecord, SessionStatus};
use crate::store::{
    Committed, Done, End, Fact, Item, NewEvent, Pending, Refused, Retention, SessionNum,
    StoreRequest, StoreStatus, WriteQueue,
};

/// A session's row.
pub(super) struct Row {
    pub(super) id: SessionId,
    pub(super) status: SessionStatus,
    pub(super) is_started: bool,
    /// Its closing facts, once they are with the writer.
    pub(super) end: Option<End>,
    /// They are on disk.
    pub(super) has_ended: bool,
    pub(super) is_deleted: bool,
}

pub(super) struct SimulatedWriter {
    items: Receiver<Item>,
    status: Arc<StoreStatus>,
    facts: VecDeque<Pending>,
    requests: Vec<(StoreRequest, Done)>,
    rows: BTreeMap<SessionNum, Row>,
    pub(super) disk: Disk,
    /// Time of the last transaction that the disk did not take.
    faulty_at: Option<Millis>,
    is_committing: bool,
}

impl SimulatedWriter {
    pub(super) fn new() -> (Self, WriteQueue) {
        let (sender, items) = unbounded();
        let retention = Retention::default();
        let status = StoreStatus::new(Path::new("/nowhere/coven.sqlite3"), 0, &retention);
        let status = Arc::new(status);
        let queue = WriteQueue::new(sender, Arc::clone(&status));
        let writer = Self {
            items,
            status,
            facts: VecDeque::new(),
            requests: Vec::new(),
            rows: BTreeMap::new(),
            disk: Disk::Good,
            faulty_at: None,
            is_committing: false,
        };
        (writer, queue)
    }

    pub(super) fn are_chores_over(&self) -> bool {
        self.status.chores_over.load(Ordering::Relaxed)
    }

    pub(super) fn row(&self, num: SessionNum) -> &Row {
        &self.rows[&num]
    }

    pub(super) fn row_of(&self, id: SessionId) -> Option<&Row> {
        self.rows.values().find(|row| row.id == id)
    }

    /// The ended sessions on disk.
    pub(super) fn ended(&self) -> Vec<SessionId> {
        let rows = self.rows.values();
        let ended = rows.filter(|row| row.has_ended && !row.is_deleted);
        ended.map(|row| row.id).collect()
    }

    /// Number of sessions whose closing facts have come.
    pub(super) fn ends(&self) -> usize {
        self.rows.values().filter(|row| row.end.is_some()).count()
    }

    pub(super) fn unfinished(&self) -> Vec<SessionId> {
        let rows = self.rows.values().filter(|row| !row.has_ended);
        rows.map(|row| row.id).collect()
    }

    pub(super) fn causes(&self) -> impl Iterator<Item = Option<EndedBy>> {
        let ends = self.rows.values().filter_map(|row| row.end.as_ref());
        ends.map(|end| end.ended_by)
    }

    pub(super) fn was_faulty_since(&self, begun: Millis) -> bool {
        self.disk != Disk::Good || self.faulty_at.is_some_and(|at| at >= begun)
    }
}

impl World {
    /// Takes the items of the queue, in the order in which they were sent.
    pub(super) fn receive(&mut self) {
        while let Ok(item) = self.writer.items.try_recv() {
            match item {
                Item::Fact(pending) => {
                    self.check_fact(&pending.fact);
                    self.writer.facts.push_back(pending);
                }
                Item::Request(request, done) => self.writer.requests.push((request, done)),
                Item::Chore(_, done) => {
                    done(Ok(Committed::Vacuumed(0)));
                }
                Item::Rest => {
                    let is_live = |thread: &SimulatedThread| {
                        let is_over = thread.stage == ThreadStage::Over;
                        thread.started_at.is_some() && !thread.is_ordered_to_reap && !is_over
                    };
                    assert!(!self.threads.values().any(is_live));
                }
                Item::Measure | Item::Ping(_) | Item::Shorten(_) | Item::Pause(..) | Item::Stop => {
                    panic!("not of the state thread")
                }
            }
        }
        let is_due = !self.writer.facts.is_empty() || !self.writer.requests.is_empty();
        if is_due && !self.writer.is_committing {
            self.writer.is_committing = true;
            let at = self.after(50);
            self.plan(at, Move::Commit);
        }
    }

    /// Checks a fact when it is sent: nothing but late output follows the closing facts.
    fn check_fact(&mut self, fact: &Fact) {
        let row = self.writer.rows.get_mut(&fact.num()).expect("a row");
        let thread = self.threads.get(&row.id);
        match fact {
            Fact::Started { .. } | Fact::Noted { .. } => assert!(row.end.is_none()),
            Fact::Events { events, .. } => {
                let is_late = |event: &NewEvent| event.payload_json.ends_with(r#""late":true}"#);
                assert!(
                    row.end.is_none() || events.iter().all(is_late),
                    "a fact behind the end: {fact:?}"
                );
                let kills = events.iter().filter(|event| event.kind == EventKind::Kill);
                for kill in kills {
                    let payload: serde_json::Value =
                        serde_json::from_str(&kill.payload_json).unwrap();
                    let thread = thread.expect("a thread");
                    thread.check_kill(payload["cause"].as_str().unwrap());
                }
            }
            Fact::Ended { end, .. } => {
                if let Some(thread) = thread {
                    thread.check_end(end);
                }
                assert!(row.end.replace((**end).clone()).is_none(), "it ends twice");
            }
        }
    }

    /// Ends a transaction.
    pub(super) fn commit(&mut self) {
        self.writer.is_committing = false;
        let is_broken = self.writer.disk == Disk::Full || self.random.one_in(20);
        if self.writer.disk == Disk::Hanging || is_broken {
            self.writer.faulty_at = Some(self.now);
            if is_broken {
                let reason = Failure::from("database or disk is full");
                self.writer.status.set_write_failure(Some(reason.clone()));
                for (_, done) in self.writer.requests.drain(..) {
                    let reason = reason.clone();
                    done(Err(Refused::Unavailable { reason }));
                }
            }
            self.writer.is_committing = true;
            let at = self.now + 50 + self.random.below(500) as Millis;
            return self.plan(at, Move::Commit);
        }
        self.writer.status.set_write_failure(None);
        let most = 1 + self.random.below(10);
        let count = most.min(self.writer.facts.len());
        let facts: Vec<Pending> = self.writer.facts.drain(..count).collect();
        for Pending { fact, done, .. } in facts {
            let answer = self.store(&fact);
            if let Some(done) = done {
                done(Ok(answer));
            }
        }
        for (request, done) in std::mem::take(&mut self.writer.requests) {
            let answer = self.answer(request);
            done(answer);
        }
    }

    fn store(&mut self, fact: &Fact) -> Committed {
        let row = self.writer.rows.get_mut(&fact.num()).expect("a row");
        match fact {
            Fact::Started { .. } => {
                (row.status, row.is_started) = (SessionStatus::Running, true);
                return Committed::Record(Box::new(record(row.id)));
            }
            Fact::Ended { end, .. } => (row.status, row.has_ended) = (end.status, true),
            Fact::Events { .. } | Fact::Noted { .. } => {}
        }
        Committed::Done
    }

    fn answer(&mut self, request: StoreRequest) -> Result<Committed, Refused> {
        match request {
            StoreRequest::Create(session) => {
                let last = self.writer.rows.last_key_value();
                let num = last.map_or(SessionNum::FIRST, |(num, _)| num.next());
                let row = Row {
                    id: session.record.id,
                    status: SessionStatus::Created,
                    is_started: false,
                    end: None,
                    has_ended: false,
                    is_deleted: false,
                };
                self.writer.rows.insert(num, row);
                Ok(Committed::Created(num))
            }
            StoreRequest::Archive { id, .. } | StoreRequest::Delete { id } => {
                let mut rows = self.writer.rows.values_mut();
                let found = rows.find(|row| row.id == id && !row.is_deleted);
                let Some(row) = found else {
                    let id = id.to_string();
                    return Err(Refused::NotFound { id });
                };
                assert!(row.has_ended, "a client has read it as ended");
                row.is_deleted = matches!(request, StoreRequest::Delete { .. });
                Ok(match row.is_deleted {
                    true => Committed::Deleted(id),
                    false => Committed::Record(Box::new(record(id))),
                })
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn record(id: SessionId) -> SessionRecord {
    SessionRecord::new(id, "/p".into(), "hello".into(), "t".into())
}
