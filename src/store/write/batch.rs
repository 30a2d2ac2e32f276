//! One transaction of the writer: what all that is done in it has in common.
//!
//! Here events get their seq: the writer is the only one who knows what is already on disk.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::api::{EventKind, Payload, SessionId, SessionStatus, Timestamp};
use crate::observe::metrics;
use crate::store::facts::{Answer, Dropped, NewEvent, Refused};
use crate::store::keep::tails::{Tail, Tails};
use crate::store::keep::truncation;
use crate::store::rows::{InsertEvent, SessionNum, SessionRow};
use crate::store::schema::StoreError;

/// A transaction that is being filled; dropped without [`Batch::commit`], nothing of it has happened.
pub(super) struct Batch<'a> {
    pub(super) transaction: Transaction<'a>,
    /// The end of each session that has been looked at, in this transaction's view.
    tails: &'a mut Tails,
    /// Sessions whose tail is ahead of their row.
    moved: HashSet<SessionNum>,
    /// Sessions that have ended: their tail is not kept behind the batch.
    ended: HashSet<SessionNum>,
    /// Events added, by the number of their kind.
    added: [u64; EventKind::ALL.len()],
    /// The observed time, in milliseconds.
    pub(super) observed: i64,
    /// What one session's output may take on disk, in bytes.
    pub(super) session_max: Option<u64>,
    /// What has been taken away.
    pub(super) dropped: Dropped,
    /// The ids of sessions of which output is taken away for the first time, since they have passed that.
    pub(super) newly_capped: Vec<String>,
}

/// What a transaction did besides what it was asked for.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// Output that has been taken away.
    pub dropped: Dropped,
    /// Sessions of which output is taken away for the first time.
    pub newly_capped: Vec<String>,
}

/// What one request or fact did, to be told once it is on disk.
pub(super) struct Outcome {
    pub answer: Result<Answer, Refused>,
    /// The session whose followers have something to read.
    pub touched: Option<SessionNum>,
    pub events: u64,
    pub sessions_added: u64,
    pub sessions_removed: u64,
    /// The answer is this session's record, as it is when the whole batch is applied.
    pub(super) record_of: Option<(SessionNum, Option<SessionId>)>,
}

impl Outcome {
    pub(super) fn of(answer: Result<Answer, Refused>) -> Self {
        Self {
            answer,
            touched: None,
            events: 0,
            sessions_added: 0,
            sessions_removed: 0,
            record_of: None,
        }
    }

    pub(super) fn refused(error: Refused) -> Self {
        Self::of(Err(error))
    }

    /// `id` where the answer goes to a client.
    pub(super) fn record(num: SessionNum, id: Option<SessionId>) -> Self {
        Self {
            record_of: Some((num, id)),
            touched: Some(num),
            ..Self::of(Ok(Answer::Done))
        }
    }
}

impl<'a> Batch<'a> {
    pub(super) fn begin(
        connection: &'a mut Connection,
        tails: &'a mut Tails,
        observed: i64,
        session_max: Option<u64>,
    ) -> Result<Self, StoreError> {
        // IMMEDIATE: the lock is taken before anything is read, so that no later statement finds it gone.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self {
            transaction,
            tails,
            moved: HashSet::new(),
            ended: HashSet::new(),
            added: [0; EventKind::ALL.len()],
            observed,
            session_max,
            dropped: Dropped::default(),
            newly_capped: Vec::new(),
        })
    }

    /// Makes all of it durable against the death of this process, and fills in the records of `outcomes`.
    pub(super) fn commit(mut self, outcomes: &mut [Outcome]) -> Result<Committed, StoreError> {
        for num in std::mem::take(&mut self.moved) {
            self.settle(num)?;
        }
        for outcome in outcomes {
            if let Some((num, id)) = outcome.record_of {
                // A later request of the same batch can have deleted it.
                outcome.answer = match SessionRow::by_num(&self.transaction, num)? {
                    Some(row) => Ok(Answer::Record(Box::new(row.record))),
                    None => Err(not_found(id)),
                };
            }
        }
        self.transaction.commit()?;
        for num in &self.ended {
            self.tails.remove(num);
        }
        for (kind, count) in EventKind::ALL.into_iter().zip(self.added) {
            metrics::EVENTS_WRITTEN[kind as usize].add(count);
        }
        Ok(Committed {
            dropped: self.dropped,
            newly_capped: self.newly_capped,
        })
    }

    /// The end of a session's events.
    pub(super) fn tail(&self, num: SessionNum) -> Result<Tail, StoreError> {
        if let Some(tail) = self.tails.get(&num) {
            return Ok(*tail);
        }
        Ok(Tail::of(&self.transaction, num)?)
    }

    /// Brings a session's row up to its tail, once it is below what one session may have on disk.
    fn settle(&mut self, num: SessionNum) -> Result<(), StoreError> {
        let mut tail = self.tail(num)?;
        let was_cut = tail.cut_seq > 0;
        let dropped = truncation::enforce_cap(&self.transaction, num, self.session_max, &mut tail)?;
        tail.write(&self.transaction, num)?;
        self.tails.insert(num, tail);
        if dropped.events > 0 && !was_cut {
            let id = "SELECT id FROM sessions WHERE num = ?1";
            let id = self.transaction.query_row(id, [num.0], |row| row.get(0))?;
            self.newly_capped.push(id);
        }
        self.dropped += dropped;
        Ok(())
    }

    pub(super) fn set_tail(&mut self, num: SessionNum, tail: Tail) {
        self.tails.insert(num, tail);
        self.moved.insert(num);
    }

    /// The session has ended; events can follow that are late.
    pub(super) fn end(&mut self, num: SessionNum) {
        self.ended.insert(num);
    }

    /// Whether the session has ended; `None` if it is deleted.
    pub(super) fn has_ended(&self, num: SessionNum) -> Result<Option<bool>, StoreError> {
        if self.ended.contains(&num) || self.tails.contains_key(&num) {
            return Ok(Some(self.ended.contains(&num)));
        }
        let status = "SELECT status FROM sessions WHERE num = ?1";
        let mut statement = self.transaction.prepare_cached(status)?;
        let status = statement.query_row([num], |row| row.get(0)).optional()?;
        Ok(status.map(SessionStatus::is_final))
    }

    /// The session is deleted.
    pub(super) fn forget(&mut self, num: SessionNum) {
        self.tails.remove(&num);
        self.moved.remove(&num);
        self.ended.remove(&num);
    }

    /// Writes a page that says what it said, to learn whether writing works again.
    pub(super) fn probe(&mut self) -> Result<(), StoreError> {
        let version: i64 = self
            .transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(self
            .transaction
            .pragma_update(None, "user_version", version)?)
    }

    /// Adds events behind a session's last, and gives them their seqs.
    pub(super) fn append(
        &mut self,
        num: SessionNum,
        events: &[NewEvent],
    ) -> Result<(), StoreError> {
        let mut tail = self.tail(num)?;
        let mut insert = InsertEvent::prepare(&self.transaction)?;
        for event in events {
            tail.last_seq += 1;
            self.added[event.kind as usize] += 1;
            if truncation::is_prunable(event.kind.as_str(), &event.payload_json) {
                tail.add_output(event.payload_json.len(), self.session_max);
            }
            let key = num.key(tail.last_seq);
            insert.execute(key, event.kind, event.at, &event.payload_json)?;
        }
        drop(insert);
        self.set_tail(num, tail);
        Ok(())
    }

    /// Adds the event of a status; when that was.
    pub(super) fn append_status(
        &mut self,
        num: SessionNum,
        status: SessionStatus,
        pid: Option<i32>,
    ) -> Result<Timestamp, StoreError> {
        let event = NewEvent::now(Payload::Status { status, pid });
        let at = event.at;
        self.append(num, &[event])?;
        Ok(at)
    }
}

pub(super) fn not_found(id: Option<SessionId>) -> Refused {
    Refused::NotFound {
        id: id.map(|id| id.to_string()).unwrap_or_default(),
    }
}
