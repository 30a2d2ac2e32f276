//! Growth is bounded: by age, by the size of a session, by the size of the store; what went is accounted for, to the byte.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::*;

/// A harness that prints so many lines of 100 bytes, each with its number.
const NUMBERED: &str =
    "exec awk -v n=\"$2\" 'BEGIN { for (i = 1; i <= n; i++) printf \"%099d\\n\", i }'";

fn numbered(from: usize, to: usize) -> Vec<u8> {
    (from..=to)
        .flat_map(|n| format!("{n:099}\n").into_bytes())
        .collect()
}

fn length(event: &Value) -> u64 {
    payload(event)["data"].as_str().unwrap().len() as u64
}

/// Checks that every seq from 1 to the last exists or is counted by an event as deleted. Returns the bytes of
/// deleted output.
#[track_caller]
fn assert_accounted(events: &[Value]) -> u64 {
    let mut next = 1;
    let mut gone = 0;
    let seq_of = |event: &Value| event["seq"].as_u64().unwrap();
    let mut at = 0;
    while at < events.len() {
        // The next event that says something is gone accounts for all that is missing before it.
        let rest = &events[at..];
        let cut = rest
            .iter()
            .position(|event| event["kind"] == "output_truncated");
        let Some(cut) = cut else {
            for event in rest {
                assert_eq!(seq_of(event), next);
                next += 1;
            }
            break;
        };
        let range = payload(&rest[cut]);
        let (from, through) = (range["fromSeq"].as_u64().unwrap(), seq_of(&rest[cut]));
        assert_eq!(range["throughSeq"], through);
        let seen: Vec<u64> = rest[..=cut].iter().map(seq_of).collect();
        for seq in next..from {
            assert!(seen.contains(&seq), "{seq} is missing before {range}");
        }
        let kept = seen
            .iter()
            .filter(|seq| **seq >= from && **seq < through)
            .count() as u64;
        assert_eq!(range["droppedEvents"], through - from + 1 - kept, "{range}");
        gone += range["droppedBytes"].as_u64().unwrap();
        next = through + 1;
        at += cut + 1;
    }
    gone
}

/// Checks the view of a client that follows a session: it may have seen deleted output, and every event that it missed is
/// counted by a later event that it received.
#[track_caller]
fn assert_gaps_are_accounted_for(events: &[Value]) {
    let seen: Vec<u64> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let ranges: Vec<Value> = events
        .iter()
        .filter(|event| event["kind"] == "output_truncated")
        .map(payload)
        .collect();
    for missing in (1..=*seen.last().unwrap()).filter(|seq| seen.binary_search(seq).is_err()) {
        let is_in = |range: &Value| {
            (range["fromSeq"].as_u64().unwrap()..range["throughSeq"].as_u64().unwrap())
                .contains(&missing)
        };
        assert!(ranges.iter().any(is_in), "{missing} is missing: {ranges:?}");
    }
}

fn used_bytes(database: &Connection) -> u64 {
    let pragma = |name| {
        database
            .pragma_query_value(None, name, |row| row.get::<_, u64>(0))
            .unwrap()
    };
    (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
}

#[test]
fn a_session_past_its_limit_keeps_its_beginning_and_its_newest_output() {
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "4000000");
    coven.harness("numbered", NUMBERED);
    coven.start_daemon();
    let lines = 200_000;
    let id = coven.launch("numbered", &lines.to_string());
    // A client that reads along meets what is gone like everybody else.
    let followed = coven.events_to_end(&id);
    let events = coven.events(&id);
    let gone = assert_accounted(&events);
    assert_gaps_are_accounted_for(&followed);
    let cut = events
        .iter()
        .position(|event| event["kind"] == "output_truncated")
        .unwrap();
    let before = output(&events[..cut], "stdout");
    let after = output(&events[cut..], "stdout");
    assert_eq!(before.len() as u64 + gone + after.len() as u64, 100 * lines);
    let all = numbered(1, lines as usize);
    assert!(all.starts_with(&before), "its beginning");
    assert!(all.ends_with(&after), "its newest output");
    assert!(
        before.len() > 900_000 && before.len() <= 1024 * 1024,
        "{}",
        before.len()
    );
    assert!(after.len() > 2_000_000, "{}", after.len());
    let database = coven.database();
    let used = used_bytes(&database);
    assert!(used < 4_600_000, "{used}");
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["storage"]["truncatedOutputBytes"], gone);
    assert_eq!(health["eventWriter"]["droppedOutputBytes"], 0);
    let doctor = coven.cli(["doctor"]).out;
    let retention = doctor.lines().find(|line| line.contains("retention"));
    let retention = retention.unwrap_or_else(|| panic!("{doctor}"));
    assert!(
        retention.starts_with("pass") && retention.contains("have gone"),
        "{retention}"
    );
    let log = coven.cli(["logs", "--session", &id, "--event", "session_output_capped"]);
    assert!(log.out.contains("limit_bytes=4000000"), "{log:?}");
}

#[test]
fn an_idle_terminal_program_cannot_fill_the_store_with_redraws() {
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "1000000");
    // Each write is small, and a read of its own as often as the machine allows.
    coven.harness(
        "redraw",
        "exec awk 'BEGIN { for (i = 0; i < 40000; i++) { printf \"\\033[H%d\", i; fflush() } }'",
    );
    coven.start_daemon();
    let id = coven.launch("redraw", "x");
    let events = {
        coven.events_to_end(&id);
        coven.events(&id)
    };
    let gone = assert_accounted(&events);
    let kept: u64 = events
        .iter()
        .filter(|event| event["kind"] == "output")
        .map(length)
        .sum();
    let written: u64 = (0..40_000_u64)
        .map(|i| 3 + i.to_string().len() as u64)
        .sum();
    assert_eq!(gone + kept, written);
    let used = used_bytes(&coven.database());
    assert!(used < 1_300_000, "{used}");
}

#[test]
fn output_of_ended_sessions_goes_with_its_time_and_everything_else_stays() {
    let coven = Coven::new().env("COVEN_LOG_RETENTION_DAYS", "0");
    coven.harness("numbered", NUMBERED);
    coven.harness_with(
        "reads",
        "read a; echo \"$a\"; read b",
        json!({ "stdin": "open" }),
    );
    coven.start_daemon();
    let ended = coven.launch("numbered", "2000");
    coven.events_to_end(&ended);
    let before = coven.events(&ended);
    let record = coven.session(&ended);
    let live = coven.launch("reads", "x");
    assert_eq!(coven.input(&live, "hello\n").status, 202);
    coven.wait_for_output(&live, "hello");

    // The prompt and all output.
    let prunable = before.len() - 4;
    let preview = coven.cli(["logs", "prune", "--dry-run", "--json"]);
    assert_eq!(preview.code, 0, "{preview:?}");
    let expected = json!({ "ok": true, "events": prunable, "bytes": 200_004, "sessions": 1 });
    assert_eq!(preview.json(), expected);
    assert_eq!(coven.events(&ended), before, "a dry run changes nothing");

    let answer = coven.post("/api/v1/store/prune", &json!({}));
    assert_eq!((answer.status, answer.json()), (200, expected));
    let after = coven.events(&ended);
    assert_eq!(assert_accounted(&after), 200_004);
    let others = |events: &[Value]| -> Vec<Value> {
        let others = events.iter().filter(|event| {
            let kind = event["kind"].as_str().unwrap();
            !kind.starts_with("output") && kind != "input"
        });
        others.cloned().collect()
    };
    assert_eq!(others(&after), others(&before));
    assert_eq!(coven.session(&ended), record);
    assert!(
        kinds(&coven.events(&live)).contains(&"output"),
        "never a live one"
    );
    let again = coven.cli(["logs", "prune"]);
    assert_eq!(
        again.out,
        "deleted: 0 output events (0 bytes) of 0 sessions\n"
    );
    let preview = coven.cli(["log", &ended]);
    assert!(preview.out.contains("200004 bytes"), "{preview:?}");
    let attached = coven.cli(["attach", &ended]);
    assert!(
        attached.err.contains("(200004 bytes) are gone here"),
        "{attached:?}"
    );
}

#[test]
fn only_what_is_old_enough_goes_and_no_daemon_is_needed() {
    let coven = Coven::start();
    coven.harness("numbered", NUMBERED);
    let [old, new] = ["1000", "3000"].map(|lines| {
        let id = coven.launch("numbered", lines);
        coven.events_to_end(&id);
        id
    });
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let month = 31 * 24 * 60 * 60 * 1000_i64;
    let sql = "UPDATE sessions SET created_at = created_at - ?2, updated_at = updated_at - ?2, ended_at = ended_at - ?2
        WHERE id = ?1";
    coven
        .database()
        .execute(sql, rusqlite::params![old, month])
        .unwrap();
    let preview = coven.cli(["logs", "prune", "--dry-run"]);
    assert!(preview.out.starts_with("would delete: "), "{preview:?}");
    let pruned = coven.cli(["logs", "prune", "--json"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert_eq!(pruned.json()["bytes"], 100_004);
    assert_eq!(pruned.json()["sessions"], 1);
    coven.start_daemon();
    assert_eq!(assert_accounted(&coven.events(&old)), 100_004);
    assert_eq!(output(&coven.events(&new), "stdout"), numbered(1, 3000));
}

#[test]
fn a_request_can_keep_fewer_days_with_a_daemon_and_without() {
    let coven = Coven::start();
    coven.harness("numbered", NUMBERED);
    let ids = [(); 2].map(|()| {
        let id = coven.launch("numbered", "1000");
        coven.events_to_end(&id);
        id
    });
    for (id, days) in ids.iter().zip([10, 5]) {
        let sql = "UPDATE sessions SET created_at = created_at - ?2, updated_at = updated_at - ?2, ended_at = ended_at - ?2
            WHERE id = ?1";
        let by = days * 24 * 60 * 60 * 1000_i64;
        coven
            .database()
            .execute(sql, rusqlite::params![id, by])
            .unwrap();
    }
    let sessions = |args: &[&str]| {
        let ran = coven.cli([&["logs", "prune", "--json"], args].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        ran.json()["sessions"].clone()
    };
    assert_eq!(sessions(&["--raw-days", "1"]), 0);
    assert_eq!(sessions(&["--event-days", "20"]), 0);
    assert_eq!(sessions(&["--event-days", "3", "--dry-run"]), 2);
    assert_eq!(sessions(&["--raw-days", "7", "--event-days", "7"]), 1);
    let gone = || ids.each_ref().map(|id| assert_accounted(&coven.events(id)));
    assert_eq!(gone(), [100_004, 0]);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(sessions(&["--event-days", "3"]), 1);
    coven.start_daemon();
    assert_eq!(gone(), [100_004, 100_004]);
}

#[test]
fn a_sweep_ends_behind_a_session_that_is_older_than_its_output() {
    let coven = Coven::start();
    let id = coven.launch("hello", "x");
    let before = coven.events_to_end(&id);
    let month = 31 * 24 * 60 * 60 * 1000_i64;
    let sql = "UPDATE sessions SET created_at = created_at - ?1";
    coven.database().execute(sql, [month]).unwrap();
    let pruned = coven.cli(["logs", "prune", "--json"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert_eq!(pruned.json()["events"], 0);
    assert_eq!(coven.events(&id), before);
}

#[test]
fn a_daemon_takes_old_output_away_by_itself() {
    let coven = Coven::start();
    coven.harness("numbered", NUMBERED);
    let id = coven.launch("numbered", "1000");
    coven.events_to_end(&id);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let sql = "UPDATE sessions SET updated_at = 0, ended_at = 0, created_at = 0";
    coven.database().execute(sql, []).unwrap();
    coven.start_daemon();
    eventually("it is gone", || {
        kinds(&coven.events(&id)).contains(&"output_truncated")
    });
    assert_eq!(assert_accounted(&coven.events(&id)), 100_004);
    // The log's thread writes the line after the event can be read.
    eventually("it is in the log", || {
        let log = coven.cli(["logs", "--event", "output_truncated"]);
        log.out.contains("bytes=100004")
    });
}

#[test]
fn a_store_past_its_limit_loses_its_oldest_output_first_and_its_file_shrinks() {
    let coven = Coven::new().env("COVEN_STORE_MAX_BYTES", "6000000");
    // In large writes: of small ones that fill half a page each, less has room.
    let numbered_at_once = format!("{} | dd obs=64k status=none", &NUMBERED[5..]);
    coven.harness("numbered", &numbered_at_once);
    let lasting = format!("set -- x 20000; {numbered_at_once}; exec sleep 1000");
    coven.harness("lasting", &lasting);
    coven.start_daemon();
    let live = coven.launch("lasting", "x");
    coven.wait_for_output(&live, &format!("{:099}\n", 20_000));
    let ids: Vec<String> = (0..4)
        .map(|_| {
            let id = coven.launch("numbered", "20000");
            coven.events_to_end(&id);
            id
        })
        .collect();
    let database = coven.database();
    eventually("it is within its limit", || {
        used_bytes(&database) <= 6_000_000
    });
    eventually("the file is, too", || {
        coven.get("/api/v1/health");
        fs::metadata(coven.home().join("coven.sqlite3"))
            .unwrap()
            .len()
            <= 7_100_000
    });
    let gone: Vec<u64> = ids
        .iter()
        .map(|id| assert_accounted(&coven.events(id)))
        .collect();
    assert_eq!(
        gone[0], 2_000_005,
        "the oldest has lost all of it, and its prompt: {gone:?}"
    );
    assert_eq!(gone[3], 0, "the newest nothing: {gone:?}");
    assert!(gone.is_sorted_by(|a, b| a >= b), "{gone:?}");
    assert_eq!(
        assert_accounted(&coven.events(&live)),
        0,
        "never a live one"
    );
    assert_eq!(output(&coven.events(&live), "stdout"), numbered(1, 20_000));
}

#[test]
fn a_deleted_sessions_space_is_given_back_while_the_daemon_runs() {
    let coven = Coven::start();
    coven.harness("numbered", NUMBERED);
    let id = coven.launch("numbered", "80000");
    coven.events_to_end(&id);
    let size = || {
        fs::metadata(coven.home().join("coven.sqlite3"))
            .unwrap()
            .len()
    };
    assert_eq!(coven.cli(["sacrifice", "--yes", &id]).code, 0);
    eventually("the file is small again", || size() < 500_000);
}

#[test]
fn output_reported_as_dropped_stays_gone_after_a_crash_and_no_other() {
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "1500000");
    coven.harness(
        "endless",
        "exec yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    );
    coven.start_daemon();
    let id = coven.launch("endless", "x");
    eventually("output has gone", || {
        kinds(
            &coven.events_after(&id, 0).json()["events"]
                .as_array()
                .unwrap()
                .clone(),
        )
        .contains(&"output_truncated")
    });
    let seen = coven.events_after(&id, 0).json()["events"]
        .as_array()
        .unwrap()
        .clone();
    coven.crash();
    coven.start_daemon();
    let events = coven.events(&id);
    let gone = assert_accounted(&events);
    let kept: u64 = events
        .iter()
        .filter(|event| event["kind"] == "output")
        .map(length)
        .sum();
    assert!(gone > 0 && kept > 500_000, "{gone} and {kept}");
    // The beginning is what it was.
    let head: Vec<&Value> = seen
        .iter()
        .take_while(|event| event["kind"] != "output_truncated")
        .collect();
    assert!(head.len() > 5);
    assert!(head.iter().zip(&events).all(|(seen, event)| *seen == event));
    let ok: String = coven
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ok, "ok");
}

#[test]
fn a_backup_is_whole_also_while_sessions_write() {
    let coven = Coven::start();
    coven.harness("endless", "exec yes 0123456789abcdef");
    let id = coven.launch("endless", "x");
    coven.wait_for_output(&id, "0123456789abcdef");
    let copy = coven.work().join("copy.sqlite3");
    let ran = coven.cli(["backup", copy.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(mode(&copy), 0o600);
    let database = Connection::open(&copy).unwrap();
    let ok: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ok, "ok");
    let (last_seq, count): (u64, u64) = database
        .query_row(
            "SELECT last_seq, (SELECT count(*) FROM events) FROM sessions",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert!(last_seq > 2 && last_seq == count, "{last_seq} and {count}");

    let backup = |path: &str| coven.post("/api/v1/store/backup", &json!({ "path": path }));
    for path in [copy.to_str().unwrap(), "relative", "/no/such/dir/x", ""] {
        let details = backup(path).assert_error(400, "invalid_request");
        assert_eq!(details["field"], "path", "{path}");
    }
    let ran = coven.cli(["backup", copy.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("is there already"), "{ran:?}");
    coven.kill_session(&id);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let offline = coven.work().join("offline.sqlite3");
    let ran = coven.cli(["backup", "--json", offline.to_str().unwrap()]);
    assert_eq!(ran.json()["bytes"], fs::metadata(&offline).unwrap().len());
}

#[test]
fn a_backup_that_the_disk_has_no_room_for_leaves_nothing_behind() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 14) else {
        return;
    };
    coven.start_daemon();
    coven.harness("flood", "exec seq 1 700000");
    assert_eq!(coven.run("flood", "x")["status"], "completed");
    let copies = coven.home().join("copies");
    fs::create_dir(&copies).unwrap();
    let written = (0..10)
        .find(|number| {
            let copy = copies.join(number.to_string());
            let ran = coven.cli(["backup", copy.to_str().unwrap()]);
            ran.code == 1 && ran.err.contains("is full")
        })
        .expect("a disk without room for ten copies");
    let mut left: Vec<String> = fs::read_dir(&copies)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let whole: Vec<String> = (0..written).map(|number| number.to_string()).collect();
    assert_eq!(left, whole);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    drop(disk);
}

#[test]
fn a_vacuum_checks_the_database_and_says_what_it_gave_back() {
    let coven = Coven::start();
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    let answer = coven.post("/api/v1/store/vacuum", &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["ok"], true);
    assert_eq!(answer.json()["integrityCheck"], "ok");
    assert!(answer.json()["bytesFreed"].is_u64());
    assert_eq!(coven.run("hello", "x")["status"], "completed", "it goes on");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let ran = coven.cli(["vacuum"]);
    assert!(ran.out.starts_with("undamaged; "), "{ran:?}");
    let missing = Coven::new().cli(["vacuum"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("(store_not_found)"), "{missing:?}");
}

#[test]
fn a_limit_that_is_none_is_refused_at_start_and_off_is_no_limit() {
    for (name, value) in [
        ("COVEN_SESSION_MAX_BYTES", "1000"),
        ("COVEN_STORE_MAX_BYTES", "4GiB"),
        ("COVEN_LOG_RETENTION_DAYS", "-1"),
    ] {
        let ran = Coven::new().env(name, value).cli(["daemon", "start"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.err.contains("(invalid_setting)") && ran.err.contains(name),
            "{ran:?}"
        );
    }
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "off");
    coven.start_daemon();
    let storage = coven.get("/api/v1/health").json()["storage"].clone();
    assert_eq!(storage["sessionLimitBytes"], Value::Null);
    assert_eq!(storage["limitBytes"], 4_294_967_296_u64);
    assert_eq!(storage["retentionDays"], 30);
}

#[test]
fn a_stop_does_not_wait_for_a_vacuum_and_the_database_is_whole() {
    let coven = Coven::start();
    coven.harness("numbered", NUMBERED);
    let id = coven.launch("numbered", "300000");
    coven.events_to_end(&id);
    let vacuum = coven.spawn(["vacuum"]);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    // It was done, or broken off; in either case it says so.
    let ran = finish(vacuum);
    assert!(
        ran.code == 0 || !ran.err.is_empty(),
        "neither done nor refused: {ran:?}"
    );
    let ok: String = coven
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ok, "ok");
    coven.start_daemon();
    assert_eq!(output(&coven.events(&id), "stdout").len(), 30_000_000);
}

#[test]
fn a_store_that_a_live_session_keeps_past_its_limit_is_left_in_peace() {
    let coven = Coven::new().env("COVEN_STORE_MAX_BYTES", "1000000");
    coven.harness(
        "lasting",
        &format!("set -- x 20000; {}; exec sleep 1000", &NUMBERED[5..]),
    );
    coven.start_daemon();
    let live = coven.launch("lasting", "x");
    coven.wait_for_output(&live, &format!("{:099}\n", 20_000));
    // Once its size has been looked at, this has been said; a sweep that was begun again and again would answer nobody.
    eventually("it is said", || {
        let log = coven.cli(["logs", "--event", "store_over_limit"]);
        log.out.contains("limit_bytes=1000000")
    });
    let prune = coven.spawn(["logs", "prune"]);
    let ran = finish(prune);
    assert_eq!(
        ran.out,
        "deleted: 0 output events (0 bytes) of 0 sessions\n"
    );
    assert_eq!(assert_accounted(&coven.events(&live)), 0);
}
