//! Copies the write-ahead log into the database (SQLite, "Write-Ahead Logging") on the checkpoint thread, while the
//! writer goes on.
//!
//! SQLite by itself checkpoints within the commit that makes the log too long. That commit, and all that wait behind
//! it, then wait twice for the disk: a third of the writer's time under load. Another connection can copy while the
//! writer appends, but the log restarts only if it is copied completely. So the thread copies in rounds, each covering
//! what was appended during the last, and the writer copies the small rest.
//!
//! [`Wal`] belongs to the writer thread; the rest runs on the checkpoint thread. Neither knows the content of the
//! pages.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;

use crate::api::Failure;
use crate::store::connect::{open_for_checkpoints, truncate_log};
use crate::store::keep::status::LogTrouble;
use crate::store::schema::{StoreError, beside, failure, pragma};
use crate::sys;

/// Log length from which a checkpoint starts, in bytes.
const COPY_FROM: u64 = 16 * 1024 * 1024;

/// Log length from which a checkpoint also truncates the file, in bytes. A shorter log restarts by itself and keeps its
/// length.
const CUT_FROM: u64 = 32 * 1024 * 1024;

/// Log lengths from which floods wait, and from which all writes wait, in bytes. They bound the log when the disk is
/// slower than the input, or when the log cannot be copied.
const LATE_FROM: u64 = 48 * 1024 * 1024;
const FULL_FROM: u64 = 64 * 1024 * 1024;

/// Most that the thread leaves to the writer, in bytes; after this many rounds it may leave more.
const REST_MAX: u64 = 1024 * 1024;
const ROUNDS_MAX: usize = 6;

/// The writer thread's view of the log.
pub(crate) struct Wal {
    /// Length of the log after the last commit, in pages.
    pages: Arc<AtomicU64>,
    page_bytes: u64,
    asks: Sender<()>,
    /// Receives the thread's result after each request. Disconnected when the thread has ended.
    copied: Receiver<Result<(), Failure>>,
    /// The checkpoint thread is copying.
    is_copying: bool,
    /// The log is copied completely: the next commit restarts it, unless a reader uses it.
    is_copied: bool,
    /// The log was copied but did not restart: a reader uses it, or copying fails.
    is_behind: bool,
    /// The next checkpoint also truncates the log, so that the database file can shrink.
    is_cut_due: bool,
    /// Log length at which the next checkpoint starts, in pages.
    copy_at: u64,
    /// Log length at the last check, in pages: a shorter log has restarted.
    seen: u64,
    /// Error of the last checkpoint.
    failure: Option<Failure>,
    index: LogIndex,
}

impl Wal {
    /// Replaces SQLite's automatic checkpoints of `connection`, the writer's, by a checkpoint thread for the database at
    /// `path`.
    ///
    /// # Errors
    /// Returns SQLite's error, or fails if no thread can be created.
    pub(crate) fn start(connection: &mut Connection, path: &Path) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU64::new(0));
        let length = Arc::clone(&pages);
        // Replaces SQLite's own hook, which runs the automatic checkpoint (SQLite, PRAGMA wal_autocheckpoint).
        connection.wal_hook(Some(move |_: &mut _, pages| {
            length.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let page_bytes: i64 = pragma(connection, "page_size")?;
        let page_bytes = page_bytes.max(1).unsigned_abs();
        let (asks, inbox) = bounded(1);
        let (done, copied) = bounded(1);
        let copier = Copier {
            connection: open_for_checkpoints(path)?,
            database: ManuallyDrop::new(File::open(path)?),
            pages: Arc::clone(&pages),
            rest_max: REST_MAX / page_bytes,
        };
        sys::spawn_essential("checkpoint", move || copier.run(&inbox, &done))?;
        Ok(Self {
            pages,
            page_bytes,
            asks,
            copied,
            is_copying: false,
            is_copied: false,
            is_behind: false,
            is_cut_due: false,
            copy_at: COPY_FROM / page_bytes,
            seen: 0,
            failure: None,
            index: LogIndex::open(path)?,
        })
    }

    /// Starts a checkpoint, or finishes one. Called after each commit, and when the thread is done. `is_due` retries a
    /// log that did not restart after the last checkpoint.
    pub(crate) fn advance(&mut self, connection: &Connection, is_due: bool) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            self.begun_anew();
        }
        // A commit after a complete copy has not restarted the log.
        self.is_behind |= self.is_copied && pages > self.seen;
        self.seen = pages;
        if self.is_copying {
            if !self.copied.is_empty() || self.is_longer_than(FULL_FROM) {
                self.finish(connection);
            }
        } else if pages >= self.copy_at || is_due && self.is_behind && self.is_longer_than(CUT_FROM)
        {
            self.is_copying = self.asks.send(()).is_ok();
        }
    }

    /// Requests a checkpoint that also truncates the log, so that the database file shrinks. The checkpoint thread
    /// waits for the disk.
    pub(crate) fn shorten(&mut self) {
        self.is_cut_due = true;
        if !self.is_copying {
            self.is_copying = self.asks.send(()).is_ok();
        }
    }

    /// Copies the rest that the thread left, and truncates the log if it is too long.
    fn finish(&mut self, connection: &Connection) {
        let by_thread = self.settle();
        let rest = checkpoint(connection).map_err(|err| failure(&err));
        let is_whole = rest.as_ref().is_ok_and(|copied| *copied >= self.seen);
        // A log that has just become long restarts with the next commit: cheaper than growing its file again.
        let is_cut_due = std::mem::take(&mut self.is_cut_due);
        let cut = match is_cut_due || self.is_behind && self.is_longer_than(CUT_FROM) {
            // Fails without an error while a reader uses the log: it is retried.
            true => truncate_log(connection).map_err(|err| failure(&err)),
            false => Ok(false),
        };
        match by_thread.and(rest).and(cut) {
            Ok(false) if is_whole && !self.is_behind => {
                self.copy_at = self.seen + self.pages_of(COPY_FROM);
                self.is_copied = true;
                self.failure = None;
            }
            Ok(true) => {
                self.pages.store(0, Ordering::Relaxed);
                self.seen = 0;
                self.begun_anew();
            }
            Ok(false) => self.stay_behind(None),
            Err(err) => self.stay_behind(Some(err)),
        }
    }

    fn begun_anew(&mut self) {
        self.copy_at = self.pages_of(COPY_FROM);
        self.is_behind = false;
        self.is_copied = false;
        self.failure = None;
    }

    fn stay_behind(&mut self, failure: Option<Failure>) {
        self.copy_at = self.seen + self.pages_of(COPY_FROM);
        self.is_behind = true;
        self.is_copied = false;
        self.failure = failure;
    }

    /// Retries the checkpoint and waits for it; true if the log has room for a transaction, or restarts with it.
    pub(crate) fn make_room(&mut self, connection: &Connection) -> bool {
        if self.is_longer_than(FULL_FROM) {
            self.finish(connection);
        }
        // The next commit restarts a log that is copied completely, however long it is: refusing it would be for ever.
        self.is_copied || !self.is_longer_than(FULL_FROM)
    }

    /// True if writes come in faster than the disk takes them, or if the log does not restart.
    pub(crate) fn is_late(&self) -> bool {
        (self.is_copying || self.is_behind) && self.is_longer_than(LATE_FROM)
    }

    pub(crate) fn is_copying(&self) -> bool {
        self.is_copying
    }

    /// Problem of the log, if any: copying fails, or the log is long and a reader keeps it from restarting.
    pub(crate) fn trouble(&self) -> Option<LogTrouble> {
        if let Some(reason) = &self.failure {
            return Some(LogTrouble {
                is_failed: true,
                reason: Failure::new(
                    format!("its log cannot be copied into the database: {reason}"),
                    reason.fault(),
                ),
            });
        }
        let is_held = self.is_behind && self.is_longer_than(LATE_FROM);
        is_held.then(|| LogTrouble {
            is_failed: false,
            reason: format!("its log cannot be reset: {}", self.index.holder()).into(),
        })
    }

    /// Becomes ready when the thread is done.
    pub(crate) fn copied(&self) -> &Receiver<Result<(), Failure>> {
        &self.copied
    }

    fn is_longer_than(&self, bytes: u64) -> bool {
        self.seen >= self.pages_of(bytes)
    }

    fn pages_of(&self, bytes: u64) -> u64 {
        bytes / self.page_bytes
    }

    /// Waits until the thread copies nothing. SQLite allows one checkpoint at a time and cannot wait for another.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.is_copying) {
            true => self.copied.recv().unwrap_or(Ok(())),
            false => Ok(()),
        }
    }

    /// Waits for the running checkpoint, then ends the thread.
    pub(crate) fn end(mut self) {
        // The writer's last checkpoint reports the same error.
        let _ = self.settle();
        drop(self.asks);
        // The thread's end disconnects the channel.
        let _ = self.copied.recv();
    }
}

/// State of the checkpoint thread.
struct Copier {
    connection: Connection,
    /// Never closed before the process ends: closing a file releases all fcntl(2) locks that the process has on it,
    /// including SQLite's ("Record locking").
    database: ManuallyDrop<File>,
    pages: Arc<AtomicU64>,
    rest_max: u64,
}

impl Copier {
    fn run(self, inbox: &Receiver<()>, done: &Sender<Result<(), Failure>>) {
        while let Ok(()) = inbox.recv() {
            let _ = done.send(self.copy());
        }
    }

    /// Copies in rounds until at most [`REST_MAX`] bytes are left.
    fn copy(&self) -> Result<(), Failure> {
        for _ in 0..ROUNDS_MAX {
            let copied = checkpoint(&self.connection).map_err(|err| failure(&err))?;
            // SQLite syncs the file when it copies the last page. Syncing here keeps that sync, on the writer thread,
            // short.
            self.database
                .sync_data()
                .map_err(|err| Failure::from(&err))?;
            if self.pages.load(Ordering::Relaxed) <= copied + self.rest_max {
                break;
            }
        }
        Ok(())
    }
}

/// Copies the part of the log that no reader needs, without waiting; returns the number of copied pages.
fn checkpoint(connection: &Connection) -> rusqlite::Result<u64> {
    let copied: i64 =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
    Ok(copied.max(0).unsigned_abs())
}

/// The log's index (SQLite, "WAL-mode File Format", 2.3), which readers lock. Never closed, like the database.
struct LogIndex(ManuallyDrop<File>);

impl LogIndex {
    /// Bytes of the reader locks `WAL_READ_LOCK(0)` to `WAL_READ_LOCK(4)`.
    const READ_LOCKS: Range<i64> = 123..128;

    fn open(database: &Path) -> io::Result<Self> {
        // fcntl(F_GETLK) reports conflicts with a write lock only on a writable descriptor.
        let index = File::options()
            .read(true)
            .write(true)
            .open(beside(database, "-shm"))?;
        Ok(Self(ManuallyDrop::new(index)))
    }

    /// Names the process that reads an old snapshot. The kernel does not report locks of this process.
    fn holder(&self) -> String {
        match sys::lock_holder(&*self.0, Self::READ_LOCKS) {
            Some(pid) if pid > 0 => {
                let name = sys::command_name(pid).unwrap_or_default();
                format!("process {pid} {name} holds a snapshot")
            }
            Some(_) => "a process of another PID namespace holds a snapshot".into(),
            None => "a long read holds a snapshot".into(),
        }
    }
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
