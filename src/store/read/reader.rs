//! Reads sessions and events through a few read-only connections, shared by the connection threads. A read sees the
//! last commit, waits for neither the writer nor the state thread, and ends before its answer is sent.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use crate::api::{Event, EventId, Failure, SessionId, SessionRecord, Word};
use crate::observe::metrics::SessionTally;
use crate::store::columns::Columns;
use crate::store::facts::{Refused, SweepResult};
use crate::store::files::OpenFiles;
use crate::store::keep::before;
use crate::store::keep::clock::Clock;
use crate::store::keep::retention::Retention;
use crate::store::keep::status::StoreStatus;
use crate::store::keep::sweep;
use crate::store::rows::{
    EventRow, NEWEST_EVENTS, SessionNum, SessionRow, find, select, unreadable,
};
use crate::store::schema::StoreError;
use crate::store::{backup, connect, schema};

/// Most concurrent read connections. A read takes well under a millisecond, and the usual machine has a few cores.
const CONNECTIONS: usize = 4;

/// Steps of SQLite's virtual machine between two checks whether the integrity check must stop.
const CHECK_STEPS: i32 = 10_000;

/// Builds the query for a list of sessions, and its parameters.
fn list_query(query: &SessionQuery) -> (String, Vec<Box<dyn ToSql>>) {
    let mut conditions = vec!["num < ?"];
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(query.before.unwrap_or(i64::MAX))];
    if !query.include_archived {
        conditions.push("archived_at IS NULL");
    }
    // Only with a prefix: otherwise SQLite would use the ids' index, and sort by itself.
    if !query.id_prefix.is_empty() {
        conditions.push("id >= ? AND id < ?");
        // All characters of an id sort before `~`.
        let end = format!("{}~", query.id_prefix);
        values.extend([query.id_prefix.clone(), end].map(|id| Box::new(id) as _));
    }
    if let Some(harness) = &query.harness {
        conditions.push("harness = ?");
        values.push(Box::new(harness.clone()));
    }
    if let Some(id) = &query.conversation {
        conditions.push(HAS_CONVERSATION);
        values.extend([id.clone(), in_options(id)].map(|id| Box::new(id) as _));
    }
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    values.push(Box::new(limit.saturating_add(1)));
    let conditions = conditions.join(" AND ");
    let sql = select::<SessionRow>(&format!("{conditions} ORDER BY num DESC LIMIT ?"));
    (sql, values)
}

/// Condition that matches the harness's own conversation id, or the client's.
const HAS_CONVERSATION: &str = "(harness_session_id = ? OR instr(options, ?) > 0)";

/// The client's conversation id within the options' JSON. Quotes inside a text are escaped, so it matches nothing else.
fn in_options(id: &str) -> String {
    format!(r#""conversation_id":"{id}""#)
}

#[derive(Debug, Clone)]
pub struct SessionQuery {
    /// Most sessions of the list.
    pub limit: usize,
    /// Only sessions with a smaller row number than this.
    pub before: Option<i64>,
    /// Includes archived sessions.
    pub include_archived: bool,
    /// Only sessions whose id starts with this.
    pub id_prefix: String,
    /// Only sessions of this harness.
    pub harness: Option<String>,
    /// Only sessions of this conversation; must be a conversation id
    /// ([`is_conversation_id`](crate::api::is_conversation_id)).
    pub conversation: Option<String>,
    /// Most bytes of the list's JSON.
    pub bytes_max: usize,
}

/// A list of sessions, newest first.
#[derive(Debug)]
pub struct SessionList {
    /// The elements of a JSON array, without brackets.
    pub json: Vec<u8>,
    /// Row number of the last session listed, if more follow.
    pub last: Option<i64>,
    /// The list ended before `limit`, at `bytes_max`.
    pub is_cut: bool,
}

/// The pool of read connections. One is opened at the start, the others at their first use.
#[derive(Clone)]
pub struct Reader {
    take: Receiver<Connection>,
    give: Sender<Connection>,
    opened: Arc<AtomicUsize>,
    path: Arc<Path>,
    files: Arc<OpenFiles>,
    retention: Retention,
    /// The writer's published figures.
    pub(crate) status: Arc<StoreStatus>,
    /// Number of pages held ahead.
    pub(crate) ahead: Arc<AtomicUsize>,
}

/// A borrowed connection; returned also if the reading thread panics.
struct Loan<'a> {
    pool: &'a Reader,
    connection: Option<Connection>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Cannot fail: the pool has room for every connection taken from it.
            let _ = self.pool.give.send(connection);
        }
    }
}

impl Reader {
    pub(crate) fn new(
        path: &Path,
        connection: Connection,
        files: Arc<OpenFiles>,
        retention: Retention,
        status: Arc<StoreStatus>,
    ) -> Self {
        let (give, take) = bounded(CONNECTIONS);
        // Cannot fail: the channel has room for all connections, and its receiver exists.
        let _ = give.send(connection);
        Self {
            take,
            give,
            opened: Arc::new(AtomicUsize::new(1)),
            path: path.into(),
            retention,
            status,
            files,
            ahead: Arc::default(),
        }
    }

    /// Frees the pages that the connections keep, but for those that are being used.
    pub(crate) fn rest(&self) {
        let free: Vec<Connection> = self.take.try_iter().collect();
        for connection in free {
            connect::release_pages(&connection);
            // Cannot fail: the pool has room for every connection taken from it.
            let _ = self.give.send(connection);
        }
    }

    /// Opens another connection by the database's name; fails if the name leads to another file now.
    fn open_another(
        &self,
        open: fn(&Path) -> Result<Connection, StoreError>,
    ) -> Result<Connection, StoreError> {
        let check = || match self.files.lost() {
            Some(lost) => Err(io::Error::other(format!(
                "{} is not the file that is open",
                lost.display()
            ))),
            None => Ok(()),
        };
        check()?;
        let connection = open(&self.path)?;
        check()?;
        Ok(connection)
    }

    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Refused> {
        let result = self.lend(query).ok_or_else(|| Refused::Bug {
            reason: "no connection to read with".into(),
        })?;
        result.map_err(|err| {
            self.status.met(&err);
            Refused::Unavailable {
                reason: Failure::new(
                    format!("it cannot be read: {err}"),
                    schema::failure(&err).fault(),
                ),
            }
        })
    }

    fn lend<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        let loan = Loan {
            pool: self,
            connection: self.connection(),
        };
        loan.connection.as_ref().map(work)
    }

    /// A free connection, a new one, or the next that becomes free.
    fn connection(&self) -> Option<Connection> {
        if let Ok(connection) = self.take.try_recv() {
            return Some(connection);
        }
        let is_another = |opened: usize| (opened < CONNECTIONS).then_some(opened + 1);
        let counted = self
            .opened
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_another);
        if counted.is_ok() {
            match self.open_another(connect::open_for_reading) {
                Ok(connection) => return Some(connection),
                // Opening can fail for lack of descriptors: wait for an open connection instead.
                Err(_) => self.opened.fetch_sub(1, Ordering::Relaxed),
            };
        }
        self.take.recv().ok()
    }

    /// One session's record.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or [`Refused::Unavailable`] if it cannot be read.
    pub fn session(&self, id: SessionId) -> Result<SessionRecord, Refused> {
        self.read(|connection| SessionRow::by_id(connection, id))?
            .map(|row| row.record)
            .ok_or_else(|| Refused::NotFound { id: id.to_string() })
    }

    /// The session with the registered id `text`; `None` without one.
    pub fn given_id(&self, text: &str) -> Result<Option<SessionId>, Refused> {
        let query = "SELECT id FROM sessions WHERE id = ?1";
        self.read(|connection| find(connection, query, [text]))
    }

    /// One session's record, and the mark that tells its harness from a later process with the same pid.
    pub fn session_and_mark(
        &self,
        id: SessionId,
    ) -> Result<(SessionRecord, Option<String>), Refused> {
        let record = self.session(id)?;
        let query = "SELECT process_mark FROM sessions WHERE id = ?1";
        let mark: Option<Option<String>> = self.read(|connection| find(connection, query, [id]))?;
        Ok((record, mark.flatten()))
    }

    /// The sessions of `query`, within its limits. `complete` fills in what the store does not have.
    pub fn sessions(
        &self,
        query: &SessionQuery,
        complete: &dyn Fn(&mut SessionRecord),
    ) -> Result<SessionList, Refused> {
        self.read(|connection| {
            let (sql, values) = list_query(query);
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            let mut json = Vec::new();
            let mut last = None;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                let SessionRow { num, mut record } = SessionRow::from_row(row)?;
                complete(&mut record);
                let before = json.len();
                if count > 0 {
                    json.push(b',');
                }
                serde_json::to_writer(&mut json, &record).map_err(unreadable)?;
                let is_full = count == query.limit;
                if is_full || (count > 0 && json.len() > query.bytes_max) {
                    json.truncate(before);
                    let is_cut = !is_full;
                    return Ok(SessionList { json, last, is_cut });
                }
                last = Some(num.0);
                count += 1;
            }
            Ok(SessionList {
                json,
                last: None,
                is_cut: false,
            })
        })
    }

    /// The newest session of a harness with conversation `id`: the harness's own id first, then the client's.
    pub fn session_of(&self, harness: &str, id: &str) -> Result<Option<SessionId>, Refused> {
        let sql = format!(
            "SELECT id FROM sessions WHERE {HAS_CONVERSATION} AND harness = ?
             ORDER BY harness_session_id IS NOT ? , num DESC LIMIT 1"
        );
        self.read(|connection| {
            let values = params![id, in_options(id), harness, id];
            find(connection, &sql, values)
        })
    }

    /// Number of sessions by status and harness.
    pub fn session_tally(&self) -> Result<SessionTally, Refused> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT status, harness, count(*) FROM sessions GROUP BY status, harness",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }

    /// Counts what a sweep that keeps at most `days` days would delete now.
    pub fn preview_prune(&self, days: Option<u32>) -> Result<SweepResult, Refused> {
        let retention = self.retention.within(days);
        self.read_long(|connection| {
            sweep::preview(connection, retention, &Clock::load_now(connection)?)
        })
    }

    /// Checks every page of the database.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] with the first finding.
    pub fn check_integrity(&self) -> Result<(), Refused> {
        self.read_long(backup::check_integrity)?;
        self.status.whole();
        Ok(())
    }

    /// Copies the database, in its current state, to the new file `copy`; returns the size in bytes.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if the database cannot be read or the copy cannot be written.
    pub fn backup(&self, copy: &Path) -> Result<u64, Refused> {
        self.read_long(|connection| backup::backup(connection, copy))
    }

    /// Copies the database to its place beside it, before its schema is migrated to version `version`.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if the disk has no room, or the copy fails.
    pub fn copy_before(&self, version: usize) -> Result<(), Refused> {
        self.read_long(|connection| before::copy(connection, &self.path, version))
    }

    /// Checks that [`Reader::copy_before`] has room.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if it has none.
    pub fn check_room_before(&self) -> Result<(), Refused> {
        self.read_long(|connection| before::check_room(connection, &self.path))
    }

    /// Copies the open database to `copy`, even if its name is gone, replacing an earlier copy; returns the size in
    /// bytes.
    pub fn save(&self, copy: &Path) -> Result<u64, StoreError> {
        let query_only = |on: bool| format!("PRAGMA query_only = {on}");
        let saved = self.lend(|connection| {
            // `query_only` also forbids VACUUM INTO.
            connection.execute_batch(&query_only(false))?;
            let saved = backup::save(connection, copy);
            connection.execute_batch(&query_only(true))?;
            saved
        });
        saved.unwrap_or_else(|| Err(io::Error::other("no connection to read with").into()))
    }

    /// Runs a long read on a connection of its own, so that it does not occupy the pool.
    fn read_long<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Refused> {
        let connection = self.open_another(connect::open_for_copying)?;
        query(&connection).map_err(|err| {
            self.met(&err);
            err.into()
        })
    }

    /// Records the damage that `err` reports, if it does.
    fn met(&self, err: &StoreError) {
        match err {
            StoreError::Sqlite(err) => self.status.met(err),
            StoreError::Damaged { found } => self.status.damaged(&found.as_str().into()),
            _ => {}
        }
    }

    /// Checks a database with recorded damage on a thread of its own. The check stops early when the daemon stops or
    /// the log cannot restart, which its snapshot may cause; the next start repeats it.
    pub(crate) fn check_if_damaged(&self) {
        if !self.status.is_damaged() {
            return;
        }
        let reader = self.clone();
        let check = move || {
            if reader.check_in_background().is_ok() {
                reader.status.whole();
            }
        };
        // Without a thread, the check waits for the next start.
        let _ = thread::Builder::new().name("check".into()).spawn(check);
    }

    fn check_in_background(&self) -> Result<(), StoreError> {
        let mut connection = self.open_another(connect::open_for_copying)?;
        let status = Arc::clone(&self.status);
        let is_over =
            move || status.chores_over.load(Ordering::Relaxed) || status.log_trouble().is_some();
        connection.progress_handler(CHECK_STEPS, Some(is_over))?;
        backup::check_quickly(&connection)
    }

    /// Passes a session's newest events, oldest first and at most `bytes_max` bytes, to `show`, with true if these are
    /// all. `show` runs while the connection is borrowed: this bounds the events in memory.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or [`Refused::Unavailable`] if they cannot be read.
    pub fn newest_events<T>(
        &self,
        session: SessionId,
        bytes_max: usize,
        show: impl FnOnce(&[Event], bool) -> T,
    ) -> Result<T, Refused> {
        self.read(|connection| {
            let num = "SELECT num FROM sessions WHERE id = ?1";
            let Some(num) = find(connection, num, [session])? else {
                return Ok(None);
            };
            let (events, is_all) = newest(connection, session, num, bytes_max)?;
            Ok(Some(show(&events, is_all)))
        })?
        .ok_or_else(|| Refused::NotFound {
            id: session.to_string(),
        })
    }
}

/// A session's newest events, oldest first, and true if these are all.
fn newest(
    connection: &Connection,
    session: SessionId,
    num: SessionNum,
    bytes_max: usize,
) -> rusqlite::Result<(Vec<Event>, bool)> {
    let mut statement = connection.prepare_cached(NEWEST_EVENTS)?;
    let mut rows = statement.query([num.key(0), num.key(u64::MAX)])?;
    let mut events: Vec<Event> = Vec::new();
    let mut bytes = 0;
    let mut is_all = true;
    while let Some(row) = rows.next()? {
        let event = EventRow::of(row)?;
        // A small event needs more memory than its payload.
        bytes += event.payload_json.len() + size_of::<Event>();
        if bytes > bytes_max && !events.is_empty() {
            is_all = false;
            break;
        }
        let seq = event.seq;
        events.push(Event {
            seq,
            id: EventId { session, seq }.to_string(),
            session_id: session,
            kind: Word::read(event.kind.to_owned()),
            payload_json: event.payload_json.to_owned(),
            created_at: event.at,
        });
    }
    events.reverse();
    Ok((events, is_all))
}
