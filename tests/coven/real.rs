//! Real harnesses, as far as this machine has them. Logged out: they say so, or that they have no network.

use std::process::Command;

use serde_json::json;

use crate::support::*;

/// A daemon that sees this process's `PATH`, and a user who is logged in nowhere; `None` where `program` is missing.
fn with_real(program: &str) -> Option<Coven> {
    let found = Command::new(program).arg("--version").output();
    if !found.is_ok_and(|out| out.status.success()) {
        println!("skipped: no {program} on PATH");
        return None;
    }
    let coven = Coven::new().env("PATH", std::env::var("PATH").unwrap());
    let home = coven.work().display().to_string();
    let keys = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CODEX_API_KEY"];
    let logged_out = |coven: Coven, key: &&str| coven.env(key, "");
    let coven = keys.iter().fold(coven.env("HOME", home), logged_out);
    coven.start_daemon();
    Some(coven)
}

/// Runs `program` until it has said something, ends it if it has not ended by itself, and looks at what is left.
fn says_something_and_ends(program: &str) {
    let Some(coven) = with_real(program) else {
        return;
    };
    let id = coven.launch(program, "say hello");
    coven.events_until(&id, |event| event["kind"] == "output");
    let ran = coven.cli(["kill", &id]);
    assert!(
        ran.code == 0 || ran.err.contains("(session_not_live)"),
        "{ran:?}"
    );
    let events = coven.events_to_end(&id);
    let seqs = events.iter().map(|event| event["seq"].as_u64().unwrap());
    assert!(seqs.eq(1..=events.len() as u64));
    let exits = events.iter().filter(|event| event["kind"] == "exit");
    assert_eq!(exits.count(), 1, "{events:?}");
    let status = coven.session(&id)["status"].as_str().unwrap().to_owned();
    assert!(
        ["failed", "killed", "completed"].contains(&&*status),
        "{status}"
    );
    eventually("no process is left", || {
        coven.session_processes(&id).is_empty()
    });
    println!("{program}: {status}, {} events", events.len());
}

#[test]
fn codex_runs_as_a_session() {
    says_something_and_ends("codex");
}

#[test]
fn claude_runs_as_a_session() {
    says_something_and_ends("claude");
}

#[test]
fn a_logged_out_claude_says_so_and_fails() {
    let Some(coven) = with_real("claude") else {
        return;
    };
    let ran = coven.cli(["run", "claude", "say hello"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{ran:?}");
}

#[test]
fn claude_holds_a_conversation_in_one_session_and_goes_on_with_it_in_others() {
    let Some(coven) = with_real("claude") else {
        return;
    };
    let env = json!({ "ANTHROPIC_BASE_URL": model(), "ANTHROPIC_API_KEY": "of-a-test",
        "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1" });
    let fields = json!({ "launchMode": "stream", "env": env });
    let answer = coven.try_launch("claude", "one", fields);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    for (turn, next) in [(1, Some("two")), (2, Some("three")), (3, None)] {
        coven.wait_for_output(&id, &format!("heard {turn}"));
        let input = match next {
            Some(text) => json!({ "data": text }),
            None => json!({ "eof": true }),
        };
        assert_eq!(coven.post_to(&id, "input", &input).status, 202);
    }
    let mut record = coven.ended(&id);
    assert_eq!(record["status"], "completed", "{record}");
    assert_eq!(record["usage"]["num_turns"], 3);
    assert_eq!(record["usage"]["input_tokens"], 30);
    for turn in [4, 5] {
        let conversation = json!({ "mode": "resume", "id": record["harness_session_id"] });
        let fields = json!({ "conversation": conversation, "env": env });
        let answer = coven.try_launch("claude", "more", fields);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let before = record["id"].clone();
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        record = coven.ended(&id);
        assert_eq!(record["status"], "idle", "{record}");
        assert_eq!(record["continued_from"], before);
        let said = output(&coven.events(&id), "stdout");
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(&format!("heard {turn}")), "{said}");
    }
}
