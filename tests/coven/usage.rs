//! Model usage that harnesses report, and the limits on it.

use serde_json::{Value, json};

use crate::support::*;

/// Lines of `claude --output-format stream-json --verbose`, three turns.
const CLAUDE: &str = include_str!("recorded/claude-stream.jsonl");
/// Lines of `codex exec --json`.
const CODEX: &str = include_str!("recorded/codex-exec.jsonl");

impl Coven {
    /// A harness that prints `lines` and then runs `script`, as the agent `telemetry` in its JSON form.
    fn telling(&self, id: &str, telemetry: &str, lines: &str, script: &str) {
        std::fs::write(self.work().join(id), lines).unwrap();
        let args = match telemetry {
            "codex" => json!(["--json"]),
            _ => json!(["--output-format", "stream-json"]),
        };
        let keys = json!({ "telemetry": telemetry, "non_interactive_prompt_prefix_args": args });
        self.harness_with(id, &format!("cat {id}\n{script}"), keys);
    }
}

fn exit_of(events: &[Value]) -> Value {
    payload(events.iter().find(|event| event["kind"] == "exit").unwrap())
}

#[test]
fn the_record_the_exit_event_and_the_metrics_say_what_a_session_used() {
    let coven = Coven::start();
    coven.telling("talker", "claude", CLAUDE, "");
    coven.telling("coder", "codex", CODEX, "");
    let id = coven.launch("talker", "x");
    let events = coven.events_to_end(&id);
    let record = coven.session(&id);
    let usage = json!({ "input_tokens": 42, "output_tokens": 21, "cached_tokens": 15,
        "cost_usd": 0.0007537500000000001, "num_turns": 3, "model": "claude-opus-4-8[1m]" });
    assert_eq!(record["usage"], usage);
    assert_eq!(
        record["harness_session_id"],
        "11111111-2222-4333-8444-5555555555aa"
    );
    let usage = json!({ "inputTokens": 42, "outputTokens": 21, "cachedTokens": 15,
        "costUsd": 0.0007537500000000001, "numTurns": 3, "model": "claude-opus-4-8[1m]" });
    assert_eq!(exit_of(&events)["usage"], usage);
    // The bytes are as they were.
    assert_eq!(output(&events, "stdout"), CLAUDE.as_bytes());

    let record = coven.run("coder", "x");
    let usage = json!({ "input_tokens": 20, "output_tokens": 6, "cached_tokens": 4,
        "cost_usd": null, "num_turns": 1, "model": null });
    assert_eq!(record["usage"], usage);
    let shown = coven.cli(["show", record["id"].as_str().unwrap()]);
    assert!(
        shown.out.contains("20 input, 6 output, 4 cached"),
        "{shown:?}"
    );

    let page = coven.cli(["metrics"]).out;
    for sample in [
        r#"coven_tokens_total{harness="talker",kind="input"} 42"#,
        r#"coven_tokens_total{harness="talker",kind="cached"} 15"#,
        r#"coven_tokens_total{harness="coder",kind="output"} 6"#,
    ] {
        assert!(page.contains(sample), "{sample}: {page}");
    }
}

#[test]
fn a_harness_that_is_not_started_in_its_json_form_is_not_read() {
    let coven = Coven::start();
    std::fs::write(coven.work().join("lines"), CLAUDE).unwrap();
    coven.harness_with("plain", "cat lines", json!({ "telemetry": "claude" }));
    coven.harness("other", "cat lines");
    for harness in ["plain", "other"] {
        let record = coven.run(harness, "x");
        assert_eq!(record["usage"], Value::Null);
        assert_eq!(record["harness_session_id"], Value::Null);
        let refused = coven.try_launch(harness, "x", json!({ "maxTokens": 1 }));
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["error"]["details"]["field"], "maxTokens");
    }
}

#[test]
fn reported_usage_survives_a_crash_of_the_daemon() {
    let coven = Coven::start();
    coven.telling("talker", "claude", CLAUDE, "echo done; sleep 1000");
    let id = coven.launch("talker", "x");
    coven.wait_for_output(&id, "done");
    coven.crash();
    coven.start_daemon();
    let record = coven.session(&id);
    assert_eq!(record["status"], "orphaned");
    assert_eq!(record["usage"]["num_turns"], 3, "{record}");
    assert_eq!(
        record["harness_session_id"],
        "11111111-2222-4333-8444-5555555555aa"
    );
}

#[test]
fn the_header_of_codex_tells_its_session_id() {
    let coven = Coven::start();
    let script = "printf 'OpenAI Codex v0.171.0\\n--------\\nsession id: 01a218fb-c4cb-7990-a542-3c936d7eae1e\\n' >&2";
    coven.harness_with("coder", script, json!({ "telemetry": "codex" }));
    let record = coven.run("coder", "x");
    assert_eq!(
        record["harness_session_id"],
        "01a218fb-c4cb-7990-a542-3c936d7eae1e"
    );
}

#[test]
fn a_session_that_has_used_its_tokens_is_ended() {
    let coven = Coven::start();
    coven.telling("talker", "claude", CLAUDE, "sleep 1000");
    let ran = coven.cli(["run", "--max-tokens", "63", "talker", "x"]);
    assert_eq!(ran.code, 124, "{ran:?}");
    assert!(
        ran.err
            .contains("was ended by its token limit of 63 tokens"),
        "{ran:?}"
    );
    let record = coven.sessions().remove(0);
    assert_eq!(record["status"], "killed");
    assert_eq!(record["ended_by"], "token_limit");
    assert_eq!(record["usage"]["output_tokens"], 21);
    let events = coven.events_to_end(record["id"].as_str().unwrap());
    assert_eq!(exit_of(&events)["endedBy"], "token_limit");
    let kill = events.iter().find(|event| event["kind"] == "kill").unwrap();
    assert_eq!(payload(kill)["limitTokens"], 63);

    // It has not used them: the limit is behind what it tells.
    coven.telling("brief", "claude", CLAUDE, "");
    let ran = coven.cli(["run", "--max-tokens", "64", "brief", "x"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_session_that_writes_nothing_for_its_idle_time_is_ended() {
    let coven = Coven::start();
    coven.harness("quiet", "echo begun; sleep 1000");
    let ran = coven.cli(["run", "--idle-timeout", "1s", "quiet", "x"]);
    assert_eq!(ran.code, 124, "{ran:?}");
    assert!(ran.err.contains("idle limit of 1 s"), "{ran:?}");
    assert_eq!(coven.sessions()[0]["ended_by"], "idle");
    let record = coven
        .try_launch("hello", "x", json!({ "idleTimeoutMs": 60000 }))
        .json();
    let record = coven.ended(record["id"].as_str().unwrap());
    assert_eq!(record["ended_by"], "exit");
}

#[test]
fn a_run_with_a_limit_of_tokens_shows_the_messages_of_a_harness_that_tells_them() {
    let coven = Coven::start();
    std::fs::write(coven.work().join("out"), CODEX).unwrap();
    coven.harness_with(
        "coder",
        "echo \"$*\" >&2; cat out",
        json!({ "telemetry": "codex" }),
    );
    let ran = coven.cli(["run", "--max-tokens", "27", "coder", "hi"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "echo 2 users\n"),
        "{ran:?}"
    );
    assert!(ran.err.starts_with("--json -- hi\n"), "{ran:?}");
}
