//! A daemon that is killed under load: what was read before is still there, and what was running is on record.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

/// Harnesses that write until they are ended; the first two outlive the pipe's reader, and the second has left the
/// session's process group.
const HARNESSES: [(&str, &str); 3] = [
    (
        "loud",
        "sleep 1000 & i=0; while :; do i=$((i+1)); echo \"line $i\"; done",
    ),
    (
        "deserted",
        "setsid sleep 1000 & trap '' PIPE TERM HUP
i=0; while :; do i=$((i+1)); echo \"line $i\"; echo \"note $i\" >&2; sleep 0.01; done",
    ),
    (
        "quiet",
        "echo ready; (trap '' TERM; sleep 1000); sleep 1000",
    ),
];

/// A session, and what a client has read of it.
struct Seen {
    id: String,
    events: Vec<Value>,
}

/// Launches one of each, and reads until there is output of it.
fn launch_and_read(coven: &Coven) -> Vec<Seen> {
    let ids = HARNESSES.map(|(harness, _)| coven.launch(harness, "x"));
    let read = |id: String| {
        let events = coven.events_until(&id, |event| event["kind"] == "output");
        Seen { id, events }
    };
    ids.into_iter().map(read).collect()
}

fn assert_orphaned(coven: &Coven, seen: &Seen) {
    let id = &seen.id;
    let events = coven.events_to_end(id);
    let seqs = events.iter().map(|event| event["seq"].as_u64().unwrap());
    assert!(seqs.eq(1..=events.len() as u64), "{id} has a gap");
    // Every field of every event: id, time and the payload's bytes.
    assert_eq!(events[..seen.events.len()], seen.events, "{id}");
    let last = events.last().unwrap();
    assert_eq!(last["kind"], "status");
    assert_eq!(payload(last)["status"], "orphaned");
    assert!(!kinds(&events).contains(&"exit"), "{id}");
    let record = coven.session(id);
    assert_eq!(record["status"], "orphaned");
    assert_eq!(record["exit_code"], Value::Null);
    assert_ne!(record["started_at"], Value::Null, "that much is known");
    for unknown in ["ended_at", "cpu_ms", "peak_rss_bytes", "stdout_bytes"] {
        assert_eq!(record.get(unknown), Some(&Value::Null), "{unknown}");
    }
    assert_eq!(record["last_seq"], events.len());
    assert!(coven.session_processes(id).is_empty(), "{id}");
}

#[test]
fn sessions_of_a_killed_daemon_are_orphaned_and_lose_nothing_that_was_read() {
    let coven = Coven::new();
    for (id, script) in HARNESSES {
        coven.harness(id, script);
    }
    let mut all: Vec<Seen> = Vec::new();
    for _ in 0..10 {
        coven.start_daemon();
        for seen in &all {
            assert_orphaned(&coven, seen);
        }
        all = launch_and_read(&coven);
        coven.crash();
        let integrity: String = coven
            .database()
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .unwrap();
        assert_eq!(integrity, "ok");
    }
    coven.start_daemon();
    for seen in &all {
        assert_orphaned(&coven, seen);
    }
    assert_eq!(coven.processes(), [coven.daemon_pid()]);
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["sessions"]["live"], 0);
    assert_eq!(health["sessions"]["total"], 30);
}

/// Follows a session, and gives all that it was shown until the daemon was gone.
fn follow_until_the_crash(coven: &Coven, id: String) -> Seen {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let after = events.last().map_or(0, |e| e["seq"].as_u64().unwrap());
        // Pages of different sizes, so that the crash also comes between two of them.
        let limit = 1 + after % 300;
        let path =
            format!("/api/v1/events?sessionId={id}&afterSeq={after}&limit={limit}&waitMs=30000");
        match coven.try_get(&path) {
            Some(answer) if answer.status == 200 => {
                events.extend(answer.json()["events"].as_array().unwrap().iter().cloned());
            }
            _ => return Seen { id, events },
        }
    }
}

/// Kills a daemon at a moment of its start, which may be one of its recovery.
fn crash_while_it_starts(coven: &Coven, random: &mut Random) {
    let mut daemon = coven.spawn(["daemon", "serve"]);
    std::thread::sleep(Duration::from_micros(random.below(12_000) as u64));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn events_that_followers_were_shown_survive_a_kill_at_any_moment() {
    let coven = Coven::new();
    for (id, script) in HARNESSES {
        coven.harness(id, script);
    }
    let mut random = Random::new(8);
    let mut all: Vec<Seen> = Vec::new();
    let (mut sessions, mut shown, mut slowest) = (0, 0, Duration::ZERO);
    let rounds = rounds(6);
    for _ in 0..rounds {
        for _ in 0..random.below(3) {
            crash_while_it_starts(&coven, &mut random);
        }
        let begun = Instant::now();
        coven.start_daemon();
        slowest = slowest.max(begun.elapsed());
        for seen in &all {
            assert_orphaned(&coven, seen);
            shown += seen.events.len();
        }
        let ids = HARNESSES.map(|(harness, _)| coven.launch(harness, "x"));
        sessions += ids.len();
        let pid = coven.daemon_pid();
        all = std::thread::scope(|scope| {
            // Two on each: they are shown the same.
            let ids = ids.iter().chain(&ids).cloned();
            let followers: Vec<_> = ids
                .map(|id| scope.spawn(|| follow_until_the_crash(&coven, id)))
                .collect();
            std::thread::sleep(Duration::from_micros(random.below(250_000) as u64));
            assert!(kill(pid, libc::SIGKILL));
            let seen = followers.into_iter().map(|thread| thread.join().unwrap());
            seen.collect()
        });
        wait_until_gone(pid);
        let integrity: String = coven
            .database()
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .unwrap();
        assert_eq!(integrity, "ok");
    }
    coven.start_daemon();
    all.iter().for_each(|seen| assert_orphaned(&coven, seen));
    // Those of the earlier rounds, too.
    let whole: usize = coven
        .database()
        .query_row(
            "SELECT count(*) FROM sessions WHERE status = 'orphaned' AND last_seq =
                 (SELECT count(*) FROM events WHERE session = num) AND last_seq =
                 (SELECT max(seq) FROM events WHERE session = num)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(whole, sessions);
    assert_eq!(coven.processes(), [coven.daemon_pid()]);
    println!("{rounds} kills, {shown} events shown, the slowest start took {slowest:?}");
}

#[test]
fn an_orphaned_session_can_be_archived_and_deleted_and_not_killed() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let id = coven.launch("quiet", "x");
    coven.crash();
    coven.start_daemon();
    let ran = coven.cli(["kill", &id]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("(session_not_live)"), "{ran:?}");
    let ran = coven.cli(["wait", &id]);
    let said = format!("coven: session {id} was lost by its daemon\n");
    assert_eq!((ran.code, ran.err), (125, said));
    assert_eq!(coven.cli(["archive", &id]).code, 0);
    assert_eq!(coven.cli(["sacrifice", "--yes", &id]).code, 0);
}

#[test]
fn a_run_whose_daemon_is_killed_says_so_and_what_to_try() {
    let coven = Coven::start();
    coven.harness("quiet", "echo ready; exec sleep 1000");
    let mut run = coven.spawn(["run", "quiet", "x"]);
    read_until(run.stdout.as_mut().unwrap(), "ready\n");
    coven.crash();
    let ran = finish(run);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("(daemon_not_running)\n  try: "), "{ran:?}");
}

#[test]
fn sessions_that_had_ended_are_untouched_by_a_crash() {
    let coven = Coven::start();
    let id = coven.launch("hello", "hi");
    let record = coven.ended(&id);
    let events = coven.events_to_end(&id);
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.session(&id), record);
    assert_eq!(coven.events_to_end(&id), events);
}

#[test]
fn an_external_session_survives_a_crash_as_running() {
    let coven = Coven::start();
    let id = "0b9d1c1e-4a4e-4a5f-9a57-0123456789ab";
    let body = serde_json::json!({ "id": id, "projectRoot": coven.work(), "harness": "elsewhere" });
    assert_eq!(coven.post("/api/v1/sessions/external", &body).status, 201);
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.session(id)["status"], "running");
}
