//! Every error of the contract, provoked for real: its status, its code, and what its details hold.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

/// The field that an `invalid_request` names.
#[track_caller]
fn wrong_field(answer: &Answer) -> Value {
    answer.assert_error(400, "invalid_request")["field"].clone()
}

/// Asserts that `refused` launches have left no session, and each a line in the log.
fn assert_no_session(coven: &Coven, refused: &[Answer]) {
    assert_eq!(
        coven.get("/api/v1/sessions?includeArchived=true").json()["sessions"],
        json!([])
    );
    assert_eq!(coven.get("/api/v1/health").json()["sessions"]["total"], 0);
    let log = coven.home().join("logs/daemon.log");
    for answer in refused {
        let id = answer.header("x-request-id").unwrap();
        let lines = eventually_some("a line in the log", || {
            let log = std::fs::read_to_string(&log).unwrap();
            let lines = log
                .lines()
                .filter(|line| line.contains(&format!("request={id} ")));
            Some(lines.count()).filter(|n| *n > 0)
        });
        assert_eq!(lines, 1, "{id}");
    }
}

#[test]
fn a_body_that_is_no_json_object_is_an_invalid_request() {
    let coven = Coven::start();
    let id = external_id(1);
    coven.register(&id, json!({}));
    let routes = [
        "/api/v1/sessions".to_owned(),
        "/api/v1/sessions/external".to_owned(),
        "/api/v1/actions".to_owned(),
        format!("/api/v1/sessions/{id}/input"),
        format!("/api/v1/sessions/{id}/complete"),
    ];
    for route in routes {
        for body in ["{", "[]", "\"x\"", "17", "{} {}", "{\"a\":\"\\ud800\"}"] {
            let answer = coven.request("POST", &route, &[], body.as_bytes());
            answer.assert_error(400, "invalid_request");
        }
        let not_utf8 = coven.request("POST", &route, &[], b"{\"prompt\":\"\xff\"}");
        not_utf8.assert_error(400, "invalid_request");
    }
    // No other thread's stack pays for a deep one.
    let deep = "[".repeat(500_000);
    let answer = coven.request("POST", "/api/v1/sessions", &[], deep.as_bytes());
    answer.assert_error(400, "invalid_request");
}

/// Wrong fields of a launch, with a value; `file` is no directory.
fn wrong_fields(file: &Path) -> Vec<(&'static str, Value)> {
    vec![
        ("projectRoot", Value::Null),
        ("projectRoot", json!("relative/path")),
        ("projectRoot", json!("/no/such/directory")),
        ("projectRoot", json!(file)),
        ("projectRoot", json!("/tmp\0")),
        ("projectRoot", json!(7)),
        ("harness", Value::Null),
        ("harness", json!(["hello"])),
        ("prompt", Value::Null),
        ("prompt", json!("")),
        ("prompt", json!(1)),
        ("prompt", json!("a\0b")),
        ("prompt", json!(" \r\n\t")),
        ("cwd", json!(true)),
        ("title", json!({})),
        ("model", json!(1)),
        ("conversationId", json!([])),
        ("familiarId", json!(false)),
        ("labels", json!("a")),
        ("labels", json!([1])),
        ("labels", json!(["l".repeat(129)])),
        ("labels", json!(vec!["l"; 33])),
        ("visibility", json!("secret")),
        ("launchMode", json!("interactive")),
        ("launchMode", json!("stream")),
        ("launchMode", json!("Stream")),
        ("launchMode", json!(1)),
        ("model", json!("gpt-5")),
        ("model", json!("a\0b")),
        ("conversation", json!("x")),
        ("conversation.mode", json!({ "mode": "resume", "id": "x" })),
        ("conversation.id", json!({ "mode": "init", "id": "--x" })),
        ("launchPolicy", json!(true)),
        ("addDirs", json!("/tmp")),
        ("args", json!("-v")),
        ("env", json!("A=1")),
        ("env", json!({ "A": 1 })),
        ("env", json!({ "A": null })),
        ("env", json!({ "A=B": "1" })),
        ("env", json!({ "": "1" })),
        ("env", json!({ "A": "a\0b" })),
        ("env", json!({ "A": "x".repeat(64 * 1024) })),
        ("sweep", json!("yes")),
        ("executionBinding", json!({})),
        ("requestAdoption", json!(false)),
    ]
}

/// Wrong limits and ends of a launch.
fn wrong_limits() -> Vec<(&'static str, Value)> {
    vec![
        ("timeoutMs", json!(0)),
        ("timeoutMs", json!(-1)),
        ("timeoutMs", json!(1.5)),
        ("timeoutMs", json!("1")),
        ("idleTimeoutMs", json!(0)),
        ("idleTimeoutMs", json!("1s")),
        ("maxTokens", json!(0)),
        ("maxTokens", json!(-1)),
        ("maxTokens", json!(1)),
        ("onEnd", json!("remove")),
        ("onEnd", json!("Delete")),
        ("onEnd", json!("")),
        ("onEnd", json!(true)),
        ("onEnd", json!(["archive"])),
    ]
}

#[test]
fn a_wrong_field_of_a_launch_is_named_and_leaves_no_session() {
    let coven = Coven::start();
    let file = coven.work().join("file");
    std::fs::write(&file, "").unwrap();
    let mut refused = Vec::new();
    for (field, value) in [wrong_fields(&file), wrong_limits()].concat() {
        let name = field.split('.').next().unwrap();
        let answer = coven.try_launch("hello", "x", json!({ name: value }));
        assert_eq!(wrong_field(&answer), field, "{value}");
        refused.push(answer);
    }
    assert_no_session(&coven, &refused);
}

#[test]
fn an_unknown_harness_is_answered_with_the_known_ones() {
    let coven = Coven::start();
    coven.harness("mine", "exit 0");
    let answer = coven.try_launch("yours", "x", json!({}));
    let details = answer.assert_error(400, "invalid_request");
    assert_eq!(details["field"], "harness");
    let known = details["known"].as_array().unwrap();
    for id in [
        "hello", "codex", "claude", "copilot", "opencode", "gemini", "mine",
    ] {
        assert!(known.contains(&json!(id)), "{id}: {known:?}");
    }
    assert_no_session(&coven, &[answer]);
}

#[test]
fn a_prompt_longer_than_an_argument_is_told_its_bound() {
    let coven = Coven::start();
    let answer = coven.try_launch("hello", &"x".repeat(131_072), json!({}));
    let details = answer.assert_error(400, "invalid_request");
    assert_eq!(details["maxBytes"], 131_071);
    assert_no_session(&coven, &[answer]);
}

#[test]
fn a_working_directory_outside_the_root_is_a_violation() {
    let coven = Coven::start();
    let work = coven.work();
    std::fs::create_dir(work.join("root")).unwrap();
    std::fs::create_dir(work.join("root2")).unwrap();
    std::fs::write(work.join("root/file"), "").unwrap();
    std::os::unix::fs::symlink("/", work.join("root/out")).unwrap();
    let root = json!(work.join("root"));
    let mut refused = Vec::new();
    let beside = work.join("root2");
    for cwd in [
        "..",
        "/",
        "out",
        "out/tmp",
        "missing",
        "file",
        beside.to_str().unwrap(),
    ] {
        let fields = json!({ "projectRoot": root, "cwd": cwd });
        let answer = coven.try_launch("hello", "x", fields);
        let details = answer.assert_error(400, "project_root_violation");
        assert_eq!(details["projectRoot"], root, "{cwd}");
        assert!(details["cwd"].is_string(), "{cwd}");
        refused.push(answer);
    }
    assert_no_session(&coven, &refused);
}

#[test]
fn a_harness_that_is_not_installed_says_how_to_get_it() {
    let coven = Coven::start();
    coven.harness_with(
        "away",
        "",
        json!({ "install_hint": "Install it so.", "login_hint": "Log in so." }),
    );
    std::fs::remove_file(coven.home().join("../bin/away")).unwrap();
    let answer = coven.try_launch("away", "x", json!({}));
    let details = answer.assert_error(422, "harness_not_found");
    let expected = json!({ "harness": "away", "executable": "away", "installHint": "Install it so.",
            "loginHint": "Log in so.", "daemonPath": format!("{}:/usr/local/bin:/usr/bin:/bin", coven.bin().display()) });
    assert_eq!(details, expected);
    assert_no_session(&coven, &[answer]);
}

#[test]
fn a_spawn_that_fails_leaves_a_failed_session() {
    let coven = Coven::start();
    coven.harness("broken", "");
    let program = coven.home().join("../bin/broken");
    for content in ["#!/no/such/interpreter\n", "\x7fELF, but not really"] {
        std::fs::write(&program, content).unwrap();
        let answer = coven.try_launch("broken", "x", json!({}));
        let details = answer.assert_error(500, "launch_failed");
        assert!(details["reason"].as_str().is_some_and(|r| !r.is_empty()));
        let id = details["sessionId"].as_str().unwrap();
        let record = coven.session(id);
        assert_eq!(record["status"], "failed");
        assert!(record["exit_code"].is_null());
        let events = coven.events(id);
        assert_eq!(
            milestones(&events),
            ["status:created", "prompt", "error", "status:failed"]
        );
        assert_eq!(payload(&events[2])["code"], "launch_failed");
        assert!(payload(&events[2])["message"].is_string());
        assert_eq!(coven.post_to(id, "archive", &json!({})).status, 200);
    }
}

#[test]
fn a_session_that_is_not_there_is_not_found_by_any_route() {
    let coven = Coven::start();
    let real = external_id(1);
    coven.register(&real, json!({}));
    let shouted = real.replace("0000-4000", "ABCD-4000");
    let encoded = real.replace('-', "%2D");
    for id in [&external_id(7), "x", "..", &shouted, &encoded, "%00"] {
        let path = format!("/api/v1/sessions/{id}");
        for answer in [
            coven.get(&path),
            coven.get(&format!("{path}/events")),
            coven.get(&format!("/api/v1/events?sessionId={id}")),
            coven.delete(&path),
            coven.input(id, "x"),
            coven.kill_session(id),
            coven.post_to(id, "archive", &json!({})),
            coven.post_to(id, "summon", &json!({})),
            coven.post_to(id, "complete", &json!({})),
        ] {
            let details = answer.assert_error(404, "session_not_found");
            assert_eq!(details["sessionId"], id);
        }
    }
}

#[test]
fn a_session_that_has_ended_takes_no_input_and_no_kill() {
    let coven = Coven::start();
    coven.harness_with("quick", "exit 3", json!({ "stdin": "open" }));
    let id = coven.run("quick", "x")["id"].as_str().unwrap().to_owned();
    let told = json!({ "sessionId": id, "status": "failed" });
    let left = merged(told.clone(), json!({ "leftBehind": [] }));
    for (answer, told) in [
        (coven.input(&id, "x"), told),
        (coven.kill_session(&id), left),
    ] {
        assert_eq!(answer.assert_error(409, "session_not_live"), told);
    }
}

#[test]
fn a_session_that_has_ended_takes_no_input_whatever_the_body() {
    let coven = Coven::start();
    coven.harness_with("quick", "exit 0", json!({ "stdin": "open" }));
    let id = coven.run("quick", "x")["id"].as_str().unwrap().to_owned();
    let long = "x".repeat(500_000);
    for body in [
        json!({}),
        json!([]),
        json!("x"),
        json!({ "data": 1 }),
        json!({ "eof": "yes" }),
        json!({ "eof": true }),
        json!({ "eof": false }),
        json!({ "data": "" }),
        json!({ "data": long, "eof": true }),
        json!({ "text": "x" }),
    ] {
        let details = coven
            .post_to(&id, "input", &body)
            .assert_error(409, "session_not_live");
        assert_eq!(details, json!({ "sessionId": id, "status": "completed" }));
    }
    coven
        .post_to(&external_id(3), "input", &json!({}))
        .assert_error(404, "session_not_found");
}

#[test]
fn a_running_session_is_neither_archived_nor_deleted() {
    let coven = Coven::start();
    coven.harness("waits", "exec sleep 600");
    let own = coven.launch("waits", "x");
    let external = external_id(1);
    coven.register(&external, json!({}));
    for id in [&own, &external] {
        for answer in [
            coven.post_to(id, "archive", &json!({})),
            coven.delete(&format!("/api/v1/sessions/{id}")),
        ] {
            answer.assert_error(409, "session_live");
        }
        assert_eq!(coven.session(id)["status"], "running");
    }
}

#[test]
fn a_harness_without_a_stdin_takes_no_input() {
    let coven = Coven::start();
    coven.harness("deaf", "exec sleep 600");
    let id = coven.launch("deaf", "x");
    coven
        .input(&id, "x")
        .assert_error(422, "input_not_accepted");
    let external = external_id(1);
    coven.register(&external, json!({}));
    coven
        .input(&external, "x")
        .assert_error(422, "input_not_accepted");
}

#[test]
fn input_says_what_it_is_or_is_refused() {
    let coven = Coven::start();
    coven.harness_with("reads", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("reads", "x");
    for (body, field) in [
        (json!({}), "data"),
        (json!({ "data": 1 }), "data"),
        (json!({ "data": null }), "data"),
        (json!({ "eof": false }), "data"),
        (json!({ "eof": 1 }), "eof"),
        (json!({ "text": [] }), "text"),
    ] {
        assert_eq!(wrong_field(&coven.post_to(&id, "input", &body)), field);
    }
    assert_eq!(typed(&coven.events(&id)), [] as [Value; 0]);
}

#[test]
fn input_for_a_harness_that_never_reads_reaches_a_bound() {
    let coven = Coven::start();
    coven.harness_with("deaf", "exec sleep 600", json!({ "stdin": "open" }));
    let id = coven.launch("deaf", "x");
    let data = "x".repeat(300_000);
    let mut accepted = 0;
    let full = loop {
        let answer = coven.input(&id, &data);
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 100, "there is no bound");
    };
    full.assert_error(429, "input_backlog_full");
    assert_eq!(coven.kill_session(&id).status, 202, "nobody waits for it");
    assert_eq!(coven.ended(&id)["status"], "killed");
    let recorded: usize = typed(&coven.events(&id))
        .iter()
        .map(|input| input["data"].as_str().unwrap().len())
        .sum();
    assert_eq!(recorded, accepted * data.len(), "nothing that was refused");
}

#[test]
fn input_that_the_harness_can_no_longer_take_fails() {
    let coven = Coven::start();
    coven.harness_with(
        "deaf",
        "exec <&-; echo ready; exec sleep 600",
        json!({ "stdin": "open" }),
    );
    let id = coven.launch("deaf", "x");
    coven.wait_for_output(&id, "ready");
    // Only writing to it shows that nobody reads any more.
    assert!([202, 500].contains(&coven.input(&id, "x").status));
    coven.events_until(&id, |event| event["kind"] == "error");
    let details = coven.input(&id, "x").assert_error(500, "send_input_failed");
    assert_eq!(details["sessionId"], id);
}

#[test]
fn a_registration_over_a_daemons_session_is_a_conflict() {
    let coven = Coven::start();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    coven
        .register(&id, json!({}))
        .assert_error(409, "session_id_conflict");
    assert_eq!(coven.session(&id)["external"], false);
}

#[test]
fn a_registration_names_its_wrong_field() {
    let coven = Coven::start();
    for (field, value) in [
        ("id", Value::Null),
        ("id", json!("")),
        ("id", json!("a/b")),
        ("id", json!(" x")),
        ("id", json!("x\n")),
        ("id", json!("x?")),
        ("id", json!("x#1")),
        ("id", json!("x".repeat(201))),
        ("id", json!(7)),
        ("projectRoot", json!("relative")),
        ("projectRoot", Value::Null),
        ("projectRoot", json!("/some\0where")),
        ("harness", json!("")),
        ("harness", json!("o\0ther")),
        ("title", json!("t\0")),
        ("labels", json!(vec!["l"; 33])),
        ("transcriptPath", json!(5)),
    ] {
        let answer = coven.register(&external_id(1), json!({ field: value }));
        assert_eq!(wrong_field(&answer), field, "{value}");
    }
    coven.register(&external_id(1), json!({}));
    let answer = coven.post_to(&external_id(1), "complete", &json!({ "exitCode": "0" }));
    assert_eq!(wrong_field(&answer), "exitCode");
    assert_eq!(coven.sessions().len(), 1);
}

#[test]
fn the_daemon_and_a_registrar_do_not_end_each_others_sessions() {
    let coven = Coven::start();
    coven.harness("waits", "exec sleep 600");
    let own = coven.launch("waits", "x");
    let complete = coven.post_to(&own, "complete", &json!({}));
    complete.assert_error(422, "not_external_session");
    let external = external_id(1);
    coven.register(&external, json!({}));
    let kill = coven.kill_session(&external);
    kill.assert_error(422, "external_session_not_killable");
    for id in [&own, &external] {
        assert_eq!(coven.session(id)["status"], "running");
    }
}

#[test]
fn a_session_beyond_the_limit_is_refused_until_another_ends() {
    let coven = Coven::new().env("COVEN_MAX_SESSIONS", "2");
    coven.start_daemon();
    coven.harness("waits", "exec sleep 600");
    coven.register(&external_id(1), json!({}));
    let first = coven.launch("waits", "x");
    let body = coven.launch_body("waits", "x");
    let second = coven.launch_keyed("key", &body).id();
    for _ in 0..3 {
        let answer = coven.try_launch("waits", "x", json!({}));
        let details = answer.assert_error(429, "too_many_sessions");
        assert_eq!(details["limit"], 2);
    }
    let repeat = coven.launch_keyed("key", &body);
    assert_eq!(
        (repeat.status, repeat.id()),
        (200, second),
        "it needs no room"
    );
    assert_eq!(coven.sessions().len(), 3);
    coven.kill_session(&first);
    coven.events_to_end(&first);
    assert_eq!(coven.try_launch("hello", "x", json!({})).status, 201);
}

#[test]
fn a_stopping_daemon_launches_nothing() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness(
        "stubborn",
        "trap '' TERM; echo ready; while :; do sleep 600; done",
    );
    let id = coven.launch("stubborn", "x");
    coven.wait_for_output(&id, "ready");
    let daemon = coven.daemon_pid();
    kill(daemon, libc::SIGTERM);
    coven.events_until(&id, |event| event["kind"] == "kill");
    let answer = coven.try_launch("hello", "x", json!({}));
    answer.assert_error(503, "shutting_down");
    assert_eq!(coven.sessions().len(), 1, "reads are answered to the end");
    // Asked again, it does not wait for the grace.
    kill(daemon, libc::SIGTERM);
    wait_until_gone(daemon);
    assert!(coven.processes().is_empty());
}
