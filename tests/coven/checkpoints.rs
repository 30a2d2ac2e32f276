//! The store's log that cannot be copied into the database, or cannot begin anew: it is bounded, and health says why.

use std::fs;

use rusqlite::Connection;
use serde_json::json;

use crate::support::*;

const MIB: u64 = 1024 * 1024;

/// Bytes by which the log may exceed its bound: one transaction, and writes other than output.
const SLACK: u64 = 4 * MIB;

fn log_bytes(coven: &Coven) -> u64 {
    fs::metadata(coven.database_file("-wal")).map_or(0, |meta| meta.len())
}

/// A process that has begun to read and goes on: this one.
pub fn begin_to_read(coven: &Coven) -> Connection {
    let reader = coven.database();
    let begin = "BEGIN; SELECT count(*) FROM sessions";
    reader.execute_batch(begin).unwrap();
    reader
}

fn endless(coven: &Coven) {
    coven.harness("endless", "exec yes 0123456789abcdef0123456789abcdef");
}

#[test]
fn floods_wait_while_a_reader_keeps_the_log_from_beginning_anew_and_nothing_else_does() {
    let coven = Coven::start();
    endless(&coven);
    let reader = begin_to_read(&coven);
    let id = coven.launch("endless", "x");
    let health = health_until(&coven, |health| {
        assert!(log_bytes(&coven) < 48 * MIB + SLACK);
        health["eventWriter"]["state"] == "pressured"
            && health["eventWriter"]["lastError"].is_string()
    });
    let reason = health["eventWriter"]["lastError"].as_str().unwrap();
    let holder = format!("process {} ", std::process::id());
    assert!(reason.contains(&holder), "{reason}");
    assert_eq!(health["storage"]["status"], reason);
    let doctor = coven.cli(["doctor"]);
    assert!(doctor.out.contains(&holder), "{doctor:?}");
    eventually("it is in the log", || {
        let log = coven.cli(["logs", "--event", "checkpoint_failed"]);
        log.out.contains(&holder)
    });
    // A session that prints little is none the slower for it.
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    let before = log_bytes(&coven);
    assert!(before < 48 * MIB + SLACK, "{before}");
    let held = health["eventWriter"]["committedEvents"].as_u64().unwrap();
    reader.execute_batch("COMMIT").unwrap();
    let health = health_until(&coven, |health| {
        health["eventWriter"]["lastError"].is_null()
    });
    assert_eq!(health["storage"]["status"], "ok");
    health_until(&coven, |health| {
        health["eventWriter"]["committedEvents"].as_u64().unwrap() > held + 100
    });
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_gapless(&id, &coven.events_to_end(&id));
}

/// Makes the log so long by another program's transaction, which the daemon cannot hold back.
pub fn lengthen(coven: &Coven, mib: u64) {
    let write = format!(
        "PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE filler (x);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {mib})
         INSERT INTO filler SELECT zeroblob(1048576) FROM n;
         DROP TABLE filler"
    );
    coven.database().execute_batch(&write).unwrap();
    assert!(log_bytes(coven) > mib * MIB);
}

#[test]
fn a_long_log_is_cut_at_the_next_commit_request_or_sweep_after_its_reader_has_gone() {
    let coven = Coven::start();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    type Next = fn(&Coven, &str);
    // From 64 MiB on all that is written waits for the disk, however slow that is.
    let nexts: [(u64, Next); 3] = [
        (52, |coven, id| {
            let archived = coven.cli(["archive", id]);
            assert_eq!(
                archived.code,
                0,
                "{archived:?} {}",
                fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap()
            );
        }),
        (52, |coven, _| {
            assert_eq!(coven.cli(["logs", "prune"]).code, 0)
        }),
        (110, |coven, _| {
            assert_eq!(coven.get("/api/v1/health").status, 200)
        }),
    ];
    for (number, (mib, next)) in nexts.into_iter().enumerate() {
        let reader = begin_to_read(&coven);
        lengthen(&coven, mib);
        // The daemon meets it while it is held.
        coven.post_to(&id, "archive", &json!({}));
        health_until(&coven, |health| {
            health["eventWriter"]["lastError"].is_string()
        });
        reader.execute_batch("COMMIT").unwrap();
        drop(reader);
        next(&coven, &id);
        eventually("it is cut", || {
            if number == 2 {
                coven.get("/api/v1/health");
            }
            log_bytes(&coven) < 33 * MIB
        });
        health_until(&coven, |health| health["eventWriter"]["state"] == "healthy");
    }
}

#[test]
fn a_disk_that_fails_while_the_log_is_copied_is_in_health_and_in_the_log() {
    let coven = Coven::new();
    let fails = coven.work().join("fails");
    let coven = coven.env("DISK_FAILS", fails.to_str().unwrap());
    let Some(shim) = Shim::compile(&coven, "disk", FAILING_DISK) else {
        return;
    };
    endless(&coven);
    let mut daemon = shim.serve(&coven);
    // Before the log has begun anew for the first time: then its own beginning is brought to the disk, too.
    fs::write(&fails, "").unwrap();
    let id = coven.launch("endless", "x");
    for what in ["its log cannot be copied into the database: ", ""] {
        fs::write(&fails, "").unwrap();
        let health = health_until(&coven, |health| {
            assert!(log_bytes(&coven) < 64 * MIB + SLACK);
            health["eventWriter"]["state"] == "failed"
        });
        let said = health["eventWriter"]["lastError"].as_str().unwrap();
        assert!(said.starts_with(what) && said.contains("error"), "{said}");
        fs::remove_file(&fails).unwrap();
        health_until(&coven, |health| health["eventWriter"]["state"] != "failed");
    }
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_gapless(&id, &coven.events_to_end(&id));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_disk_that_hangs_while_the_log_is_copied_keeps_nobody_waiting_below_the_bound() {
    let coven = Coven::new();
    let hangs = coven.work().join("hangs");
    let coven = coven.env("DISK_HANGS", hangs.to_str().unwrap());
    let Some(shim) = Shim::compile(&coven, "disk", FAILING_DISK) else {
        return;
    };
    let mut daemon = shim.serve(&coven);
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    let reader = begin_to_read(&coven);
    lengthen(&coven, 52);
    coven.post_to(&id, "archive", &json!({}));
    health_until(&coven, |health| {
        health["eventWriter"]["lastError"].is_string()
    });
    fs::write(&hangs, "").unwrap();
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    for _ in 0..2 {
        let pruned = coven.cli(["logs", "prune"]);
        assert_eq!(pruned.code, 0, "{pruned:?}");
        assert_eq!(coven.run("hello", "x")["status"], "completed");
        assert_gapless(&id, &coven.events(&id));
    }
    assert!(log_bytes(&coven) > 52 * MIB);
    fs::remove_file(&hangs).unwrap();
    eventually("it is cut", || log_bytes(&coven) < 33 * MIB);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(daemon.wait().unwrap().success());
}
