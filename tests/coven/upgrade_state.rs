//! What a session is in the middle of when the daemon's program is replaced: secrets, figures, limits, late streams.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;
use crate::{checkpoints, damage};

impl Coven {
    /// Lets a harness go on that waits for the file `name`.
    fn allow(&self, name: &str) {
        fs::write(self.work().join(name), "").unwrap();
    }
}

/// A line of `sh` that waits for the file `name`.
fn await_file(name: &str) -> String {
    format!("while [ ! -e {name} ]; do sleep 0.02; done")
}

#[test]
fn a_secret_that_an_upgrade_divides_is_redacted() {
    let coven = Coven::start();
    let value = "correct-horse-battery-staple-9471";
    let script = format!(
        "printf 'a %.20s' \"$GIVEN\"; touch begun; {}; printf '%s b\\n' \"${{GIVEN#????????????????????}}\"; \
         printf -- '-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\\n'; \
         touch key; {}; \
         printf 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\\n-----END PRIVATE KEY-----\\nend %s\\n' \"$GIVEN\"",
        await_file("one"),
        await_file("two"),
    );
    coven.harness("splits", &script);
    let launched = coven.try_launch("splits", "x", json!({ "env": { "GIVEN": value } }));
    let id = launched.json()["id"].as_str().unwrap().to_owned();
    let programs = ["1.1.1", "2.2.2"].map(|version| coven.program_of_version(version));
    for (round, (begun, go)) in [("begun", "one"), ("key", "two")].iter().enumerate() {
        eventually(begun, || coven.work().join(begun).exists());
        coven.upgraded_to(&programs[round]);
        coven.allow(go);
    }
    coven.ended(&id);
    let events = coven.events(&id);
    let said = String::from_utf8(output(&events, "stdout")).unwrap();
    assert_eq!(
        said,
        "a [REDACTED:environment] b\n[REDACTED:private-key]\nend [REDACTED:environment]\n"
    );
}

#[test]
fn an_incomplete_character_and_a_partial_line_of_figures_go_on() {
    let coven = Coven::start();
    let line = r#"{"type":"result","num_turns":2,"usage":{"input_tokens":10,"output_tokens":5},"session_id":"11111111-2222-4333-8444-555555555555"}"#;
    let (begin, end) = line.split_at(60);
    let script = format!(
        "printf '%s' '{begin}'; printf '\\303' >&2; touch begun; {}; printf '%s\\n' '{end}'; printf '\\251' >&2",
        await_file("go")
    );
    coven.program("claude", &script);
    let fields = json!({ "args": ["--output-format", "json"], "launchMode": "nonInteractive" });
    let launched = coven.try_launch("claude", "x", fields);
    assert_eq!(launched.status, 201, "{}", launched.text());
    let id = launched.json()["id"].as_str().unwrap().to_owned();
    eventually("it has begun", || coven.work().join("begun").exists());
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    coven.allow("go");
    let ended = coven.ended(&id);
    assert_eq!(
        ended["usage"]["inputTokens"]
            .as_u64()
            .or(ended["usage"]["input_tokens"].as_u64()),
        Some(10),
        "{ended}"
    );
    let events = coven.events(&id);
    assert_eq!(output(&events, "stderr"), "é".as_bytes());
    let texts = events
        .iter()
        .filter(|event| event["kind"] == "output")
        .map(payload);
    assert!(texts.clone().all(|payload| payload["base64"].is_null()));
}

#[test]
fn limits_count_on_from_before_the_upgrade() {
    let coven = Coven::start();
    coven.harness("sleeps", "exec sleep 60");
    let next = coven.program_of_version("9.9.9");
    let idle = coven
        .try_launch("sleeps", "x", json!({ "idleTimeoutMs": 1500 }))
        .json();
    let timed = coven
        .try_launch("sleeps", "x", json!({ "timeoutMs": 1500 }))
        .json();
    coven.upgraded_to(&next);
    for (session, why) in [(idle, "idle"), (timed, "timeout")] {
        let ended = coven.ended(session["id"].as_str().unwrap());
        assert_eq!(ended["ended_by"], why);
        let time = |field: &str| {
            ended[field]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        let took = time("ended_at").as_millisecond() - time("started_at").as_millisecond();
        assert!((1400..3000).contains(&took), "{why}: {took}");
    }
}

#[test]
fn late_streams_and_a_drain_go_on() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "0");
    let script = format!("(touch begun; {}; echo late) & echo now", await_file("go"));
    coven.harness("leaves", &script);
    let id = coven.launch("leaves", "x");
    assert_eq!(coven.ended(&id)["status"], "completed");
    for version in ["1.1.1", "2.2.2"] {
        coven.upgraded_to(&coven.program_of_version(version));
    }
    coven.allow("go");
    let events = eventually_some("it is late", || {
        let events = coven.events(&id);
        (output(&events, "stdout") == b"now\nlate\n").then_some(events)
    });
    assert_gapless(&id, &events);
    assert_eq!(payload(events.last().unwrap())["late"], true);
}

#[test]
fn a_sweep_ends_what_the_harness_has_left_also_behind_an_upgrade() {
    let coven = Coven::start();
    let script = format!("setsid sleep 60 & {}; echo end", await_file("go"));
    coven.harness("leaves", &script);
    let launched = coven.try_launch("leaves", "x", json!({ "sweep": true }));
    let id = launched.json()["id"].as_str().unwrap().to_owned();
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    coven.allow("go");
    let ended = coven.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["exit_code"]),
        (&json!("completed"), &json!(0))
    );
    assert_eq!(coven.session_processes(&id), Vec::<i32>::new());
}

#[test]
fn a_harness_that_exits_during_an_upgrade_is_not_reaped_before_its_end_is_known() {
    let coven = Coven::start();
    coven.harness("exits", "sleep 0.$2; exit 9");
    let programs = ["1.1.1", "2.2.2"].map(|version| coven.program_of_version(version));
    let ids: Vec<String> = (10..40)
        .step_by(2)
        .map(|n| coven.launch("exits", &n.to_string()))
        .collect();
    for round in 0..4 {
        coven.upgraded_to(&programs[round % 2]);
    }
    for id in &ids {
        let ended: Value = coven.ended(id);
        assert_eq!(ended["exit_code"], 9, "{ended}");
    }
    let pid = coven.daemon_pid();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    eventually("no zombie is left", || children().trim().is_empty());
}

#[test]
fn a_drain_under_way_goes_on_and_what_it_reads_is_not_late() {
    let coven = Coven::start_with_env("COVEN_DRAIN_MAX_MS", "60000");
    // Never quiet for long, so that the drain ends with the stream and not before.
    let holder = "(while [ ! -e go ]; do echo on; sleep 0.1; done; echo last)";
    let keys = json!({ "stdin": "open" });
    coven.harness_with("leaves", &format!("{holder} & exit 6"), keys);
    let id = coven.launch("leaves", "x");
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    eventually("it has exited", || process_state(pid) == Some('Z'));
    for version in ["1.1.1", "2.2.2"] {
        coven.upgraded_to(&coven.program_of_version(version));
        assert_eq!(coven.health()["sessions"]["live"], 1);
    }
    coven.allow("go");
    let ended = coven.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["exit_code"]),
        (&json!("failed"), &json!(6))
    );
    assert!(ended["cpu_ms"].is_u64(), "{ended}");
    let events = coven.events(&id);
    assert_gapless(&id, &events);
    let said = String::from_utf8(output(&events, "stdout")).unwrap();
    assert!(said.ends_with("on\nlast\n"), "{said}");
    assert!(events.iter().all(|event| payload(event)["late"].is_null()));
}

#[test]
fn an_upgrade_waits_for_a_sweep_and_the_clients_do_not() {
    let coven = Coven::start_with_env("COVEN_KILL_GRACE_MS", "60000");
    let deaf = "setsid sh -c 'trap \"\" TERM; touch deaf; while :; do sleep 0.05; done'";
    let script = format!("{deaf} >/dev/null 2>&1 & {}", await_file("deaf"));
    coven.harness("leaves", &script);
    let launched = coven.try_launch("leaves", "x", json!({ "sweep": true }));
    let id = launched.id();
    let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    eventually("it is swept", || !is_alive(pid));
    let next = coven.program_of_version("9.9.9");
    std::thread::scope(|scope| {
        // An attempt of the other one may come before it, and have the turn for a moment.
        let upgrading = scope.spawn(|| {
            eventually_some("it has its turn", || {
                let answer = coven.upgrade_to(&next);
                let is_late = answer.text().contains("another upgrade");
                (!is_late).then_some(answer)
            })
        });
        eventually("the upgrade waits", || {
            let other = coven.upgrade_to(std::path::Path::new("/does/not/exist"));
            other.json()["error"]["details"]["reason"] == "busy"
        });
        assert_eq!(coven.health()["sessions"]["live"], 1);
        for pid in coven.session_processes(&id) {
            kill(pid, libc::SIGKILL);
        }
        let answer = upgrading.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    assert_eq!(coven.ended(&id)["status"], "completed");
}

#[test]
fn an_on_end_is_done_and_closes_a_late_stream_behind_an_upgrade() {
    let coven = Coven::new()
        .env("COVEN_ON_END_MS", "1500")
        .env("COVEN_DRAIN_MAX_MS", "0");
    coven.start_daemon();
    coven.harness("leaves", "sleep 1000 & exit 0");
    coven.harness("waits", &await_file("go"));
    let late = coven.try_launch("leaves", "x", json!({ "onEnd": "delete" }));
    let late = late.id();
    let running = coven.try_launch("waits", "x", json!({ "onEnd": "archive" }));
    let running = running.id();
    coven.ended(&late);
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    eventually("it is deleted", || {
        coven.get(&format!("/api/v1/sessions/{late}")).status == 404
    });
    coven.allow("go");
    eventually("its stream is closed", || {
        let log = coven.cli(["logs", "--event", "late_stream_closed"]).out;
        log.contains("why=deleted")
    });
    eventually("the other is archived", || {
        !coven.session(&running)["archived_at"].is_null()
    });
}

#[test]
fn a_late_stream_gives_its_place_to_a_session_of_the_next_program() {
    let coven = Coven::new()
        .env("COVEN_DRAIN_MAX_MS", "0")
        .env("COVEN_MAX_SESSIONS", "1");
    coven.start_daemon();
    coven.harness("leaves", "sleep 1000 & echo now");
    let first = coven.launch("leaves", "x");
    assert_eq!(coven.ended(&first)["status"], "completed");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let second = coven.launch("leaves", "x");
    let error = eventually_some("its stream is closed", || {
        let events = coven.events(&first);
        let error = events.iter().find(|event| event["kind"] == "error");
        error.map(payload)
    });
    assert_eq!(error["code"], "late_stream_closed");
    assert_eq!(coven.ended(&second)["status"], "completed");
}

#[test]
fn what_is_known_of_stdin_and_of_the_input_on_record_goes_on() {
    let coven = Coven::start();
    coven.harness_with("echoes", "cat; exec sleep 600", json!({ "stdin": "open" }));
    coven.harness_with("deaf", "exec sleep 600", json!({ "stdin": "open" }));
    coven.streaming("agent");
    let deaf = coven.launch("deaf", "x");
    let most = "0123456789abcde\n".repeat(150_000);
    assert_eq!(coven.input(&deaf, &most).status, 202);
    let (ended, typed_into) = (coven.launch("echoes", "x"), coven.launch("echoes", "x"));
    let end = json!({ "eof": true });
    assert_eq!(coven.post_to(&ended, "input", &end).status, 202);
    let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n";
    let begin = format!("-----BEGIN PRIVATE KEY-----\n{key}");
    assert_eq!(coven.input(&typed_into, &begin).status, 202);
    coven.wait_for_output(&typed_into, "private-key");
    let fields = json!({ "launchMode": "stream", "conversationId": "c" });
    let stream = coven.try_launch("agent", "one", fields).id();
    coven.wait_for_output(&stream, "answer 1");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    coven
        .input(&deaf, &most)
        .assert_error(429, "input_backlog_full");
    // Nothing follows the end of input, and it can be repeated.
    coven
        .input(&ended, "x")
        .assert_error(500, "send_input_failed");
    assert_eq!(coven.post_to(&ended, "input", &end).status, 202);
    let rest = json!({ "data": format!("{key}-----END PRIVATE KEY-----\nmore\n"), "eof": true });
    assert_eq!(coven.post_to(&typed_into, "input", &rest).status, 202);
    let inputs = eventually_some("it is on record", || {
        let inputs = typed(&coven.events(&typed_into));
        let has_end = inputs.last().is_some_and(|input| input["eof"] == true);
        has_end.then_some(inputs)
    });
    let data = inputs.iter().map(|input| input["data"].as_str().unwrap());
    assert_eq!(data.collect::<String>(), "[REDACTED:private-key]\nmore\n");
    // A message is one, and the conversation waits for the next session.
    assert_eq!(
        coven
            .post_to(&stream, "input", &json!({ "data": "two", "eof": true }))
            .status,
        202
    );
    assert_eq!(coven.ended(&stream)["status"], "idle");
    let last = coven.work_file("lines").lines().last().unwrap().to_owned();
    assert!(
        last.contains(r#""text":"two""#) && last.starts_with(r#"{"type":"user""#),
        "{last}"
    );
}

#[test]
fn limits_are_on_record_and_a_harness_has_its_grace_and_its_own_limit_on_files() {
    let coven = Coven::new();
    let mut start = coven.command_after("ulimit -Sn 200", &["daemon", "start"]);
    assert_eq!(Ran::of(start.output().unwrap()).code, 0);
    let slow = "trap 'sleep 0.2; echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    coven.harness("slow", slow);
    coven.harness("files", &format!("{}; ulimit -Sn", await_file("spawned")));
    let ids = [
        json!({}),
        json!({ "timeoutMs": 1500 }),
        json!({ "idleTimeoutMs": 1500 }),
    ]
    .map(|limit| coven.try_launch("slow", "x", limit).id());
    ids.iter().for_each(|id| coven.wait_for_output(id, "ready"));
    let said = coven.session(&ids[0])["last_output_at"].clone();
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    assert_eq!(coven.session(&ids[0])["last_output_at"], said);
    assert_eq!(coven.kill_session(&ids[0]).status, 202);
    for (id, limit) in ids.iter().zip([json!(null), json!(1500), json!(1500)]) {
        assert_eq!(coven.ended(id)["exit_code"], 5);
        let events = coven.events(id);
        assert_eq!(output(&events, "stdout"), b"ready\nbye\n");
        let kill = events.iter().find(|event| event["kind"] == "kill");
        assert_eq!(payload(kill.unwrap())["limitMs"], limit);
    }
    // The limit is restored right behind the spawn.
    let id = coven.launch("files", "x");
    coven.allow("spawned");
    coven.ended(&id);
    assert_eq!(output(&coven.events(&id), "stdout"), b"200\n");
}

#[test]
fn a_crash_behind_an_upgrade_leaves_no_process_and_a_stop_no_socket() {
    let coven = Coven::start();
    coven.harness("sleeps", "setsid sleep 600 & exec sleep 600");
    let id = coven.launch("sleeps", "x");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    coven.crash();
    coven.start_daemon();
    assert_eq!(coven.session(&id)["status"], "orphaned");
    assert_eq!(coven.session_processes(&id), Vec::<i32>::new());
    coven.upgraded_to(&coven.program_of_version("8.8.8"));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(!coven.socket().exists());
}

#[test]
fn a_store_that_was_met_damaged_is_still_damaged_in_health_behind_an_upgrade() {
    let coven = Coven::new();
    let ids = damage::filled(&coven);
    let root = damage::root_page(&coven.database(), "events");
    damage::spoil(&coven, root, &mut Random::new(6));
    coven.start_daemon();
    let path = format!("/api/v1/sessions/{}/events", ids[0]);
    coven.get(&path).assert_error(503, "store_unavailable");
    let before = coven.health()["storage"].clone();
    assert_eq!(before["status"], "damaged");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let after = coven.health()["storage"].clone();
    assert_eq!(
        (&after["status"], &after["damage"]),
        (&before["status"], &before["damage"])
    );
}

#[test]
fn figures_of_the_store_and_a_log_that_is_held_are_in_health_behind_an_upgrade() {
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "65536");
    coven.start_daemon();
    coven.harness("lines", "seq 40000");
    let id = coven.run("lines", "x")["id"].as_str().unwrap().to_owned();
    assert_eq!(coven.cli(["logs", "prune"]).code, 0);
    let reader = checkpoints::begin_to_read(&coven);
    checkpoints::lengthen(&coven, 52);
    coven.post_to(&id, "archive", &json!({}));
    let is_held = |health: &Value| health["eventWriter"]["lastError"].is_string();
    let before = health_until(&coven, is_held);
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    let after = health_until(&coven, is_held);
    for name in [
        "truncatedOutputEvents",
        "truncatedOutputBytes",
        "lastTruncatedAt",
        "status",
    ] {
        assert_eq!(before["storage"][name], after["storage"][name], "{name}");
    }
    assert!(after["storage"]["truncatedOutputEvents"].as_u64() > Some(0));
    for name in ["transactions", "committedEvents"] {
        let figure = |health: &Value| health["eventWriter"][name].as_u64();
        assert!(figure(&after) >= figure(&before), "{name}");
    }
    reader.execute_batch("COMMIT").unwrap();
}
