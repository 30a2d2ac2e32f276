//! A database that is damaged, locked, or on a disk that cannot be written.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;

use rusqlite::Connection;
use serde_json::json;

use crate::support::*;

/// A page of the database, in bytes (SQLite, PRAGMA page_size).
const PAGE: usize = 8192;

/// Sessions that have ended, in a database whose daemon has stopped.
pub fn filled(coven: &Coven) -> Vec<String> {
    coven.start_daemon();
    coven.harness("lines", "seq -f \"$2 %.0f\" 5000; seq 5000 >&2");
    let run = |number| coven.run("lines", &format!("session {number}"));
    let ids = (0..4).map(|number| run(number)["id"].as_str().unwrap().to_owned());
    let ids = ids.collect();
    let copy = coven.work().join("backup");
    assert_eq!(coven.cli(["backup".as_ref(), copy.as_os_str()]).code, 0);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    ids
}

fn log(coven: &Coven) -> String {
    fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap_or_default()
}

#[track_caller]
fn assert_no_panic(coven: &Coven) {
    let log = log(coven);
    assert!(!log.contains("panic"), "{log}");
}

/// Asserts that the daemon does not start, with a reason that names `what` and advice that holds `advice`.
#[track_caller]
fn assert_does_not_start(coven: &Coven, what: &str, advice: &str) {
    for verb in ["start", "serve"] {
        let ran = coven.cli(["daemon", verb]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        let said: Vec<&str> = ran.err.lines().collect();
        let [.., error, next] = said.as_slice() else {
            panic!("{ran:?}");
        };
        assert!(
            error.starts_with("coven: ") && error.contains(what),
            "{ran:?}"
        );
        assert!(
            next.starts_with("  try: ") && next.contains(advice),
            "{ran:?}"
        );
    }
    assert!(!coven.socket().exists());
    assert_eq!(coven.cli(["daemon", "status"]).code, 3);
    assert_no_panic(coven);
}

#[test]
fn a_database_that_is_none_is_kept_and_a_backup_takes_its_place() {
    let coven = Coven::new();
    let ids = filled(&coven);
    let file = coven.database_file("");
    let whole = fs::read(&file).unwrap();
    let foreign = coven.work().join("foreign");
    let other = Connection::open(&foreign).unwrap();
    other.execute_batch("CREATE TABLE other (x)").unwrap();
    drop(other);
    let cases: [(Vec<u8>, &str, &str); 5] = [
        (
            Random::new(1).bytes(10 * PAGE),
            "file is not a database",
            "coven backup",
        ),
        (
            b"not a database\n".repeat(1000),
            "file is not a database",
            "coven backup",
        ),
        (whole[..50].to_vec(), "malformed", "coven backup"),
        (whole[..3 * PAGE].to_vec(), "malformed", "coven backup"),
        (fs::read(foreign).unwrap(), "not coven's", "mv "),
    ];
    for (content, what, advice) in cases {
        fs::write(&file, &content).unwrap();
        assert_does_not_start(&coven, what, advice);
        assert!(fs::read(&file).unwrap() == content, "{what}: it is kept");
    }
    fs::copy(coven.work().join("backup"), &file).unwrap();
    coven.start_daemon();
    for id in &ids {
        assert_gapless(id, &coven.events(id));
        assert_eq!(coven.session(id)["status"], "completed");
    }
}

/// The pages of the table or index `name`, from its root on.
pub fn root_page(database: &Connection, name: &str) -> usize {
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: i64 = database.query_row(query, [name], |row| row.get(0)).unwrap();
    page as usize
}

/// Writes garbage over a page, numbered from 1.
pub fn spoil(coven: &Coven, page: usize, random: &mut Random) {
    let file = coven.database_file("");
    let mut file = fs::File::options().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(((page - 1) * PAGE) as u64))
        .unwrap();
    file.write_all(&random.bytes(PAGE)).unwrap();
}

/// Puts everything of the database into its file.
fn checkpoint(database: &Connection) {
    eventually("nobody reads", || {
        let busy = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        busy == Ok(0)
    });
}

/// A change of another connection's: who writes in WAL mode next drops its cache.
fn void_caches(database: &Connection) {
    let version: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    database
        .pragma_update(None, "user_version", version)
        .unwrap();
}

#[test]
fn a_corrupt_page_that_is_read_is_an_error_with_a_reason_and_costs_no_other_session() {
    let coven = Coven::new();
    let ids = filled(&coven);
    // The middle of what the third has said: its neighbours' events can be on the pages of its first and last ones.
    let is_middle = |line: &[u8]| {
        let number = line.strip_prefix(b"session 2 24").unwrap_or_default();
        number.ends_with(b"\\n") && number[..2].iter().all(u8::is_ascii_digit)
    };
    let whole = fs::read(coven.database_file("")).unwrap();
    let mut random = Random::new(2);
    for (page, bytes) in whole.chunks(PAGE).enumerate() {
        if bytes.windows(16).any(is_middle) {
            spoil(&coven, page + 1, &mut random);
        }
    }
    coven.start_daemon();
    for (number, id) in ids.iter().enumerate() {
        let answer = coven.get(&format!("/api/v1/sessions/{id}/events"));
        if number == 2 {
            let details = answer.assert_error(503, "store_unavailable");
            let reason = details["reason"].as_str().unwrap();
            assert!(reason.starts_with("it cannot be read: "), "{reason}");
        } else {
            assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        }
        assert_eq!(coven.session(id)["status"], "completed");
    }
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_no_panic(&coven);
}

fn storage(coven: &Coven) -> serde_json::Value {
    coven.get("/api/v1/health").json()["storage"].clone()
}

/// The store is damaged, as all who ask are told; returns its figures.
fn assert_damaged(coven: &Coven) -> serde_json::Value {
    let met = storage(coven);
    assert_eq!(met["status"], "damaged", "{met}");
    let what = met["damage"]["what"].as_str().unwrap();
    assert!(what.contains("malformed"), "{met}");
    let status = coven.cli(["daemon", "status"]);
    assert!(status.out.contains("damaged at "), "{status:?}");
    assert!(status.out.contains("coven doctor"), "{status:?}");
    let status = coven.cli(["daemon", "status", "--json"]).json();
    assert_eq!(status["storage"]["damage"], met["damage"]);
    assert_eq!(status["next"], "coven doctor");
    assert_ne!(coven.cli(["doctor"]).code, 0);
    met
}

#[test]
fn a_store_that_was_met_damaged_says_so_until_it_is_found_whole() {
    let coven = Coven::new();
    let ids = filled(&coven);
    let file = coven.database_file("");
    let whole = fs::read(&file).unwrap();
    let root = root_page(&coven.database(), "events");
    let meets: [(usize, String); 2] = [
        (root, format!("/api/v1/sessions/{}/events", ids[0])),
        (root, format!("/api/v1/sessions/{}/log", ids[1])),
    ];
    let find_whole: [&dyn Fn(); 2] = [
        &|| assert_eq!(coven.cli(["vacuum"]).code, 0),
        // With a daemon: the check after its start finds it whole.
        &|| coven.start_daemon(),
    ];
    for ((page, path), find_whole) in meets.into_iter().zip(find_whole) {
        // A vacuum has given the pages other numbers.
        fs::write(&file, &whole).unwrap();
        spoil(&coven, page, &mut Random::new(6));
        coven.start_daemon();
        // Not met yet, or by the writer's own look at it.
        coven.get(&path).assert_error(503, "store_unavailable");
        let met = assert_damaged(&coven);
        eventually("it is in the log", || {
            log(&coven).contains("event=store_damaged")
        });
        // It stays damaged for the next daemon, too.
        coven.crash();
        coven.start_daemon();
        assert_eq!(storage(&coven)["damage"], met["damage"]);
        assert_ne!(coven.cli(["vacuum"]).code, 0, "it is damaged");
        assert_eq!(storage(&coven)["status"], "damaged");
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(coven.database_file(suffix));
        }
        fs::write(&file, &whole).unwrap();
        find_whole();
        if !coven.socket().exists() {
            coven.start_daemon();
        }
        eventually("it is whole", || storage(&coven)["status"] == "ok");
        assert!(!coven.database_file(".damaged").exists());
        assert_eq!(coven.get(&path).status, 200);
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    }
    eventually("it is in the log", || {
        log(&coven).contains("event=store_whole")
    });
    assert_no_panic(&coven);
}

#[test]
fn a_database_that_is_spoilt_while_sessions_write_ends_in_a_clear_state() {
    let coven = Coven::new();
    filled(&coven);
    coven.start_daemon();
    coven.harness_with("reader", "echo ready; exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("reader", "x");
    coven.wait_for_output(&id, "ready");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    let database = coven.database();
    checkpoint(&database);
    let pages = fs::metadata(coven.database_file("")).unwrap().len() as usize / PAGE;
    let mut random = Random::new(3);
    (2..=pages).for_each(|page| spoil(&coven, page, &mut random));
    void_caches(&database);

    coven.input(&id, "what nobody can write\n");
    let failed = health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    let why = failed["eventWriter"]["lastError"].as_str().unwrap();
    assert!(why.contains("malformed"), "{failed}");
    assert_eq!(failed["storage"]["status"], why);
    let refused = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    refused.assert_error(503, "store_unavailable");
    for path in ["/api/v1/sessions", &format!("/api/v1/sessions/{id}/events")] {
        let details = coven.get(path).assert_error(503, "store_unavailable");
        assert!(details["reason"].is_string(), "{details}");
    }
    assert!(is_alive(pid), "it is held back at most");
    coven.kill_session(&id);
    wait_until_gone(pid);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.err.contains("malformed"), "{stopped:?}");
    assert!(
        stopped.err.contains(&format!("session {id}: ")),
        "{stopped:?}"
    );
    let failures = log(&coven).matches("event=store_failed").count();
    assert!((1..4).contains(&failures), "{failures}");
    drop(database);
    assert_does_not_start(&coven, "malformed", "coven backup");
}

/// Requests of a client, with any result.
fn use_everything(coven: &Coven, id: &str) {
    let sessions = format!("/api/v1/sessions/{id}");
    for path in [
        "/api/v1/sessions?limit=2",
        "/api/v1/sessions",
        "/api/v1/health",
        "/api/v1/metrics",
        &sessions,
        &format!("{sessions}/events?limit=7"),
        &format!("{sessions}/events"),
        &format!("{sessions}/log"),
    ] {
        let answer = coven.get(path);
        assert!(
            [200, 404, 503].contains(&answer.status),
            "{path}: {}",
            answer.text()
        );
    }
    let mut launch = coven.launch_body("lines", "x");
    launch["labels"] = json!(["a"]);
    for answer in [
        coven.launch_keyed("key", &launch),
        coven.post_to(id, "archive", &json!({})),
        coven.post("/api/v1/store/prune", &json!({})),
        coven.delete(&sessions),
    ] {
        assert!(
            [200, 201, 404, 409, 503].contains(&answer.status),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn no_page_that_is_spoilt_makes_the_daemon_panic_or_hang() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "100");
    let ids = filled(&coven);
    let whole = fs::read(coven.database_file("")).unwrap();
    let database = coven.database();
    let roots = [
        "sessions",
        "events",
        "sessions_unarchived",
        "sqlite_autoindex_sessions_1",
    ];
    let roots = roots.map(|name| root_page(&database, name));
    drop(database);
    let mut random = Random::new(4);
    let (mut started, mut refused) = (0, 0);
    for round in 0..rounds(12) {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(coven.database_file(suffix));
        }
        fs::write(coven.database_file(""), &whole).unwrap();
        let page = match roots.get(round) {
            Some(root) => *root,
            None => 2 + random.below(whole.len() / PAGE - 1),
        };
        spoil(&coven, page, &mut random);
        let start = coven.cli(["daemon", "start"]);
        if start.code != 0 {
            refused += 1;
            assert!(
                start.err.contains("(store_unavailable)\n  try: "),
                "{page}: {start:?}"
            );
            continue;
        }
        started += 1;
        let id = random.pick(&ids).clone();
        use_everything(&coven, &id);
        assert_eq!(coven.get("/api/v1/health").status, 200, "page {page}");
        // Whether all could be written depends on the page; that it ends does not.
        let stop = coven.cli(["daemon", "stop"]);
        assert!(
            stop.code == 0 || stop.err.contains("not on disk"),
            "{page}: {stop:?}"
        );
        assert_no_panic(&coven);
    }
    assert!(started > 0 && refused > 0, "{started} {refused}");
}

#[test]
fn after_a_crash_log_files_that_are_garbage_or_gone_cost_no_more_than_what_was_in_them() {
    let coven = Coven::new();
    let ids = filled(&coven);
    for (suffix, is_gone) in [
        ("-shm", false),
        ("-wal", false),
        ("-shm", true),
        ("-wal", true),
    ] {
        coven.start_daemon();
        let later = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
        let shown = coven.events(&later);
        coven.crash();
        let file = coven.database_file(suffix);
        let length = fs::metadata(&file).unwrap().len() as usize;
        assert!(length > 1000, "{suffix}");
        match is_gone {
            true => fs::remove_file(&file).unwrap(),
            false => fs::write(&file, Random::new(5).bytes(length)).unwrap(),
        }
        coven.start_daemon();
        for id in &ids {
            assert_gapless(id, &coven.events(id));
        }
        // The index is made anew from the log.
        if suffix == "-shm" {
            assert_eq!(coven.events(&later), shown);
        }
        let integrity: String = coven
            .database()
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .unwrap();
        assert_eq!(integrity, "ok");
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    }
    assert_no_panic(&coven);
}

#[test]
fn a_database_that_another_process_holds_is_waited_for() {
    // Each waits for the lock again and again, so they do at once.
    std::thread::scope(|scope| {
        scope.spawn(while_a_daemon_serves_a_held_database);
        scope.spawn(while_a_daemon_starts_on_a_held_database);
    });
}

fn while_a_daemon_serves_a_held_database() {
    let coven = Coven::start();
    coven.harness_with("reader", "echo ready; exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("reader", "x");
    coven.wait_for_output(&id, "ready");
    let other = coven.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(coven.input(&id, "while it is held\n").status, 202);
    let failed = health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    assert_eq!(failed["eventWriter"]["lastError"], "database is locked");
    let refused = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    refused.assert_error(503, "store_unavailable");
    assert_eq!(coven.session(&id)["status"], "running", "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    coven.wait_for_output(&id, "while it is held");
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_gapless(&id, &coven.events_to_end(&id));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

fn while_a_daemon_starts_on_a_held_database() {
    let coven = Coven::start();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let other = coven.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_does_not_start(&coven, "database is locked", "fuser -v ");
    drop(other);
    coven.start_daemon();
}

fn mount(args: &[&str], coven: &Coven) -> bool {
    let output = Command::new("mount").args(args).arg(coven.home()).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_home_that_cannot_be_written_is_no_home_for_a_daemon_and_can_still_be_looked_at() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 64) else {
        return;
    };
    filled(&coven);
    assert!(mount(&["-o", "remount,ro"], &coven));
    assert_does_not_start(&coven, "Read-only file system", "writable");
    let doctor = coven.cli(["doctor"]);
    assert!(doctor.out.contains("is intact"), "{doctor:?}");
    assert!(mount(&["-o", "remount,rw"], &coven));
    coven.start_daemon();
    drop(disk);
}

#[test]
fn a_disk_that_turns_read_only_under_the_daemon_fails_the_store_and_nothing_else() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::with_journal_under(&coven, 64) else {
        return;
    };
    let ids = filled(&coven);
    coven.start_daemon();
    coven.harness_with("reader", "echo ready; exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("reader", "x");
    coven.wait_for_output(&id, "ready");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    disk.abort();
    coven.input(&id, "what nobody can write\n");
    let failed = health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    assert!(failed["eventWriter"]["lastError"].is_string(), "{failed}");
    let refused = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    refused.assert_error(503, "store_unavailable");
    assert_eq!(coven.session(&id)["status"], "running", "reads go on");
    assert_gapless(&ids[0], &coven.events(&ids[0]));
    assert!(is_alive(pid), "it is held back at most");
    coven.kill_session(&id);
    wait_until_gone(pid);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(
        stopped.err.contains(&format!("session {id}: ")),
        "{stopped:?}"
    );
    let start = coven.cli(["daemon", "start"]);
    assert_eq!(start.code, 1, "{start:?}");
    assert!(start.err.contains("Read-only file system"), "{start:?}");
}

#[test]
fn a_start_on_a_full_disk_says_so() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 8) else {
        return;
    };
    filled(&coven);
    let filler = coven.home().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let zeros = [0; PAGE];
    while file.write_all(&zeros).is_ok() {}
    drop(file);
    let ran = coven.cli(["daemon", "start"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("make room on the disk of "), "{ran:?}");
    fs::remove_file(filler).unwrap();
    coven.start_daemon();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    drop(disk);
}
