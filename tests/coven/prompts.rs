//! Prompts are recorded, and retention deletes them like output.

use serde_json::{Value, json};

use crate::support::*;

/// The payloads of a prompt's events, which stand directly behind the first status.
#[track_caller]
fn prompt(events: &[Value]) -> Vec<Value> {
    let is_prompt = |event: &&Value| payload(event)["origin"] == "prompt";
    let parts: Vec<Value> = events[1..]
        .iter()
        .take_while(is_prompt)
        .map(payload)
        .collect();
    let all = events.iter().filter(is_prompt);
    assert_eq!(all.count(), parts.len(), "no other event is of a prompt");
    parts
}

fn text(parts: &[Value]) -> String {
    let texts = parts.iter().map(|part| part["data"].as_str().unwrap());
    texts.collect()
}

#[test]
fn a_prompt_is_on_record_and_no_typed_input() {
    let coven = Coven::start();
    coven.harness_with(
        "echoes",
        "read -r line; echo \"$line\"",
        json!({ "stdin": "open" }),
    );
    let asked = "fix \"it\"\nand é\nthen this\nand that";
    let id = coven.launch("echoes", asked);
    assert_eq!(coven.input(&id, "typed\n").status, 202);
    let events = coven.events_to_end(&id);
    assert_gapless(&id, &events);
    assert_eq!(
        prompt(&events),
        [json!({ "origin": "prompt", "data": asked })]
    );
    assert_eq!(typed(&events), [json!({ "data": "typed\n" })]);
    assert_eq!(events[1]["created_at"], events[0]["created_at"]);
    let shown = coven.cli(["show", &id]).out;
    assert!(
        shown.contains("fix \"it\"\\nand é\\nthen this …\n"),
        "{shown}"
    );
    let log = coven.cli(["log", &id]).out;
    assert!(
        log.contains("prompt: fix \"it\"\n") && log.contains("input: typed"),
        "{log}"
    );
    // Nobody takes it for output.
    let attached = coven.cli(["attach", &id]);
    assert_eq!(
        (attached.out.as_str(), attached.err.as_str()),
        ("typed\n", "")
    );
}

#[test]
fn a_session_that_was_asked_nothing_has_no_prompt() {
    let coven = Coven::start();
    let id = external_id(1);
    coven.register(&id, json!({}));
    assert_eq!(milestones(&coven.events(&id)), ["status:running"]);
    assert!(!coven.cli(["show", &id]).out.contains("prompt"));
}

#[test]
fn of_a_long_prompt_the_first_64_kib_are_kept_and_the_harness_gets_all() {
    let coven = Coven::start();
    coven.harness_with("counts", "wc -c", json!({ "prompt": "stdin" }));
    // With a character across the bound, a secret across it, and more than one event can have.
    for (asked, kept) in [
        ("x".repeat(64 * 1024), None),
        (format!("x{}", "é\"\n\u{1}".repeat(40_000)), Some(64 * 1024)),
        (format!("x{}", "é".repeat(32 * 1024)), Some(64 * 1024 - 1)),
    ] {
        let id = coven.launch("counts", &asked);
        let events = coven.events_to_end(&id);
        assert_gapless(&id, &events);
        let parts = prompt(&events);
        let recorded = text(&parts);
        assert!(asked.starts_with(&recorded));
        assert_eq!(recorded.len(), kept.unwrap_or(asked.len()));
        let is_small = |event: &Value| event["payload_json"].as_str().unwrap().len() <= 60_000;
        assert!(events.iter().all(is_small));
        let (last, others) = parts.split_last().unwrap();
        assert!(
            others
                .iter()
                .all(|part| part.as_object().unwrap().len() == 2)
        );
        assert_eq!(last["truncated"] == true, kept.is_some());
        assert_eq!(last["bytes"].as_u64(), kept.map(|_| asked.len() as u64));
        let out = output(&events, "stdout");
        assert_eq!(
            String::from_utf8(out).unwrap().trim(),
            asked.len().to_string()
        );
    }
    let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
    let asked = format!("{} {secret} end", "x".repeat(64 * 1024 - 10));
    let parts = prompt(&coven.events_to_end(&coven.launch("counts", &asked)));
    assert!(
        text(&parts).ends_with("x [REDACTED"),
        "never a part of a secret"
    );
}

#[test]
fn retention_takes_a_prompt_as_it_takes_output_and_leaves_what_was_typed() {
    let coven = Coven::new().env("COVEN_LOG_RETENTION_DAYS", "0");
    coven.harness_with("quiet", "read -r line", json!({ "stdin": "open" }));
    coven.start_daemon();
    let live = coven.launch("quiet", "still going on");
    let asked = "é\"\n".repeat(20_000);
    let id = coven.launch("quiet", &asked);
    let looks_like_one = r#"{"origin":"prompt","data":"x"}"#;
    assert_eq!(coven.input(&id, &format!("{looks_like_one}\n")).status, 202);
    let before = coven.events_to_end(&id);
    let (parts, kept) = (prompt(&before).len(), 64 * 1024);
    assert!(parts > 1, "{parts}");
    let gone = json!({ "ok": true, "events": parts, "bytes": kept, "sessions": 1 });
    let preview = coven.cli(["logs", "prune", "--dry-run", "--json"]);
    assert_eq!(preview.json(), gone);
    assert_eq!(coven.events(&id), before);
    assert_eq!(coven.post("/api/v1/store/prune", &json!({})).json(), gone);
    let after = coven.events(&id);
    let range = json!({ "fromSeq": 2, "throughSeq": 1 + parts, "droppedEvents": parts, "droppedBytes": kept });
    assert_eq!(payload(&after[1]), range);
    assert_eq!(after[0], before[0]);
    assert_eq!(after[2..], before[1 + parts..]);
    assert_eq!(typed(&after)[0]["data"], format!("{looks_like_one}\n"));
    assert!(!coven.cli(["show", &id]).out.contains("prompt  "));
    assert_eq!(text(&prompt(&coven.events(&live))), "still going on");
}
