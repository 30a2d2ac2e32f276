//! What each request and each fact does to the tables, within a transaction.
//!
//! Runs on the writer thread. It knows what may be done to which session, and nothing of who asks.

use rusqlite::{Connection, params};

use super::batch::{Batch, Outcome, not_found};
use crate::api::{ApiError, SessionCost, SessionId, SessionStatus, Timestamp};
use crate::store::facts::{Answer, Fact, NewEvent, NewExternal, NewSession, Request};
use crate::store::keep::tails::{Tail, Tails};
use crate::store::rows::SessionNum;
use crate::store::schema::StoreError;

impl Batch<'_> {
    pub(crate) fn fact(&mut self, fact: &Fact) -> Result<Outcome, StoreError> {
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

    pub(crate) fn request(&mut self, request: &Request) -> Result<Outcome, StoreError> {
        match request {
            Request::Create(session) => self.create(session),
            Request::RegisterExternal(session) => self.register_external(session),
            Request::Complete { id, exit_code } => self.complete(*id, *exit_code),
            Request::Archive { id, archived } => self.archive(*id, *archived),
            Request::Delete { id } => self.delete(*id),
        }
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
        self.set_tail(num, Tail::default());
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
        self.set_tail(num, Tail::default());
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
        self.forget(num);
        let mut outcome = Outcome::of(Ok(Answer::Deleted(id)));
        outcome.touched = Some(num);
        outcome.sessions_removed = 1;
        Ok(outcome)
    }
}

fn labels_json(labels: &[String]) -> String {
    // Cannot fail: a list of strings is plain data.
    serde_json::to_string(labels).expect("strings are plain data")
}

/// Commits `facts` without a writer thread.
pub(crate) fn commit_now(connection: &mut Connection, facts: Vec<Fact>) -> Result<(), StoreError> {
    let mut tails = Tails::new();
    let mut batch = Batch::begin(connection, &mut tails, None)?;
    for fact in &facts {
        batch.fact(fact)?;
    }
    batch.commit(&mut [])?;
    Ok(())
}
