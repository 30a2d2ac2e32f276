//! The database's log (SQLite, "Write-Ahead Logging"), and how what is in it comes into the database: by a thread of its
//! own, while the writer goes on.
//!
//! SQLite itself copies the log in the commit that makes it too long. That commit, and all that waits behind it, then waits
//! for the disk, twice: under load that is a third of the writer's time. Another connection can copy while the writer
//! appends, but only a log that has been copied to its end begins anew. So the thread copies in rounds, each what was
//! appended during the one before, and the writer the little that is left then.
//!
//! [`Wal`] is the writer thread's, the rest runs on the checkpoint thread. Neither knows what is in the pages.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;

use crate::settings::durations;
use crate::store::connect::open_for_checkpoints;
use crate::store::keep::status::LogTrouble;
use crate::store::schema::{StoreError, beside, pragma};
use crate::sys;

/// From here on the log is copied, in bytes.
const COPY_FROM: u64 = 16 * 1024 * 1024;

/// From here on a log that is copied is cut to nothing, in bytes: it begins anew by itself, and its file stays as long.
const CUT_FROM: u64 = 32 * 1024 * 1024;

/// Where floods are held back, and where everybody is: the log is bounded on a disk that is slower than what comes in, too,
/// and where it cannot be copied.
const LATE_FROM: u64 = 48 * 1024 * 1024;
const FULL_FROM: u64 = 64 * 1024 * 1024;

/// What may be left to the writer, in bytes, and after how many rounds it may be more.
const REST_MAX: u64 = 1024 * 1024;
const ROUNDS_MAX: usize = 6;

/// The log, to the writer.
pub(crate) struct Wal {
    /// Of the log, as of the last commit.
    pages: Arc<AtomicU64>,
    page_bytes: u64,
    asks: Sender<()>,
    /// Told when the thread has done what it was asked for, and whether that went well. Disconnected when the thread has ended.
    copied: Receiver<Result<(), String>>,
    /// The thread copies.
    is_copying: bool,
    /// All of it is copied: the next commit begins it anew, unless somebody reads it.
    is_copied: bool,
    /// It has copied, and the log does not begin anew: somebody reads it, or copying fails.
    is_behind: bool,
    /// It is to be cut, so that the database's file becomes shorter.
    is_cut_due: bool,
    /// The length at which it is to, in pages.
    copy_at: u64,
    /// The length at the last look, in pages: a log that is shorter has begun anew.
    seen: u64,
    /// What copying failed with the last time.
    failure: Option<String>,
    index: LogIndex,
}

impl Wal {
    /// Takes the copying over from `connection`, the writer's, to the database at `path`.
    ///
    /// # Errors
    /// What SQLite says, or no thread is to be had.
    pub(crate) fn tend(connection: &mut Connection, path: &Path) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU64::new(0));
        let length = Arc::clone(&pages);
        // In the place of SQLite's own hook, which is what copies there (SQLite, PRAGMA wal_autocheckpoint).
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

    /// Has the thread begin, or does the rest. Called after each commit, and when the thread has done its part; with
    /// `is_due` a log that has been copied in vain is tried again.
    pub(crate) fn look(&mut self, connection: &Connection, is_due: bool) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            self.begun_anew();
        }
        // A commit behind a whole copy has not begun it anew.
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

    /// Has the log copied, and cut then: the database's file becomes as short as it can. The disk is waited for by the thread.
    pub(crate) fn shorten(&mut self) {
        self.is_cut_due = true;
        if !self.is_copying {
            self.is_copying = self.asks.send(()).is_ok();
        }
    }

    /// Copies what the thread has left, and cuts the log where it has become too long.
    fn finish(&mut self, connection: &Connection) {
        let by_thread = self.settle();
        let rest = checkpoint(connection).map_err(|err| err.to_string());
        let is_whole = rest.as_ref().is_ok_and(|copied| *copied >= self.seen);
        // One that has just become long begins anew with the next commit, for less than it costs to make its file grow again.
        let is_cut_due = std::mem::take(&mut self.is_cut_due);
        let cut = match is_cut_due || self.is_behind && self.is_longer_than(CUT_FROM) {
            // Not where a reader is in the way: it is tried again.
            true => cut(connection).map_err(|err| err.to_string()),
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

    fn stay_behind(&mut self, failure: Option<String>) {
        self.copy_at = self.seen + self.pages_of(COPY_FROM);
        self.is_behind = true;
        self.is_copied = false;
        self.failure = failure;
    }

    /// Tries once more, and waits for it; whether there is room for a transaction now.
    pub(crate) fn make_room(&mut self, connection: &Connection) -> bool {
        if self.is_longer_than(FULL_FROM) {
            self.finish(connection);
        }
        !self.is_longer_than(FULL_FROM)
    }

    /// Whether more comes in than the disk takes, or the log does not begin anew.
    pub(crate) fn is_late(&self) -> bool {
        (self.is_copying || self.is_behind) && self.is_longer_than(LATE_FROM)
    }

    /// Whether the thread copies.
    pub(crate) fn is_copying(&self) -> bool {
        self.is_copying
    }

    /// What is wrong with it: copying fails, or the log is long and cannot begin anew.
    pub(crate) fn trouble(&self) -> Option<LogTrouble> {
        if let Some(reason) = &self.failure {
            return Some(LogTrouble {
                is_failed: true,
                reason: format!("its log cannot be copied into the database: {reason}"),
            });
        }
        let is_held = self.is_behind && self.is_longer_than(LATE_FROM);
        is_held.then(|| LogTrouble {
            is_failed: false,
            reason: format!("its log cannot begin anew: {}", self.index.holder()),
        })
    }

    /// Readable when the thread has done its part.
    pub(crate) fn copied(&self) -> &Receiver<Result<(), String>> {
        &self.copied
    }

    fn is_longer_than(&self, bytes: u64) -> bool {
        self.seen >= self.pages_of(bytes)
    }

    fn pages_of(&self, bytes: u64) -> u64 {
        bytes / self.page_bytes
    }

    /// Waits until the thread copies nothing: only one can at a time, and SQLite lets nobody wait for that.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        match std::mem::take(&mut self.is_copying) {
            true => self.copied.recv().unwrap_or(Ok(())),
            false => Ok(()),
        }
    }

    /// Ends the thread, when it has finished what it does.
    pub(crate) fn end(mut self) {
        // The writer's last checkpoint fails in the same way.
        let _ = self.settle();
        drop(self.asks);
        // Nothing is sent any more: the thread's end disconnects.
        let _ = self.copied.recv();
    }
}

/// The checkpoint thread.
struct Copier {
    connection: Connection,
    /// Closed by the end of the process only: to close a file gives up all locks that a process has on it, and SQLite's
    /// are such (fcntl(2), "Record locking").
    database: ManuallyDrop<File>,
    pages: Arc<AtomicU64>,
    rest_max: u64,
}

impl Copier {
    fn run(self, inbox: &Receiver<()>, done: &Sender<Result<(), String>>) {
        while let Ok(()) = inbox.recv() {
            let _ = done.send(self.copy());
        }
    }

    /// Copies until little is left.
    fn copy(&self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let copied = checkpoint(&self.connection).map_err(|err| err.to_string())?;
            // SQLite waits for the disk when the last page is copied: that is the writer's part, which is then short.
            self.database.sync_data().map_err(|err| err.to_string())?;
            if self.pages.load(Ordering::Relaxed) <= copied + self.rest_max {
                break;
            }
        }
        Ok(())
    }
}

/// Copies what no reader needs in the log into the database, waiting for nobody; how many pages have been by now.
fn checkpoint(connection: &Connection) -> rusqlite::Result<u64> {
    let copied: i64 =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
    Ok(copied.max(0).unsigned_abs())
}

/// Copies what is left of the log, and makes its file empty; `false` where a reader is in the way, which nobody waits for.
fn cut(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let query = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: rusqlite::Result<bool> = connection.query_row(query, [], |row| row.get(0));
    connection.busy_timeout(durations::STORE_LOCK)?;
    Ok(!busy?)
}

/// The log's index (SQLite, "WAL-mode File Format", 2.3), on which readers hold their locks. Never closed, as the database.
struct LogIndex(ManuallyDrop<File>);

impl LogIndex {
    /// The locks of readers: `WAL_READ_LOCK(0)` to `WAL_READ_LOCK(4)`.
    const READ_LOCKS: Range<i64> = 123..128;

    fn open(database: &Path) -> io::Result<Self> {
        // The kernel tells of locks in the way of one for writing only to who may write.
        let index = File::options()
            .read(true)
            .write(true)
            .open(beside(database, "-shm"))?;
        Ok(Self(ManuallyDrop::new(index)))
    }

    /// Who reads an old state, as far as the kernel tells: it does not tell of this process.
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
