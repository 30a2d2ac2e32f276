//! Cost of sessions: times, CPU, memory, output.

use serde_json::{Value, json};

use crate::support::*;

/// The record's names, and the exit event's.
const NAMES: [(&str, &str); 8] = [
    ("started_at", "startedAt"),
    ("ended_at", "endedAt"),
    ("cpu_ms", "cpuMs"),
    ("peak_rss_bytes", "peakRssBytes"),
    ("stdout_bytes", "stdoutBytes"),
    ("stdout_lines", "stdoutLines"),
    ("stderr_bytes", "stderrBytes"),
    ("stderr_lines", "stderrLines"),
];

/// Asserts that the record has no figure but `known`.
fn assert_null_but(record: &Value, known: &[&str]) {
    for (name, _) in NAMES {
        let is_known = known.contains(&name);
        assert!(record.get(name).is_some(), "{name} is missing: {record}");
        assert_eq!(record[name] != Value::Null, is_known, "{name}: {record}");
    }
}

#[test]
fn the_record_and_the_exit_event_say_what_a_session_cost() {
    let coven = Coven::start();
    coven.harness(
        "busy",
        r"printf 'one\ntwo'; printf '\377\n' >&2
i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done",
    );
    let id = coven.launch("busy", "x");
    let events = coven.events_to_end(&id);
    let exit = events.iter().find(|event| event["kind"] == "exit").unwrap();
    let (record, exit) = (coven.session(&id), payload(exit));
    for (in_record, in_exit) in NAMES {
        assert_eq!(record[in_record], exit[in_exit], "{in_record}");
    }
    assert_eq!(record["stdout_bytes"], 7);
    assert_eq!(record["stdout_lines"], 2);
    assert_eq!(record["stderr_bytes"], 2);
    assert_eq!(record["stderr_lines"], 1);
    let time = |name: &str| record[name].as_str().unwrap().to_owned();
    assert!(time("created_at") <= time("started_at"), "{record}");
    assert!(time("started_at") <= time("ended_at"), "{record}");
    assert!(time("ended_at") <= time("updated_at"), "{record}");
    assert!(record["cpu_ms"].as_u64().unwrap() > 10, "{record}");
    let peak = record["peak_rss_bytes"].as_u64().unwrap();
    assert!((500_000..500_000_000).contains(&peak), "{record}");
}

#[test]
fn the_childrens_cpu_time_and_memory_count_once_they_are_waited_for() {
    let coven = Coven::start();
    coven.harness(
        "parent",
        "head -c 200000000 /dev/zero | tail -c 100000000 | wc -c",
    );
    let id = coven.launch("parent", "x");
    coven.events_to_end(&id);
    let record = coven.session(&id);
    assert!(
        record["peak_rss_bytes"].as_u64().unwrap() > 90_000_000,
        "{record}"
    );
}

#[test]
fn redacted_output_counts_as_it_was_written() {
    let coven = Coven::start();
    coven.harness("leak", "echo password=correct-horse-battery-9");
    let id = coven.launch("leak", "x");
    let written = output(&coven.events_to_end(&id), "stdout");
    let raw = "password=correct-horse-battery-9\n";
    assert_ne!(written, raw.as_bytes());
    assert_eq!(coven.session(&id)["stdout_bytes"], raw.len());
}

/// Fields of a running session's record, besides its cost so far.
const LIVE_NAMES: [&str; 3] = ["family_cpu_ms", "family_rss_bytes", "last_output_at"];

#[test]
fn a_running_session_has_what_all_its_processes_have_used_and_written_so_far() {
    let coven = Coven::start();
    // What has left the harness's process group and session is of its family all the same.
    coven.harness(
        "parent",
        r"printf 'one\ntwo'; printf '!\n' >&2
setsid sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo ready; exec sleep 1000' & exec sleep 1000",
    );
    let id = coven.launch("parent", "x");
    coven.wait_for_output(&id, "ready");
    let record = coven.session(&id);
    let written = NAMES[4..].iter().map(|(name, _)| *name);
    let known: Vec<_> = written.chain(["started_at", "cpu_ms"]).collect();
    assert_null_but(&record, &known);
    assert_eq!(record["stdout_bytes"], 13);
    assert_eq!(record["stdout_lines"], 2);
    assert_eq!(record["stderr_bytes"], 2);
    assert_eq!(record["stderr_lines"], 1);
    let number = |name: &str| record[name].as_u64().unwrap();
    assert!(number("family_cpu_ms") >= number("cpu_ms") + 20, "{record}");
    let rss = number("family_rss_bytes");
    assert!((1_000_000..500_000_000).contains(&rss), "{record}");
    let times = ["started_at", "last_output_at"].map(|name| record[name].as_str().unwrap());
    assert!(times[0] <= times[1], "{record}");

    // The list has them, too, also of a session that has begun since they were taken, and has written nothing.
    coven.harness("mute", "exec sleep 1000");
    let mute = coven.launch("mute", "x");
    for listed in coven.sessions() {
        // A process within execve(2) has no memory for a moment.
        let figures = ["cpu_ms", "family_cpu_ms", "family_rss_bytes"];
        assert!(figures.iter().all(|name| listed[name].is_u64()), "{listed}");
        let has_written = listed["id"] != *mute;
        assert_eq!(listed["last_output_at"] != Value::Null, has_written);
        assert_eq!(listed["stdout_bytes"] != 0, has_written, "{listed}");
    }
    let shown = coven.cli(["sessions"]).out;
    assert_eq!(shown.matches("silent ").count(), 2, "{shown}");

    assert_eq!(coven.kill_session(&id).status, 202);
    let record = coven.session(&id);
    assert_null_but(&record, &NAMES.map(|(name, _)| name));
    for name in LIVE_NAMES {
        assert_eq!(record.get(name), Some(&Value::Null), "{name}: {record}");
    }
}

#[test]
fn a_session_of_somebody_elses_and_a_launch_that_failed_cost_nothing_that_is_known() {
    let coven = Coven::start();
    let id = external_id(1);
    coven.register(&id, json!({}));
    assert_null_but(&coven.session(&id), &[]);
    coven.harness("broken", "true");
    let broken = coven.work().parent().unwrap().join("bin/broken");
    std::fs::write(&broken, "#!/nowhere/interpreter\n").unwrap();
    let failed = coven.try_launch("broken", "x", json!({}));
    let details = failed.assert_error(500, "launch_failed");
    let record = coven.session(details["sessionId"].as_str().unwrap());
    assert_null_but(&record, &[]);
}

#[test]
fn show_prints_what_a_session_cost() {
    let coven = Coven::start();
    coven.harness("two", "echo a; echo b");
    let id = coven.launch("two", "x");
    coven.events_to_end(&id);
    let shown = coven.cli(["show", &id]).out;
    for name in ["started ", "ended ", "cpu time ", "peak memory "] {
        assert!(shown.lines().any(|line| line.starts_with(name)), "{shown}");
    }
    assert!(shown.contains("4 bytes, 2 lines"), "{shown}");
    assert!(shown.contains("0 bytes, 0 lines"), "{shown}");
}

/// The schema as its version 1 was released.
const SCHEMA_1: &str = "
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
PRAGMA user_version = 1;
PRAGMA application_id = 1131378286;
";

#[test]
fn a_database_of_the_first_schema_is_taken_over_with_all_that_is_in_it() {
    let coven = Coven::new();
    let (id, spoilt) = (external_id(7), external_id(8));
    let old = coven.database();
    old.execute_batch(SCHEMA_1).unwrap();
    old.execute(
        "INSERT INTO sessions (num, id, project_root, harness, title, status, exit_code, created_at,
             updated_at, labels, visibility, external, last_seq, conversation_id, launch_mode, model)
         VALUES (1, ?1, '/p', 'old', 'kept', 'completed', 0, 1000, 2000, '[\"a\",\"é\"]', 'shared', 0, 1,
                 'c', 'nonInteractive', 'm'),
             (2, ?2, '/p', 'old', 'spoilt', 'failed', 1, 1000, 2000, '[\"a', 'private', 0, 0, NULL, NULL, NULL)",
        [&id, &spoilt],
    )
    .unwrap();
    old.execute(
        "INSERT INTO events (key, kind, created_at, payload_json)
         VALUES (4294967297, 'status', 1000, '{\"status\":\"completed\"}')",
        [],
    )
    .unwrap();
    drop(old);
    coven.start_daemon();
    let record = coven.session(&id);
    assert_eq!(record["title"], "kept");
    assert_null_but(&record, &[]);
    let options = json!({ "conversation_id": "c", "familiar_id": null, "labels": ["a", "é"], "visibility": "shared",
            "launch_mode": "nonInteractive", "model": "m" });
    for (option, value) in options.as_object().unwrap() {
        assert_eq!(record[option], *value, "{option}");
    }
    assert_eq!(coven.session(&spoilt)["labels"], json!([]));
    assert_eq!(coven.events_to_end(&id).len(), 1);
    let new = coven.launch("hello", "x");
    coven.events_to_end(&new);
    assert_eq!(coven.session(&new)["stdout_lines"], 4);
}
