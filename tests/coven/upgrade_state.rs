//! What a session is in the middle of when the daemon's program is replaced: secrets, figures, limits, late streams.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;

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
         printf 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\\n-----END PRIVATE KEY-----\\nend\\n'",
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
        "a [REDACTED:environment] b\n[REDACTED:private-key]\nend\n"
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
