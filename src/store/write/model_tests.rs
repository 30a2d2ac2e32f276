//! Compares the writer's transactions with a plain model: gapless seqs, exact sums of what retention deleted, the same
//! result from every read, and nothing of a transaction that was interrupted at any row.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use serde_json::Value;

use super::batch::Batch;
use crate::api::{
    Code, Event, EventKind, LaunchOptions, LeftBehind, OnEnd, PROMPT_HEAD, Payload, SessionCost,
    SessionId, SessionRecord, SessionStatus, Timestamp, Truncation, Word, is_prompt, output_length,
};
use crate::random::{Random, rounds};
use crate::store::facts::{Committed, Edit, End, Fact, NewEvent, NewSession, Refused, Request};
use crate::store::keep::clock::Clock;
use crate::store::keep::retention::Retention;
use crate::store::keep::status::StoreStatus;
use crate::store::keep::sweep::Sweep;
use crate::store::keep::tails::{Tail, Tails, disk_bytes};
use crate::store::read::page::EventQuery;
use crate::store::read::reader::{Reader, SessionQuery};
use crate::store::rows::SessionNum;
use crate::store::schema::StoreError;
use crate::store::{OpenFiles, connect};

/// The expected content of one session.
#[derive(Debug, Clone)]
struct Kept {
    num: SessionNum,
    id: SessionId,
    is_external: bool,
    status: SessionStatus,
    is_archived: bool,
    on_end: Option<OnEnd>,
    /// Its `onEnd` is pending.
    awaits_on_end: bool,
    exit_code: Option<i32>,
    /// All events in seq order: the kind, and the payload unless the writer creates it.
    history: Vec<(EventKind, Option<String>)>,
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
}

/// The expected sessions, and the ids of deleted ones.
#[derive(Debug, Clone, Default)]
struct Model {
    sessions: Vec<Kept>,
    deleted: Vec<(SessionNum, SessionId)>,
}

impl Model {
    fn of_num(&mut self, num: SessionNum) -> Option<&mut Kept> {
        self.sessions.iter_mut().find(|kept| kept.num == num)
    }

    fn of_id(&mut self, id: SessionId) -> Option<&mut Kept> {
        self.sessions.iter_mut().find(|kept| kept.id == id)
    }

    fn take_fact(&mut self, fact: &Fact) {
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

    /// Applies a request to the model, or expects its refusal.
    fn take_request(&mut self, request: &Request, answer: &Result<Committed, Refused>) {
        let is_done = match request {
            Request::Create(_) | Request::RegisterExternal(_) | Request::OnEnd { .. } => true,
            Request::Complete { id, .. } => self.of_id(*id).is_some_and(|kept| kept.is_external),
            Request::Archive { id, archived } => self
                .of_id(*id)
                .is_some_and(|kept| !archived || kept.status.is_final()),
            Request::Edit { id, .. } => self.of_id(*id).is_some(),
            Request::Delete { id } => self.of_id(*id).is_some_and(|kept| kept.status.is_final()),
        };
        assert_eq!(answer.is_ok(), is_done, "{request:?}: {answer:?}");
        if !is_done {
            return;
        }
        match request {
            Request::Create(new) => {
                let continued = new.record.continued_from.and_then(|id| self.of_id(id));
                if let Some(from) = continued.filter(|from| from.on_end == Some(OnEnd::Delete)) {
                    from.awaits_on_end = false;
                }
            }
            Request::RegisterExternal(_) | Request::Edit { .. } => {}
            Request::Complete { id, exit_code } => {
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
            Request::Archive { id, archived } => {
                let kept = self.of_id(*id).unwrap();
                kept.is_archived = *archived;
                kept.awaits_on_end = false;
            }
            Request::Delete { id } => self.delete(*id),
            Request::OnEnd { id } => {
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

    fn add_session(&mut self, num: SessionNum, record: &SessionRecord, prompt: &[NewEvent]) {
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

enum Work {
    Fact(Fact),
    Request(Request),
}

fn output(random: &mut Random) -> NewEvent {
    let length = match random.below(3) {
        0 => random.below(100),
        1 => random.below(8_000),
        _ => random.below(40_000),
    };
    let data = "x".repeat(length);
    NewEvent {
        kind: EventKind::Output,
        payload_json: format!(r#"{{"data":"{data}","stream":"stdout"}}"#),
        at: Timestamp::now(),
    }
}

fn events(random: &mut Random) -> Vec<NewEvent> {
    (0..random.below(4))
        .map(|_| match random.below(6) {
            0 => NewEvent::error(Code::SendInputFailed, "a reason"),
            // A typed input that looks like a prompt's event.
            1 => NewEvent::now(Payload::Input {
                data: PROMPT_HEAD,
                eof: false,
            }),
            _ => output(random),
        })
        .collect()
}

/// No prompt, one of one event, or one of several.
fn prompt(random: &mut Random, at: Timestamp) -> Vec<NewEvent> {
    let length = *random.pick(&[0, 20, 8_000, 70_000]);
    NewEvent::of_prompt(at, &"p\n".repeat(length / 2), length)
}

fn record(random: &mut Random, model: &Model) -> SessionRecord {
    let text = |text: &str| text.to_owned();
    let external = random.one_in(3);
    let on_end = (!external && random.one_in(2)).then(|| *random.pick(&OnEnd::ALL));
    let from = (!model.sessions.is_empty()).then(|| random.pick(&model.sessions).id);
    SessionRecord {
        external,
        status: SessionStatus::Created,
        options: LaunchOptions {
            on_end: on_end.map(Word::from),
            ..LaunchOptions::default()
        },
        continued_from: from.filter(|_| random.one_in(2)),
        ..SessionRecord::new(SessionId::random(), text("/p"), text("hello"), text("t"))
    }
}

/// A random fact or request that is legal in this state.
fn work(random: &mut Random, model: &Model) -> Work {
    let missing = SessionId::random();
    let choice = random.below(12);
    // Few sessions, so that each gets many writes.
    if model.sessions.is_empty() || (choice == 0 && model.sessions.len() < 4) {
        let record = Box::new(record(random, model));
        return Work::Request(match record.external {
            true => Request::RegisterExternal(record),
            false => Request::Create(Box::new(NewSession {
                prompt: prompt(random, record.created_at),
                record: *record,
                idempotency: None,
            })),
        });
    }
    let kept = random.pick(&model.sessions);
    let (num, id) = (kept.num, kept.id);
    let id = if random.one_in(20) { missing } else { id };
    let exit_code = (!random.one_in(3)).then(|| random.below(2) as i32);
    match choice {
        1 if random.one_in(4) => Work::Request(Request::Delete { id }),
        1 => Work::Request(Request::Edit {
            id,
            edit: Edit::default(),
        }),
        2 if random.one_in(2) => Work::Request(Request::OnEnd { id }),
        2 => Work::Request(Request::Archive {
            id,
            archived: random.one_in(2),
        }),
        3 => Work::Request(Request::Complete { id, exit_code }),
        4 if kept.status == SessionStatus::Created && !kept.is_external => {
            Work::Fact(Fact::Started {
                num,
                pid: 7,
                process_mark: None,
                stdout_pipe_bytes: Some(65_536),
                at: Timestamp::now(),
            })
        }
        5 if kept.status == SessionStatus::Running => Work::Fact(Fact::Ended {
            num,
            end: Box::new(End {
                status: *random.pick(&[SessionStatus::Completed, SessionStatus::Killed]),
                exit_code,
                signal: None,
                ended_by: None,
                oom_killed: false,
                left_behind: LeftBehind::default(),
            }),
            cost: SessionCost::default(),
            usage: None,
            events: events(random),
        }),
        // Also for a deleted session: a process that its harness left behind still writes.
        6 => Work::Fact(Fact::Events {
            num: model.deleted.last().map_or(num, |(num, _)| *num),
            events: events(random),
        }),
        _ => Work::Fact(Fact::Events {
            num,
            events: events(random),
        }),
    }
}

/// A database in a directory of its own, whose statements can be interrupted.
struct Tried {
    dir: PathBuf,
    connection: Connection,
    reader: Reader,
    tails: Tails,
    session_max: Option<u64>,
    /// Steps of SQLite's virtual machine until the statement is interrupted; 0: never.
    steps_left: Arc<AtomicU64>,
}

impl Drop for Tried {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Tried {
    fn new(session_max: Option<u64>) -> Self {
        let dir = std::env::temp_dir().join(format!("coven-model-{}", SessionId::random()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("coven.sqlite3");
        let (mut connection, _) = connect::open_for_writing(&path).unwrap();
        let steps_left = Arc::new(AtomicU64::new(0));
        let steps = Arc::clone(&steps_left);
        let one_step = move || match steps.load(Ordering::Relaxed) {
            0 => false,
            left => {
                steps.store(left - 1, Ordering::Relaxed);
                left == 1
            }
        };
        connection.progress_handler(1, Some(one_step)).unwrap();
        let steps = Arc::clone(&steps_left);
        // SQLite can call the progress handler once more after a completed commit. A statement that is interrupted in
        // its last steps fails as a whole.
        let refuse = move || (1..20).contains(&steps.swap(0, Ordering::Relaxed));
        connection.commit_hook(Some(refuse)).unwrap();
        Self {
            reader: reader(&path),
            dir,
            connection,
            tails: Tails::new(),
            session_max,
            steps_left,
        }
    }

    /// Runs one transaction of the writer; returns the changed model.
    fn transaction(&mut self, random: &mut Random, model: &Model) -> Result<Model, StoreError> {
        let mut model = model.clone();
        let mut batch = Batch::begin(&mut self.connection, &mut self.tails, 7, self.session_max)?;
        let mut results = Vec::new();
        for _ in 0..1 + random.below(8) {
            match work(random, &model) {
                Work::Fact(fact) => {
                    results.push(batch.fact(&fact)?);
                    model.take_fact(&fact);
                }
                Work::Request(request) => {
                    let result = batch.request(&request)?;
                    let num = match (&result.answer, &result.record_of) {
                        (Ok(Committed::Created(num)), _) | (_, Some((num, _))) => Some(*num),
                        _ => None,
                    };
                    model.take_request(&request, &result.answer);
                    match (&request, num) {
                        (Request::Create(new), Some(num)) => {
                            model.add_session(num, &new.record, &new.prompt);
                        }
                        (Request::RegisterExternal(record), Some(num)) => {
                            model.add_session(num, record, &[]);
                        }
                        _ => {}
                    }
                    results.push(result);
                }
            }
        }
        batch.commit(&mut results)?;
        for result in &results {
            if let Ok(Committed::Record(record)) = &result.answer {
                let kept = model.of_id(record.id).unwrap();
                assert_eq!(record.status, kept.status);
            }
        }
        Ok(model)
    }

    /// Deletes output as retention by size does.
    fn sweep(&mut self, random: &mut Random) -> Result<(), StoreError> {
        let used = connect::pages(&self.connection)?.used();
        let retention = Retention {
            days: None,
            store_max: Some(random.below(used as usize + 1) as u64),
            session_max: self.session_max,
        };
        let mut sweep = Sweep::new(retention, &Clock::load_now(&self.connection)?);
        for _ in 0..random.below(30) {
            if sweep.step(&mut self.connection, &mut self.tails)?.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn check(&self, model: &Model) {
        let listed = self.list();
        assert_eq!(listed.len(), model.sessions.len());
        for kept in &model.sessions {
            let record = self.reader.session(kept.id).unwrap();
            assert_eq!(record.status, kept.status);
            assert_eq!(record.archived_at.is_some(), kept.is_archived);
            assert_eq!(self.awaits_on_end(kept.num), kept.awaits_on_end);
            assert_eq!(record.exit_code, kept.exit_code);
            assert_eq!(record.external, kept.is_external);
            assert_eq!(record.last_seq, kept.history.len() as u64);
            let shown = serde_json::to_value(&record).unwrap();
            assert!(listed.contains(&shown), "{shown} is not in the list");
            self.check_events(kept);
        }
        for (num, id) in &model.deleted {
            assert!(self.reader.session(*id).is_err());
            let events: u64 = self
                .connection
                .query_row(
                    "SELECT count(*) FROM events WHERE key BETWEEN ?1 AND ?2",
                    [num.key(0), num.key(u64::MAX)],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(events, 0);
        }
        for (num, tail) in &self.tails {
            assert_eq!(Tail::of(&self.connection, *num).unwrap(), *tail);
        }
    }

    fn awaits_on_end(&self, num: SessionNum) -> bool {
        let query = "SELECT on_end_since IS NOT NULL FROM sessions WHERE num = ?1";
        let found = self.connection.query_row(query, [num], |row| row.get(0));
        found.unwrap()
    }

    fn list(&self) -> Vec<Value> {
        let query = SessionQuery {
            harness: None,
            conversation: None,
            limit: 1000,
            before: None,
            include_archived: true,
            id_prefix: String::new(),
            bytes_max: usize::MAX,
        };
        let list = self.reader.sessions(&query, &|_| {});
        let json = [&b"["[..], &list.unwrap().json, b"]"].concat();
        serde_json::from_slice(&json).unwrap()
    }

    /// A session's events as a client reads them, page by page.
    fn events(&self, id: SessionId) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let query = EventQuery {
                session: id,
                after: events.last().map_or(0, |event: &Event| event.seq),
                limit: 7,
                bytes_max: 100_000,
            };
            let body = self.reader.events(query).unwrap().body;
            let page: crate::api::EventPage = serde_json::from_slice(&body).unwrap();
            events.extend(page.events);
            if !page.has_more {
                return events;
            }
        }
    }

    fn check_events(&self, kept: &Kept) {
        let events = self.events(kept.id);
        if kept.status.is_final() {
            // Retention uses this time.
            let record = self.reader.session(kept.id).unwrap();
            let mut own = events
                .iter()
                .filter(|event| event.kind != EventKind::OutputTruncated);
            assert!(own.all(|event| event.created_at <= record.updated_at));
        }
        let mut next = 1;
        let (mut dropped, mut expected) = ((0, 0), (0, 0));
        let (mut stored, mut truncations) = (0, 0);
        for event in &events {
            if event.kind == EventKind::OutputTruncated {
                truncations += 1;
                let told: Truncation = serde_json::from_str(&event.payload_json).unwrap();
                assert_eq!(told.through_seq, event.seq);
                assert!(told.from_seq <= event.seq);
                dropped.0 += told.dropped_events;
                dropped.1 += told.dropped_bytes;
                // The missing events before it, and the one that it replaced, must be output that it counts.
                for seq in next..=event.seq {
                    let (kind, payload) = &kept.history[seq as usize - 1];
                    assert!(may_go(*kind, payload.as_ref().unwrap()), "{seq}");
                    assert!(seq >= told.from_seq, "{seq}: {told:?}");
                    expected.0 += 1;
                    expected.1 += output_length(payload.as_ref().unwrap()).unwrap();
                }
            } else {
                // Kept events can lie within the range of a later truncation.
                for seq in next..event.seq {
                    let (kind, payload) = &kept.history[seq as usize - 1];
                    assert!(may_go(*kind, payload.as_ref().unwrap()), "{seq}");
                    expected.0 += 1;
                    expected.1 += output_length(payload.as_ref().unwrap()).unwrap();
                }
                let (kind, payload) = &kept.history[event.seq as usize - 1];
                assert_eq!(event.kind, *kind);
                if let Some(payload) = payload {
                    assert!(event.payload_json == *payload, "{}", event.seq);
                }
                if may_go(*kind, &event.payload_json) {
                    stored += disk_bytes(event.payload_json.len());
                }
            }
            next = event.seq + 1;
        }
        assert_eq!(
            next as usize,
            kept.history.len() + 1,
            "the last are missing"
        );
        assert_eq!(dropped, expected);
        // At most one of retention from the start, and one of the session's limit after the head.
        assert!(truncations <= 2, "{truncations}");
        let tail = Tail::of(&self.connection, kept.num).unwrap();
        assert_eq!(tail.stored_bytes, stored);
        if let Some(limit) = self.session_max {
            assert!(stored <= limit, "{stored} of {limit}");
        }
    }
}

/// True for output and prompts.
fn may_go(kind: EventKind, payload: &str) -> bool {
    kind == EventKind::Output || is_prompt(kind.as_str(), payload)
}

fn reader(path: &Path) -> Reader {
    let retention = Retention {
        days: None,
        store_max: None,
        session_max: None,
    };
    Reader::new(
        path,
        connect::open_for_reading(path).unwrap(),
        Arc::new(OpenFiles::of(path)),
        retention,
        Arc::new(StoreStatus::new(path, 0, &retention)),
    )
}

#[test]
fn what_is_read_is_what_was_committed_and_nothing_of_what_was_broken_off() {
    let (mut committed, mut broken_off, mut swept) = (0, 0, 0);
    for seed in 0..rounds(8) {
        let mut random = Random::new(seed as u64);
        // Twice the size of the largest output, so that the head of each session is within the limit.
        let session_max = random.one_in(2).then_some(200_000);
        let mut tried = Tried::new(session_max);
        let mut model = Model::default();
        for round in 0..60 {
            let steps = match random.one_in(3) {
                true => 1 + random.below(4_000) as u64,
                false => 0,
            };
            tried.steps_left.store(steps, Ordering::Relaxed);
            let result = match random.one_in(5) {
                true => tried.sweep(&mut random).map(|()| {
                    swept += 1;
                    model.clone()
                }),
                false => tried.transaction(&mut random, &model),
            };
            tried.steps_left.store(0, Ordering::Relaxed);
            if !tried.connection.is_autocommit() {
                // The interrupted statement was the rollback.
                tried.connection.execute_batch("ROLLBACK").unwrap();
            }
            match result {
                Ok(after) => {
                    model = after;
                    committed += 1;
                }
                Err(err) => {
                    assert!(steps > 0, "seed {seed}, round {round}: {err}");
                    // As the writer does: the next transaction reads the seqs from the rows.
                    tried.tails.clear();
                    broken_off += 1;
                }
            }
            // Printed where the check fails: what repeats it.
            println!("seed {seed}, round {round}");
            tried.check(&model);
        }
    }
    assert!(committed > 0 && broken_off > 0 && swept > 0);
}
