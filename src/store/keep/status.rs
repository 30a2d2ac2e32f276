//! What the writer publishes of itself, for health to read without waiting for it.
//!
//! Counters are atomics; what is more than a number is behind locks that are held for a copy, never over I/O.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode};

use super::damage;
use super::retention::Retention;
use crate::api::{StorageHealth, StorageStatus, StoreDamage, Timestamp, UnconfirmedClock, Word};
use crate::observe::say;
use crate::store::connect::{Pages, pages};
use crate::store::facts::{Dropped, Fact};
use crate::store::rows::SessionNum;
use crate::store::schema;
use crate::sys;

/// What of one session waits for a commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Events.
    pub events: u64,
    /// Their payloads, in bytes.
    pub bytes: u64,
}

/// What is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogTrouble {
    /// Copying it fails; otherwise somebody keeps it from beginning anew.
    pub is_failed: bool,
    pub reason: String,
}

/// The store as of the writer's last word.
#[derive(Debug)]
pub struct StoreStatus {
    path: PathBuf,
    pub(crate) transactions: AtomicU64,
    pub(crate) committed_events: AtomicU64,
    pub(crate) queued_events: AtomicU64,
    pub(crate) sessions: AtomicU64,
    /// Grows while SQLite executes a statement.
    pub(crate) progress: AtomicU64,
    truncated_events: AtomicU64,
    truncated_bytes: AtomicU64,
    removals: AtomicU64,
    /// The daemon stops: nobody waits for a chore any more.
    pub(crate) chores_over: AtomicBool,
    /// A whole vacuum runs, which can be broken off at any time.
    pub(crate) is_vacuuming: AtomicBool,
    /// Set while a measurement has been asked for, so that a burst of health requests asks once.
    pub(crate) measuring: AtomicBool,
    waiting: Mutex<HashMap<SessionNum, Waiting>>,
    failure: Mutex<Option<String>>,
    /// What is wrong with the log while writing goes well.
    log_trouble: Mutex<Option<LogTrouble>>,
    /// Why what is written reaches nobody: the database's files are not those that are open.
    lost: Mutex<Option<String>>,
    storage: Mutex<StorageHealth>,
}

impl StoreStatus {
    pub(crate) fn new(path: &Path, sessions: u64, retention: &Retention) -> Self {
        Self {
            path: path.to_owned(),
            transactions: AtomicU64::new(0),
            committed_events: AtomicU64::new(0),
            queued_events: AtomicU64::new(0),
            sessions: AtomicU64::new(sessions),
            progress: AtomicU64::new(0),
            truncated_events: AtomicU64::new(0),
            truncated_bytes: AtomicU64::new(0),
            removals: AtomicU64::new(0),
            chores_over: AtomicBool::new(false),
            is_vacuuming: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
            waiting: Mutex::default(),
            failure: Mutex::new(None),
            log_trouble: Mutex::new(None),
            lost: Mutex::new(None),
            storage: Mutex::new(StorageHealth {
                status: StorageStatus::Ok.into(),
                database_bytes: 0,
                wal_bytes: 0,
                free_disk_bytes: 0,
                oldest_retained_event_at: None,
                measured_at: Timestamp::now(),
                used_bytes: 0,
                limit_bytes: retention.store_max,
                session_limit_bytes: retention.session_max,
                retention_days: retention.days,
                truncated_output_events: 0,
                truncated_output_bytes: 0,
                last_truncated_at: None,
                damage: damage::read(path),
                unconfirmed_clock: None,
                clock_set_by_ms: None,
            }),
        }
    }

    /// Transactions committed since the start.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Events committed since the start.
    pub fn committed_events(&self) -> u64 {
        self.committed_events.load(Ordering::Relaxed)
    }

    /// Events that wait for a commit.
    pub fn queued_events(&self) -> u64 {
        self.queued_events.load(Ordering::Relaxed)
    }

    /// Sessions that have a record.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// A commit has taken events away. It counts before anybody is told of the commit.
    pub(crate) fn removed(&self) {
        self.removals.fetch_add(1, Ordering::Release);
    }

    /// How often commits have taken events away.
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Output has been taken away.
    pub(crate) fn truncated(&self, dropped: Dropped) {
        self.truncated_events
            .fetch_add(dropped.events, Ordering::Relaxed);
        self.truncated_bytes
            .fetch_add(dropped.bytes, Ordering::Relaxed);
        lock(&self.storage).last_truncated_at = Some(Timestamp::now());
    }

    /// Output that retention has taken since the start.
    pub fn dropped(&self) -> Dropped {
        Dropped {
            events: self.truncated_events.load(Ordering::Relaxed),
            bytes: self.truncated_bytes.load(Ordering::Relaxed),
        }
    }

    /// Takes note of a fact that is on its way to the writer.
    pub(crate) fn queued(&self, fact: &Fact) {
        let events = fact.events() as u64;
        self.queued_events.fetch_add(events, Ordering::Relaxed);
        let mut all = lock(&self.waiting);
        let waiting = all.entry(fact.num()).or_default();
        waiting.events += events;
        waiting.bytes += fact.payload_bytes() as u64;
    }

    /// Takes note of facts that are on disk.
    pub(crate) fn written<'a>(&self, facts: impl Iterator<Item = &'a Fact>) {
        let mut all = lock(&self.waiting);
        for fact in facts {
            let events = fact.events() as u64;
            self.queued_events.fetch_sub(events, Ordering::Relaxed);
            if let Some(waiting) = all.get_mut(&fact.num()) {
                waiting.events -= events;
                waiting.bytes -= fact.payload_bytes() as u64;
                if waiting.events == 0 {
                    all.remove(&fact.num());
                }
            }
        }
    }

    /// What waits for a commit, by session.
    pub(crate) fn waiting(&self) -> HashMap<SessionNum, Waiting> {
        lock(&self.waiting).clone()
    }

    /// Why the store cannot be used now: its files are gone, or what the last attempt to write failed with.
    pub fn failure(&self) -> Option<String> {
        self.lost().or_else(|| self.write_failure())
    }

    /// What the last attempt to write failed with; `None` while writing goes well.
    pub(crate) fn write_failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// What is wrong with the log, while writing goes well.
    pub(crate) fn log_trouble(&self) -> Option<LogTrouble> {
        lock(&self.log_trouble).clone()
    }

    /// Takes note of what is wrong with the log; the reason, if it is a new one.
    pub(crate) fn set_log_trouble(&self, trouble: Option<LogTrouble>) -> Option<String> {
        let mut known = lock(&self.log_trouble);
        let is_new = *known != trouble;
        known.clone_from(&trouble);
        trouble.filter(|_| is_new).map(|trouble| trouble.reason)
    }

    pub(crate) fn set_write_failure(&self, failure: Option<String>) {
        *lock(&self.failure) = failure;
    }

    /// Why what is written reaches nobody, if so.
    pub fn lost(&self) -> Option<String> {
        lock(&self.lost).clone()
    }

    /// The database's files are not those that are open, for this reason; or they are again.
    pub fn set_lost(&self, reason: Option<String>) {
        *lock(&self.lost) = reason;
    }

    /// The last measurement of the disk.
    pub fn storage(&self) -> StorageHealth {
        let dropped = self.dropped();
        let log = self.log_trouble().map(|trouble| trouble.reason);
        let status = match self.failure().or(log) {
            Some(reason) => Word::Other(reason),
            None if self.is_damaged() => StorageStatus::Damaged.into(),
            None => StorageStatus::Ok.into(),
        };
        StorageHealth {
            status,
            truncated_output_events: dropped.events,
            truncated_output_bytes: dropped.bytes,
            ..lock(&self.storage).clone()
        }
    }

    /// A page was met that is not what it must be, if `err` is that. The first is kept until the database is found whole.
    pub(crate) fn met(&self, err: &rusqlite::Error) {
        let is_damage = matches!(
            err.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        if is_damage {
            self.damaged(&err.to_string());
        }
    }

    /// The database is damaged: SQLite has said `what`.
    pub(crate) fn damaged(&self, what: &str) {
        let damage = StoreDamage {
            at: Timestamp::now(),
            what: what.to_owned(),
        };
        {
            let known = &mut lock(&self.storage).damage;
            if known.is_some() {
                return;
            }
            *known = Some(damage.clone());
        }
        let kept = damage::write(&self.path, &damage).err();
        let kept = kept.map(|err| format!("; not kept for the next start: {err}"));
        let reason = format!("{what}{}", kept.unwrap_or_default());
        say!(StoreDamaged, reason: &reason);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        lock(&self.storage).damage.is_some()
    }

    /// All of the database has been found whole.
    pub(crate) fn whole(&self) {
        let known = lock(&self.storage).damage.take();
        if let Some(known) = known {
            damage::forget(&self.path);
            say!(StoreWhole, reason: &known.what);
        }
    }

    /// The wall clock has been set.
    pub(crate) fn clock_set(&self, by_ms: i64) {
        lock(&self.storage).clock_set_by_ms = Some(by_ms);
    }

    /// Why the last sweep has kept output that looks too old, if it has.
    pub(crate) fn set_unconfirmed(&self, unconfirmed: Option<UnconfirmedClock>) {
        lock(&self.storage).unconfirmed_clock = unconfirmed;
    }

    pub(crate) fn is_unconfirmed(&self) -> bool {
        lock(&self.storage).unconfirmed_clock.is_some()
    }

    /// Takes the disk's figures anew. A figure that cannot be had stays as it was.
    pub(crate) fn measure(&self, connection: &Connection) {
        let file_bytes = |suffix: &str| {
            std::fs::metadata(schema::beside(&self.path, suffix)).map(|meta| meta.len())
        };
        let database = file_bytes("");
        let wal = file_bytes("-wal").unwrap_or(0);
        let free = sys::free_bytes(&self.path);
        // Keys grow within a session only; the table's first row is the oldest session's first event.
        let oldest = connection
            .query_row(
                "SELECT created_at FROM events ORDER BY key LIMIT 1",
                [],
                |row| row.get(0),
            )
            .ok();
        let pages = pages(connection);
        let mut storage = lock(&self.storage);
        storage.used_bytes = pages.map_or(storage.used_bytes, Pages::used);
        storage.database_bytes = database.unwrap_or(storage.database_bytes);
        storage.wal_bytes = wal;
        storage.free_disk_bytes = free.unwrap_or(storage.free_disk_bytes);
        storage.oldest_retained_event_at = oldest.map(Timestamp::from_millis);
        storage.measured_at = Timestamp::now();
        self.measuring.store(false, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A copy is assigned whole or not at all: a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
