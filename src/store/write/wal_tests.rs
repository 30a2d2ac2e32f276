//! The log of a real database: when it is copied, restarts, is truncated, holds writes back, and cannot be copied.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::api::SessionId;
use crate::settings::durations;
use crate::store::connect::open_for_writing;

const MIB: u64 = 1024 * 1024;

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A database with its log, in a directory of its own.
struct Logged {
    connection: Connection,
    wal: Wal,
    dir: Directory,
}

impl Logged {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("coven-wal-{}", SessionId::random()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("coven.sqlite3");
        let (mut connection, _) = open_for_writing(&path).unwrap();
        let wal = Wal::start(&mut connection, &path).unwrap();
        connection
            .execute_batch("CREATE TABLE filler (num INTEGER PRIMARY KEY, data)")
            .unwrap();
        Self {
            connection,
            wal,
            dir: Directory(dir),
        }
    }

    fn database(&self) -> PathBuf {
        self.dir.0.join("coven.sqlite3")
    }

    fn log_file(&self) -> PathBuf {
        beside(&self.database(), "-wal")
    }

    /// Commits transactions that make the log so much longer, unless it restarts.
    fn grow(&mut self, mib: u64) {
        for _ in 0..mib {
            append(&self.connection);
        }
        self.wal.advance(&self.connection, false);
    }

    /// Waits for the checkpoint thread, and lets the writer finish its checkpoint.
    fn finish(&mut self) {
        assert!(self.wal.is_copying());
        let mut select = crossbeam_channel::Select::new();
        select.recv(self.wal.copied());
        select.ready_timeout(Duration::from_secs(60)).unwrap();
        self.wal.advance(&self.connection, false);
        assert!(!self.wal.is_copying());
    }

    fn file_bytes(&self) -> u64 {
        self.log_file().metadata().unwrap().len()
    }

    /// Another connection that holds a snapshot of the log.
    fn holder(&self) -> Connection {
        let holder = Connection::open(self.database()).unwrap();
        holder
            .execute_batch("BEGIN; SELECT count(*) FROM sessions")
            .unwrap();
        holder
    }
}

/// Commits a transaction that makes the log a MiB longer.
fn append(connection: &Connection) {
    let write = "REPLACE INTO filler VALUES (1, zeroblob(1048576))";
    connection.execute(write, []).unwrap();
}

#[test]
fn a_log_of_16_mib_is_copied_and_restarts_with_the_next_commit() {
    let mut log = Logged::new();
    log.grow(15);
    assert!(!log.wal.is_copying());
    log.grow(2);
    log.finish();
    assert!(log.wal.is_copied && log.wal.trouble().is_none() && !log.wal.is_late());
    let length = log.file_bytes();
    log.grow(1);
    assert!(log.wal.seen < log.wal.pages_of(2 * MIB) && !log.wal.is_copied);
    assert_eq!(log.file_bytes(), length, "its file keeps its length");
    // The next copy is as far away as the first.
    log.grow(14);
    assert!(!log.wal.is_copying());
    log.grow(2);
    log.finish();
}

#[test]
fn a_log_that_a_reader_holds_grows_to_its_limit_and_is_truncated_afterwards() {
    let mut log = Logged::new();
    log.grow(1);
    let holder = log.holder();
    log.grow(17);
    log.finish();
    assert!(log.wal.is_behind && !log.wal.is_late() && log.wal.trouble().is_none());
    log.grow(14);
    // Not again before it is as much longer, unless that is due.
    assert!(!log.wal.is_copying() && log.wal.make_room(&log.connection));
    log.wal.advance(&log.connection, true);
    log.finish();
    log.grow(17);
    assert!(log.wal.is_late() && log.wal.make_room(&log.connection));
    let trouble = log.wal.trouble().unwrap();
    assert!(!trouble.is_failed);
    let reason = trouble.reason.to_string();
    assert!(reason.contains("a long read holds a snapshot"), "{reason}");
    log.grow(17);
    assert!(!log.wal.make_room(&log.connection));
    holder.execute_batch("COMMIT").unwrap();
    assert!(log.wal.make_room(&log.connection));
    assert!(!log.wal.is_late() && log.wal.trouble().is_none());
    assert_eq!((log.wal.seen, log.file_bytes()), (0, 0));
    log.wal.advance(&log.connection, true);
    assert!(!log.wal.is_copying(), "an empty log is not copied");
    log.grow(15);
    assert!(!log.wal.is_copying());
}

#[test]
fn a_log_is_truncated_on_request_also_while_it_is_short() {
    let mut log = Logged::new();
    log.grow(3);
    assert!(log.file_bytes() > 2 * MIB);
    log.wal.shorten();
    // Once for two requests.
    log.wal.shorten();
    log.finish();
    assert_eq!(log.file_bytes(), 0);
    log.grow(1);
    assert!(log.wal.settle().is_ok());
    log.wal.shorten();
    assert!(log.wal.settle().is_ok() && !log.wal.is_copying());
}

/// Takes the content of the log's file away while it is open, and returns it. Every copy fails until it is back.
fn lose(log: &Logged) -> Vec<u8> {
    let content = std::fs::read(log.log_file()).unwrap();
    let file = File::options().write(true).open(log.log_file()).unwrap();
    file.set_len(0).unwrap();
    content
}

fn put_back(log: &Logged, content: &[u8]) {
    let file = File::options().write(true).open(log.log_file()).unwrap();
    file.write_all_at(content, 0).unwrap();
}

#[test]
fn floods_wait_while_a_log_of_48_mib_is_copied() {
    let mut log = Logged::new();
    log.grow(45);
    assert!(log.wal.is_copying() && !log.wal.is_late());
    log.finish();
    assert!(log.file_bytes() > 45 * MIB, "its file is used again");
    log.grow(1);
    assert!(log.wal.seen < log.wal.pages_of(2 * MIB), "it has restarted");
    log.grow(49);
    // The disk is slower than the input, and nothing is wrong.
    assert!(log.wal.is_copying() && log.wal.is_late() && log.wal.trouble().is_none());
    log.finish();
    assert!(!log.wal.is_late() && log.wal.make_room(&log.connection));
}

#[test]
fn a_log_that_outgrows_its_limit_while_it_is_copied_makes_the_writer_wait_and_goes_on() {
    let mut log = Logged::new();
    log.grow(65);
    assert!(log.wal.is_copying());
    log.wal.advance(&log.connection, false);
    assert!(!log.wal.is_copying(), "the writer has waited for the copy");
    assert!(log.wal.make_room(&log.connection) && log.wal.trouble().is_none());
    log.grow(1);
    assert!(log.wal.seen < log.wal.pages_of(2 * MIB), "it has restarted");
    assert!(!log.wal.is_copying() && !log.wal.is_late());
}

#[test]
fn a_log_whose_copy_a_new_reader_needs_is_truncated_once_that_has_gone() {
    let mut log = Logged::new();
    log.grow(17);
    let holder = log.holder();
    log.finish();
    // All of it is copied, but the reader that began since reads it: the next commit cannot restart it.
    log.wal.advance(&log.connection, true);
    assert!(log.wal.is_copied && !log.wal.is_behind);
    log.grow(1);
    assert!(log.wal.is_behind && !log.wal.is_copying());
    log.grow(11);
    log.wal.advance(&log.connection, true);
    assert!(!log.wal.is_copying(), "a log of less than 32 MiB may stay");
    log.grow(6);
    log.finish();
    // Also while nothing is appended.
    log.wal.advance(&log.connection, false);
    assert!(log.wal.is_behind && !log.wal.is_copied && !log.wal.is_copying());
    let timeout: i64 = pragma(&log.connection, "busy_timeout").unwrap();
    assert_eq!(timeout, durations::STORE_LOCK.as_millis() as i64);
    holder.execute_batch("COMMIT").unwrap();
    log.wal.advance(&log.connection, true);
    log.finish();
    assert_eq!((log.wal.seen, log.file_bytes()), (0, 0));
    assert!(!log.wal.is_behind && !log.wal.is_copied);
}

#[test]
fn a_copy_that_fails_is_told_with_its_reason_until_one_succeeds() {
    let mut log = Logged::new();
    log.grow(3);
    let content = lose(&log);
    log.wal.shorten();
    log.finish();
    let trouble = log.wal.trouble().unwrap();
    assert!(trouble.is_failed && trouble.reason.fault().is_some());
    let reason = trouble.reason.to_string();
    let expected = "its log cannot be copied into the database: ";
    assert!(
        reason.starts_with(expected) && reason.len() > expected.len(),
        "{reason}"
    );
    assert!(log.wal.is_behind && !log.wal.is_copied);
    put_back(&log, &content);
    log.wal.shorten();
    log.finish();
    assert!(log.wal.trouble().is_none() && !log.wal.is_behind);
    assert_eq!(log.file_bytes(), 0);
}

#[test]
fn a_copy_that_only_the_writer_cannot_finish_has_failed_as_well() {
    let mut log = Logged::new();
    log.grow(17);
    let mut select = crossbeam_channel::Select::new();
    select.recv(log.wal.copied());
    select.ready_timeout(Duration::from_secs(60)).unwrap();
    // SQLite copies nothing for a connection that is in a transaction.
    log.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    log.wal.advance(&log.connection, false);
    log.connection.execute_batch("ROLLBACK").unwrap();
    assert!(log.wal.trouble().is_some_and(|trouble| trouble.is_failed));
    // It is tried again when the log is so much longer again.
    log.grow(15);
    assert!(!log.wal.is_copying());
    log.grow(2);
    log.finish();
    assert!(log.wal.trouble().is_none());
}

#[test]
fn a_log_that_is_to_be_truncated_while_it_is_copied_is_truncated_with_the_end_of_that_copy() {
    let mut log = Logged::new();
    log.grow(17);
    log.wal.shorten();
    log.finish();
    assert_eq!(log.file_bytes(), 0);
    // The request is done.
    log.grow(17);
    log.finish();
    assert!(log.file_bytes() > 16 * MIB);
}

#[test]
fn the_checkpoint_thread_finishes_its_copy_and_ends_with_the_log() {
    let mut log = Logged::new();
    log.grow(17);
    let pages = Arc::downgrade(&log.wal.pages);
    let Logged {
        connection,
        wal,
        dir,
    } = log;
    wal.end();
    // The writer's hook holds the last one.
    assert_eq!(Weak::strong_count(&pages), 1);
    let copied = checkpoint(&connection).unwrap();
    assert_eq!(copied, pages.upgrade().unwrap().load(Ordering::Relaxed));
    drop(dir);
}

/// Steps of SQLite's virtual machine in one checkpoint.
const STEPS: usize = 5;

/// Copies the log while so many appends of 1 MiB follow the rounds; returns the number of rounds. `left` pages may be left.
fn rounds_of(log: Logged, appends: usize, left: u64) -> usize {
    let connection = open_for_checkpoints(&log.database()).unwrap();
    let mut copier = Copier {
        database: ManuallyDrop::new(File::open(log.database()).unwrap()),
        pages: Arc::clone(&log.wal.pages),
        rest_max: left,
        connection,
    };
    let Logged {
        connection: writer,
        wal,
        dir,
    } = log;
    // A snapshot of its newest state keeps the log from restarting, and not from being copied.
    let reader = Connection::open(dir.0.join("coven.sqlite3")).unwrap();
    let renew = "BEGIN; SELECT count(*) FROM sessions";
    reader.execute_batch(renew).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = {
        let (calls, mut appends) = (Arc::clone(&calls), appends);
        move || {
            let is_last = calls.fetch_add(1, Ordering::Relaxed) % STEPS == STEPS - 1;
            if is_last && appends > 0 {
                appends -= 1;
                append(&writer);
                reader.execute_batch("COMMIT").unwrap();
                reader.execute_batch(renew).unwrap();
            }
            false
        }
    };
    // SQLite calls it for each step of a checkpoint, for the last one behind it.
    copier.connection.progress_handler(1, Some(count)).unwrap();
    copier.copy().unwrap();
    drop((copier, wal));
    calls.load(Ordering::Relaxed) / STEPS
}

#[test]
fn the_thread_copies_in_rounds_until_little_is_left_or_six_are_over() {
    let mut log = Logged::new();
    log.grow(2);
    let before = log.wal.pages.load(Ordering::Relaxed);
    log.grow(1);
    let each = log.wal.pages.load(Ordering::Relaxed) - before;
    assert!(each > 0 && before > 0);
    assert_eq!(rounds_of(log, 0, 0), 1);
    for (appends, left, rounds) in [
        (1, each * 2, 1),
        (1, each / 2, 2),
        (3, 0, 4),
        (20, 0, ROUNDS_MAX),
    ] {
        let mut log = Logged::new();
        log.grow(2);
        assert_eq!(rounds_of(log, appends, left), rounds, "{appends}");
    }
}
