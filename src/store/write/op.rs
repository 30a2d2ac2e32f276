//! Executes each request and each fact as statements of a transaction.
//!
//! Runs on the writer thread. It checks which change a session's state allows; it does not know the client.

use rusqlite::{Connection, params};

use super::batch::{Applied, Batch, not_found};
use crate::api::{
    EndedBy, LABELS_MAX, Labels, LeftBehind, OnEnd, Payload, SessionCost, SessionId, SessionRecord,
    SessionStatus, Timestamp, Usage, Word,
};
use crate::store::columns::{Change, Columns, is_known};
use crate::store::facts::{
    Committed, Edit, End, Fact, NewEvent, NewSession, Refused, StoreRequest,
};
use crate::store::keep::tails::{Tail, Tails};
use crate::store::rows::{SessionNum, SessionRow, find, insert_session, update_session};
use crate::store::schema::StoreError;

impl Batch<'_> {
    pub(crate) fn fact(&mut self, fact: &Fact) -> Result<Applied, StoreError> {
        match fact {
            Fact::Events { num, events } => self.events(*num, events),
            Fact::Started {
                num,
                pid,
                process_mark,
                stdout_pipe_bytes,
                at,
            } => {
                let process: [Change<'_>; 4] = [
                    ("pid", pid),
                    ("process_mark", process_mark),
                    ("stdout_pipe_bytes", stdout_pipe_bytes),
                    ("started_at", at),
                ];
                self.started(*num, *pid, &process)
            }
            Fact::Noted { num, note } => {
                let changes: Vec<_> = note.changes().into_iter().filter(is_known).collect();
                update_session(&self.transaction, *num, &changes)?;
                Ok(Applied::of(Ok(Committed::Done)))
            }
            Fact::Ended {
                num,
                end,
                cost,
                usage,
                events,
            } => self.ended(*num, end, cost, usage.as_deref(), events),
        }
    }

    pub(crate) fn request(&mut self, request: &StoreRequest) -> Result<Applied, StoreError> {
        match request {
            StoreRequest::Create(session) => self.create(session),
            StoreRequest::RegisterExternal(session) => self.register_external(session),
            StoreRequest::Complete { id, exit_code } => self.complete(*id, *exit_code),
            StoreRequest::Archive { id, archived } => self.archive(*id, *archived),
            StoreRequest::Edit { id, edit } => self.edit(*id, edit),
            StoreRequest::Delete { id } => self.delete(*id),
            StoreRequest::OnEnd { id } => self.on_end(*id),
        }
    }

    fn events(&mut self, num: SessionNum, events: &[NewEvent]) -> Result<Applied, StoreError> {
        let mut result = Applied::of(Ok(Committed::Done));
        let Some(has_ended) = self.has_ended(num)? else {
            // A process that the harness left behind still wrote after the session was deleted.
            return Ok(result);
        };
        self.append(num, events)?;
        if has_ended {
            self.end(num);
            if let Some(last) = events.last() {
                // Retention uses the time of an ended session's newest event.
                update_session(&self.transaction, num, &[("updated_at", &last.at)])?;
            }
        }
        result.touched = Some(num);
        result.events = events.len() as u64;
        Ok(result)
    }

    fn started(
        &mut self,
        num: SessionNum,
        pid: i32,
        process: &[Change<'_>],
    ) -> Result<Applied, StoreError> {
        let now = self.append_status(num, SessionStatus::Running, Some(pid))?;
        let status: [Change<'_>; 2] = [("status", &SessionStatus::Running), ("updated_at", &now)];
        update_session(&self.transaction, num, &[&status, process].concat())?;
        Ok(Applied {
            events: 1,
            ..Applied::record(num, None)
        })
    }

    fn ended(
        &mut self,
        num: SessionNum,
        end: &End,
        cost: &SessionCost,
        usage: Option<&Usage>,
        events: &[NewEvent],
    ) -> Result<Applied, StoreError> {
        self.append(num, events)?;
        let now = self.append_status(num, end.status, None)?;
        let mut changes = end.changes();
        changes.push(("updated_at", &now));
        // Unknown values keep what is on record, such as the time of the start.
        let known = cost.changes().into_iter().chain([("usage", &usage as _)]);
        changes.extend(known.filter(is_known));
        let is_good = matches!(end.status, SessionStatus::Completed | SessionStatus::Idle);
        if is_good
            && let Some(SessionRow { record, .. }) = SessionRow::by_num(&self.transaction, num)?
            && record.options.on_end.is_some()
        {
            changes.push(("on_end_since", &self.observed));
        }
        update_session(&self.transaction, num, &changes)?;
        self.end(num);
        Ok(Applied {
            events: events.len() as u64 + 1,
            ..Applied::record(num, None)
        })
    }

    fn create(&mut self, session: &NewSession) -> Result<Applied, StoreError> {
        let record = &session.record;
        let num = insert_session(&self.transaction, record)?;
        if let Some((key, fingerprint)) = &session.idempotency {
            // An expired key can still have a row: the state thread has checked that it may be replaced.
            self.transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO idempotency (key, fingerprint, session, created_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![key, fingerprint, num, record.created_at])?;
        }
        if let Some(id) = record.continued_from
            && let Some(from) = SessionRow::by_id(&self.transaction, id)?
            && from.record.options.on_end == Some(OnEnd::Delete.into())
        {
            // The new record refers to the old one, and sums the usage of both: keep it.
            self.forget_on_end(from.num)?;
        }
        self.set_tail(num, Tail::default());
        let status = Payload::Status {
            status: record.status,
            pid: None,
        };
        self.append(num, &[NewEvent::at(record.created_at, status)])?;
        self.append(num, &session.prompt)?;
        let mut result = Applied::of(Ok(Committed::Created(num)));
        result.events = 1 + session.prompt.len() as u64;
        result.sessions_added = 1;
        Ok(result)
    }

    fn register_external(&mut self, session: &SessionRecord) -> Result<Applied, StoreError> {
        if let Some(SessionRow { record, .. }) = SessionRow::by_id(&self.transaction, session.id)? {
            return Ok(if record.external {
                Applied::of(Ok(Committed::Existing(Box::new(record))))
            } else {
                Applied::refused(Refused::IdTaken { id: session.id })
            });
        }
        let num = insert_session(&self.transaction, session)?;
        self.set_tail(num, Tail::default());
        self.append_status(num, session.status, None)?;
        Ok(Applied {
            events: 1,
            sessions_added: 1,
            ..Applied::record(num, Some(session.id))
        })
    }

    fn complete(&mut self, id: SessionId, exit_code: Option<i32>) -> Result<Applied, StoreError> {
        let Some(SessionRow { num, record }) = SessionRow::by_id(&self.transaction, id)? else {
            return Ok(Applied::refused(not_found(Some(id))));
        };
        if !record.external {
            return Ok(Applied::refused(Refused::NotExternal { id }));
        }
        if record.status.is_final() {
            // Completed twice: the first result stands.
            return Ok(Applied::record(num, Some(id)));
        }
        let status = match exit_code {
            None | Some(0) => SessionStatus::Completed,
            Some(_) => SessionStatus::Failed,
        };
        let end = End {
            status,
            exit_code,
            signal: None,
            ended_by: Some(EndedBy::Exit),
            oom_killed: false,
            left_behind: LeftBehind::default(),
        };
        self.ended(num, &end, &SessionCost::default(), None, &[])
    }

    fn archive(&mut self, id: SessionId, archived: bool) -> Result<Applied, StoreError> {
        let Some(SessionRow { num, record }) = SessionRow::by_id(&self.transaction, id)? else {
            return Ok(Applied::refused(not_found(Some(id))));
        };
        if archived && !record.status.is_final() {
            return Ok(Applied::refused(Refused::Live { id }));
        }
        if record.archived_at.is_some() != archived {
            let at = archived.then(Timestamp::now);
            update_session(&self.transaction, num, &[("archived_at", &at)])?;
        }
        // A client that archives or unarchives a session overrides its `onEnd`.
        self.forget_on_end(num)?;
        Ok(Applied::record(num, Some(id)))
    }

    fn on_end(&mut self, id: SessionId) -> Result<Applied, StoreError> {
        // Another request of this batch can have cancelled it.
        let awaiting = "SELECT on_end_since IS NOT NULL FROM sessions WHERE id = ?1";
        let row = match find(&self.transaction, awaiting, [id])? {
            Some(true) => SessionRow::by_id(&self.transaction, id)?,
            _ => None,
        };
        let Some(SessionRow { num, record }) = row else {
            return Ok(Applied::of(Ok(Committed::Done)));
        };
        match record.options.on_end.as_ref().and_then(Word::known) {
            Some(OnEnd::Archive) => self.archive(id, true),
            Some(OnEnd::Delete) => self.delete(id),
            // A value of a later version: ignore it.
            None => {
                self.forget_on_end(num)?;
                Ok(Applied::of(Ok(Committed::Done)))
            }
        }
    }

    /// Clears the pending `onEnd`: it is done, or cancelled.
    fn forget_on_end(&self, num: SessionNum) -> Result<(), StoreError> {
        let none: Option<i64> = None;
        update_session(&self.transaction, num, &[("on_end_since", &none)])?;
        Ok(())
    }

    fn edit(&mut self, id: SessionId, edit: &Edit) -> Result<Applied, StoreError> {
        let Some(SessionRow { num, mut record }) = SessionRow::by_id(&self.transaction, id)? else {
            return Ok(Applied::refused(not_found(Some(id))));
        };
        let Labels(labels) = &mut record.options.labels;
        labels.retain(|label| !edit.remove_labels.contains(label));
        for label in &edit.add_labels {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        if labels.len() > LABELS_MAX {
            return Ok(Applied::refused(Refused::TooManyLabels));
        }
        let title = edit.title.as_ref().unwrap_or(&record.title);
        let changes: [Change<'_>; 2] = [("title", title), ("options", &record.options)];
        update_session(&self.transaction, num, &changes)?;
        Ok(Applied::record(num, Some(id)))
    }

    fn delete(&mut self, id: SessionId) -> Result<Applied, StoreError> {
        let Some(SessionRow { num, record }) = SessionRow::by_id(&self.transaction, id)? else {
            return Ok(Applied::refused(not_found(Some(id))));
        };
        if !record.status.is_final() {
            return Ok(Applied::refused(Refused::Live { id }));
        }
        self.transaction
            .prepare_cached("DELETE FROM events WHERE key BETWEEN ?1 AND ?2")?
            .execute([num.key(0), num.key(u64::MAX)])?;
        self.transaction
            .prepare_cached("DELETE FROM sessions WHERE num = ?1")?
            .execute([num.0])?;
        self.forget(num);
        let mut result = Applied::of(Ok(Committed::Deleted(id)));
        result.touched = Some(num);
        result.sessions_removed = 1;
        Ok(result)
    }
}

/// Commits `facts` without a writer thread.
pub(crate) fn commit_now(connection: &mut Connection, facts: Vec<Fact>) -> Result<(), StoreError> {
    let mut tails = Tails::new();
    let mut batch = Batch::begin(connection, &mut tails, 0, None)?;
    for fact in &facts {
        batch.fact(fact)?;
    }
    batch.commit(&mut [])?;
    Ok(())
}
