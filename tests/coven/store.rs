//! The store when it cannot be written: harnesses are held back, and nothing is lost.

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn a_full_disk_holds_harnesses_back_and_costs_nothing() {
    let coven = Coven::new();
    coven.harness("flood", "yes 0123456789abcdef | head -c 20000000");
    let mut daemon = serve_with_file_limit(&coven, 4096);
    let id = coven.launch("flood", "x");
    let failed = health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    assert_eq!(failed["ok"], true);
    assert!(failed["eventWriter"]["lastError"].is_string(), "{failed}");
    assert_ne!(failed["storage"]["status"], "ok", "{failed}");
    let refused = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    assert_eq!(refused.error(), (503, "store_unavailable".into()));
    assert!(refused.details()["reason"].is_string());
    assert_eq!(coven.session(&id)["status"], "running", "reads go on");

    lift_file_limit(daemon.id());
    let events = coven.events_to_end(&id);
    assert_eq!(
        output(&events, "stdout"),
        b"0123456789abcdef\n".repeat(20_000_000 / 17 + 1)[..20_000_000]
    );
    let seqs: Vec<u64> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>());
    let survived = events
        .iter()
        .find(|event| event["kind"] == "error")
        .expect("a fault that was survived");
    assert_eq!(payload(survived)["code"], "store_unavailable");
    let healthy = health_until(&coven, |health| health["eventWriter"]["state"] == "healthy");
    assert_eq!(healthy["eventWriter"]["droppedOutputBytes"], 0);
    assert_eq!(healthy["storage"]["status"], "ok");
    kill(daemon.id() as i32, libc::SIGTERM);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn the_log_is_copied_into_the_database_while_sessions_write() {
    let coven = Coven::start();
    // Both together are more than the log may ever have.
    coven.harness("flood", "yes 0123456789abcdef | head -c 45000000");
    let ids = [0; 2].map(|_| coven.launch("flood", "x"));
    let size = |suffix: &str| {
        let path = coven.home().join(format!("coven.sqlite3{suffix}"));
        std::fs::metadata(path).map_or(0, |meta| meta.len())
    };
    let mut longest = 0;
    for id in ids {
        while coven.session(&id)["status"] == "running" {
            longest = longest.max(size("-wal"));
            coven.run("hello", "x");
        }
    }
    assert!(longest > 8 << 20, "{longest}");
    assert!(longest < 80 << 20, "{longest}");
    assert!(size("") > 80_000_000, "{}", size(""));
}

#[test]
fn a_harness_that_fills_the_disk_can_be_killed() {
    let coven = Coven::new();
    coven.harness("flood", "exec yes");
    let mut daemon = serve_with_file_limit(&coven, 4096);
    let id = coven.launch("flood", "x");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    assert_eq!(
        coven
            .post(&format!("/api/v1/sessions/{id}/kill"), &Value::Null)
            .status,
        202
    );
    wait_until_gone(pid);
    lift_file_limit(daemon.id());
    let events = coven.events_to_end(&id);
    assert_eq!(payload(events.last().unwrap())["status"], "killed");
    kill(daemon.id() as i32, libc::SIGTERM);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn an_event_cannot_be_changed_not_even_in_the_database() {
    let coven = Coven::start();
    let id = coven.launch("hello", "x");
    coven.events_to_end(&id);
    let refused = coven
        .database()
        .execute("UPDATE events SET payload_json = '{}'", [])
        .unwrap_err();
    assert!(refused.to_string().contains("append-only"), "{refused}");
}

#[test]
fn an_archive_and_a_deletion_at_the_same_time_fail_no_other_request() {
    let coven = Coven::start();
    // Beside this, commits take their time, and the next one takes both requests.
    coven.harness("flood", "exec yes 0123456789abcdef");
    let flood = coven.launch("flood", "x");
    coven.wait_for_output(&flood, "0123456789abcdef");
    for number in 0..60 {
        let id = external_id(number);
        assert_eq!(coven.register(&id, json!({})).status, 201);
        assert_eq!(coven.post_to(&id, "complete", &json!({})).status, 200);
        let (archived, deleted) = std::thread::scope(|scope| {
            let archive = scope.spawn(|| coven.post_to(&id, "archive", &json!({})));
            let delete = scope.spawn(|| coven.delete(&format!("/api/v1/sessions/{id}")));
            (archive.join().unwrap(), delete.join().unwrap())
        });
        assert_eq!(deleted.status, 200, "{}", deleted.text());
        if archived.status != 200 {
            let details = archived.assert_error(404, "session_not_found");
            assert_eq!(details["sessionId"], id.as_str());
        }
    }
    assert_eq!(coven.kill_session(&flood).status, 202);
    eventually("it is killed", || {
        coven.session(&flood)["status"] == "killed"
    });
    let faults: i64 = coven
        .database()
        .query_row(
            "SELECT count(*) FROM events WHERE kind = 'error'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(faults, 0, "the store has never failed");
}

#[test]
fn a_killed_sessions_children_are_ended_after_the_grace_though_the_store_fails() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "200");
    coven.harness("parent", "(trap '' TERM; exec sleep 1000) &\nexec yes");
    let mut daemon = serve_with_file_limit(&coven, 4096);
    let id = coven.launch("parent", "x");
    let leader = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    let deaf = eventually_some("the child that ignores SIGTERM", || {
        let processes = coven.session_processes(&id).into_iter();
        let mut others = processes.filter(|pid| *pid != leader);
        let child = others.next()?;
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name == "sleep\n").then_some(child)
    });
    // The queue is full, so that what the pipe holds when the leader ends has to wait.
    health_when_held_back(&coven);
    assert_eq!(coven.kill_session(&id).status, 202);
    eventually("the leader has ended", || !is_alive(leader));
    wait_until_gone(deaf);
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["eventWriter"]["state"], "failed", "{health}");
    lift_file_limit(daemon.id());
    eventually("it is killed", || coven.session(&id)["status"] == "killed");
    kill(daemon.id() as i32, libc::SIGTERM);
    assert!(daemon.wait().unwrap().success());
}
