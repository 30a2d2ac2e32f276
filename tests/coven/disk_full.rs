//! A disk that is full: while the daemon runs, and when it is to stop.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::*;

/// Follows a session to its end, as a client does that asks again at once.
fn follow(coven: &Coven, id: &str, is_over: &AtomicBool) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let after = seen.last().map_or(0, |e| e["seq"].as_u64().unwrap());
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=1000");
        let page = coven.get(&path).json();
        let new = page["events"].as_array().unwrap();
        seen.extend(new.iter().cloned());
        if new.is_empty() && is_over.load(Ordering::SeqCst) {
            return seen;
        }
    }
}

/// Tells followers that it is over, also when the test fails: it waits for them.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_failed(health: &Value) -> bool {
    health["eventWriter"]["state"] == "failed"
}

/// Lines of a flood: more than the queue and the disk have room for.
const LINES: usize = 750_000;

/// Declares harnesses that write once the file `flow` is there, and one that ends once `go` is.
fn declare_harnesses(coven: &Coven) {
    let when_told = "until [ -e flow ]; do sleep 0.02; done";
    coven.harness(
        "flood",
        &format!("{when_told}; seq -f '%.0f of the flood' {LINES}"),
    );
    coven.harness("endless", &format!("{when_told}; exec yes"));
    coven.harness(
        "patient",
        "echo ready; until [ -e go ]; do sleep 0.02; done; echo done",
    );
}

/// Waits until the disk is full, which health, log and the answer to a launch tell with the same reason.
fn assert_store_failed(coven: &Coven) {
    let failed = health_until(coven, is_failed);
    let why = &failed["eventWriter"]["lastError"];
    assert_eq!(why, "database or disk is full", "{failed}");
    assert_eq!(&failed["storage"]["status"], why, "{failed}");
    let code = i64::from(rusqlite::ffi::SQLITE_FULL);
    assert_eq!(failed["eventWriter"]["lastSqliteCode"], code, "{failed}");
    let line = format!("event=store_failed code=store_unavailable reason={why} sqlite={code}\n");
    // The log has a thread of its own.
    eventually("it is in the log", || {
        let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
        log.contains(&line)
    });
    let refused = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    let details = refused.assert_error(503, "store_unavailable");
    assert_eq!(&details["reason"], why);
}

/// All output of the sessions is stored.
fn assert_all_is_stored(coven: &Coven, floods: &[String], patient: &str) {
    let whole: String = (1..=LINES).map(|n| format!("{n} of the flood\n")).collect();
    for id in floods {
        let events = coven.events(id);
        assert!(output(&events, "stdout") == whole.as_bytes(), "{id}");
        assert_eq!(coven.session(id)["status"], "completed");
    }
    let said = output(&coven.events(patient), "stdout");
    assert_eq!(String::from_utf8(said).unwrap(), "ready\ndone\n");
}

/// A session that is killed, and one that ends by itself, end while the disk is full; their end is not on disk yet.
fn end_both(coven: &Coven, endless: &str, patient: &str) {
    let pid_of = |id: &str| coven.session(id)["pid"].as_i64().unwrap() as i32;
    let endless_pid = pid_of(endless);
    assert!(is_alive(endless_pid));
    assert_eq!(coven.kill_session(endless).status, 202);
    wait_until_gone(endless_pid);
    fs::write(coven.work().join("go"), "").unwrap();
    wait_until_gone(pid_of(patient));
    assert_eq!(
        coven.session(patient)["status"],
        "running",
        "not on disk yet"
    );
    assert!(is_failed(&coven.get("/api/v1/health").json()));
}

#[test]
fn sessions_on_a_full_disk_wait_for_room_and_lose_nothing() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 6) else {
        return;
    };
    coven.start_daemon();
    declare_harnesses(&coven);
    // All of them are there before the first fills the disk: a launch on a full one is refused.
    let patient = coven.launch("patient", "x");
    coven.wait_for_output(&patient, "ready");
    let floods: Vec<String> = (0..2).map(|_| coven.launch("flood", "x")).collect();
    let endless = coven.launch("endless", "x");
    let pid_of = |id: &str| coven.session(id)["pid"].as_i64().unwrap() as i32;
    let pids: Vec<i32> = floods.iter().map(|id| pid_of(id)).collect();
    fs::write(coven.work().join("flow"), "").unwrap();
    let is_over = AtomicBool::new(false);
    let shown = std::thread::scope(|scope| {
        let over = Over(&is_over);
        let followers: Vec<_> = floods.iter().chain([&patient, &endless]).collect();
        let followers: Vec<_> = followers
            .into_iter()
            .map(|id| (id, scope.spawn(|| follow(&coven, id, &is_over))))
            .collect();
        assert_store_failed(&coven);

        // Held back, not killed.
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        end_both(&coven, &endless, &patient);
        disk.resize(200);
        for id in floods.iter().chain([&patient, &endless]) {
            coven.ended(id);
        }
        drop(over);
        let shown = followers
            .into_iter()
            .map(|(id, thread)| (id, thread.join().unwrap()));
        shown.collect::<Vec<_>>()
    });
    for (id, shown) in shown {
        let events = coven.events(id);
        assert_gapless(id, &events);
        assert!(
            shown == events,
            "what a follower of {id} was shown is all there is"
        );
    }
    assert_all_is_stored(&coven, &floods, &patient);
    assert_eq!(coven.session(&endless)["status"], "killed");
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["eventWriter"]["state"], "healthy", "{health}");
    assert_eq!(health["storage"]["status"], "ok");
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

/// Events and bytes that `said` says are lost of a session.
fn lost(said: &str, id: &str) -> (u64, u64) {
    let (_, behind) = said
        .split_once(&format!("session {id}: "))
        .unwrap_or_else(|| panic!("no {id} in {said}"));
    let mut words = behind
        .split([' ', ',', ';'])
        .filter(|word| !word.is_empty());
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let events = number();
    let bytes = words.nth(1).and_then(|word| word.parse().ok());
    events
        .zip(bytes)
        .unwrap_or_else(|| panic!("no numbers in {behind}"))
}

/// Two sessions fill the disk of a daemon in the foreground; it is ended by `stop`, and has to give up.
fn stopped_on_a_full_disk(stop: impl Fn(&Coven, i32) -> Option<Ran>) {
    let coven = Coven::new();
    coven.harness("flood", "exec yes");
    coven.harness(
        "words",
        "trap 'echo last words; exit 0' TERM; echo ready; sleep 1000 & wait",
    );
    let daemon = listen_with_file_limit(&coven, 4096);
    let words = coven.launch("words", "x");
    coven.wait_for_output(&words, "ready");
    let flood = coven.launch("flood", "x");
    let failed = health_when_held_back(&coven);
    let queued = failed["eventWriter"]["queuedEvents"].as_u64().unwrap();

    let asked = stop(&coven, daemon.pid());
    let served = daemon.finish();
    assert_eq!(served.code, 1, "{served:?}");
    let said = served.err.lines().last().unwrap_or_default();
    let said = if said.contains("try: ") {
        served.err.lines().rev().nth(1).unwrap()
    } else {
        said
    };
    assert!(said.starts_with("coven: stopped, but "), "{said}");
    assert!(said.ends_with("(store_unavailable)"), "{said}");
    let (events, bytes) = lost(said, &flood);
    assert!(events >= queued && bytes > 100_000, "{queued}: {said}");
    assert!(said.contains(" bytes in its pipes"), "{said}");
    // Its last words, and how it ended.
    let (events, bytes) = lost(said, &words);
    assert!(events >= 3 && bytes > 50, "{said}");
    for (id, count) in [(&flood, lost(said, &flood)), (&words, lost(said, &words))] {
        let line = served.err.lines().find(|line| {
            line.contains("session_unwritten") && line.contains(&format!("session={id}"))
        });
        let line = line.unwrap_or_else(|| panic!("{id} in {}", served.err));
        let numbers = format!("events={} bytes={}", count.0, count.1);
        assert!(line.contains(&numbers), "{line}");
        assert!(coven.session_processes(id).is_empty(), "{id} lives on");
    }
    if let Some(asked) = asked {
        assert_eq!((asked.code, asked.out.as_str()), (1, ""), "{asked:?}");
        assert!(asked.err.contains("\ncoven: stopped (pid "), "{asked:?}");
        assert!(
            asked.err.contains("(store_unavailable)\n  try: "),
            "{asked:?}"
        );
        assert_eq!(lost(&asked.err, &flood), lost(said, &flood));
        assert_eq!(lost(&asked.err, &words), lost(said, &words));
    }
    // What had been shown before is still there, and nothing is left as running.
    coven.start_daemon();
    for id in [&flood, &words] {
        let events = coven.events_to_end(id);
        assert_gapless(id, &events);
        assert_eq!(coven.session(id)["status"], "orphaned");
    }
}

#[test]
fn a_stop_that_cannot_write_says_what_is_lost_to_all_who_ask() {
    std::thread::scope(|scope| {
        scope.spawn(|| stopped_on_a_full_disk(|coven, _| Some(coven.cli(["daemon", "stop"]))));
        // As a supervisor does: it has the exit code, and what is on stderr.
        scope.spawn(|| {
            stopped_on_a_full_disk(|_, pid| {
                kill(pid, libc::SIGTERM);
                None
            });
        });
    });
}

#[test]
fn a_restart_on_a_full_disk_says_what_is_lost_though_no_log_can_be_written() {
    let coven = Coven::new();
    let Some(disk) = SmallDisk::under(&coven, 4) else {
        return;
    };
    coven.start_daemon();
    coven.harness("flood", "exec yes");
    let id = coven.launch("flood", "x");
    health_when_held_back(&coven);
    let mut filler = fs::File::create(coven.home().join("filler")).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
    drop(filler);
    let ran = coven.cli(["daemon", "restart"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("\ncoven: stopped (pid "), "{ran:?}");
    let (events, bytes) = lost(&ran.err, &id);
    assert!(events > 10 && bytes > 100_000, "{ran:?}");
    assert!(coven.session_processes(&id).is_empty());
    fs::remove_file(coven.home().join("filler")).unwrap();
    disk.resize(64);
    coven.start_daemon();
    assert_gapless(&id, &coven.events_to_end(&id));
    assert_eq!(coven.session(&id)["status"], "orphaned");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

#[test]
fn a_stop_waits_for_the_disk_to_have_room_again() {
    let coven = Coven::new();
    coven.harness("flood", "exec yes");
    let daemon = listen_with_file_limit(&coven, 4096);
    let id = coven.launch("flood", "x");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    health_until(&coven, is_failed);
    let stop = coven.spawn(["daemon", "stop"]);
    wait_until_gone(pid);
    lift_file_limit(daemon.pid() as u32);
    let ran = finish(stop);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.ends_with("  flood  x\n"), "{ran:?}");
    let served = daemon.finish();
    assert_eq!(served.code, 0, "{served:?}");
    coven.start_daemon();
    assert_gapless(&id, &coven.events_to_end(&id));
    assert_eq!(coven.session(&id)["status"], "killed");
}

#[test]
fn a_daemon_that_is_killed_while_it_stops_is_no_clean_stop() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("deaf", "trap '' TERM; echo ready; exec sleep 1000");
    let id = coven.launch("deaf", "x");
    coven.wait_for_output(&id, "ready");
    let pid = coven.daemon_pid();
    let stop = coven.spawn(["daemon", "stop"]);
    coven.events_until(&id, |event| event["kind"] == "kill");
    assert!(kill(pid, libc::SIGKILL));
    let ran = finish(stop);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("(daemon_stop_failed)\n  try: "), "{ran:?}");
}
