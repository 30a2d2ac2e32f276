//! The log of a real database: when it is copied, restarts, is truncated, and holds writes back.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::api::SessionId;
use crate::store::connect::open_for_writing;

const MIB: u64 = 1024 * 1024;

/// A database with its log, in a directory of its own.
struct Logged {
    dir: PathBuf,
    connection: Connection,
    wal: Wal,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
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
            dir,
            connection,
            wal,
        }
    }

    /// Commits transactions that make the log so much longer, unless it restarts.
    fn grow(&mut self, mib: u64) {
        let write = "REPLACE INTO filler VALUES (1, zeroblob(1048576))";
        for _ in 0..mib {
            self.connection.execute(write, []).unwrap();
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
        let file = self.dir.join("coven.sqlite3-wal");
        file.metadata().unwrap().len()
    }

    /// Another connection that holds a snapshot of the log.
    fn holder(&self) -> Connection {
        let holder = Connection::open(self.dir.join("coven.sqlite3")).unwrap();
        holder
            .execute_batch("BEGIN; SELECT count(*) FROM sessions")
            .unwrap();
        holder
    }
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
    assert!(log.wal.seen < log.wal.pages_of(2 * MIB));
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
