//! Counting what a database holds, from outside: how many sessions and events, of which kinds and sizes, and never
//! their text.
//!
//! Runs in the CLI's process, with a daemon beside it or without one. It only reads, and for a bounded time.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

use crate::api::{SessionRecord, Timestamp};
use crate::store::connect::{is_interrupt, open_to_look, until};
use crate::store::rows::{SessionNum, SessionRow};
use crate::store::schema::{StoreError, pragma};

/// Events of one session that are listed, the newest ones.
const EVENTS_LISTED: usize = 500;

/// Groups that are listed: harnesses are named by whoever registers a session.
const GROUPS_LISTED: usize = 50;

/// So many of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Of what: a status, a harness, a kind of event.
    pub name: String,
    /// How many.
    pub count: u64,
    /// What their payloads come to, in bytes; 0 for what has none.
    pub bytes: u64,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its schema version.
    pub schema: i64,
    /// Its size, in pages.
    pub pages: u64,
    /// Of those, the unused ones.
    pub free_pages: u64,
    /// A page's size, in bytes.
    pub page_bytes: u64,
    /// Events that sessions have had, also those that are gone.
    pub events_ever: u64,
    /// Sessions by status.
    pub sessions: Vec<Group>,
    /// Sessions by harness.
    pub harnesses: Vec<Group>,
    /// Sessions that somebody else runs.
    pub external: u64,
    /// Sessions that are archived.
    pub archived: u64,
    /// Sessions that have labels.
    pub labelled: u64,
    /// Events by kind; `None` if they are too many to be counted in time.
    pub events: Option<Vec<Group>>,
}

/// An event without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOutline {
    /// Its seq.
    pub seq: u64,
    /// Its kind.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Its payload's length, in bytes.
    pub bytes: u64,
}

/// A session, and its events without their text.
#[derive(Debug)]
pub struct SessionOutline {
    /// Its record.
    pub record: SessionRecord,
    /// All of its events, by kind.
    pub kinds: Vec<Group>,
    /// The newest of them, oldest first.
    pub events: Vec<EventOutline>,
}

/// Counts what the database at `path` holds, until `deadline`. For `is_alone` see [`crate::store::inspect()`].
///
/// # Errors
/// What SQLite says.
pub fn survey(path: &Path, deadline: Instant, is_alone: bool) -> Result<Survey, StoreError> {
    let connection = open_to_look(path, is_alone)?;
    let (survey, events) = until(&connection, deadline, || {
        let survey = count_sessions(&connection)?;
        let events = groups(
            &connection,
            "SELECT kind, count(*), sum(octet_length(payload_json)) FROM events GROUP BY kind ORDER BY kind",
            [],
        );
        Ok::<_, StoreError>((survey, events))
    })?;
    let events = match events {
        Ok(events) => Some(events),
        Err(err) if is_interrupt(&err) => None,
        Err(err) => return Err(err.into()),
    };
    Ok(Survey { events, ..survey })
}

fn count_sessions(connection: &Connection) -> Result<Survey, StoreError> {
    let sum = |condition: &str| {
        let query = format!("SELECT count(*) FROM sessions WHERE {condition}");
        connection.query_row(&query, [], |row| row.get(0))
    };
    let by = |column: &str| {
        let query = format!(
            "SELECT {column}, count(*), 0 FROM sessions GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {GROUPS_LISTED}"
        );
        groups(connection, &query, [])
    };
    let schema = pragma(connection, "user_version")?;
    // A database that no daemon of this build has opened yet is looked at, too.
    let labelled = match schema {
        ..4 => "labels <> '[]'",
        // This SQLite has no JSON. Inside a text a quote is escaped: the pattern is found nowhere else.
        _ => r#"instr(options, '"labels":[]') = 0"#,
    };
    Ok(Survey {
        schema,
        pages: pragma(connection, "page_count")?,
        free_pages: pragma(connection, "freelist_count")?,
        page_bytes: pragma(connection, "page_size")?,
        events_ever: connection.query_row(
            "SELECT coalesce(sum(last_seq), 0) FROM sessions",
            [],
            |row| row.get(0),
        )?,
        sessions: by("status")?,
        harnesses: by("harness")?,
        external: sum("external")?,
        archived: sum("archived_at IS NOT NULL")?,
        labelled: sum(labelled)?,
        events: None,
    })
}

/// The session whose id begins with `prefix`, until `deadline`; `None` unless there is exactly one.
///
/// # Errors
/// What SQLite says, also that it was interrupted.
pub fn outline(
    path: &Path,
    deadline: Instant,
    is_alone: bool,
    prefix: &str,
) -> Result<Option<SessionOutline>, StoreError> {
    let connection = open_to_look(path, is_alone)?;
    until(&connection, deadline, || {
        // Every id is made of characters below `~`.
        let range = params![prefix, format!("{prefix}~")];
        let query = "SELECT min(num), count(*) FROM sessions WHERE id >= ?1 AND id < ?2";
        let (num, count): (Option<SessionNum>, i64) =
            connection.query_row(query, range, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(num) = num.filter(|_| count == 1) else {
            return Ok(None);
        };
        let Some(row) = SessionRow::by_num(&connection, num)? else {
            return Ok(None);
        };
        let query = "SELECT kind, count(*), sum(octet_length(payload_json)) FROM events
             WHERE key > ?1 << 32 AND key < (?1 + 1) << 32 GROUP BY kind ORDER BY kind";
        let kinds = groups(&connection, query, [num])?;
        let events = newest_events(&connection, num)?;
        Ok(Some(SessionOutline {
            record: row.record,
            kinds,
            events,
        }))
    })
}

fn newest_events(connection: &Connection, num: SessionNum) -> rusqlite::Result<Vec<EventOutline>> {
    let mut statement = connection.prepare(
        "SELECT key & 4294967295, kind, created_at, octet_length(payload_json) FROM events
         WHERE key > ?1 << 32 AND key < (?1 + 1) << 32 ORDER BY key DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![num, EVENTS_LISTED], |row| {
        Ok(EventOutline {
            seq: row.get(0)?,
            kind: row.get(1)?,
            at: row.get(2)?,
            bytes: row.get(3)?,
        })
    })?;
    let mut events = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    events.reverse();
    Ok(events)
}

fn groups(
    connection: &Connection,
    query: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Group>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map(params, |row| {
        Ok(Group {
            name: row.get(0)?,
            count: row.get(1)?,
            bytes: row.get(2)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connect::open_for_writing;

    /// A database with two sessions, the first of which has so many events; it looks at it, and removes it.
    fn with_database<T>(name: &str, events: u64, look: impl FnOnce(&Path) -> T) -> T {
        let dir = std::env::temp_dir().join(format!("coven-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("coven.sqlite3");
        let (connection, _) = open_for_writing(&path).unwrap();
        let insert = format!(
            "INSERT INTO sessions (num, id, project_root, harness, title, status, created_at, updated_at, options,
                 external, last_seq)
             VALUES (1, '00000000-0000-4000-8000-000000000001', '/p', 'hello', 't', 'completed', 0, 0, '{{\"labels\":[]}}', 0, 1),
                 (2, '00000000-0000-4000-8000-000000000002', '/p', 'x', 't', 'running', 0, 0, '{{\"labels\":[\"l\"]}}', 1, 0);
             WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n LIMIT {events})
             INSERT INTO events (key, kind, created_at, payload_json)
                 SELECT (1 << 32) + seq, 'output', seq, '12345é' FROM n"
        );
        connection.execute_batch(&insert).unwrap();
        let found = look(&path);
        std::fs::remove_dir_all(&dir).unwrap();
        found
    }

    fn later() -> Instant {
        Instant::now() + std::time::Duration::from_secs(600)
    }

    fn group(name: &str, count: u64, bytes: u64) -> Group {
        let name = name.into();
        Group { name, count, bytes }
    }

    #[test]
    fn sessions_and_events_are_counted_and_bytes_are_bytes() {
        let survey = with_database("survey", 3, |path| survey(path, later(), false)).unwrap();
        let sessions = [group("completed", 1, 0), group("running", 1, 0)];
        assert_eq!(survey.sessions, sessions);
        assert_eq!(survey.harnesses, [group("hello", 1, 0), group("x", 1, 0)]);
        assert_eq!(
            (survey.external, survey.archived, survey.labelled),
            (1, 0, 1)
        );
        assert_eq!(survey.events, Some(vec![group("output", 3, 21)]));
    }

    #[test]
    fn what_takes_too_long_is_ended_and_the_rest_is_there() {
        let survey = with_database("survey-late", 1_000_000, |path| {
            // Long enough to count two sessions; a million events take SQLite several times as long on any machine.
            let deadline = Instant::now() + std::time::Duration::from_millis(10);
            survey(path, deadline, false)
        });
        match survey {
            Ok(survey) => assert_eq!((survey.sessions.len(), survey.events), (2, None)),
            // A busy machine has not even counted those.
            Err(StoreError::Sqlite(err)) => assert!(is_interrupt(&err), "{err}"),
            Err(err) => panic!("{err}"),
        }
    }

    #[test]
    fn one_session_has_its_own_events_only() {
        let id = |n| format!("00000000-0000-4000-8000-00000000000{n}");
        with_database("outline", 600, |path| {
            let of = |prefix: &str| outline(path, later(), false, prefix).unwrap();
            let one = of(&id(1)).unwrap();
            assert_eq!(one.kinds, [group("output", 600, 4200)]);
            assert_eq!(one.events.len(), EVENTS_LISTED);
            let seqs = |at: usize| one.events[at].seq;
            assert_eq!((seqs(0), seqs(EVENTS_LISTED - 1)), (101, 600));
            assert_eq!(of(&id(2)).unwrap().events, []);
            assert!(of("00000000").is_none(), "two begin like this");
            assert!(of("f").is_none());
        });
    }
}
