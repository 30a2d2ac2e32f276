//! The expected content of the database, as plain values.

use crate::api::{
    EventKind, OnEnd, SessionId, SessionRecord, SessionStatus, Word, is_prompt, output_length,
};
use crate::store::facts::{Committed, Fact, NewEvent, Refused, StoreRequest};
use crate::store::rows::SessionNum;

/// The expected content of one session.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) num: SessionNum,
    pub(super) id: SessionId,
    pub(super) is_external: bool,
    pub(super) status: SessionStatus,
    pub(super) is_archived: bool,
    pub(super) on_end: Option<OnEnd>,
    /// Its `onEnd` is pending.
    pub(super) awaits_on_end: bool,
    pub(super) exit_code: Option<i32>,
    /// All events in seq order: the kind, and the payload unless the writer creates it.
    pub(super) history: Vec<(EventKind, Option<String>)>,
}

impl Kept {
    fn add(&mut self, kind: EventKind, payload: Option<&str>) {
        self.history.push((kind, payload.map(str::to_owned)));
    }

    fn add_all(&mut self, events: &[NewEvent]) {
        for event in events {
            self.add(event.kind, Some(&event.payload_json));
        }
    }

    /// Checks that retention may take the events `seqs`; returns their number and the bytes of output that they show.
    pub(super) fn check_gone(&self, seqs: impl Iterator<Item = u64>) -> (u64, u64) {
        let mut gone = (0, 0);
        for seq in seqs {
            let (kind, payload) = &self.history[seq as usize - 1];
            let payload = payload.as_ref().unwrap();
            assert!(may_go(*kind, payload), "{seq}");
            gone.0 += 1;
            gone.1 += output_length(payload).unwrap();
        }
        gone
    }
}

/// The expected sessions, and the ids of deleted ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) sessions: Vec<Kept>,
    pub(super) deleted: Vec<(SessionNum, SessionId)>,
}

impl Model {
    fn of_num(&mut self, num: SessionNum) -> Option<&mut Kept> {
        self.sessions.iter_mut().find(|kept| kept.num == num)
    }

    pub(super) fn of_id(&mut self, id: SessionId) -> Option<&mut Kept> {
        self.sessions.iter_mut().find(|kept| kept.id == id)
    }

    pub(super) fn take_fact(&mut self, fact: &Fact) {
        let Some(kept) = self.of_num(fact.num()) else {
            return;
        };
        match fact {
            Fact::Events { events, .. } => kept.add_all(events),
            Fact::Started { .. } => {
                kept.status = SessionStatus::Running;
                kept.add(EventKind::Status, None);
            }
            Fact::Noted { .. } => {}
            Fact::Ended { end, events, .. } => {
                kept.status = end.status;
                kept.awaits_on_end =
                    kept.on_end.is_some() && end.status == SessionStatus::Completed;
                kept.exit_code = end.exit_code;
                kept.add_all(events);
                kept.add(EventKind::Status, None);
            }
        }
    }

    /// True if the store carries out `request`.
    fn accepts(&mut self, request: &StoreRequest) -> bool {
        match request {
            StoreRequest::Create(_)
            | StoreRequest::RegisterExternal(_)
            | StoreRequest::OnEnd { .. } => true,
            StoreRequest::Complete { id, .. } => {
                self.of_id(*id).is_some_and(|kept| kept.is_external)
            }
            StoreRequest::Archive { id, archived } => self
                .of_id(*id)
                .is_some_and(|kept| !archived || kept.status.is_final()),
            StoreRequest::Edit { id, .. } => self.of_id(*id).is_some(),
            StoreRequest::Delete { id } => {
                self.of_id(*id).is_some_and(|kept| kept.status.is_final())
            }
        }
    }

    /// Applies a request to the model, or expects its refusal.
    pub(super) fn take_request(
        &mut self,
        request: &StoreRequest,
        answer: &Result<Committed, Refused>,
    ) {
        let is_done = self.accepts(request);
        assert_eq!(answer.is_ok(), is_done, "{request:?}: {answer:?}");
        if !is_done {
            return;
        }
        match request {
            StoreRequest::Create(new) => {
                let continued = new.record.continued_from.and_then(|id| self.of_id(id));
                if let Some(from) = continued.filter(|from| from.on_end == Some(OnEnd::Delete)) {
                    from.awaits_on_end = false;
                }
            }
            StoreRequest::RegisterExternal(_) | StoreRequest::Edit { .. } => {}
            StoreRequest::Complete { id, exit_code } => {
                let kept = self.of_id(*id).unwrap();
                if !kept.status.is_final() {
                    kept.status = match exit_code {
                        None | Some(0) => SessionStatus::Completed,
                        Some(_) => SessionStatus::Failed,
                    };
                    kept.exit_code = *exit_code;
                    kept.add(EventKind::Status, None);
                }
            }
            StoreRequest::Archive { id, archived } => {
                let kept = self.of_id(*id).unwrap();
                kept.is_archived = *archived;
                kept.awaits_on_end = false;
            }
            StoreRequest::Delete { id } => self.delete(*id),
            StoreRequest::OnEnd { id } => {
                let Some(kept) = self.of_id(*id).filter(|kept| kept.awaits_on_end) else {
                    return assert!(matches!(answer, Ok(Committed::Done)), "{answer:?}");
                };
                kept.awaits_on_end = false;
                match kept.on_end {
                    Some(OnEnd::Delete) => self.delete(*id),
                    _ => kept.is_archived = true,
                }
            }
        }
    }

    fn delete(&mut self, id: SessionId) {
        let at = self.sessions.iter().position(|kept| kept.id == id);
        let kept = self.sessions.remove(at.unwrap());
        self.deleted.push((kept.num, kept.id));
    }

    pub(super) fn add_session(
        &mut self,
        num: SessionNum,
        record: &SessionRecord,
        prompt: &[NewEvent],
    ) {
        // The newest session's number can occur again once that session is deleted.
        self.deleted.retain(|(deleted, _)| *deleted != num);
        let mut kept = Kept {
            num,
            id: record.id,
            is_external: record.external,
            status: record.status,
            is_archived: false,
            on_end: record.options.on_end.as_ref().and_then(Word::known),
            awaits_on_end: false,
            exit_code: None,
            history: vec![(EventKind::Status, None)],
        };
        kept.add_all(prompt);
        self.sessions.push(kept);
    }
}

/// True for output and prompts.
pub(super) fn may_go(kind: EventKind, payload: &str) -> bool {
    kind == EventKind::Output || is_prompt(kind.as_str(), payload)
}
