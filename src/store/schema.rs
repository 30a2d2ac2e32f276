//! Recognises coven's database and its schema version, and explains why a database cannot be opened.
//!
//! Runs on the thread that opens a connection. It knows no table's content.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::facts::Refused;
use super::migrations::{self, Migration};
use crate::api::{Code, Failure, Fault, Timestamp};
use crate::observe::field::Cause;
use crate::observe::{Message, message};

/// `PRAGMA application_id` of coven's databases: "Covn". `file(1)` shows it, too.
const APPLICATION_ID: i32 = 0x436f_766e;

/// Page size of a new database, in bytes; an existing one keeps its size. Output comes in rows of many kilobytes, and
/// each page costs two writes into the log and two out of it. The few rows of a launch touch many pages, each of which
/// is written whole.
pub(super) const PAGE_BYTES: i64 = 8 * 1024;

/// Why the store cannot be opened or written.
#[derive(Debug)]
pub enum StoreError {
    /// The database belongs to a newer coven.
    Newer {
        /// Its schema version.
        found: i64,
    },
    /// The file is another program's SQLite database.
    Foreign,
    /// A live daemon has the database open without the lock: the lock's file was removed or replaced.
    Owned {
        /// Pid of that daemon.
        pid: i32,
    },
    /// The log has reached its limit and cannot be reset.
    LogFull {
        /// The reason, if known.
        why: Option<Failure>,
    },
    /// SQLite's integrity check failed.
    Damaged {
        /// Its first finding.
        found: String,
    },
    /// Any other error of SQLite.
    Sqlite(rusqlite::Error),
    /// Any other error of the system.
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    pub fn message(&self) -> Message {
        match self {
            Self::Newer { found } => message!(
                "the database has schema version {}, this coven knows up to {}: use the newer coven that wrote it",
                *found,
                migrations::version()
            ),
            Self::Owned { pid } => message!(
                "the daemon with pid {} serves it, although it does not hold the lock's file",
                *pid
            ),
            Self::LogFull { why: Some(why) } => Message::failure(why.clone()),
            Self::LogFull { why: None } => "its log is too long".into(),
            Self::Damaged { found } => {
                message!("the database is damaged: {}", Message::foreign(found))
            }
            Self::Foreign => "the file is a SQLite database, but not coven's".into(),
            Self::Sqlite(err) => Message::failure(failure(err)),
            Self::Io(err) => err.into(),
        }
    }

    /// The error code of a command that cannot open the store.
    pub fn code(&self) -> Code {
        match self {
            Self::Owned { .. } => Code::DaemonLocked,
            _ => Code::StoreUnavailable,
        }
    }

    /// Advice for the user if the error keeps the database at `path` from being opened. The file has not been changed
    /// then.
    pub fn advice(&self, path: &Path) -> String {
        let path = path.display();
        let code = match self {
            Self::Newer { .. } => return "run the coven that wrote it, or set COVEN_HOME".into(),
            Self::Foreign => return format!("move it away: mv {path} {path}.old"),
            Self::Owned { pid } => {
                return format!(
                    "kill -HUP {pid}, which makes that daemon take its lock and socket again"
                );
            }
            Self::LogFull { .. } => None,
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
                "coven restore COPY, one that coven backup made, or save what can be read: \
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

impl Cause for StoreError {
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Sqlite(err) => failure(err).fault(),
            Self::Io(err) => Fault::of(err),
            Self::LogFull { why } => why.as_ref().and_then(Failure::fault),
            _ => None,
        }
    }
}

impl From<&StoreError> for Failure {
    fn from(err: &StoreError) -> Self {
        Self::new(err.to_string(), err.fault())
    }
}

/// SQLite's text and its code.
pub(super) fn failure(err: &rusqlite::Error) -> Failure {
    let code = err
        .sqlite_error()
        .map(|err| Fault::Sqlite(err.extended_code));
    Failure::new(err.to_string(), code)
}

impl From<StoreError> for Refused {
    fn from(err: StoreError) -> Self {
        Self::Unavailable {
            reason: Failure::from(&err),
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

/// Name of SQLite's file beside `database`: its name and `suffix` (`-wal`, `-shm` or `-journal`).
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory of `file`. The daemon names its files relative to the home, which is its working directory.
pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// The name `<path>.<what>-TIME`, with the current time in UTC.
pub fn with_time(path: &Path, what: &str) -> PathBuf {
    let now = Timestamp::now().to_string();
    let time: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    path.with_added_extension(format!("{what}-{time}"))
}

/// Record in the table `meta`: the oldest schema version whose programs can use the database.
const OLDEST: &str = "oldest_user";

/// Schema version of the database as far as this program knows it; 0 if it is empty.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`], or SQLite's error.
pub(super) fn known_version(connection: &Connection) -> Result<i64, StoreError> {
    let version: i64 = pragma(connection, "user_version")?;
    let application: i32 = pragma(connection, "application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Foreign);
    }
    let own = migrations::version() as i64;
    if version <= own {
        return Ok(version);
    }
    let oldest = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1";
    // Without the record, or the table, the newer program does not say that others can go on.
    match connection.query_row(oldest, [OLDEST], |row| row.get::<_, i64>(0)) {
        Ok(oldest) if oldest <= own => Ok(own),
        _ => Err(StoreError::Newer { found: version }),
    }
}

/// Runs these migrations, each in its own transaction.
pub(super) fn migrate(connection: &mut Connection, steps: Range<usize>) -> Result<(), StoreError> {
    for step in steps {
        let transaction = connection.transaction()?;
        match *migrations::step(step) {
            Migration::Short(sql) | Migration::Long(sql) => transaction.execute_batch(sql)?,
            Migration::Code(run) => run(&transaction)?,
        }
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        if step + 1 == migrations::version() {
            let set = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
            transaction.execute(set, (OLDEST, migrations::oldest_user().to_string()))?;
        }
        transaction.commit()?;
    }
    Ok(())
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations::version;

    #[test]
    fn a_newer_database_is_used_only_if_its_program_says_that_older_ones_can() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0..version()).unwrap();
        assert_eq!(known_version(&connection).unwrap(), version() as i64);
        connection
            .pragma_update(None, "user_version", version() as i64 + 2)
            .unwrap();
        assert_eq!(known_version(&connection).unwrap(), version() as i64);
        let set = |oldest: usize| {
            let set = "UPDATE meta SET value = ?2 WHERE name = ?1";
            connection
                .execute(set, (OLDEST, oldest.to_string()))
                .unwrap();
        };
        set(version() + 1);
        assert!(matches!(
            known_version(&connection),
            Err(StoreError::Newer { .. })
        ));
        connection.execute("DELETE FROM meta", []).unwrap();
        assert!(matches!(
            known_version(&connection),
            Err(StoreError::Newer { .. })
        ));
    }
}
