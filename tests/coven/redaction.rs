//! Secrets never reach the disk, however a harness's writes split them; what is no secret stays as it is.

use serde_json::{Value, json};

use crate::support::*;

/// One of several kinds: a token, a header, a password in a URL, an assignment.
const SECRETS: [&str; 5] = [
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "Authorization: Bearer c2VjcmV0LWluLWEtaGVhZGVy",
    "postgres://user:hunter2horse@db:5432/x",
    "OPENAI_API_KEY=8f14e45fceea167a5a36dedd4bea2543",
];

/// What of each must not be anywhere.
const HIDDEN: [&str; 5] = [
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "c2VjcmV0LWluLWEtaGVhZGVy",
    "hunter2horse",
    "8f14e45fceea167a5a36dedd4bea2543",
];

fn stdout(events: &[Value]) -> String {
    String::from_utf8(output(events, "stdout")).unwrap()
}

/// Everything that the home holds, as bytes.
fn home_bytes(coven: &Coven) -> Vec<u8> {
    let mut bytes = Vec::new();
    for dir in [coven.home(), coven.home().join("logs")] {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            bytes.extend(std::fs::read(entry.path()).unwrap_or_default());
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn a_secret_is_redacted_wherever_the_writes_split_it() {
    let coven = Coven::start();
    // Its prompt is the text, and how many bytes of it the first write has.
    coven.harness(
        "split",
        r#"text=${2#* }; at=${2%% *}
printf '%s' "$text" | head -c "$at"; printf '%s' "$text" | tail -c +$((at + 1)); echo; echo end"#,
    );
    for (secret, hidden) in SECRETS.iter().zip(HIDDEN) {
        for at in (0..secret.len()).step_by(7) {
            let id = coven.launch("split", &format!("{at} {secret}"));
            let text = stdout(&coven.events_to_end(&id));
            assert!(text.contains("[REDACTED:"), "{text}");
            assert!(!text.contains(hidden), "{text}");
            assert!(text.ends_with("\nend\n"), "{text}");
        }
    }
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let bytes = home_bytes(&coven);
    for hidden in HIDDEN {
        assert!(!holds(&bytes, hidden), "{hidden} is in the home");
    }
}

#[test]
fn of_made_up_secrets_of_every_kind_nothing_is_left_in_the_home() {
    let coven = Coven::start();
    // Each secret twice, in two writes: at once, and with a pause that is longer than anything is held back.
    coven.harness(
        "pairs",
        r#"for part in "$2"/*; do cat "$part"; case $part in *paused.1) sleep 0.15;; esac; done"#,
    );
    let mut random = Random::new(2);
    let parts = coven.home().parent().unwrap().join("parts");
    let all = planted(&mut random);
    for (group, group_planted) in all.chunks(all.len().div_ceil(8)).enumerate() {
        let dir = parts.join(group.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let mut expected = Vec::new();
        for (at, planted) in group_planted.iter().enumerate() {
            let text = planted.text();
            let begin = planted.before.len();
            let cut = begin + 1 + random.below(planted.secret.len() - 1);
            let kind = if random.one_in(4) {
                "paused"
            } else {
                "at-once"
            };
            let file = |part: u8| dir.join(format!("{at:03}.{kind}.{part}"));
            std::fs::write(file(1), &text.as_bytes()[..cut]).unwrap();
            // Each begins on a line of its own.
            std::fs::write(file(2), format!("{}\n\n", &text[cut..])).unwrap();
            expected.push(planted);
        }
        let id = coven.launch("pairs", dir.to_str().unwrap());
        let text = stdout(&coven.events_to_end(&id));
        assert!(
            text.matches("[REDACTED:").count() >= expected.len(),
            "{text}"
        );
        for planted in expected {
            assert_eq!(planted.seen_in(&text), None, "{planted:?}");
        }
    }
    std::fs::remove_dir_all(&parts).unwrap();
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let bytes = String::from_utf8_lossy(&home_bytes(&coven)).into_owned();
    for planted in &all {
        assert_eq!(planted.seen_in(&bytes), None, "{planted:?}");
    }
}

#[test]
fn a_secret_whose_rest_comes_late_is_swallowed() {
    let coven = Coven::start();
    coven.harness(
        "late",
        "printf 'a ghp_0123456789'; sleep 0.5; echo 'abcdefghijklmnopqrstuvwxyz and more'",
    );
    let id = coven.launch("late", "x");
    let text = stdout(&coven.events_to_end(&id));
    assert_eq!(text, "a [REDACTED:github] and more\n");
}

#[test]
fn a_private_key_is_redacted_as_a_block() {
    let coven = Coven::start();
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    coven.harness(
        "key",
        &format!(
            "echo before; echo '-----BEGIN PRIVATE KEY-----'; echo {line}; sleep 0.3; echo {line}; echo abcd==
echo '-----END PRIVATE KEY-----'; echo after"
        ),
    );
    let id = coven.launch("key", "x");
    let text = stdout(&coven.events_to_end(&id));
    assert_eq!(text, "before\n[REDACTED:private-key]\nafter\n");
}

#[test]
fn input_titles_and_labels_are_redacted_and_the_harness_gets_the_original() {
    let coven = Coven::start();
    coven.harness_with("read", "head -n 1 | wc -c", json!({ "stdin": "open" }));
    let secret = SECRETS[0];
    let fields = json!({ "title": format!("use {secret}"), "labels": [secret] });
    let record = coven
        .try_launch("read", &format!("with {secret}"), fields)
        .json();
    assert_eq!(record["title"], "use [REDACTED:github]");
    assert_eq!(record["labels"], json!(["[REDACTED:github]"]));
    let id = record["id"].as_str().unwrap().to_owned();
    assert_eq!(coven.input(&id, &format!("{secret}\n")).status, 202);
    let events = coven.events_to_end(&id);
    assert_eq!(payload(&events[1])["data"], "with [REDACTED:github]");
    assert_eq!(typed(&events)[0]["data"], "[REDACTED:github]\n");
    assert_eq!(stdout(&events).trim(), (secret.len() + 1).to_string());
}

#[test]
fn a_title_is_redacted_before_it_is_cut() {
    let coven = Coven::start();
    let secret = SECRETS[0];
    // Wherever a limit falls into the secret, no part of it is kept.
    for inside in [1, 4, 5, secret.len() / 2, secret.len() - 1] {
        let before = |limit: usize| format!("{} ", "x".repeat(limit - inside - 1));
        let title = json!({ "title": before(1024) + secret });
        let titled = coven.try_launch("hello", "x", title.clone()).json();
        let prompt = before(120) + secret;
        let untitled = coven.try_launch("hello", &prompt, json!({})).json();
        let external = coven.register(&external_id(inside), title).json();
        for (record, limit) in [(titled, 1024), (untitled, 120), (external, 1024)] {
            let mut kept = before(limit) + "[REDACTED:github]";
            kept.truncate(limit);
            assert_eq!(record["title"], kept);
        }
    }
}

#[test]
fn what_is_no_secret_comes_back_byte_for_byte() {
    let coven = Coven::start();
    let text = "token = lexer.next()
commit 8f14e45fceea167a5a36dedd4bea25438f14e45f
id 0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b
error: expected one of `:`, `token`, or `password`, found `=` at src/main.rs:12:5
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
max_tokens: 4096, PWD=/home/u/work, https://example.com:8080/@user
";
    coven.harness("echo", "printf '%s' \"$2\"");
    let id = coven.launch("echo", text);
    assert_eq!(stdout(&coven.events_to_end(&id)), text);
}

#[test]
fn redaction_can_be_turned_off_for_events() {
    let coven = Coven::new().env("COVEN_REDACT", "off");
    coven.start_daemon();
    coven.harness("echo", "echo \"$2\"");
    let id = coven.launch("echo", SECRETS[0]);
    assert_eq!(stdout(&coven.events_to_end(&id)).trim(), SECRETS[0]);
}

#[test]
fn the_users_own_patterns_count_and_a_bad_one_is_reported() {
    let coven = Coven::new();
    std::fs::write(coven.home().join("redact.txt"), "project-\\d+\n(\n").unwrap();
    coven.start_daemon();
    coven.harness("echo", "echo \"$2\"");
    let id = coven.launch("echo", "see project-42 now");
    let text = stdout(&coven.events_to_end(&id));
    assert_eq!(text, "see [REDACTED:custom] now\n");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let log = std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    assert!(log.contains("event=redact_pattern_refused"), "{log}");
}

#[test]
fn a_pattern_of_pathological_size_is_refused_with_a_reason_and_the_others_hold() {
    let coven = Coven::new();
    let patterns = "(a{1000}){1000}\n((x{1,900}){1,900}){1,900}\nproject-\\d+\n";
    std::fs::write(coven.home().join("redact.txt"), patterns).unwrap();
    coven.start_daemon();
    coven.harness("echo", "echo \"$2\"");
    let id = coven.launch("echo", "see project-42 now");
    let text = stdout(&coven.events_to_end(&id));
    assert_eq!(text, "see [REDACTED:custom] now\n");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let log = std::fs::read_to_string(coven.home().join("logs/daemon.log")).unwrap();
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("event=redact_pattern_refused"))
        .collect();
    assert_eq!(refused.len(), 2, "{log}");
    for (line, refused) in (1..).zip(refused) {
        assert!(refused.contains(&format!("line={line}")), "{refused}");
        assert!(refused.contains("too large"), "{refused}");
    }
}
