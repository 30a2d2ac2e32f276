//! One transaction of the writer: what each request and each fact does to the tables.
//!
//! Here events get their seq: the writer is the only one who knows what is already on disk.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::op::{Answer, Fact, NewEvent, NewExternal, NewSession, Request, SessionNum};
use super::tail::Tail;
use super::truncate::Dropped;
use super::{StoreError, reader};
use crate::api::{
    ApiError, EventKind, Payload, SessionCost, SessionId, SessionRecord, SessionStatus, Timestamp,
};
use crate::observe::metrics::METRICS;

/// A transaction that is being filled; dropped without [`Batch::commit`], nothing of it has happened.
pub(super) struct Batch<'a> {
    pub(super) transaction: Transaction<'a>,
    /// The end of each session that has been looked at, in this transaction's view.
    tails: &'a mut Tails,
    /// Sessions whose tail is ahead of their row.
    moved: HashSet<SessionNum>,
    /// Events added, by the number of their kind.
    added: [u64; EventKind::ALL.len()],
    /// What one session's output may take on disk, in bytes.
    pub(super) session_max: Option<u64>,
    /// What has been taken away.
    pub(super) dropped: Dropped,
    /// The ids of sessions of which output is taken away for the first time, since they have passed that.
    pub(super) newly_capped: Vec<String>,
}

/// The ends of sessions that had events lately: a cache of their rows.
pub(super) type Tails = HashMap<SessionNum, Tail>;

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
    pub answer: Result<Answer, ApiError>,
    /// The session whose followers have something to read.
    pub touched: Option<SessionNum>,
    pub events: u64,
    pub sessions_added: u64,
    pub sessions_removed: u64,
    /// The answer is this session's record, as it is when the whole batch is applied.
    record_of: Option<(SessionNum, Option<SessionId>)>,
}

impl Outcome {
    fn of(answer: Result<Answer, ApiError>) -> Self {
        Self {
            answer,
            touched: None,
            events: 0,
            sessions_added: 0,
            sessions_removed: 0,
            record_of: None,
        }
    }

    fn refused(error: ApiError) -> Self {
        Self::of(Err(error))
    }

    /// `id` where the answer goes to a client.
    fn record(num: SessionNum, id: Option<SessionId>) -> Self {
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
        session_max: Option<u64>,
    ) -> Result<Self, StoreError> {
        // IMMEDIATE: the lock is taken before anything is read, so that no later statement finds it gone.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self {
            transaction,
            tails,
            moved: HashSet::new(),
            added: [0; EventKind::ALL.len()],
            session_max,
            dropped: Dropped::default(),
            newly_capped: Vec::new(),
        })
    }

    /// Makes all of it durable against the death of this process, and fills in the records of `outcomes`.
    pub(super) fn commit(mut self, outcomes: &mut [Outcome]) -> Result<Committed, StoreError> {
        for num in std::mem::take(&mut self.moved) {
            self.enforce_cap(num, self.tails[&num])?;
            let tail = self.tails[&num];
            self.transaction
                .prepare_cached(
                    "UPDATE sessions SET last_seq = ?2, stored_bytes = ?3, head_seq = ?4, cut_seq = ?5
                     WHERE num = ?1",
                )?
                .execute(params![num.0, tail.seq, tail.stored, tail.head, tail.cut])?;
        }
        for outcome in outcomes {
            if let Some((num, id)) = outcome.record_of {
                // A later request of the same batch can have deleted it.
                outcome.answer = match self.record(num)? {
                    Some(record) => Ok(Answer::Record(Box::new(record))),
                    None => Err(not_found(id)),
                };
            }
        }
        self.transaction.commit()?;
        for (kind, count) in EventKind::ALL.into_iter().zip(self.added) {
            METRICS.written(kind, count);
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
        let sql = "SELECT last_seq, stored_bytes, head_seq, cut_seq FROM sessions WHERE num = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Tail {
                seq: row.get(0)?,
                stored: row.get(1)?,
                head: row.get(2)?,
                cut: row.get(3)?,
            })
        };
        let mut statement = self.transaction.prepare_cached(sql)?;
        Ok(statement.query_row([num.0], read)?)
    }

    pub(super) fn set_tail(&mut self, num: SessionNum, tail: Tail) {
        self.tails.insert(num, tail);
        self.moved.insert(num);
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

    pub(super) fn fact(&mut self, fact: &Fact) -> Result<Outcome, StoreError> {
        match fact {
            Fact::Events { num, events } => {
                self.append(*num, events)?;
                let mut outcome = Outcome::of(Ok(Answer::Done));
                outcome.touched = Some(*num);
                outcome.events = events.len() as u64;
                Ok(outcome)
            }
            Fact::Started {
                num,
                pid,
                process_mark,
                at,
            } => self.started(*num, *pid, process_mark.as_deref(), *at),
            Fact::Ended {
                num,
                status,
                exit_code,
                signal,
                cost,
                events,
            } => {
                let outcome = self.ended(*num, *status, *exit_code, *signal, events)?;
                self.charge(*num, cost)?;
                Ok(outcome)
            }
        }
    }

    pub(super) fn request(&mut self, request: &Request) -> Result<Outcome, StoreError> {
        match request {
            Request::Create(session) => self.create(session),
            Request::RegisterExternal(session) => self.register_external(session),
            Request::Complete { id, exit_code } => self.complete(*id, *exit_code),
            Request::Archive { id, archived } => self.archive(*id, *archived),
            Request::Delete { id } => self.delete(*id),
        }
    }

    fn append(&mut self, num: SessionNum, events: &[NewEvent]) -> Result<(), StoreError> {
        let mut tail = self.tail(num)?;
        {
            let mut insert = self.transaction.prepare_cached(
                "INSERT INTO events (key, kind, created_at, payload_json) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for event in events {
                tail.seq += 1;
                self.added[event.kind as usize] += 1;
                if event.kind == EventKind::Output {
                    tail.add_output(event.payload_json.len(), self.session_max);
                }
                insert.execute(params![
                    num.key(tail.seq),
                    event.kind.as_str(),
                    event.at.as_millis(),
                    event.payload_json
                ])?;
            }
        }
        self.set_tail(num, tail);
        Ok(())
    }

    fn append_status(
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

    fn started(
        &mut self,
        num: SessionNum,
        pid: i32,
        process_mark: Option<&str>,
        at: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let now = self.append_status(num, SessionStatus::Running, Some(pid))?;
        self.transaction
            .prepare_cached(
                "UPDATE sessions SET status = 'running', pid = ?2, process_mark = ?3, updated_at = ?4,
                     started_at = ?5
                 WHERE num = ?1",
            )?
            .execute(params![
                num.0,
                pid,
                process_mark,
                now.as_millis(),
                at.as_millis()
            ])?;
        Ok(Outcome {
            events: 1,
            ..Outcome::record(num, None)
        })
    }

    fn ended(
        &mut self,
        num: SessionNum,
        status: SessionStatus,
        exit_code: Option<i32>,
        signal: Option<i32>,
        events: &[NewEvent],
    ) -> Result<Outcome, StoreError> {
        self.append(num, events)?;
        let now = self.append_status(num, status, None)?;
        self.transaction
            .prepare_cached(
                "UPDATE sessions SET status = ?2, exit_code = ?3, signal = ?4, updated_at = ?5
                 WHERE num = ?1",
            )?
            .execute(params![
                num.0,
                status.as_str(),
                exit_code,
                signal,
                now.as_millis()
            ])?;
        Ok(Outcome {
            events: events.len() as u64 + 1,
            ..Outcome::record(num, None)
        })
    }

    /// Puts on record what an ended session cost.
    fn charge(&mut self, num: SessionNum, cost: &SessionCost) -> Result<(), StoreError> {
        self.transaction
            .prepare_cached(
                "UPDATE sessions SET ended_at = ?2, cpu_ms = ?3, peak_rss_bytes = ?4, stdout_bytes = ?5,
                     stdout_lines = ?6, stderr_bytes = ?7, stderr_lines = ?8
                 WHERE num = ?1",
            )?
            .execute(params![
                num.0,
                cost.ended_at.map(Timestamp::as_millis),
                cost.cpu_ms,
                cost.peak_rss_bytes,
                cost.stdout_bytes,
                cost.stdout_lines,
                cost.stderr_bytes,
                cost.stderr_lines,
            ])?;
        Ok(())
    }

    fn create(&mut self, session: &NewSession) -> Result<Outcome, StoreError> {
        let now = Timestamp::now().as_millis();
        self.transaction
            .prepare_cached(
                "INSERT INTO sessions (id, project_root, cwd, harness, title, status, created_at,
                     updated_at, conversation_id, familiar_id, labels, visibility, external,
                     launch_mode, model, last_seq)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'created', ?6, ?6, ?7, ?8, ?9, ?10, 0,
                     'nonInteractive', ?11, 0)",
            )?
            .execute(params![
                session.id.to_string(),
                session.project_root,
                session.cwd,
                session.harness,
                session.title,
                now,
                session.conversation_id,
                session.familiar_id,
                labels_json(&session.labels),
                session.visibility.as_str(),
                session.model,
            ])?;
        let num = SessionNum(self.transaction.last_insert_rowid());
        if let Some((key, fingerprint)) = &session.idempotency {
            // A key that no longer holds can still be there: the state thread has checked that it may go.
            self.transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO idempotency (key, fingerprint, session, created_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![key, fingerprint, num.0, now])?;
        }
        self.tails.insert(num, Tail::default());
        self.append_status(num, SessionStatus::Created, None)?;
        let mut outcome = Outcome::of(Ok(Answer::Created(num)));
        outcome.events = 1;
        outcome.sessions_added = 1;
        Ok(outcome)
    }

    fn register_external(&mut self, session: &NewExternal) -> Result<Outcome, StoreError> {
        if let Some((_, record)) = self.find(session.id)? {
            return Ok(if record.external {
                Outcome::of(Ok(Answer::Existing(Box::new(record))))
            } else {
                Outcome::refused(ApiError::SessionIdConflict { id: session.id })
            });
        }
        let now = Timestamp::now().as_millis();
        self.transaction
            .prepare_cached(
                "INSERT INTO sessions (id, project_root, harness, title, status, created_at, updated_at,
                     labels, visibility, external, transcript_path, last_seq)
                 VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?5, ?6, 'private', 1, ?7, 0)",
            )?
            .execute(params![
                session.id.to_string(),
                session.project_root,
                session.harness,
                session.title,
                now,
                labels_json(&session.labels),
                session.transcript_path,
            ])?;
        let num = SessionNum(self.transaction.last_insert_rowid());
        self.tails.insert(num, Tail::default());
        self.append_status(num, SessionStatus::Running, None)?;
        Ok(Outcome {
            events: 1,
            sessions_added: 1,
            ..Outcome::record(num, Some(session.id))
        })
    }

    fn complete(&mut self, id: SessionId, exit_code: Option<i32>) -> Result<Outcome, StoreError> {
        let Some((num, record)) = self.find(id)? else {
            return Ok(Outcome::refused(not_found(Some(id))));
        };
        if !record.external {
            return Ok(Outcome::refused(ApiError::NotExternalSession { id }));
        }
        if record.status.is_final() {
            // Completed again: what was said first stands.
            return Ok(Outcome::record(num, Some(id)));
        }
        let status = match exit_code {
            None | Some(0) => SessionStatus::Completed,
            Some(_) => SessionStatus::Failed,
        };
        self.ended(num, status, exit_code, None, &[])
    }

    fn archive(&mut self, id: SessionId, archived: bool) -> Result<Outcome, StoreError> {
        let Some((num, record)) = self.find(id)? else {
            return Ok(Outcome::refused(not_found(Some(id))));
        };
        if archived && !record.status.is_final() {
            return Ok(Outcome::refused(ApiError::SessionLive { id }));
        }
        if record.archived_at.is_some() != archived {
            let at = archived.then(|| Timestamp::now().as_millis());
            self.transaction
                .prepare_cached("UPDATE sessions SET archived_at = ?2 WHERE num = ?1")?
                .execute(params![num.0, at])?;
        }
        Ok(Outcome::record(num, Some(id)))
    }

    fn delete(&mut self, id: SessionId) -> Result<Outcome, StoreError> {
        let Some((num, record)) = self.find(id)? else {
            return Ok(Outcome::refused(not_found(Some(id))));
        };
        if !record.status.is_final() {
            return Ok(Outcome::refused(ApiError::SessionLive { id }));
        }
        self.transaction
            .prepare_cached("DELETE FROM events WHERE key BETWEEN ?1 AND ?2")?
            .execute([num.key(0), num.key(u64::MAX)])?;
        self.transaction
            .prepare_cached("DELETE FROM sessions WHERE num = ?1")?
            .execute([num.0])?;
        self.tails.remove(&num);
        self.moved.remove(&num);
        let mut outcome = Outcome::of(Ok(Answer::Deleted(id)));
        outcome.touched = Some(num);
        outcome.sessions_removed = 1;
        Ok(outcome)
    }

    fn find(&self, id: SessionId) -> Result<Option<(SessionNum, SessionRecord)>, StoreError> {
        Ok(self
            .transaction
            .prepare_cached(reader::SESSION_BY_ID)?
            .query_row([id.to_string()], reader::session_row)
            .optional()?)
    }

    fn record(&self, num: SessionNum) -> Result<Option<SessionRecord>, StoreError> {
        let found = self
            .transaction
            .prepare_cached(reader::SESSION_BY_NUM)?
            .query_row([num.0], reader::session_row)
            .optional()?;
        Ok(found.map(|(_, record)| record))
    }
}

fn not_found(id: Option<SessionId>) -> ApiError {
    ApiError::SessionNotFound {
        id: id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn labels_json(labels: &[String]) -> String {
    // Cannot fail: a list of strings is plain data.
    serde_json::to_string(labels).expect("strings are plain data")
}
