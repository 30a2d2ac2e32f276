//! Processes left behind that hold a harness's streams: their output is complete, before and after the session's end.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::*;

/// A daemon that waits for a holder no longer than it takes to see one: what it writes is late.
fn impatient() -> Coven {
    Coven::start_with_env("COVEN_DRAIN_MAX_MS", "0")
}

/// The session's last status.
fn status(coven: &Coven, id: &str) -> String {
    coven.session(id)["status"].as_str().unwrap().to_owned()
}

/// Waits until the session's output on `stream` holds `text`, also behind its end; gives all events.
fn events_with(coven: &Coven, id: &str, stream: &str, text: &str) -> Vec<Value> {
    eventually_some(text, || {
        let events = coven.events(id);
        let said = String::from_utf8_lossy(&output(&events, stream)).into_owned();
        said.contains(text).then_some(events)
    })
}

/// Asserts that seqs have no gap, and that what is late stands behind the closing status, and nothing else does.
#[track_caller]
fn assert_late_is_told(id: &str, events: &[Value]) {
    assert_gapless(id, events);
    let is_final = |event: &Value| {
        event["kind"] == "status"
            && !["created", "running"].contains(&payload(event)["status"].as_str().unwrap())
    };
    let end = events.iter().position(is_final).expect("a closing status");
    assert_eq!(events[end - 1]["kind"], "exit");
    for (at, event) in events.iter().enumerate() {
        let late = payload(event)["late"].clone();
        match event["kind"].as_str().unwrap() {
            "output" if at > end => assert_eq!(late, true, "{event}"),
            "output" => assert!(late.is_null(), "{event}"),
            kind => assert!(at <= end || kind == "error", "{event}"),
        }
    }
}

fn errors(events: &[Value]) -> Vec<Value> {
    let errors = events.iter().filter(|event| event["kind"] == "error");
    errors.map(payload).collect()
}

#[test]
fn a_filter_that_is_slower_than_the_harness_loses_no_line() {
    let coven = Coven::start();
    if !has_tools(&["bash"]) {
        return;
    }
    let filter = "while read -r line; do sleep 0.12; echo \"slow $line\"; done";
    for (redirection, stream) in [
        (format!("exec > >({filter})"), "stdout"),
        (format!("exec 2> >({filter} >&2)"), "stderr"),
    ] {
        let fd = if stream == "stdout" { 1 } else { 2 };
        let script = format!(
            "exec bash -c '{redirection}; for n in 1 2 3 4 5 6 7 8 9 10; do echo $n >&{fd}; done'"
        );
        coven.harness("wraps", &script);
        let id = coven.launch("wraps", "x");
        assert_eq!(coven.ended(&id)["status"], "completed");
        let events = events_with(&coven, &id, stream, "slow 10\n");
        let expected: String = (1..=10).map(|n| format!("slow {n}\n")).collect();
        assert_eq!(output(&events, stream), expected.as_bytes());
        assert_late_is_told(&id, &events);
    }
}

#[test]
fn a_server_that_is_left_in_the_background_lives_on_and_its_output_is_late() {
    let coven = impatient();
    if !has_tools(&["python3"]) {
        return;
    }
    let script = "python3 -u -m http.server 0 --bind 127.0.0.1 & echo started; exit 0";
    coven.harness("serves", script);
    let id = coven.launch("serves", "x");
    assert_eq!(coven.ended(&id)["status"], "completed");
    let events = events_with(&coven, &id, "stdout", "port ");
    let said = String::from_utf8(output(&events, "stdout")).unwrap();
    assert!(said.contains("started\n"), "{said}");
    let port = said
        .split("port ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    for name in ["one", "two"] {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "GET /{name} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 404 "), "{answer}");
        let events = events_with(&coven, &id, "stderr", &format!("GET /{name} "));
        assert_late_is_told(&id, &events);
    }
    assert!(!coven.session_processes(&id).is_empty(), "the server lives");
}

#[test]
fn all_ways_to_hold_a_stream_are_seen() {
    let coven = impatient();
    let writes =
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo $n; sleep 0.02; done";
    for (name, script, stream) in [
        ("a child", format!("({writes}) &"), "stdout"),
        (
            "a session of its own",
            format!("setsid sh -c '{writes}' &"),
            "stdout",
        ),
        ("a daemon", format!("(setsid sh -c '{writes}' &)"), "stdout"),
        (
            "an empty environment",
            format!("(env -i setsid sh -c '{writes}' &)"),
            "stdout",
        ),
        (
            "stderr alone",
            format!("(setsid sh -c '{writes}' >&2 2>&2 &) >/dev/null"),
            "stderr",
        ),
        (
            "another descriptor",
            format!("(setsid sh -c 'exec 7>&1 >/dev/null; ({writes}) >&7' &)"),
            "stdout",
        ),
    ] {
        let script = script.replace(">&2 2>&2", "1>&2");
        coven.harness("leaves", &format!("{script}\necho end >&2; exit 0"));
        let id = coven.launch("leaves", "x");
        assert_eq!(coven.ended(&id)["status"], "completed", "{name}");
        let events = events_with(&coven, &id, stream, "20\n");
        let said = String::from_utf8(output(&events, stream)).unwrap();
        let lines: Vec<&str> = said.lines().filter(|line| *line != "end").collect();
        let expected: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        assert_eq!(lines, expected, "{name}");
        assert_late_is_told(&id, &events);
        assert_eq!(errors(&events), [json!(null); 0], "{name}");
    }
}

#[test]
fn a_late_flood_is_whole_whatever_its_bytes_are() {
    let coven = impatient();
    let script = "(until [ -e go ]; do sleep 0.02; done; cat bytes; echo over >&2) & exit 0";
    coven.harness("floods", script);
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(coven.work().join("bytes"), &bytes).unwrap();
    let id = coven.launch("floods", "x");
    assert_eq!(coven.ended(&id)["status"], "completed");
    std::fs::write(coven.work().join("go"), "").unwrap();
    let events = events_with(&coven, &id, "stderr", "over");
    assert!(output(&events, "stdout") == bytes);
    assert_late_is_told(&id, &events);
}

#[test]
fn a_stream_that_nobody_of_the_session_holds_is_closed_at_once() {
    let coven = Coven::start();
    coven.harness("waits", "echo ready; until [ -e go ]; do sleep 0.02; done");
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "ready");
    let pid = coven.session(&id)["pid"].as_i64().unwrap();
    let mut held = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{pid}/fd/1"))
        .unwrap();
    std::fs::write(coven.work().join("go"), "").unwrap();
    assert_eq!(coven.ended(&id)["status"], "completed");
    eventually("it is closed", || held.write_all(b"to nobody\n").is_err());
}

#[test]
fn bytes_left_in_a_closed_stream_are_counted_in_an_event() {
    let coven = Coven::start();
    coven.harness("waits", "echo ready; until [ -e go ]; do sleep 0.02; done");
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "ready\n");
    let pid = coven.session(&id)["pid"].as_i64().unwrap();
    // Somebody who is not of the session, and never stops.
    let mut held = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{pid}/fd/1"))
        .unwrap();
    let flood = std::thread::spawn(move || {
        let mut written = 0;
        while held.write_all(&[b'x'; 4096]).is_ok() {
            written += 4096;
        }
        written
    });
    std::fs::write(coven.work().join("go"), "").unwrap();
    assert_eq!(coven.ended(&id)["status"], "completed");
    let written: usize = flood.join().unwrap();
    let events = coven.events(&id);
    let stored = output(&events, "stdout").len() - "ready\n".len();
    assert!(stored <= written + 4096, "{stored} of {written}");
    if stored < written {
        let told = errors(&events);
        assert_eq!(told[0]["code"], "output_dropped", "{told:?}");
        let message = told[0]["message"].as_str().unwrap();
        assert!(message.starts_with("stdout "), "{message}");
    }
}

#[test]
fn late_output_is_as_old_as_it_is_and_not_as_its_session() {
    let coven = impatient();
    let id = late(&coven, "a");
    let aged = "UPDATE sessions SET created_at = created_at - ?1, updated_at = updated_at - ?1, ended_at = ended_at - ?1";
    let days = 40 * 24 * 60 * 60 * 1000_i64;
    coven.database().execute(aged, [days]).unwrap();
    ask_for_line(&coven, "a", 0);
    events_with(&coven, &id, "stdout", "line 0\n");
    let pruned = coven.cli(["logs", "prune"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert_late_is_told(&id, &events_with(&coven, &id, "stdout", "line 0\n"));
}

#[test]
fn a_time_limit_does_not_run_while_a_holder_is_waited_for() {
    let coven = Coven::start();
    let script = "(sleep 1; echo last) & echo first; exit 0";
    coven.harness("leaves", script);
    let id = coven
        .try_launch("leaves", "x", json!({ "timeoutMs": 400 }))
        .id();
    assert_eq!(coven.ended(&id)["status"], "completed");
    let events = events_with(&coven, &id, "stdout", "last");
    assert_eq!(milestones(&events)[3..], ["exit", "status:completed"]);
    let exit = events.iter().find(|event| event["kind"] == "exit").unwrap();
    let record = coven.session(&id);
    assert_eq!(
        exit["created_at"], record["ended_at"],
        "the time of the exit"
    );
}

/// A session that has ended, and whose child goes on writing a line for each that is asked for by a file.
fn late(coven: &Coven, name: &str) -> String {
    let script = "trap '' PIPE
        (n=0; while :; do until [ -e \"$2.$n\" ]; do sleep 0.02; done
            echo \"line $n\" || { touch \"$2.closed\"; exit; }; n=$((n + 1)); done) & exit 0";
    coven.harness("leaves", script);
    let id = coven.launch("leaves", name);
    assert_eq!(coven.ended(&id)["status"], "completed");
    id
}

fn ask_for_line(coven: &Coven, name: &str, number: usize) {
    std::fs::write(coven.work().join(format!("{name}.{number}")), "").unwrap();
}

#[test]
fn followers_of_a_session_end_with_it_and_pages_go_on() {
    let coven = impatient();
    let id = late(&coven, "a");
    ask_for_line(&coven, "a", 0);
    let before = events_with(&coven, &id, "stdout", "line 0\n");
    let last = before.len();
    // At the end: at once, and empty, although the stream is open.
    let path = format!("/api/v1/events?sessionId={id}&afterSeq={last}&waitMs=60000");
    let page = coven.get(&path).json();
    assert_eq!(
        (&page["events"], &page["hasMore"]),
        (&json!([]), &json!(false))
    );
    for verb in ["attach", "wait"] {
        let ran = coven.cli([verb, &id]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{verb}: {ran:?}");
    }
    ask_for_line(&coven, "a", 1);
    let after = events_with(&coven, &id, "stdout", "line 1\n");
    assert_eq!(after[..last], before[..]);
    let page = coven.events_after(&id, last as u64).json();
    assert_eq!(page["events"].as_array().unwrap()[..], after[last..]);
    // `run` itself, too: the child lives.
    let ran = coven.cli(["run", "leaves", "b"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_session_with_a_late_stream_is_an_ended_one() {
    let coven = impatient();
    let id = late(&coven, "a");
    assert_eq!(coven.get("/api/v1/health").json()["sessions"]["live"], 0);
    coven
        .kill_session(&id)
        .assert_error(409, "session_not_live");
    coven.input(&id, "x").assert_error(409, "session_not_live");
    for verb in ["archive", "summon", "archive"] {
        assert_eq!(coven.post_to(&id, verb, &json!({})).status, 200, "{verb}");
    }
    ask_for_line(&coven, "a", 0);
    assert_late_is_told(&id, &events_with(&coven, &id, "stdout", "line 0\n"));
    assert!(coven.session(&id)["archived_at"].is_string());
    assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
    // Its stream is closed, and nothing of what it still writes gets in the way of others.
    eventually("it is closed", || {
        (1..50).for_each(|number| ask_for_line(&coven, "a", number));
        coven.work().join("a.closed").exists()
    });
    assert_eq!(coven.run("hello", "x")["status"], "completed");
    assert_eq!(coven.get(&format!("/api/v1/sessions/{id}")).status, 404);
}

#[test]
fn a_deletion_in_a_late_flood_stops_nothing_else() {
    let coven = impatient();
    coven.harness("floods", "yes & exit 0");
    for _ in 0..5 {
        let id = coven.launch("floods", "x");
        assert_eq!(coven.ended(&id)["status"], "completed");
        assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
        assert_eq!(coven.run("hello", "x")["status"], "completed");
    }
    let health = coven.get("/api/v1/health").json();
    assert_eq!(health["eventWriter"]["state"], "healthy");
    eventually("no flood is left", || coven.processes_at_work().is_empty());
}

#[test]
fn the_oldest_late_stream_gives_its_place_to_a_new_session() {
    let coven = Coven::new()
        .env("COVEN_DRAIN_MAX_MS", "0")
        .env("COVEN_MAX_SESSIONS", "2");
    coven.start_daemon();
    let (first, second) = (late(&coven, "a"), late(&coven, "b"));
    let third = late(&coven, "c");
    let closed = eventually_some("an event", || {
        let errors = errors(&coven.events(&first));
        (!errors.is_empty()).then_some(errors)
    });
    for error in &closed {
        assert_eq!(error["code"], "late_stream_closed");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("0 bytes"), "{message}");
    }
    ask_for_line(&coven, "a", 0);
    eventually("it has seen that", || {
        coven.work().join("a.closed").exists()
    });
    for (name, id) in [("b", second), ("c", third)] {
        ask_for_line(&coven, name, 0);
        let events = events_with(&coven, &id, "stdout", "line 0\n");
        assert_eq!(errors(&events), [json!(null); 0]);
    }
}

#[test]
fn a_stop_of_the_daemon_closes_late_streams_and_says_so() {
    let coven = impatient();
    let ids = ["a", "b"].map(|name| late(&coven, name));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    coven.start_daemon();
    for id in &ids {
        let events = coven.events(id);
        assert_late_is_told(id, &events);
        let codes: Vec<Value> = errors(&events).iter().map(|e| e["code"].clone()).collect();
        assert_eq!(
            codes,
            ["late_stream_closed", "late_stream_closed"],
            "one a stream"
        );
        assert_eq!(status(&coven, id), "completed");
    }
}

#[test]
fn a_kill_while_a_holder_is_waited_for_ends_the_holder() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "60000");
    coven.harness(
        "leaves",
        "(setsid sh -c 'while :; do echo on; sleep 0.1; done' &); echo ready; exit 0",
    );
    let id = coven.launch("leaves", "x");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    eventually("it has exited", || {
        process_state(pid).is_none_or(|state| state == 'Z')
    });
    let is_in_time = coven.kill_session(&id).status == 202;
    coven.ended(&id);
    assert_late_is_told(&id, &coven.events(&id));
    // On a machine that is too slow for it, the session had ended before.
    if is_in_time {
        assert_eq!(coven.processes_at_work(), [0; 0]);
    }
}
