//! Ends of sessions: by themselves, killed, timed out, or with their daemon; and their records.

use serde_json::json;

use crate::support::*;

/// Says that it is ready, and then waits for its end.
const WAITS: &str = "echo ready; exec sleep 600";
/// The same, and only SIGKILL ends it.
const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 600; done";

/// A running session that has said that it is ready.
fn running(coven: &Coven, script: &str) -> String {
    coven.harness("waits", script);
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "ready");
    id
}

fn pid_of(coven: &Coven, id: &str) -> i32 {
    coven.session(id)["pid"].as_i64().unwrap() as i32
}

/// The payload of the session's only event of this kind.
fn only(coven: &Coven, id: &str, kind: &str) -> serde_json::Value {
    let events = coven.events(id);
    let found: Vec<_> = events.iter().filter(|e| e["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {events:?}");
    payload(found[0])
}

#[test]
fn the_exit_code_decides_what_a_session_ends_as() {
    let coven = Coven::start();
    coven.harness("exits", "exit \"$2\"");
    for (code, fields, status) in [
        (0, json!({}), "completed"),
        (0, json!({ "conversationId": "c" }), "idle"),
        (3, json!({}), "failed"),
        (255, json!({ "conversationId": "c" }), "failed"),
    ] {
        let id = coven.try_launch("exits", &code.to_string(), fields).id();
        let record = coven.ended(&id);
        assert_eq!(
            (&record["status"], &record["exit_code"]),
            (&json!(status), &json!(code))
        );
        let exit = json!({ "status": status, "exitCode": code, "signal": null });
        assert_eq!(ending(&only(&coven, &id, "exit")), exit);
    }
}

#[test]
fn a_signal_that_is_not_to_end_a_session_is_only_sent() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    let names = ["INT", "HUP", "USR1", "USR2", "CONT", "WINCH"];
    let traps = names.map(|name| format!("trap 'echo got {name}' {name}; "));
    let script = format!("{}echo ready; while :; do sleep 0.05; done", traps.concat());
    let id = running(&coven, &script);
    for name in names {
        let answer = coven.post_to(&id, "kill", &json!({ "signal": name }));
        assert_eq!(
            (answer.status, answer.json()),
            (202, json!({ "ok": true, "accepted": true }))
        );
        coven.wait_for_output(&id, &format!("got {name}\n"));
    }
    let pid = pid_of(&coven, &id);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(
        coven.cli(["kill", "-s", "STOP", &id]).out,
        format!("{id} was sent STOP\n")
    );
    eventually("it is stopped", || {
        !cfg!(target_os = "linux") || state().contains(") T ")
    });
    assert_eq!(coven.session(&id)["status"], "running");
    for (body, field) in [
        (json!({ "signal": "FOO" }), "signal"),
        (json!({ "signal": 9 }), "signal"),
        (json!({ "signal": "INT", "sweep": true }), "sweep"),
    ] {
        let details = coven
            .post_to(&id, "kill", &body)
            .assert_error(400, "invalid_request");
        assert_eq!(details["field"], field);
    }
    // The stopped processes end on KILL, without a grace period, which is ten minutes here.
    assert_eq!(
        coven.cli(["kill", "-s", "KILL", &id]).out,
        format!("{id} killed\n")
    );
    let kill = json!({ "status": "killed", "signal": 9, "cause": "kill" });
    assert_eq!(only(&coven, &id, "kill"), kill);
    assert_eq!(only(&coven, &id, "exit")["signal"], 9);
    let ended = coven.post_to(&id, "kill", &json!({ "signal": "INT" }));
    let details = ended.assert_error(409, "session_not_live");
    assert_eq!(details["leftBehind"], json!([]));
}

#[test]
fn a_kill_at_once_ends_the_grace_period_of_one_that_is_under_way() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    let id = running(&coven, STUBBORN);
    assert_eq!(coven.kill_session(&id).status, 202);
    let answer = coven.post_to(&id, "kill", &json!({ "signal": "KILL" }));
    assert_eq!(answer.status, 202);
    assert_eq!(coven.ended(&id)["status"], "killed");
    assert_eq!(only(&coven, &id, "kill")["signal"], 15);
}

#[test]
fn hello_fails_when_asked_to() {
    let coven = Coven::start();
    let record = coven.run("hello", "fail");
    assert_eq!(
        (&record["status"], &record["exit_code"]),
        (&json!("failed"), &json!(3))
    );
}

#[test]
fn a_signal_that_nobody_asked_for_is_a_failure() {
    let coven = Coven::start();
    coven.harness("dies", "kill -\"$2\" $$");
    for signal in [9, 15, 6] {
        let record = coven.run("dies", &signal.to_string());
        assert_eq!(record["status"], "failed");
        assert!(record["exit_code"].is_null());
        let exit = json!({ "status": "failed", "exitCode": null, "signal": signal });
        assert_eq!(
            ending(&only(&coven, record["id"].as_str().unwrap(), "exit")),
            exit
        );
    }
}

#[test]
fn a_killed_session_is_killed_and_its_end_on_record() {
    let coven = Coven::start();
    let id = running(&coven, WAITS);
    let pid = pid_of(&coven, &id);
    let answer = coven.kill_session(&id);
    let accepted = json!({ "ok": true, "accepted": true });
    assert_eq!((answer.status, answer.json()), (202, accepted));
    let record = coven.ended(&id);
    assert_eq!(record["status"], "killed");
    assert!(record["exit_code"].is_null());
    wait_until_gone(pid);
    let ends = [
        "status:created",
        "prompt",
        "status:running",
        "kill",
        "exit",
        "status:killed",
    ];
    assert_eq!(milestones(&coven.events(&id)), ends);
    let asked = json!({ "status": "killed", "signal": 15, "cause": "kill" });
    assert_eq!(only(&coven, &id, "kill"), asked);
    let exit = json!({ "status": "killed", "exitCode": null, "signal": 15 });
    assert_eq!(ending(&only(&coven, &id, "exit")), exit);
    let details = coven
        .kill_session(&id)
        .assert_error(409, "session_not_live");
    let told = json!({ "sessionId": id, "status": "killed", "leftBehind": [] });
    assert_eq!(details, told);
}

#[test]
fn a_kill_is_answered_when_the_exit_is_committed() {
    let coven = Coven::start();
    for _ in 0..20 {
        let id = running(&coven, WAITS);
        assert_eq!(coven.kill_session(&id).status, 202);
        // Not waited for: a kill takes its two seconds only for a harness that does not die.
        assert_eq!(coven.session(&id)["status"], "killed");
        assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
    }
}

#[test]
fn a_killed_session_is_killed_whatever_its_exit_code() {
    let coven = Coven::start();
    for code in [0, 7] {
        let script = "trap 'echo last words; exit CODE' TERM; echo ready
            while :; do sleep 0.05; done";
        let id = running(&coven, &script.replace("CODE", &code.to_string()));
        coven.kill_session(&id);
        let record = coven.ended(&id);
        assert_eq!(record["status"], "killed");
        assert_eq!(record["exit_code"], code);
        let exit = json!({ "status": "killed", "exitCode": code, "signal": null });
        assert_eq!(ending(&only(&coven, &id, "exit")), exit);
        let said = output(&coven.events(&id), "stdout");
        assert!(said.ends_with(b"last words\n"), "its last output is there");
    }
}

#[test]
fn a_harness_that_ignores_the_first_signal_gets_the_last() {
    let coven = Coven::start();
    let id = running(&coven, STUBBORN);
    assert_eq!(coven.kill_session(&id).status, 202);
    assert_eq!(coven.ended(&id)["status"], "killed");
    let exit = json!({ "status": "killed", "exitCode": null, "signal": 9 });
    assert_eq!(ending(&only(&coven, &id, "exit")), exit);
    let asked = json!({ "status": "killed", "signal": 15, "cause": "kill" });
    assert_eq!(only(&coven, &id, "kill"), asked);
}

#[test]
fn killing_twice_records_one_kill() {
    // The grace never ends by itself: the session is dying for as long as the test wants.
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    let id = running(&coven, STUBBORN);
    let pid = pid_of(&coven, &id);
    // Each is answered after two seconds, since the harness does not end.
    let answer = coven.kill_session(&id);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(coven.session(&id)["status"], "running");
    let ran = coven.cli(["kill", &id]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("asked to end"), "{ran:?}");
    kill(pid, libc::SIGKILL);
    assert_eq!(coven.ended(&id)["status"], "killed");
    only(&coven, &id, "kill");
    only(&coven, &id, "exit");
}

#[test]
fn a_killed_session_leaves_no_process() {
    let coven = Coven::start();
    // One ignores SIGTERM and lets go of the pipes, one has a child of its own.
    let script = "sleep 600 & (trap '' TERM; exec >/dev/null 2>&1; sleep 600; sleep 600) &
        (sleep 600 & wait) & echo ready; wait";
    let id = running(&coven, script);
    eventually("all are there", || coven.session_processes(&id).len() >= 6);
    coven.kill_session(&id);
    coven.events_to_end(&id);
    eventually("all are gone", || coven.session_processes(&id).is_empty());
}

#[test]
fn a_stopped_harness_can_be_killed() {
    let coven = Coven::start();
    let id = running(&coven, WAITS);
    let pid = pid_of(&coven, &id);
    kill(-pid, libc::SIGSTOP);
    eventually("it is stopped", || process_state(pid) == Some('T'));
    coven.kill_session(&id);
    let exit = json!({ "status": "killed", "exitCode": null, "signal": 15 });
    coven.events_to_end(&id);
    assert_eq!(ending(&only(&coven, &id, "exit")), exit);
}

#[test]
fn a_session_that_has_run_for_its_time_is_killed() {
    let coven = Coven::start();
    coven.harness("waits", WAITS);
    let launched = coven.try_launch("waits", "x", json!({ "timeoutMs": 50 }));
    assert_eq!(coven.ended(&launched.id())["status"], "killed");
    only(&coven, &launched.id(), "kill");
    coven.harness("quick", "exit 0");
    let launched = coven.try_launch("quick", "x", json!({ "timeoutMs": 600_000 }));
    assert_eq!(coven.ended(&launched.id())["status"], "completed");
}

#[test]
fn a_session_that_reads_as_ended_can_be_archived_and_deleted_at_once() {
    let coven = Coven::start();
    coven.harness("quick", "exit 0");
    for round in 0..60 {
        let id = coven.launch("quick", "x");
        let path = format!("/api/v1/sessions/{id}");
        // A tight loop of reads, which meets the moment of the end better than a long poll.
        eventually_some("the end", || {
            (coven.session(&id)["status"] != "running").then_some(())
        });
        let kill = coven.kill_session(&id);
        let details = kill.assert_error(409, "session_not_live");
        assert_eq!(details["status"], "completed", "round {round}");
        let archived = coven.post_to(&id, "archive", &json!({}));
        assert_eq!(archived.status, 200, "round {round}: {}", archived.text());
        assert_eq!(coven.delete(&path).status, 200, "round {round}");
    }
}

#[test]
fn a_session_that_reads_as_running_takes_input_at_once() {
    let coven = Coven::start();
    coven.harness_with(
        "reads",
        "read -r line; echo \"$line\"",
        json!({ "stdin": "open" }),
    );
    for round in 0..100 {
        let id = coven.launch("reads", "x");
        let answer = coven.input(&id, "hello\n");
        assert_eq!(answer.status, 202, "round {round}: {}", answer.text());
        assert_eq!(output(&coven.events_to_end(&id), "stdout"), b"hello\n");
    }
}

#[test]
fn sessions_of_a_dead_daemon_are_orphaned_and_ended() {
    let coven = Coven::start();
    // One child in the harness's group, and one that has left it.
    let id = running(&coven, "sleep 600 & setsid sleep 600 & echo ready; wait");
    let ended = coven.run("hello", "before")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = coven.events(&id);
    coven.crash();
    assert!(!coven.processes().is_empty(), "nothing has ended them yet");
    coven.start_daemon();
    let daemon = coven.daemon_pid();
    for pid in coven.processes() {
        if pid != daemon {
            wait_until_gone(pid);
        }
    }
    let record = coven.session(&id);
    assert_eq!(record["status"], "orphaned");
    assert!(record["exit_code"].is_null());
    let events = coven.events(&id);
    assert_gapless(&id, &events);
    assert_eq!(events[..shown.len()], shown);
    let ends = [
        "status:created",
        "prompt",
        "status:running",
        "status:orphaned",
    ];
    assert_eq!(milestones(&events), ends, "and no exit, which nobody saw");
    assert_eq!(coven.session(&ended)["status"], "completed");
    let kill = coven.kill_session(&id);
    assert_eq!(
        kill.assert_error(409, "session_not_live")["status"],
        "orphaned"
    );
    assert_eq!(coven.post_to(&id, "archive", &json!({})).status, 200);
}

#[test]
fn a_grandchild_that_keeps_the_pipe_does_not_keep_the_session() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "200");
    // The quiet one holds the pipes open; the other also goes on writing to them.
    for child in ["sleep 600", "while :; do echo more; sleep 0.01; done"] {
        coven.harness("parent", &format!("({child}) &\necho done; exit 0"));
        let id = coven.launch("parent", "x");
        let events = coven.events_to_end(&id);
        assert_eq!(coven.session(&id)["status"], "completed");
        assert_gapless(&id, &events);
        let told = milestones(&events);
        assert_eq!(told[3..], ["exit", "status:completed"]);
        // Either of the two can be first.
        let written = output(&events, "stdout");
        let mut lines = written.split(|&b| b == b'\n');
        assert!(lines.any(|line| line == b"done"));
    }
}

#[test]
fn a_harness_that_closes_its_output_lives_on() {
    let coven = Coven::start();
    let script = "echo ready; exec >&- 2>&-; read -r line; exit 4";
    coven.harness_with("waits", script, json!({ "stdin": "open" }));
    let id = coven.launch("waits", "x");
    coven.wait_for_output(&id, "ready");
    let pid = pid_of(&coven, &id);
    // Both pipes are closed once nothing but stdin is left.
    eventually_some("closed pipes", || {
        let open = |fd| std::path::Path::new(&format!("/proc/{pid}/fd/{fd}")).exists();
        (!open(1) && !open(2)).then_some(())
    });
    assert_eq!(coven.session(&id)["status"], "running");
    assert_eq!(coven.input(&id, "go\n").status, 202);
    let record = coven.ended(&id);
    assert_eq!(
        (&record["status"], &record["exit_code"]),
        (&json!("failed"), &json!(4))
    );
}
