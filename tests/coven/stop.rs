//! The daemon's stop, and its effect on sessions.

use std::fs;
use std::io::{BufReader, Write};

use serde_json::{Value, json};

use crate::support::*;

/// A harness that has last words. It waits in `wait`: a shell that waits for a command runs no trap before that has
/// ended.
const LAST_WORDS: &str = "trap 'echo last words; exit 0' TERM
sleep 1000 & echo ready
wait";

/// A harness that only SIGKILL ends.
const DEAF: &str = "trap '' TERM; echo ready; exec sleep 1000";

/// A harness that ignores signals, and ends once a file exists.
const RELUCTANT: &str = "trap '' TERM; echo ready; until [ -e go ]; do sleep 0.02; done";

fn ready(coven: &Coven, harness: &str) -> String {
    let id = coven.launch(harness, "x");
    coven.wait_for_output(&id, "ready");
    id
}

/// The payload of the only event of this kind.
fn only(events: &[Value], kind: &str) -> Value {
    let found: Vec<Value> = events
        .iter()
        .filter(|event| event["kind"] == kind)
        .map(payload)
        .collect();
    assert_eq!(found.len(), 1, "{kind}: {events:?}");
    found[0].clone()
}

fn assert_closed_as_killed(events: &[Value]) {
    let kinds = kinds(events);
    assert_eq!(kinds[kinds.len() - 2..], ["exit", "status"], "{events:?}");
    let asked = only(events, "kill");
    assert_eq!(
        (&asked["status"], &asked["signal"]),
        (&json!("killed"), &json!(15))
    );
    assert_eq!(only(events, "exit")["endedBy"], asked["cause"]);
    assert_eq!(only(events, "exit")["status"], "killed");
    assert_eq!(payload(events.last().unwrap())["status"], "killed");
}

/// Asks the daemon to stop, without waiting for it, and waits until `id` has been told.
fn begin_to_stop(coven: &Coven, id: &str) -> i32 {
    let pid = coven.daemon_pid();
    kill(pid, libc::SIGTERM);
    coven.events_until(id, |event| event["kind"] == "kill");
    pid
}

#[test]
fn a_stop_records_the_last_words_of_every_harness() {
    let coven = Coven::start();
    coven.harness("speaker", LAST_WORDS);
    let ids: Vec<String> = (0..3).map(|_| ready(&coven, "speaker")).collect();
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ids.iter().all(|id| coven.session_processes(id).is_empty()));
    coven.start_daemon();
    for id in &ids {
        let record = coven.session(id);
        assert_eq!(record["status"], "killed");
        assert_eq!(record["exit_code"], 0);
        let events = coven.events_to_end(id);
        assert_closed_as_killed(&events);
        assert_eq!(output(&events, "stdout"), b"ready\nlast words\n");
        assert_eq!(only(&events, "exit")["exitCode"], 0);
        assert_eq!(coven.cli(["archive", id]).code, 0);
    }
}

#[test]
fn every_client_that_asks_for_a_stop_is_told_when_it_is_complete() {
    let coven = Coven::start();
    coven.harness("speaker", LAST_WORDS);
    let id = ready(&coven, "speaker");
    let pid = coven.daemon_pid();
    let answer = coven.post("/api/v1/daemon/stop", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let clean = json!({ "clean": true, "reason": null, "unwritten": [] });
    assert_eq!(answer.json(), clean);
    wait_until_gone(pid);
    coven.start_daemon();
    let events = coven.events_to_end(&id);
    assert_closed_as_killed(&events);
    assert_eq!(output(&events, "stdout"), b"ready\nlast words\n");
}

#[test]
fn a_stop_kills_a_harness_that_ignores_sigterm_after_the_grace() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "50");
    coven.start_daemon();
    coven.harness("deaf", DEAF);
    let id = ready(&coven, "deaf");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    coven.start_daemon();
    let events = coven.events_to_end(&id);
    assert_closed_as_killed(&events);
    assert_eq!(only(&events, "exit")["signal"], 9);
    assert_eq!(only(&events, "exit")["exitCode"], Value::Null);
    assert!(coven.session_processes(&id).is_empty());
}

#[test]
fn a_follower_that_waits_during_a_stop_gets_the_closing_events() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("reluctant", RELUCTANT);
    let id = ready(&coven, "reluctant");
    let waiting = |pid: i32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|target| target.to_string_lossy().contains("eventfd"))
            .count()
    };
    let pid = begin_to_stop(&coven, &id);
    let after = coven.session(&id)["last_seq"].as_u64().unwrap();
    let before = waiting(pid);
    let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=60000");
    let answer = std::thread::scope(|scope| {
        let follower = scope.spawn(|| coven.get(&path));
        // A follower waits on a descriptor of its own.
        eventually("it waits", || waiting(pid) > before);
        fs::write(coven.work().join("go"), "").unwrap();
        follower.join().unwrap()
    });
    let page = answer.json();
    let events = page["events"].as_array().unwrap();
    assert_eq!(kinds(events), ["exit", "status"]);
    wait_until_gone(pid);
}

#[test]
fn a_stopping_daemon_takes_no_launch_and_still_answers() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("reluctant", RELUCTANT);
    let id = ready(&coven, "reluctant");
    let pid = begin_to_stop(&coven, &id);
    let answer = coven.post("/api/v1/sessions", &coven.launch_body("hello", "x"));
    assert_eq!(answer.error(), (503, "shutting_down".into()));
    let ran = coven.cli(["run", "hello", "x"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("(shutting_down)"), "{ran:?}");
    assert_eq!(coven.session(&id)["status"], "running");
    assert_eq!(
        coven
            .get("/api/v1/sessions")
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    fs::write(coven.work().join("go"), "").unwrap();
    wait_until_gone(pid);
    coven.start_daemon();
    assert_closed_as_killed(&coven.events_to_end(&id));
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("deaf", DEAF);
    let id = ready(&coven, "deaf");
    let pid = begin_to_stop(&coven, &id);
    kill(pid, libc::SIGTERM);
    wait_until_gone(pid);
    coven.start_daemon();
    let events = coven.events_to_end(&id);
    assert_closed_as_killed(&events);
    assert_eq!(only(&events, "exit")["signal"], 9);
}

#[test]
fn the_daemon_says_how_long_its_stop_may_take_and_a_stop_waits_for_a_long_grace() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "120000");
    coven.start_daemon();
    coven.harness("deaf", DEAF);
    let id = ready(&coven, "deaf");
    let pid = coven.daemon_pid();
    // The grace, twice 10 s for the store, 10 s for the writer, and 8 s for answers, the service manager and the log.
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["daemon"]["stopWithinMs"], 158_000, "{health}");
    let file = fs::read(coven.home().join("daemon.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(file["stopWithinMs"], 158_000, "{file}");

    let stop = coven.spawn(["daemon", "stop"]);
    coven.events_until(&id, |event| event["kind"] == "kill");
    // A client's request is no signal: only the second signal ends the wait. Two that are pending at once are one.
    kill(pid, libc::SIGTERM);
    let log = coven.home().join("logs/daemon.log");
    eventually("the signal is logged", || {
        fs::read_to_string(&log).unwrap().contains("event=signal")
    });
    kill(pid, libc::SIGTERM);
    let stopped = finish(stop);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(stopped.err.ends_with("  deaf  x\n"), "{stopped:?}");
    wait_until_gone(pid);
}

#[test]
fn a_stop_ends_sessions_of_every_kind_and_loses_no_output() {
    let coven = Coven::start();
    coven.harness(
        "noisy",
        "echo ready; i=0; while :; do i=$((i+1)); echo \"line $i\"; done",
    );
    coven.harness_with("reader", "echo ready; cat", json!({ "stdin": "open" }));
    coven.harness("speaker", LAST_WORDS);
    let ids = ["noisy", "reader", "speaker", "noisy"].map(|harness| ready(&coven, harness));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    coven.start_daemon();
    for id in &ids {
        let events = coven.events_to_end(id);
        assert_closed_as_killed(&events);
        let seqs = events.iter().map(|event| event["seq"].as_u64().unwrap());
        assert!(seqs.eq(1..=events.len() as u64));
    }
    // Line after line, none missing: the last one may have been cut by the signal.
    let noise = String::from_utf8(output(&coven.events_to_end(&ids[0]), "stdout")).unwrap();
    let lines = noise.lines().skip(1).zip(1..);
    let wrong: Vec<_> = lines
        .filter(|(line, n)| *line != format!("line {n}"))
        .collect();
    assert!(wrong.len() <= 1, "{wrong:?}");
}

#[test]
fn a_stop_under_load_loses_no_byte_that_was_written_before_the_signal() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "300");
    coven.start_daemon();
    let pad = "p".repeat(80);
    // What it has counted, it has written.
    let write = format!("echo \"$((i+1)) {pad}\"; i=$((i+1))");
    let script = format!(
        "trap 'echo $i > told-$COVEN_SESSION_ID; exit 0' TERM; i=0; echo ready
while :; do {write}; done"
    );
    coven.harness("polite", &script);
    let script = format!(
        "trap '' TERM; i=0; echo ready
while :; do {write}; echo $i >> told-$COVEN_SESSION_ID; done"
    );
    coven.harness("deaf", &script);
    let ids = ["polite", "deaf", "polite", "polite", "deaf", "polite"];
    let ids = ids.map(|harness| ready(&coven, harness));
    for id in &ids {
        coven.wait_for_output(id, "\n1000 ppp");
    }
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    coven.start_daemon();
    for id in &ids {
        let events = coven.events_to_end(id);
        assert_closed_as_killed(&events);
        assert_gapless(id, &events);
        let told = fs::read_to_string(coven.work().join(format!("told-{id}"))).unwrap();
        // The last number may have been cut short by SIGKILL.
        let mut whole = told
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let told: usize = whole.next_back().unwrap().trim().parse().unwrap();
        let said = String::from_utf8(output(&events, "stdout")).unwrap();
        let lines: Vec<&str> = said.split_inclusive('\n').skip(1).collect();
        assert!(
            told >= 1000 && lines.len() >= told,
            "{told}, {}",
            lines.len()
        );
        for (line, number) in lines[..told].iter().zip(1..) {
            assert_eq!(*line, format!("{number} {pad}\n"));
        }
    }
}

#[test]
fn a_run_that_the_stop_of_the_daemon_ends_says_so_and_exits_as_by_sigterm() {
    // Several times: the client asks while the daemon is about to go.
    for _ in 0..5 {
        let coven = Coven::start();
        let words =
            "trap 'echo last words; trap - TERM; kill $$' TERM; sleep 1000 & echo ready; wait";
        coven.harness("speaker", words);
        let mut run = coven.spawn(["run", "speaker", "x"]);
        read_until(run.stdout.as_mut().unwrap(), "ready\n");
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
        let ran = finish(run);
        assert_eq!(ran.out, "last words\n", "{ran:?}");
        assert_eq!(ran.code, 143);
        let said = ran.err.strip_suffix(" was ended by the daemon's stop\n");
        assert!(
            said.is_some_and(|said| said.starts_with("coven: session ")),
            "{ran:?}"
        );
    }
}

#[test]
fn sessions_that_are_being_launched_when_the_daemon_stops_are_logged_as_ended_by_the_stop() {
    let coven = Coven::start();
    coven.harness("sleeper", "exec sleep 1000");
    let pid = coven.daemon_pid();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let body = coven.launch_body("sleeper", "x");
                let launch = || coven.try_post("/api/v1/sessions", &body);
                while launch().is_some_and(|answer| answer.status == 201) {}
            });
        }
        eventually("some are launched", || coven.sessions().len() > 20);
        kill(pid, libc::SIGTERM);
    });
    wait_until_gone(pid);
    let log = fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    let kills: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("session_kill"))
        .collect();
    assert!(kills.len() > 20, "{log}");
    let wrong: Vec<&&str> = kills
        .iter()
        .filter(|line| !line.contains("why=stop"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Runs `verb` at a terminal, which script(1) makes one of, where `answer` is typed; the exit code and what is shown.
fn at_terminal(coven: &Coven, answer: &str, verb: &str) -> (i32, String) {
    let line = format!("echo {answer} | script -qec \"'$0' {verb}\" /dev/null");
    let ran = coven.shell(&line);
    (ran.code, ran.out.replace('\r', ""))
}

#[test]
fn a_stop_names_the_sessions_that_it_ends() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let id = coven.launch("quiet", "tidy up");
    let said = format!(
        "coven: this ends 1 live session:\n  {}  quiet  tidy up\n",
        &id[..8]
    );
    let answered = |answer, verb| at_terminal(&coven, answer, verb);
    for verb in ["daemon stop", "daemon restart"] {
        let (code, out) = answered("n", verb);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(&format!("{said}Go on? [y/N] ")), "{out}");
        assert!(out.contains("the daemon goes on"), "{out}");
        assert_eq!(coven.session(&id)["status"], "running");
    }
    let ran = coven.cli(["daemon", "restart"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, said.as_str()));
    assert_eq!(coven.session(&id)["ended_by"], "daemon_stop");
    coven.launch("quiet", "again");
    let (code, out) = answered("n", "daemon restart --yes");
    assert!(code == 0 && !out.contains("Go on?"), "{out}");
    coven.launch("quiet", "and again");
    let (code, out) = answered("y", "daemon stop");
    assert!(code == 0 && out.contains("stopped (pid "), "{out}");
    // Nothing is said where nothing ends.
    let ran = coven.cli(["daemon", "stop"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_stop_warns_where_the_daemon_does_not_name_its_sessions() {
    let coven = Coven::new().env("COVEN_MAX_CONNECTIONS", "4");
    coven.start_daemon();
    coven.harness("quiet", "exec sleep 1000");
    let (pid, id) = (coven.daemon_pid(), coven.launch("quiet", "x"));
    let said = "coven: this ends the live sessions; which these are is not known: ";
    let assert_asked = |why: &str| {
        let (code, out) = at_terminal(&coven, "n", "daemon stop");
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(said) && out.contains(why), "{out}");
        assert!(out.contains("Go on? [y/N] "), "{out}");
        assert!(is_alive(pid));
    };
    // The list fails.
    let store = coven.database();
    let rename = |from, to| {
        let sql = format!("ALTER TABLE sessions RENAME COLUMN {from} TO {to}");
        store.execute_batch(&sql).unwrap();
    };
    rename("title", "heading");
    assert_asked("no such column");
    rename("heading", "title");
    // Health fails.
    let kept = || {
        let mut client = coven.connect();
        client.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        let answer = read_answer(&mut BufReader::new(&client));
        (answer.status == 200).then_some(client)
    };
    let clients: Vec<_> = (0..4)
        .map(|_| eventually_some("there is room", kept))
        .collect();
    assert_asked("connections");
    let ran = coven.cli(["daemon", "stop"]);
    assert!(ran.code == 0 && ran.err.starts_with(said), "{ran:?}");
    drop(clients);
    coven.start_daemon();
    assert_eq!(coven.session(&id)["ended_by"], "daemon_stop");
    // One that is not scheduled does not answer.
    let pid = coven.daemon_pid();
    coven.launch("quiet", "again");
    stop(pid);
    let (code, out) = at_terminal(&coven, "n", "daemon stop");
    kill(pid, libc::SIGCONT);
    assert!(code == 1 && out.contains(said), "{out}");
}
