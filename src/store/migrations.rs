//! The database schema, as steps from one version to the next.
//!
//! An event's key combines the session's number and the seq in one integer, so the table is sorted by session and seq.
//! A page is one range of one B-tree, however large the table is, and needs no index.

use rusqlite::Connection;
use serde_json::json;

/// A step from one schema version to the next.
pub(super) enum Migration {
    /// Adds columns or tables. SQLite then reads no row (SQLite, ALTER TABLE ADD COLUMN): the step takes milliseconds,
    /// however large the database is.
    Short(&'static str),
    /// Reads or writes the rows that exist, also for an index.
    Long(&'static str),
    /// A long step that needs Rust: this SQLite is built without JSON functions.
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// Step `i` leads from schema version `i` to `i + 1`. A released step never changes.
const MIGRATIONS: [Migration; 11] = [
    Migration::Short(
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
    Migration::Short(
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
    Migration::Long(
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
    Migration::Short(
        "
ALTER TABLE sessions ADD COLUMN stdout_pipe_bytes INTEGER;                -- what the pipe of stdout holds
",
    ),
    Migration::Short(
        "
CREATE TABLE meta (                                     -- what is known of the database itself
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL                                 -- JSON
) STRICT, WITHOUT ROWID;
",
    ),
    Migration::Short(
        "
ALTER TABLE sessions ADD COLUMN ended_by TEXT;
",
    ),
    Migration::Short(
        "
ALTER TABLE sessions ADD COLUMN harness_session_id TEXT;  -- by which the harness goes on with its conversation
ALTER TABLE sessions ADD COLUMN continued_from TEXT;      -- a session's id
ALTER TABLE sessions ADD COLUMN usage TEXT;               -- JSON
",
    ),
    Migration::Short(
        "
ALTER TABLE sessions ADD COLUMN oom_killed INTEGER NOT NULL DEFAULT 0;
",
    ),
    Migration::Long(
        "
ALTER TABLE sessions ADD COLUMN left_behind TEXT;        -- a JSON array of processes: pid, name, mark
CREATE INDEX sessions_left_behind ON sessions (num) WHERE left_behind IS NOT NULL;
",
    ),
    Migration::Long(
        "
ALTER TABLE sessions ADD COLUMN on_end_since INTEGER;    -- observed time of its end, until its onEnd is done
CREATE INDEX sessions_on_end ON sessions (on_end_since) WHERE on_end_since IS NOT NULL;
",
    ),
];

/// The schema version that this build reads and writes.
pub fn version() -> usize {
    MIGRATIONS.len() + usize::from(of_test().is_some())
}

/// The step from schema version `from` to the next one.
pub(super) fn step(from: usize) -> &'static Migration {
    of_test()
        .filter(|_| from == MIGRATIONS.len())
        .unwrap_or_else(|| &MIGRATIONS[from])
}

/// One more step, by which a test tells a copy of a debug build from this one.
fn of_test() -> Option<&'static Migration> {
    #[cfg(debug_assertions)]
    {
        use std::sync::LazyLock;
        const SHORT: Migration = Migration::Short("ALTER TABLE sessions ADD COLUMN of_test TEXT");
        const LONG: Migration = Migration::Long("UPDATE sessions SET title = title");
        static MORE: LazyLock<Option<Migration>> =
            LazyLock::new(|| match crate::api::of_test("schema")?.as_str() {
                "short" => Some(SHORT),
                _ => Some(LONG),
            });
        MORE.as_ref()
    }
    #[cfg(not(debug_assertions))]
    None
}

/// True if a step from schema version `from` to this build's reads or writes existing rows.
pub fn is_long(from: usize) -> bool {
    from < oldest_user()
}

/// Oldest schema version whose programs can use a database of this build: since then, steps have only added columns and
/// tables, which those programs ignore.
pub(super) fn oldest_user() -> usize {
    let steps = (0..version()).rev();
    let later = steps.take_while(|from| matches!(step(*from), Migration::Short(_)));
    version() - later.count()
}

/// Moves the launch options from one column each into one JSON object.
fn gather_options(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute_batch("ALTER TABLE sessions ADD COLUMN options TEXT NOT NULL DEFAULT '{}'")?;
    let mut select = connection.prepare(
        "SELECT num, labels, conversation_id, familiar_id, visibility, launch_mode, model FROM sessions",
    )?;
    let options = select.query_map([], |row| {
        let text = |column: usize| row.get::<_, Option<String>>(column);
        // An unreadable list becomes an empty one: it must not keep the daemon from starting.
        let labels: Option<Vec<String>> = crate::api::from_json(&row.get::<_, String>(1)?).ok();
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

#[cfg(test)]
mod tests {
    use crate::api::SessionStatus;

    /// SQLite uses a partial index only for a query that repeats the index's condition literally.
    #[test]
    fn the_indexes_and_their_queries_name_every_status_that_is_not_final() {
        let unfinished = SessionStatus::ALL
            .into_iter()
            .filter(|status| !status.is_final());
        let words: Vec<String> = unfinished.map(|status| format!("'{status}'")).collect();
        let list = format!("IN ({})", words.join(", "));
        for (source, uses) in [
            (include_str!("migrations.rs"), 2),
            (include_str!("open.rs"), 1),
            (include_str!("keep/sweep.rs"), 2),
        ] {
            assert_eq!(source.matches(&list).count(), uses, "{list}");
        }
    }
}
