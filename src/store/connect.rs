//! Opens SQLite connections: for the writer, for readers, for checkpoints, for copies and for inspection.
//!
//! Runs on the thread that needs the connection. It sets pragmas, flags and timeouts, and runs no query of a session.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::migrations;
use super::owner::{self, LastOwner};
use super::schema::{PAGE_BYTES, StoreError, known_version, migrate};
use crate::settings::durations;
use crate::sys;

/// Opens the writing connection: creates the file with mode 0600, sets WAL mode, migrates the schema. Also returns the
/// state of the last owner. The database of a live daemon is left unchanged.
pub(super) fn open_for_writing(path: &Path) -> Result<(Connection, LastOwner), StoreError> {
    // SQLite would create the file with mode 0644; the -wal and -shm take their mode from it.
    sys::append_own(path, 0)?;
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let version = known_version(&connection)?;
    let last_owner = owner::last_owner(&connection, path)?;
    if let LastOwner::Alive { pid } = last_owner {
        return Err(StoreError::Owned { pid });
    }
    if version == 0 {
        // These pragmas work only before the first table exists (SQLite, PRAGMA page_size and auto_vacuum).
        connection.execute_batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL"
        ))?;
    }
    // In WAL mode NORMAL syncs at checkpoints only. A commit survives the death of this process, since the kernel has
    // its bytes. A power loss can lose the last commits, but never the database's integrity.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -2000;
         PRAGMA foreign_keys = ON;",
    )?;
    connection.busy_timeout(durations::STORE_LOCK)?;
    connection.set_prepared_statement_cache_capacity(32);
    migrate(
        &mut connection,
        usize::try_from(version).unwrap_or(0)..migrations::version(),
    )?;
    Ok((connection, last_owner))
}

/// Opens a read-only connection, which sees the last commit of the writer.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.execute_batch("PRAGMA cache_size = -512; PRAGMA query_only = ON;")?;
    connection.set_prepared_statement_cache_capacity(16);
    open_files(&connection)?;
    Ok(connection)
}

/// Opens a connection that copies the log into the database.
pub(super) fn open_for_checkpoints(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA synchronous = NORMAL;")?;
    open_files(&connection)?;
    Ok(connection)
}

/// Frees the pages that `connection` keeps (SQLite, PRAGMA shrink_memory).
pub(super) fn release_pages(connection: &Connection) {
    // Best effort: the pages stay if it fails.
    let _ = connection.execute_batch("PRAGMA shrink_memory");
}

/// Copies the rest of the log into the database and truncates it, without waiting; false if a reader blocks it.
pub(super) fn truncate_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let query = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy: rusqlite::Result<bool> = connection.query_row(query, [], |row| row.get(0));
    connection.busy_timeout(durations::STORE_LOCK)?;
    Ok(!is_busy?)
}

/// Makes SQLite open the log and its index now instead of at the first use, when their names may be gone.
fn open_files(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Opens a read-only connection for one long read, without the readers' memory limits.
pub(super) fn open_for_copying(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(durations::STORE_LOCK)?;
    Ok(connection)
}

/// Opens a connection for inspection from outside; `is_alone` says that no daemon has the database open.
pub(super) fn open_to_look(path: &Path, is_alone: bool) -> Result<Connection, StoreError> {
    let connection = match is_alone {
        true => open_immutable(path)?,
        false => open_for_reading(path)?,
    };
    connection.busy_timeout(durations::INSPECT_LOCK)?;
    Ok(connection)
}

/// A connection that takes no lock and writes no file (SQLite, "URI Filenames", `immutable`).
pub(super) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(byte.into());
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// Runs `work`, and interrupts the statements of `connection` from `deadline` on.
pub(super) fn until<T>(connection: &Connection, deadline: Instant, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = bounded::<()>(0);
    let interrupt = connection.get_interrupt_handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = deadline;
            // A disconnect means that `work` has returned. SQLite ignores an interrupt that arrives before the
            // statement starts (sqlite3_interrupt), so it is sent again.
            while is_done.recv_deadline(next) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
                next = Instant::now() + durations::INTERRUPT_AGAIN;
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// True if [`until`] interrupted the statement.
pub(super) fn is_interrupt(err: &rusqlite::Error) -> bool {
    err.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// Size of the database's pages, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    /// All pages of the file.
    pub all: u64,
    /// Pages on the free list.
    pub free: u64,
}

impl Pages {
    pub(super) fn used(self) -> u64 {
        self.all.saturating_sub(self.free)
    }
}

/// The page sizes after the last transaction that this connection sees.
pub(super) fn pages(connection: &Connection) -> Result<Pages, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let size = pragma("page_size")?;
    Ok(Pages {
        all: pragma("page_count")? * size,
        free: pragma("freelist_count")? * size,
    })
}
