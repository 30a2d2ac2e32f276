//! The database's schema, its version, and the way from an older one to this.
//!
//! An event's key is its session's number and its seq in one integer, so that the table itself is sorted by
//! session and seq: a page is one range of one B-tree, whatever the table holds, and there is no index to keep.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::facts::Refused;
use rusqlite::{Connection, ErrorCode};
use serde_json::json;

use crate::api::Code;

/// `PRAGMA application_id`, by which `file(1)` and we tell our database from another: "Covn".
const APPLICATION_ID: i32 = 0x436f_766e;

/// A step from one schema version to the next.
enum Migration {
    Sql(&'static str),
    /// What SQL alone cannot do: this SQLite is built without JSON.
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// Step `i` leads from schema version `i` to `i + 1`. A step that has been released never changes.
const MIGRATIONS: [Migration; 6] = [
    Migration::Sql(
        "
CREATE TABLE sessions (
    num             INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: it is half of the events' keys
    id              TEXT NOT NULL UNIQUE,
    project_root    TEXT NOT NULL,
    cwd             TEXT,
    harness         TEXT NOT NULL,
    title           TEXT NOT NULL,
    status          TEXT NOT NULL,
    exit_code       INTEGER,
    signal          INTEGER,
    archived_at     INTEGER,                            -- times are milliseconds since the Unix epoch
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    conversation_id TEXT,
    familiar_id     TEXT,
    labels          TEXT NOT NULL,                      -- a JSON array of strings
    visibility      TEXT NOT NULL,
    external        INTEGER NOT NULL,
    transcript_path TEXT,
    launch_mode     TEXT,
    model           TEXT,
    pid             INTEGER,
    process_mark    TEXT,                               -- tells the process from a later one with its pid
    last_seq        INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_unarchived ON sessions (num) WHERE archived_at IS NULL;
CREATE INDEX sessions_unfinished ON sessions (num) WHERE status IN ('created', 'running');

CREATE TABLE events (
    key          INTEGER PRIMARY KEY,                   -- session << 32 | seq
    kind         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    payload_json TEXT NOT NULL,
    session      INTEGER NOT NULL GENERATED ALWAYS AS (key >> 32) VIRTUAL,
    seq          INTEGER NOT NULL GENERATED ALWAYS AS (key & 4294967295) VIRTUAL
) STRICT;
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
    BEGIN SELECT raise(ABORT, 'events are append-only'); END;

CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,                          -- of the launch's body
    session     INTEGER NOT NULL REFERENCES sessions (num) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_session ON idempotency (session);
",
    ),
    Migration::Sql(
        "
ALTER TABLE sessions ADD COLUMN started_at INTEGER;      -- of the harness
ALTER TABLE sessions ADD COLUMN ended_at INTEGER;
ALTER TABLE sessions ADD COLUMN cpu_ms INTEGER;
ALTER TABLE sessions ADD COLUMN peak_rss_bytes INTEGER;
ALTER TABLE sessions ADD COLUMN stdout_bytes INTEGER;
ALTER TABLE sessions ADD COLUMN stdout_lines INTEGER;
ALTER TABLE sessions ADD COLUMN stderr_bytes INTEGER;
ALTER TABLE sessions ADD COLUMN stderr_lines INTEGER;
",
    ),
    Migration::Sql(
        "
ALTER TABLE sessions ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;  -- what its output takes on disk
ALTER TABLE sessions ADD COLUMN head_seq INTEGER;                         -- the last of what is always kept
ALTER TABLE sessions ADD COLUMN cut_seq INTEGER NOT NULL DEFAULT 0;       -- of its output_truncated event
UPDATE sessions SET stored_bytes = coalesce((
    SELECT sum(octet_length(payload_json) + 64) FROM events
    WHERE key BETWEEN num << 32 AND (num << 32) + 4294967295 AND kind = 'output'), 0);
CREATE INDEX sessions_prunable ON sessions (updated_at)
    WHERE stored_bytes > 0 AND status NOT IN ('created', 'running');
",
    ),
    Migration::Code(gather_options),
    Migration::Sql(
        "
ALTER TABLE sessions ADD COLUMN stdout_pipe_bytes INTEGER;                -- what the pipe of stdout holds
",
    ),
    Migration::Sql(
        "
CREATE TABLE meta (                                     -- what is known of the database itself
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL                                 -- JSON
) STRICT, WITHOUT ROWID;
",
    ),
];

/// The schema version that this build reads and writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// A page of a new database, in bytes; one that is there keeps its own. Output comes in rows of many kilobytes, and each
/// page costs two writes on its way into the log and two more on its way out of it; the few rows of a launch are spread over
/// many pages, each of which is written whole.
pub(super) const PAGE_BYTES: i64 = 8 * 1024;

/// Why the store cannot be opened or written.
#[derive(Debug)]
pub enum StoreError {
    /// The database belongs to a newer coven.
    Newer {
        /// Its schema version.
        found: i64,
    },
    /// The file is a SQLite database of something else.
    Foreign,
    /// A daemon that lives has it open, although nobody holds the lock: its file has been removed or replaced.
    Owned {
        /// That daemon.
        pid: i32,
    },
    /// A page is not what it must be.
    Damaged {
        /// The first thing that SQLite finds.
        found: String,
    },
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// What the system says.
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { found } => write!(
                f,
                "the database has schema version {found}, this coven knows up to {VERSION}: \
                 use the newer coven that wrote it"
            ),
            Self::Owned { pid } => write!(
                f,
                "the daemon with pid {pid} serves it, although it does not hold the lock's file"
            ),
            Self::Damaged { found } => write!(f, "the database is damaged: {found}"),
            Self::Foreign => write!(f, "the file is a SQLite database, but not coven's"),
            Self::Sqlite(err) => write!(f, "{err}"),
            Self::Io(err) => write!(f, "{err}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// The code of a command that cannot open the store.
    pub fn code(&self) -> Code {
        match self {
            Self::Owned { .. } => Code::DaemonLocked,
            _ => Code::StoreUnavailable,
        }
    }

    /// What to do about it where it keeps the database at `path` from being opened. Nothing of the file has been
    /// changed then.
    pub fn advice(&self, path: &Path) -> String {
        let path = path.display();
        let code = match self {
            Self::Newer { .. } => return "run the coven that wrote it, or set COVEN_HOME".into(),
            Self::Foreign => return format!("move it away: mv {path} {path}.old"),
            Self::Owned { pid } => {
                return format!(
                    "kill -HUP {pid}, which has that daemon take its lock and socket anew"
                );
            }
            Self::Damaged { .. } => Some(ErrorCode::DatabaseCorrupt),
            Self::Sqlite(err) => err.sqlite_error_code(),
            Self::Io(err) => match err.kind() {
                io::ErrorKind::StorageFull => Some(ErrorCode::DiskFull),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Some(ErrorCode::ReadOnly)
                }
                _ => None,
            },
        };
        match code {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!(
                "put a copy that coven backup made in its place, or save what can be read: \
                 sqlite3 {path} .recover | sqlite3 {path}.new"
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("fuser -v {path}, to see which process holds it")
            }
            Some(ErrorCode::DiskFull) => format!("make room on the disk of {path}"),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                format!("make {path} and its directory writable")
            }
            _ => "coven doctor".into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(err: StoreError) -> Self {
        Self::Unavailable {
            reason: err.to_string(),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(err: rusqlite::Error) -> Self {
        Self::Sqlite(err)
    }
}

impl From<io::Error> for StoreError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// The file that SQLite keeps beside `database` under its name and `suffix`: `-wal`, `-shm`, `-journal`.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The database's schema version; 0 for one that is empty.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`], or what SQLite says.
pub(super) fn known_version(connection: &Connection) -> Result<i64, StoreError> {
    let version: i64 = pragma(connection, "user_version")?;
    let application: i32 = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    if version > VERSION as i64 {
        return Err(StoreError::Newer { found: version });
    }
    Ok(version)
}

pub(super) fn migrate(connection: &mut Connection, from: usize) -> Result<(), StoreError> {
    for (step, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        match migration {
            Migration::Sql(sql) => transaction.execute_batch(sql)?,
            Migration::Code(run) => run(&transaction)?,
        }
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The options of each launch, from a column each into one JSON object.
fn gather_options(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute_batch("ALTER TABLE sessions ADD COLUMN options TEXT NOT NULL DEFAULT '{}'")?;
    let mut select = connection.prepare(
        "SELECT num, labels, conversation_id, familiar_id, visibility, launch_mode, model FROM sessions",
    )?;
    let options = select.query_map([], |row| {
        let text = |column: usize| row.get::<_, Option<String>>(column);
        // A list that cannot be read does not keep the daemon from starting.
        let labels: Option<Vec<String>> = serde_json::from_str(&row.get::<_, String>(1)?).ok();
        let options = json!({
            "labels": labels.unwrap_or_default(), "conversation_id": text(2)?, "familiar_id": text(3)?,
            "visibility": text(4)?, "launch_mode": text(5)?, "model": text(6)?,
        });
        Ok((row.get(0)?, options.to_string()))
    })?;
    let options: Vec<(i64, String)> = options.collect::<Result<_, _>>()?;
    let mut update = connection.prepare("UPDATE sessions SET options = ?2 WHERE num = ?1")?;
    for options in options {
        update.execute(options)?;
    }
    connection.execute_batch(
        "ALTER TABLE sessions DROP COLUMN labels;
         ALTER TABLE sessions DROP COLUMN conversation_id;
         ALTER TABLE sessions DROP COLUMN familiar_id;
         ALTER TABLE sessions DROP COLUMN visibility;
         ALTER TABLE sessions DROP COLUMN launch_mode;
         ALTER TABLE sessions DROP COLUMN model;",
    )
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use crate::api::SessionStatus;

    /// SQLite uses a partial index only for a query that has its condition word by word.
    #[test]
    fn the_indexes_and_their_queries_name_every_status_that_is_not_final() {
        let unfinished = SessionStatus::ALL
            .into_iter()
            .filter(|status| !status.is_final());
        let words: Vec<String> = unfinished.map(|status| format!("'{status}'")).collect();
        let list = format!("IN ({})", words.join(", "));
        for (source, uses) in [
            (include_str!("schema.rs"), 2),
            (include_str!("open.rs"), 1),
            (include_str!("keep/retention.rs"), 1),
        ] {
            assert_eq!(source.matches(&list).count(), uses, "{list}");
        }
    }
}
