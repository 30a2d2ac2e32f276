//! Compares the writer's transactions with a plain model: gapless seqs, exact sums of what retention deleted, the same
//! result from every read, and nothing of a transaction that was interrupted at any row.

mod expected;
mod work;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use serde_json::Value;

use super::batch::{Applied, Batch, SideEffects};
use crate::api::{Event, EventKind, SessionId, Truncation};
use crate::random::{Random, rounds};
use crate::store::facts::{Committed, StoreRequest};
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
use expected::{Kept, Model, may_go};
use work::{Work, work};

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
        let (before, cut) = (model, self.cut(model));
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
                        (StoreRequest::Create(new), Some(num)) => {
                            model.add_session(num, &new.record, &new.prompt);
                        }
                        (StoreRequest::RegisterExternal(record), Some(num)) => {
                            model.add_session(num, record, &[]);
                        }
                        _ => {}
                    }
                    results.push(result);
                }
            }
        }
        let effects = batch.commit(&mut results)?;
        self.check_effects(&effects, &results, &cut, [before, &model]);
        for result in &results {
            if let Ok(Committed::Record(record)) = &result.answer {
                let kept = model.of_id(record.id).unwrap();
                assert_eq!(record.status, kept.status);
            }
        }
        Ok(model)
    }

    /// The sessions whose output has been cut.
    fn cut(&self, model: &Model) -> HashSet<SessionNum> {
        let is_cut = |num| Tail::of(&self.connection, num).unwrap().cut_seq > 0;
        let nums = model.sessions.iter().map(|kept| kept.num);
        // Not interrupted: it is no part of the transaction.
        let steps_left = self.steps_left.swap(0, Ordering::Relaxed);
        let cut = nums.filter(|num| is_cut(*num)).collect();
        self.steps_left.store(steps_left, Ordering::Relaxed);
        cut
    }

    /// Checks what the writer publishes of a commit.
    fn check_effects(
        &self,
        effects: &SideEffects,
        results: &[Applied],
        cut_before: &HashSet<SessionNum>,
        [before, model]: [&Model; 2],
    ) {
        let cut = self.cut(model);
        let newly = model
            .sessions
            .iter()
            .filter(|kept| cut.contains(&kept.num) && !cut_before.contains(&kept.num));
        let newly: HashSet<String> = newly.map(|kept| kept.id.to_string()).collect();
        let told: HashSet<String> = effects.newly_capped.iter().cloned().collect();
        assert_eq!(told, newly);
        assert!(newly.is_empty() || effects.dropped.events > 0);
        let count = |of: fn(&Applied) -> u64| results.iter().map(of).sum::<u64>();
        let (added, removed) = (
            count(|result| result.sessions_added),
            count(|result| result.sessions_removed),
        );
        let sessions = |model: &Model| model.sessions.len() as u64;
        assert_eq!(sessions(model) + removed, sessions(before) + added);
        let history = |model: &Model| -> usize {
            let lengths = model.sessions.iter().map(|kept| kept.history.len());
            lengths.sum()
        };
        if removed == 0 {
            let stored = (history(model) - history(before)) as u64;
            assert_eq!(count(|result| result.events), stored);
        }
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
            let is_there = model.sessions.iter().any(|kept| kept.num == *num);
            assert!(is_there, "the end of a deleted session is cached");
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
        let mut dropped = (0, 0);
        let mut expected = (0, 0);
        let (mut stored, mut truncations) = (0, 0);
        for event in &events {
            let is_truncation = event.kind == EventKind::OutputTruncated;
            // A truncation has taken the place of the last event that it counts. Kept events can lie in its range.
            let gone = next..event.seq + u64::from(is_truncation);
            let (count, bytes) = kept.check_gone(gone);
            expected = (expected.0 + count, expected.1 + bytes);
            if is_truncation {
                truncations += 1;
                let told: Truncation = serde_json::from_str(&event.payload_json).unwrap();
                assert_eq!(told.through_seq, event.seq);
                assert!((1..=next).contains(&told.from_seq), "{told:?}");
                dropped.0 += told.dropped_events;
                dropped.1 += told.dropped_bytes;
            } else {
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
fn reads_return_all_of_each_commit_and_nothing_of_an_interrupted_transaction() {
    let (mut committed, mut broken_off, mut swept) = (0, 0, 0);
    for seed in 0..rounds(4) {
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
