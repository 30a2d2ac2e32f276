//! Figures that the writer thread publishes, so that health requests need not wait for it.
//!
//! Written by the writer thread, read by all. Counters are atomics; other values are behind locks that are held for a
//! copy, never during I/O.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use super::damage;
use super::retention::Retention;
use crate::api::{
    Failure, StorageHealth, StorageStatus, StoreDamage, Timestamp, UnconfirmedClock, Word,
};
use crate::observe::say;
use crate::store::connect::{Pages, pages};
use crate::store::facts::{Dropped, Fact};
use crate::store::rows::SessionNum;
use crate::store::schema;
use crate::sys;

/// Uncommitted events of one session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Number of events.
    pub events: u64,
    /// Size of their payloads, in bytes.
    pub bytes: u64,
}

/// A problem of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogTrouble {
    /// True if copying fails; false if a reader keeps the log from restarting.
    pub is_failed: bool,
    pub reason: Failure,
}

/// Figures since the start of the daemon. Those of the disk and of the queue are measured anew.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusHandover {
    transactions: u64,
    committed_events: u64,
    truncated_events: u64,
    truncated_bytes: u64,
    last_truncated_at: Option<Timestamp>,
    unconfirmed_clock: Option<UnconfirmedClock>,
    clock_set_by_ms: Option<i64>,
}

/// The store's published figures.
#[derive(Debug)]
pub struct StoreStatus {
    path: PathBuf,
    pub(crate) transactions: AtomicU64,
    pub(crate) committed_events: AtomicU64,
    pub(crate) queued_events: AtomicU64,
    pub(crate) sessions: AtomicU64,
    /// Grows while SQLite executes a statement.
    pub(crate) progress: AtomicU64,
    removals: AtomicU64,
    /// The daemon stops: chores are not run any more.
    pub(crate) chores_over: AtomicBool,
    /// A whole vacuum runs, which may be interrupted.
    pub(crate) is_vacuuming: AtomicBool,
    /// A measurement is requested: a burst of health requests sends one request.
    pub(crate) measuring: AtomicBool,
    waiting: Mutex<HashMap<SessionNum, Waiting>>,
    failure: Mutex<Option<Failure>>,
    /// The log's problem while writes succeed.
    log_trouble: Mutex<Option<LogTrouble>>,
    /// Why nobody can read what is written: the database's names lead to other files.
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

    /// Path of the database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The figures, for the next program.
    pub fn hand_over(&self) -> StatusHandover {
        let storage = lock(&self.storage);
        StatusHandover {
            transactions: self.transactions(),
            committed_events: self.committed_events(),
            truncated_events: storage.truncated_output_events,
            truncated_bytes: storage.truncated_output_bytes,
            last_truncated_at: storage.last_truncated_at,
            unconfirmed_clock: storage.unconfirmed_clock,
            clock_set_by_ms: storage.clock_set_by_ms,
        }
    }

    /// Goes on with the figures of the previous program.
    pub fn take_up(&self, handover: &StatusHandover) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.transactions, handover.transactions);
        add(&self.committed_events, handover.committed_events);
        let mut storage = lock(&self.storage);
        storage.truncated_output_events += handover.truncated_events;
        storage.truncated_output_bytes += handover.truncated_bytes;
        storage.last_truncated_at = handover.last_truncated_at;
        storage.unconfirmed_clock = handover.unconfirmed_clock;
        storage.clock_set_by_ms = handover.clock_set_by_ms;
    }

    /// Number of transactions committed since the start.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Number of events committed since the start.
    pub fn committed_events(&self) -> u64 {
        self.committed_events.load(Ordering::Relaxed)
    }

    /// Number of events that wait for a commit.
    pub fn queued_events(&self) -> u64 {
        self.queued_events.load(Ordering::Relaxed)
    }

    /// Number of sessions with a record.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Counts a commit that deleted events, before any thread learns of the commit.
    pub(crate) fn removed(&self) {
        self.removals.fetch_add(1, Ordering::Release);
    }

    /// Number of commits that deleted events.
    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Adds deleted output to the totals.
    pub(crate) fn truncated(&self, dropped: Dropped) {
        let mut storage = lock(&self.storage);
        storage.truncated_output_events += dropped.events;
        storage.truncated_output_bytes += dropped.bytes;
        storage.last_truncated_at = Some(Timestamp::now());
    }

    /// Counts a fact that is sent to the writer.
    pub(crate) fn queued(&self, fact: &Fact) {
        let events = fact.events() as u64;
        self.queued_events.fetch_add(events, Ordering::Relaxed);
        let mut all = lock(&self.waiting);
        let waiting = all.entry(fact.num()).or_default();
        waiting.events += events;
        waiting.bytes += fact.payload_bytes() as u64;
    }

    /// Uncounts facts that are on disk.
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

    /// Uncommitted events, by session.
    pub(crate) fn waiting(&self) -> HashMap<SessionNum, Waiting> {
        lock(&self.waiting).clone()
    }

    /// Why the store cannot be used now: its files are gone, or the last write failed.
    pub fn failure(&self) -> Option<Failure> {
        let lost = self.lost().map(Failure::from);
        lost.or_else(|| self.write_failure())
    }

    /// Error of the last write; `None` while writes succeed.
    pub(crate) fn write_failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// The log's problem, while writes succeed.
    pub(crate) fn log_trouble(&self) -> Option<LogTrouble> {
        lock(&self.log_trouble).clone()
    }

    /// Sets the log's problem; returns the reason if it is new.
    pub(crate) fn set_log_trouble(&self, trouble: Option<LogTrouble>) -> Option<Failure> {
        let mut known = lock(&self.log_trouble);
        let is_new = *known != trouble;
        known.clone_from(&trouble);
        trouble.filter(|_| is_new).map(|trouble| trouble.reason)
    }

    pub(crate) fn set_write_failure(&self, failure: Option<Failure>) {
        *lock(&self.failure) = failure;
    }

    /// Why nobody can read what is written, if so.
    pub fn lost(&self) -> Option<String> {
        lock(&self.lost).clone()
    }

    /// Sets or clears the reason why the database's names lead to other files.
    pub fn set_lost(&self, reason: Option<String>) {
        *lock(&self.lost) = reason;
    }

    /// The last disk figures.
    pub fn storage(&self) -> StorageHealth {
        let log = self.log_trouble().map(|trouble| trouble.reason);
        let status = match self.failure().or(log) {
            Some(reason) => Word::Other(reason.to_string()),
            None if self.is_damaged() => StorageStatus::Damaged.into(),
            None => StorageStatus::Ok.into(),
        };
        StorageHealth {
            status,
            ..lock(&self.storage).clone()
        }
    }

    /// Records damage if `err` reports it. The first finding is kept until a check finds the database intact.
    pub(crate) fn met(&self, err: &rusqlite::Error) {
        let is_damage = matches!(
            err.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        if is_damage {
            self.damaged(&schema::failure(err));
        }
    }

    /// Records the damage that SQLite reported as `what`.
    pub(crate) fn damaged(&self, what: &Failure) {
        let damage = StoreDamage {
            at: Timestamp::now(),
            what: what.to_string(),
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
        let reason = Failure::new(format!("{what}{}", kept.unwrap_or_default()), what.fault());
        say!(StoreDamaged, reason: &reason);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        lock(&self.storage).damage.is_some()
    }

    /// Clears the damage: a complete check found the database intact.
    pub(crate) fn whole(&self) {
        let known = lock(&self.storage).damage.take();
        if let Some(known) = known {
            damage::forget(&self.path);
            say!(StoreWhole, reason: &known.what);
        }
    }

    /// Records that the wall clock was set.
    pub(crate) fn clock_set(&self, by_ms: i64) {
        lock(&self.storage).clock_set_by_ms = Some(by_ms);
    }

    /// Sets why the last sweep kept output that looks too old.
    pub(crate) fn set_unconfirmed(&self, unconfirmed: Option<UnconfirmedClock>) {
        lock(&self.storage).unconfirmed_clock = unconfirmed;
    }

    pub(crate) fn is_unconfirmed(&self) -> bool {
        lock(&self.storage).unconfirmed_clock.is_some()
    }

    /// Makes the disk figures older.
    #[cfg(test)]
    pub(crate) fn age_figures(&self, by: std::time::Duration) {
        let measured_at = &mut lock(&self.storage).measured_at;
        *measured_at = Timestamp::from_millis(measured_at.as_millis() - by.as_millis() as i64);
    }

    /// Refreshes the disk figures; keeps the old value of one that cannot be read.
    pub(crate) fn measure(&self, connection: &Connection) {
        let file_bytes = |suffix: &str| {
            std::fs::metadata(schema::beside(&self.path, suffix)).map(|meta| meta.len())
        };
        let database = file_bytes("");
        let wal = file_bytes("-wal").unwrap_or(0);
        let free = sys::free_bytes(&self.path);
        // The first key belongs to the oldest session's first event.
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
    // Poisoning is harmless: each value is assigned whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
