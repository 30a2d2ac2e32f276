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
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;

use crate::store::connect::open_for_checkpoints;
use crate::store::schema::{StoreError, pragma};
use crate::sys;

/// From here on the log is copied, in bytes.
const COPY_FROM: u64 = 16 * 1024 * 1024;

/// By how much it may grow while it is copied before floods are held back, and before everybody is: the log is bounded on
/// a disk that is slower than what comes in, too.
const GROWTH_LATE: u64 = 32 * 1024 * 1024;
const GROWTH_MAX: u64 = 48 * 1024 * 1024;

/// What may be left to the writer, in bytes, and after how many rounds it may be more.
const REST_MAX: u64 = 1024 * 1024;
const ROUNDS_MAX: usize = 6;

/// The log, to the writer.
pub(crate) struct Wal {
    /// Of the log, as of the last commit.
    pages: Arc<AtomicU64>,
    page_bytes: u64,
    asks: Sender<()>,
    /// Told when the thread has done what it was asked for. Disconnected when the thread has ended.
    copied: Receiver<()>,
    /// The thread copies.
    is_copying: bool,
    /// The length at which it is to, in pages.
    copy_at: u64,
    /// The length at the last look, in pages: a log that is shorter has begun anew.
    seen: u64,
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
            copy_at: COPY_FROM / page_bytes,
            seen: 0,
        })
    }

    /// Has the thread begin, or does the rest. Called after each commit, and when the thread has done its part.
    pub(crate) fn look(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            self.copy_at = self.pages_of(COPY_FROM);
        }
        self.seen = pages;
        if self.is_copying {
            if !self.copied.is_empty() || self.has_grown_by(GROWTH_MAX) {
                self.settle();
                // As when SQLite does it: what fails is tried again when the log is longer.
                let _ = checkpoint(connection);
                // It does not begin anew where a reader holds it.
                self.copy_at = pages + self.pages_of(COPY_FROM);
            }
        } else if pages >= self.copy_at {
            self.is_copying = self.asks.send(()).is_ok();
        }
    }

    /// Whether more comes in than the disk takes.
    pub(crate) fn is_late(&self) -> bool {
        self.is_copying && self.has_grown_by(GROWTH_LATE)
    }

    /// Readable when the thread has done its part.
    pub(crate) fn copied(&self) -> &Receiver<()> {
        &self.copied
    }

    fn has_grown_by(&self, bytes: u64) -> bool {
        self.seen >= self.copy_at + self.pages_of(bytes)
    }

    fn pages_of(&self, bytes: u64) -> u64 {
        bytes / self.page_bytes
    }

    /// Waits until the thread copies nothing: only one can at a time, and SQLite lets nobody wait for that.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.is_copying) {
            let _ = self.copied.recv();
        }
    }

    /// Ends the thread, when it has finished what it does.
    pub(crate) fn end(mut self) {
        self.settle();
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
    fn run(self, inbox: &Receiver<()>, done: &Sender<()>) {
        while let Ok(()) = inbox.recv() {
            self.copy();
            let _ = done.send(());
        }
    }

    /// Copies until little is left. What fails is left to the writer, which fails in the same way, and says so when it
    /// cannot go on.
    fn copy(&self) {
        for _ in 0..ROUNDS_MAX {
            let copied = checkpoint(&self.connection);
            // SQLite waits for the disk when the last page is copied: that is the writer's part, which is then short.
            let _ = self.database.sync_data();
            match copied {
                Ok(copied) if self.pages.load(Ordering::Relaxed) > copied + self.rest_max => {}
                _ => return,
            }
        }
    }
}

/// Copies what no reader needs in the log into the database, waiting for nobody; how many pages have been by now.
fn checkpoint(connection: &Connection) -> rusqlite::Result<u64> {
    let copied: i64 =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
    Ok(copied.max(0).unsigned_abs())
}
