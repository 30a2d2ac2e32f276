//! Counts a database's sessions and events by kind and size, without reading their text.
//!
//! Runs in the CLI's process, with or without a running daemon. It only reads, until a deadline.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

use crate::api::{SessionRecord, Timestamp};
use crate::store::connect::{is_interrupt, open_to_look, until};
use crate::store::rows::{SessionNum, SessionRow};
use crate::store::schema::{StoreError, pragma};

/// Most events listed for one session: the newest.
const EVENTS_LISTED: usize = 500;

/// Most groups listed: clients choose the harness names of external sessions.
const GROUPS_LISTED: usize = 50;

/// The rows with one value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The value: a status, a harness, a kind of event.
    pub name: String,
    /// Number of rows.
    pub count: u64,
    /// Total size of their payloads in bytes; 0 for sessions.
    pub bytes: u64,
}

/// Counts of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The schema version.
    pub schema: i64,
    /// Size of the database, in pages.
    pub pages: u64,
    /// Pages on the free list.
    pub free_pages: u64,
    /// Size of one page, in bytes.
    pub page_bytes: u64,
    /// Number of events ever stored, including deleted ones.
    pub events_ever: u64,
    /// Sessions by status.
    pub sessions: Vec<Group>,
    /// Sessions by harness.
    pub harnesses: Vec<Group>,
    /// Number of external sessions.
    pub external: u64,
    /// Number of archived sessions.
    pub archived: u64,
    /// Number of sessions with labels.
    pub labelled: u64,
    /// Events by kind; `None` if counting them exceeded the deadline.
    pub events: Option<Vec<Group>>,
}

/// An event without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOutline {
    pub seq: u64,
    pub kind: String,
    /// When it was stored.
    pub at: Timestamp,
    /// Size of the payload, in bytes.
    pub bytes: u64,
}

/// A session and its events without their payloads.
#[derive(Debug)]
pub struct SessionOutline {
    /// The session's record.
    pub record: SessionRecord,
    /// All of its events, by kind.
    pub kinds: Vec<Group>,
    /// Its newest events, oldest first; at most 500.
    pub events: Vec<EventOutline>,
}

/// Counts the content of the database at `path`, until `deadline`. For `is_alone` see [`crate::store::inspect()`].
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
    // Supports databases that no daemon of this build has migrated yet.
    let labelled = match schema {
        ..4 => "labels <> '[]'",
        // This SQLite has no JSON functions. Quotes inside a text are escaped, so the pattern occurs nowhere else.
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

/// The session whose id starts with `prefix`, read until `deadline`; `None` unless exactly one matches.
///
/// # Errors
/// Returns SQLite's error, also if the deadline interrupted it.
pub fn outline(
    path: &Path,
    deadline: Instant,
    is_alone: bool,
    prefix: &str,
) -> Result<Option<SessionOutline>, StoreError> {
    let connection = open_to_look(path, is_alone)?;
    until(&connection, deadline, || {
        // All characters of an id sort before `~`.
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

    /// Creates a database with two sessions and `events` events of the first, calls `look`, and removes the database.
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
    fn a_part_that_takes_too_long_is_ended_and_the_rest_is_there() {
        let survey = with_database("survey-late", 1_000_000, |path| {
            // Enough to count two sessions; SQLite needs several times as long for a million events on any machine.
            let deadline = Instant::now() + std::time::Duration::from_millis(10);
            survey(path, deadline, false)
        });
        match survey {
            Ok(survey) => assert_eq!((survey.sessions.len(), survey.events), (2, None)),
            // On a busy machine the deadline can also interrupt the counting of sessions.
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
