//! Secrets never reach the disk, however a harness's writes split them; what is no secret stays as it is.

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
pub fn home_bytes(coven: &Coven) -> Vec<u8> {
    let mut bytes = Vec::new();
    for dir in [coven.home(), coven.home().join("logs")] {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            bytes.extend(std::fs::read(entry.path()).unwrap_or_default());
        }
    }
    bytes
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
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
    let mut launched = Vec::new();
    for (group, group_planted) in all.chunks(all.len().div_ceil(8)).enumerate() {
        let dir = parts.join(group.to_string());
        std::fs::create_dir_all(&dir).unwrap();
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
        }
        launched.push((coven.launch("pairs", dir.to_str().unwrap()), group_planted));
    }
    for (id, expected) in launched {
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
    // All at once: they are tens of thousands.
    let windows: Vec<&str> = all.iter().flat_map(Planted::windows).collect();
    let search = aho_corasick::AhoCorasick::new(&windows).unwrap();
    let found = search.find(&home_bytes(&coven));
    assert_eq!(found.map(|found| windows[found.pattern()]), None);
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

/// What clients have sent to the session, as it is on record.
fn typed_text(events: &[Value]) -> String {
    let parts = typed(events).into_iter();
    parts
        .map(|input| input["data"].as_str().unwrap().to_owned())
        .collect()
}

fn is_redacted(event: &Value) -> bool {
    typed_text(std::slice::from_ref(event)).contains("[REDACTED:")
}

/// A session whose harness keeps what it reads, and ends with its stdin.
fn keeping(coven: &Coven) -> String {
    coven.harness_with("keeps", "exec cat > read", json!({ "stdin": "open" }));
    coven.launch("keeps", "x")
}

/// Ends the input of a session that [`keeping`] has launched; gives what is on record of it. The harness has read `sent`.
fn kept(coven: &Coven, id: &str, sent: &str) -> String {
    let end = json!({ "eof": true });
    assert_eq!(coven.post_to(id, "input", &end).status, 202);
    let events = coven.events_to_end(id);
    assert_eq!(coven.work_file("read"), sent);
    typed_text(&events)
}

#[test]
fn a_secret_that_is_sent_in_two_inputs_is_not_on_record() {
    let coven = Coven::start();
    let id = keeping(&coven);
    let mut sent = String::new();
    for secret in SECRETS {
        for at in (1..secret.len()).step_by(9) {
            let parts = ["use ", &secret[..at], &secret[at..], "\nend\n"];
            for part in parts {
                assert_eq!(coven.input(&id, part).status, 202);
                sent += part;
            }
        }
    }
    let text = kept(&coven, &id, &sent);
    for hidden in HIDDEN {
        assert!(!text.contains(hidden), "{text}");
    }
    let secrets = sent.matches("use ").count();
    assert_eq!(text.matches("\nend\n").count(), secrets, "{text}");
    assert_eq!(text.matches("[REDACTED:").count(), secrets, "{text}");
}

#[test]
fn a_private_key_that_is_typed_line_by_line_is_not_on_record() {
    let coven = Coven::start();
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n";
    let begin = "-----BEGIN PRIVATE KEY-----\n";
    let end = "abcd==\n-----END PRIVATE KEY-----\n";
    let sent = format!("before\n{begin}{line}{line}{end}after\n");
    let expected = "before\n[REDACTED:private-key]\nafter\n";

    let id = keeping(&coven);
    let ran = coven.cli_with_input(["attach", &id], sent.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(typed_text(&coven.events(&id)), expected);
    assert_eq!(coven.work_file("read"), sent);

    // With a pause that is longer than anything is held back: what was held back is on record first.
    let id = keeping(&coven);
    coven.input(&id, &format!("before\n{begin}{line}"));
    coven.events_until(&id, is_redacted);
    for part in sent.split_inclusive('\n').skip(3) {
        assert_eq!(coven.input(&id, part).status, 202);
    }
    assert_eq!(kept(&coven, &id, &sent), expected);
}

#[test]
fn a_header_goes_on_in_the_next_input_also_behind_a_pause() {
    let coven = Coven::start();
    let id = keeping(&coven);
    let begun = "see\nAuthorization: Bearer c2VjcmV0LWlu";
    let rest = "LWEtaGVhZGVy\nnext\n";
    coven.input(&id, begun);
    coven.events_until(&id, is_redacted);
    coven.input(&id, rest);
    let text = kept(&coven, &id, &(begun.to_owned() + rest));
    assert_eq!(text, "see\nAuthorization: [REDACTED:authorization]\nnext\n");
}

#[test]
fn a_possible_start_of_a_secret_is_on_record_soon_also_if_nothing_follows() {
    let coven = Coven::start();
    let id = keeping(&coven);
    coven.input(&id, "a line\ngh");
    let seen = std::cell::RefCell::new(String::new());
    coven.events_until(&id, |event| {
        let text = typed_text(std::slice::from_ref(event));
        seen.borrow_mut().push_str(&text);
        seen.borrow().ends_with("gh")
    });
    assert_eq!(kept(&coven, &id, "a line\ngh"), "a line\ngh");
}

#[test]
fn input_without_a_secret_is_on_record_as_it_was_sent_however_it_is_cut() {
    let text = "words é🦀 \u{1b}[31mred\u{1b}[0m {\"a\":\"b\\n\"}\n\t\0gh sk is\n";
    let mut random = Random::new(7);
    for redact in ["on", "off"] {
        let coven = Coven::new().env("COVEN_REDACT", redact);
        coven.start_daemon();
        let id = keeping(&coven);
        let mut sent = String::new();
        for _ in 0..8 {
            let mut rest = text;
            while !rest.is_empty() {
                let at = rest.ceil_char_boundary(1 + random.below(rest.len()));
                let (part, behind) = rest.split_at(at);
                assert_eq!(coven.input(&id, part).status, 202);
                (sent, rest) = (sent + part, behind);
            }
        }
        assert_eq!(kept(&coven, &id, &sent), sent, "{redact}");
    }
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
fn output_without_secrets_comes_back_byte_for_byte() {
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
fn a_value_that_the_session_was_given_is_in_no_file_of_the_home_but_env() {
    const GIVEN: [(&str, &str); 3] = [
        ("FROM_FILE", "tulip tractor & seventeen"),
        ("FROM_OPTION", "quiet\"otter'marmalade"),
        ("FROM_SHELL", "plain/looking+value=of it"),
    ];
    let coven = Coven::new().env("FROM_SHELL", GIVEN[2].1);
    let file = coven.home().join("env");
    std::fs::write(&file, format!("FROM_FILE='{}'\n", GIVEN[0].1)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    coven.start_daemon();
    // As it is, in base64, and in two writes, with and without a pause.
    coven.harness_with(
        "tells",
        r#"for name in FROM_FILE FROM_OPTION FROM_SHELL; do
    eval "value=\$$name"
    printf '%s\n' "$value"
    for before in '' a bc; do printf '%s' "$before$value" | base64 -w 20; done
    printf '%.9s' "$value"; sleep 0.2; printf '%s\n' "$value" | tail -c +10
    for at in 3 9 14; do printf "%.${at}s" "$value"; printf '%s\n' "$value" | tail -c +$((at + 1)); done
done
env | grep '^FROM_' >&2"#,
        json!({ "pass_env": ["FROM_SHELL"] }),
    );
    let option = format!("{}={}", GIVEN[1].0, GIVEN[1].1);
    let ran = coven.cli(["run", "tells", "-e", &option, "x"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let marks = "[REDACTED:environment]";
    assert_eq!(
        ran.out.matches(marks).count(),
        3 * (1 + 3 + 1 + 3),
        "{}",
        ran.out
    );
    assert_eq!(ran.err.matches(marks).count(), 3, "{}", ran.err);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    std::fs::remove_file(file).unwrap();
    let bytes = home_bytes(&coven);
    for (_, value) in GIVEN {
        let base64 = STANDARD.encode(value);
        let json = serde_json::to_string(value).unwrap();
        for part in [value, &json[1..json.len() - 1], &base64[..12]] {
            assert!(!holds(&bytes, part), "{part} is in the home");
        }
    }
}

#[test]
fn a_given_value_is_in_no_field_of_its_session_also_of_one_that_is_edited_while_it_runs() {
    let coven = Coven::start();
    coven.harness_with(
        "read",
        "head -n 2",
        json!({ "stdin": "open", "model_flag": "-m" }),
    );
    let value = "tulip tractor & seventeen";
    let fields = json!({
        "env": { "GIVEN": value }, "title": format!("use {value}"), "labels": [value], "model": value,
        "familiarId": value, "args": ["--with", value, format!("--and={value}")],
    });
    let record = coven
        .try_launch("read", &format!("say {value}"), fields)
        .json();
    assert_eq!(record["model"], "[REDACTED:environment]", "{record}");
    assert!(!record.to_string().contains("tractor"), "{record}");
    let id = record["id"].as_str().unwrap();
    let edit = json!({ "title": format!("and {value}"), "addLabels": [format!("{value}!")] });
    let body = edit.to_string();
    let edited = coven.request("PATCH", &format!("/sessions/{id}"), &[], body.as_bytes());
    let edited = edited.json();
    assert_eq!(edited["title"], "and [REDACTED:environment]");
    assert!(!edited.to_string().contains("tractor"), "{edited}");
    for part in [&value[..7], &value[7..], "\n\n"] {
        assert_eq!(coven.input(id, part).status, 202);
    }
    let events = coven.events_to_end(id);
    assert_eq!(payload(&events[1])["data"], "say [REDACTED:environment]");
    let shown = typed(&events);
    let shown = shown.iter().map(|event| event["data"].as_str().unwrap());
    assert_eq!(shown.collect::<String>(), "[REDACTED:environment]\n\n");
    assert_eq!(stdout(&events), "[REDACTED:environment]\n\n");
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert!(!holds(&home_bytes(&coven), "tractor"));
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
