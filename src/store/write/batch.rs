//! One transaction of the writer thread: assigns the seqs, and keeps the caches that all its operations share.
//!
//! Seqs are assigned here because only the writer knows which events are on disk.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::api::{EventKind, Payload, SessionId, SessionStatus, Timestamp};
use crate::observe::metrics;
use crate::store::facts::{Committed, Dropped, NewEvent, Refused};
use crate::store::keep::tails::{Tail, Tails};
use crate::store::keep::truncation;
use crate::store::rows::{InsertEvent, SessionNum, SessionRow, find};
use crate::store::schema::StoreError;

/// An open transaction. Dropping it without [`Batch::commit`] rolls it back.
pub(super) struct Batch<'a> {
    pub(super) transaction: Transaction<'a>,
    /// Cached ends of the sessions' events, as this transaction sees them.
    tails: &'a mut Tails,
    /// Sessions whose row has to be updated from their tail.
    moved: HashSet<SessionNum>,
    /// Ended sessions: their tails are removed from the cache after the commit.
    ended: HashSet<SessionNum>,
    /// Number of events added, indexed by kind.
    added: [u64; EventKind::ALL.len()],
    /// Observed time of [`Clock`](crate::store::keep::clock::Clock), in milliseconds.
    pub(super) observed: i64,
    /// Limit of one session's output on disk, in bytes.
    pub(super) session_max: Option<u64>,
    effects: SideEffects,
}

/// Side effects of a committed transaction.
#[derive(Debug, Default)]
pub(super) struct SideEffects {
    /// Output deleted by the session limit.
    pub dropped: Dropped,
    /// Ids of sessions whose output exceeded the limit for the first time.
    pub newly_capped: Vec<String>,
}

/// Result of one request or fact, delivered after the commit.
pub(super) struct Applied {
    pub answer: Result<Committed, Refused>,
    /// The session whose followers are to be woken.
    pub touched: Option<SessionNum>,
    pub events: u64,
    pub sessions_added: u64,
    pub sessions_removed: u64,
    /// The answer becomes this session's record as it is after the whole batch.
    pub(super) record_of: Option<(SessionNum, Option<SessionId>)>,
}

impl Applied {
    pub(super) fn of(answer: Result<Committed, Refused>) -> Self {
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

    /// Answers with the session's record; `id` names the session in a client's error.
    pub(super) fn record(num: SessionNum, id: Option<SessionId>) -> Self {
        Self {
            record_of: Some((num, id)),
            touched: Some(num),
            ..Self::of(Ok(Committed::Done))
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
        // IMMEDIATE takes the write lock before the first read, so no later statement can fail with SQLITE_BUSY.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self {
            transaction,
            tails,
            moved: HashSet::new(),
            ended: HashSet::new(),
            added: [0; EventKind::ALL.len()],
            observed,
            session_max,
            effects: SideEffects::default(),
        })
    }

    /// Commits, and fills in the records of `results`. A commit survives the death of this process.
    pub(super) fn commit(mut self, results: &mut [Applied]) -> Result<SideEffects, StoreError> {
        for num in std::mem::take(&mut self.moved) {
            self.settle(num)?;
        }
        for result in results {
            if let Some((num, id)) = result.record_of {
                // A later request of the same batch can have deleted the session.
                result.answer = match SessionRow::by_num(&self.transaction, num)? {
                    Some(row) => Ok(Committed::Record(Box::new(row.record))),
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
        Ok(self.effects)
    }

    pub(super) fn tail(&self, num: SessionNum) -> Result<Tail, StoreError> {
        if let Some(tail) = self.tails.get(&num) {
            return Ok(*tail);
        }
        Ok(Tail::of(&self.transaction, num)?)
    }

    /// Applies the session limit to a session's output, and writes its tail to its row.
    fn settle(&mut self, num: SessionNum) -> Result<(), StoreError> {
        let mut tail = self.tail(num)?;
        let was_cut = tail.cut_seq > 0;
        let dropped = truncation::enforce_cap(&self.transaction, num, self.session_max, &mut tail)?;
        tail.write(&self.transaction, num)?;
        self.tails.insert(num, tail);
        if dropped.events > 0 && !was_cut {
            let id = "SELECT id FROM sessions WHERE num = ?1";
            let id = self.transaction.query_row(id, [num.0], |row| row.get(0))?;
            self.effects.newly_capped.push(id);
        }
        self.effects.dropped += dropped;
        Ok(())
    }

    pub(super) fn set_tail(&mut self, num: SessionNum, tail: Tail) {
        self.tails.insert(num, tail);
        self.moved.insert(num);
    }

    /// Marks the session as ended. Late output can still follow.
    pub(super) fn end(&mut self, num: SessionNum) {
        self.ended.insert(num);
    }

    /// True if the session has ended; `None` if it is deleted.
    pub(super) fn has_ended(&self, num: SessionNum) -> Result<Option<bool>, StoreError> {
        if self.ended.contains(&num) || self.tails.contains_key(&num) {
            return Ok(Some(self.ended.contains(&num)));
        }
        let status = "SELECT status FROM sessions WHERE num = ?1";
        let status = find(&self.transaction, status, [num])?;
        Ok(status.map(SessionStatus::is_final))
    }

    /// Drops the caches of a deleted session.
    pub(super) fn forget(&mut self, num: SessionNum) {
        self.tails.remove(&num);
        self.moved.remove(&num);
        self.ended.remove(&num);
    }

    /// Rewrites a page with unchanged content, to test whether writing works again.
    pub(super) fn probe(&mut self) -> Result<(), StoreError> {
        let version: i64 = self
            .transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(self
            .transaction
            .pragma_update(None, "user_version", version)?)
    }

    /// Appends events to a session, and assigns their seqs.
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

    /// Appends a status event; returns its time.
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
