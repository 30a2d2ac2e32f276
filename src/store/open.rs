//! Opens the store at the start of the daemon and prepares it before its threads run.
//!
//! Runs on the main thread, or in the CLI's process while no daemon runs. It knows no live session.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::columns::{Columns, columns};
use super::facts::{Fact, IDEMPOTENCY_MILLIS, IdempotencyKey, SweepResult};
use super::files::OpenFiles;
use super::keep::clock::Clock;
use super::keep::maintenance::{self, Maintenance};
use super::keep::on_end::OnEndTimer;
use super::keep::retention::Retention;
use super::keep::status::StoreStatus;
use super::keep::sweep::{self, Sweep};
use super::owner::{self, LastOwner};
use super::read::followers::Followers;
use super::read::reader::Reader;
use super::rows::{SessionNum, select};
use super::schema::{StoreError, known_version};
use super::write::op;
use super::write::writer::Writer;
use super::{backup, connect, generation};
use crate::api::{SessionId, Timestamp};

/// An opened store whose writer thread and readers do not run yet.
pub struct Store {
    path: PathBuf,
    connection: Connection,
    status: Arc<StoreStatus>,
    retention: Retention,
    last_owner: LastOwner,
    foreign_log: Option<PathBuf>,
}

/// A session that the last daemon left without a final status.
#[derive(Debug)]
pub struct Unfinished {
    /// Its row's number.
    pub num: SessionNum,
    pub id: SessionId,
    /// Pid of its harness, if the spawn was recorded.
    pub pid: Option<i32>,
    /// Tells the harness from a later process with the same pid.
    pub process_mark: Option<String>,
}

columns!(Unfinished {
    num,
    id,
    pid,
    process_mark
});

impl Store {
    /// Opens the database at `path`; creates it with mode 0600, or migrates it to this build's schema.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a newer coven's database, [`StoreError::Owned`] for the database of a live daemon;
    /// otherwise SQLite's or the system's error.
    pub fn open(path: &Path, retention: Retention) -> Result<Self, StoreError> {
        let foreign_log = generation::set_foreign_log_aside(path)?;
        let (connection, last_owner) = connect::open_for_writing(path)?;
        generation::renew(&connection, path)?;
        let store = Self::of(path, retention, connection, last_owner)?;
        Ok(Self {
            foreign_log,
            ..store
        })
    }

    /// Opens the database that this process has served until execve(2). Its log and its generation are its own, and stay
    /// as they are: while sessions wait, nothing is checkpointed or synced.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn reopen(path: &Path, retention: Retention) -> Result<Self, StoreError> {
        let (connection, last_owner) = connect::open_for_writing(path)?;
        Self::of(path, retention, connection, last_owner)
    }

    fn of(
        path: &Path,
        retention: Retention,
        connection: Connection,
        last_owner: LastOwner,
    ) -> Result<Self, StoreError> {
        let total = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
        let status = Arc::new(StoreStatus::new(path, total, &retention));
        status.measure(&connection);
        Ok(Self {
            path: path.to_owned(),
            connection,
            status,
            retention,
            last_owner,
            foreign_log: None,
        })
    }

    /// Where a log of another database, found beside this one, has been moved; `None` without one.
    pub fn foreign_log(&self) -> Option<&Path> {
        self.foreign_log.as_deref()
    }

    /// State of the daemon that served the database last, as seen from this process.
    pub fn last_owner(&self) -> LastOwner {
        self.last_owner
    }

    /// Records this process as the daemon that serves the database. The caller does so after recovery: a start that is
    /// interrupted before is recovered again by the next one.
    pub fn claim(&self) -> Result<(), StoreError> {
        owner::claim(&self.connection, &self.path)
    }

    /// Deletes the output that retention does not keep, and output older than `days` days.
    ///
    /// # Errors
    /// Returns SQLite's error. Output deleted before the error stays deleted.
    pub fn prune(&mut self, days: Option<u32>) -> Result<SweepResult, StoreError> {
        let retention = self.retention.within(days);
        let mut clock = Clock::load_now(&self.connection)?;
        clock.save(&self.connection)?;
        let mut sweep = Sweep::new(retention, &clock);
        let mut tails = HashMap::new();
        let pruned = loop {
            if let Some(pruned) = sweep.step(&mut self.connection, &mut tails)? {
                break pruned;
            }
        };
        Ok(SweepResult {
            unconfirmed: sweep::unconfirmed(&self.connection, retention, &clock)?,
            ..pruned
        })
    }

    /// Counts what [`Store::prune`] would delete.
    pub fn preview_prune(&self, days: Option<u32>) -> Result<SweepResult, StoreError> {
        let clock = Clock::load_now(&self.connection)?;
        sweep::preview(&self.connection, self.retention.within(days), &clock)
    }

    /// Checks the database and rewrites it without free pages; returns the number of bytes freed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or SQLite's error.
    pub fn vacuum(&self) -> Result<u64, StoreError> {
        backup::check_integrity(&self.connection)?;
        self.status.whole();
        maintenance::vacuum(&self.connection)
    }

    /// Copies the database to the new file `copy`; returns the copy's size in bytes.
    ///
    /// # Errors
    /// The file exists already, or SQLite's or the system's error.
    pub fn backup(&self, copy: &Path) -> Result<u64, StoreError> {
        backup::backup(&connect::open_for_copying(&self.path)?, copy)
    }

    /// The sessions that were live when the last daemon died.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let query =
            select::<Unfinished>("status IN ('created', 'running') AND external = 0 ORDER BY num");
        let mut statement = self.connection.prepare(&query)?;
        let rows = statement.query_map([], Unfinished::from_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Commits `facts` without a writer thread.
    ///
    /// # Errors
    /// Returns SQLite's error; then nothing is committed.
    pub fn record(&mut self, facts: Vec<Fact>) -> Result<(), StoreError> {
        op::commit_now(&mut self.connection, facts)
    }

    /// The idempotency keys that have not expired.
    pub fn idempotency_keys(&self) -> Result<Vec<IdempotencyKey>, StoreError> {
        live_idempotency_keys(&self.connection)
    }

    /// Starts the writer thread and opens the readers; also returns the identities of the open files. The writer
    /// carries out the `onEnd` of ended sessions. It calls `on_sweep` with each retention sweep, at least once an hour.
    pub fn start(
        self,
        followers: Arc<Followers>,
        on_end: OnEndTimer,
        on_sweep: Box<dyn Fn() + Send + Sync>,
    ) -> Result<(Writer, Reader, Arc<OpenFiles>), StoreError> {
        let connection = connect::open_for_reading(&self.path)?;
        let files = Arc::new(OpenFiles::of(&self.path));
        let reader = Reader::new(
            &self.path,
            connection,
            Arc::clone(&files),
            self.retention,
            Arc::clone(&self.status),
        );
        let clock = Clock::load(&self.connection)?;
        let writer = Writer::start(
            &self.path,
            self.connection,
            self.status,
            followers,
            Maintenance::new(self.retention, clock, on_end, on_sweep),
            reader.clone(),
        )?;
        reader.check_if_damaged();
        Ok((writer, reader, files))
    }

    /// The store's figures for `GET /health` and `GET /metrics`.
    pub fn status(&self) -> Arc<StoreStatus> {
        Arc::clone(&self.status)
    }
}

/// Schema version of the database at `path`, which a daemon may be serving.
///
/// # Errors
/// [`StoreError::Newer`] for a newer coven's database; otherwise SQLite's error.
pub fn schema_version(path: &Path) -> Result<usize, StoreError> {
    let version = known_version(&connect::open_for_reading(path)?)?;
    Ok(usize::try_from(version).unwrap_or(0))
}

/// Deletes the expired keys and returns the others.
fn live_idempotency_keys(connection: &Connection) -> Result<Vec<IdempotencyKey>, StoreError> {
    let oldest = Timestamp::now().as_millis() - IDEMPOTENCY_MILLIS;
    connection.execute("DELETE FROM idempotency WHERE created_at < ?1", [oldest])?;
    let mut statement = connection.prepare(
        "SELECT key, fingerprint, sessions.id, idempotency.created_at
         FROM idempotency JOIN sessions ON sessions.num = idempotency.session",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(IdempotencyKey {
            key: row.get(0)?,
            fingerprint: row.get(1)?,
            session: row.get(2)?,
            expires_at: Timestamp::from_millis(row.get::<_, i64>(3)? + IDEMPOTENCY_MILLIS),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::{Labels, SessionStatus};
    use crate::store::keep::on_end::Awaiting;
    use crate::store::keep::tails::Tail;
    use crate::store::migrations;
    use crate::store::rows::{EVENTS, EventRow, SessionRow};
    use crate::store::schema::{known_version, migrate};

    fn columns_of(connection: &Connection) -> BTreeSet<String> {
        let mut statement = connection
            .prepare("SELECT name FROM pragma_table_info('sessions')")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    /// A database of schema version `version`, with one session and one output event.
    fn database_of(version: usize) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0..version).unwrap();
        let options = match version {
            ..4 => ("labels, visibility", "'[\"a\"]', 'private'"),
            _ => ("options", "'{\"labels\":[\"a\"]}'"),
        };
        let insert = format!(
            "INSERT INTO sessions (num, id, project_root, harness, title, status, created_at, updated_at, external,
                 last_seq, {})
             VALUES (7, '00000000-0000-4000-8000-000000000007', '/p', 'hello', 't', 'completed', 1, 2, 0, 1, {});
             INSERT INTO events (key, kind, created_at, payload_json) VALUES ((7 << 32) + 1, 'output', 3, 'text');",
            options.0, options.1
        );
        connection.execute_batch(&insert).unwrap();
        connection
    }

    #[test]
    fn a_database_of_each_older_schema_is_migrated_with_all_that_is_in_it() {
        let fresh = columns_of(&database_of(migrations::version()));
        let num = SessionNum(7);
        for version in 1..migrations::version() {
            let mut connection = database_of(version);
            assert_eq!(known_version(&connection).unwrap(), version as i64);
            migrate(&mut connection, version..migrations::version()).unwrap();
            assert_eq!(
                known_version(&connection).unwrap(),
                migrations::version() as i64
            );
            assert_eq!(columns_of(&connection), fresh, "{version}");
            let record = SessionRow::by_num(&connection, num)
                .unwrap()
                .unwrap()
                .record;
            assert_eq!((record.title.as_str(), record.last_seq), ("t", 1));
            assert_eq!(record.status, SessionStatus::Completed);
            assert_eq!(record.options.labels, Labels(vec!["a".into()]), "{version}");
            let tail = Tail::of(&connection, num).unwrap();
            assert_eq!(tail.stored_bytes > 0, version < 3, "{version}");
            let mut statement = connection.prepare(EVENTS).unwrap();
            let mut rows = statement.query([num.key(0), num.key(u64::MAX)]).unwrap();
            let event = EventRow::of(rows.next().unwrap().unwrap()).unwrap();
            assert_eq!((event.seq, event.payload_json), (1, "text"));
        }
    }

    #[test]
    fn the_table_of_sessions_has_the_declared_columns_and_no_others() {
        let declared = [
            SessionRow::names(),
            Tail::names(),
            Unfinished::names(),
            Awaiting::names(),
        ]
        .concat();
        let declared: BTreeSet<String> = declared.into_iter().map(Into::into).collect();
        assert_eq!(columns_of(&database_of(migrations::version())), declared);
    }
}
