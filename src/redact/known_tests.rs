//! Tests of the values of a session's environment.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::matrix::LAYERS;
use super::super::tests::{in_two_writes, redactor};
use super::super::value::is_given;
use super::super::{REDACTED, Redactor, Stream};
use super::HOLD_MAX;

const VALUES: &[&str] = &[
    "tuliptractor42",
    "correct horse battery staple",
    "zwölf Boxkämpfer jagen",
    "p4ss/word+with=sign",
    "it's \"quoted\" & <odd>",
    "back\\slash-in-value",
    "100%-sure-of-it",
    "~?>~?>~?>tail",
    "short\nand a second line\n",
];

/// A redactor for a session with `values`.
fn knowing(values: &[&str]) -> Arc<Redactor> {
    Arc::new(redactor()).for_session(values.iter().map(|value| ("GIVEN", *value)))
}

fn redacted(redactor: &Redactor, text: &str) -> String {
    redactor.redact(text).into_owned()
}

#[test]
fn a_given_value_is_taken_out_of_every_layer_wherever_a_write_ends() {
    const MARK: &str = "zqMARKqz";
    let redactor = knowing(VALUES);
    let mut wrong = Vec::new();
    for value in VALUES.iter().map(|value| value.lines().last().unwrap()) {
        for (colour, wrap) in LAYERS {
            let (left, right) = value.split_at(value.floor_char_boundary(value.len() / 2));
            let text = wrap(&format!("a\nb {left}{colour}{right} c")) + "\n";
            let expected = wrap(&format!("a\nb {MARK}{colour} c")) + "\n";
            let expected = expected.replace(MARK, "[REDACTED:environment]");
            let cuts = (0..=text.len()).filter(|at| text.is_char_boundary(*at));
            let outs = cuts.map(|at| in_two_writes(&redactor, &text, at, false));
            wrong.extend(
                outs.filter(|out| *out != expected)
                    .map(|out| (expected.clone(), out)),
            );
            let again = redactor.redact(&expected).into_owned();
            wrong.extend((again != expected).then_some((expected, again)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_given_value_is_taken_out_of_base64_whatever_precedes_it_and_wherever_a_line_ends() {
    let redactor = knowing(VALUES);
    let mut wrong = Vec::new();
    for value in VALUES.iter().map(|value| value.lines().last().unwrap()) {
        for before in 0..80 {
            let text = format!("{}{value}.", "x".repeat(before));
            let standard = STANDARD.encode(&text);
            let lines: Vec<&str> = (0..standard.len())
                .step_by(76)
                .map(|at| &standard[at..standard.len().min(at + 76)])
                .collect();
            for text in [lines.join("\n") + "\n", URL_SAFE_NO_PAD.encode(&text)] {
                let out = redacted(&redactor, &text);
                // Of the characters at its ends, each shares one with what stands beside it.
                let rest = out.len() - "[REDACTED:environment]".len();
                let most = before * 4 / 3 + before / 57 + 8;
                if !out.contains(REDACTED) || rest > most {
                    wrong.push(format!("{value:?} behind {before}: {text} -> {out}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pause_takes_out_at_least_as_much_and_what_follows_is_swallowed() {
    let value = "correct horse battery staple";
    let redactor = knowing(&[value]);
    let base64 = STANDARD.encode(format!("a {value} b"));
    for text in [format!("say {value} now\n"), format!("{base64}\n")] {
        let whole = redacted(&redactor, &text);
        for at in 0..=text.len() {
            let out = in_two_writes(&redactor, &text, at, true);
            // Fewer than eight characters are not enough to tell.
            assert!(out.contains(REDACTED), "{out:?}");
            assert!(out.len() <= whole.len() + 7, "at {at}: {out:?}");
        }
    }
}

#[test]
fn values_longer_than_what_is_held_back_are_taken_out_whole() {
    const MARK: &str = "[REDACTED:environment]";
    let value = |count: u64| -> String {
        let words = (0..count).map(|at| format!("{:x} ", at * at * 7919));
        words.collect::<String>().trim().to_owned()
    };
    for count in [200, 2000] {
        let value = value(count);
        let redactor = knowing(&[&value]);
        let text = format!("<{value}>\n");
        for at in (0..text.len()).step_by(text.len() / 9) {
            let out = in_two_writes(&redactor, &text, at, false);
            assert_eq!(out.replace(MARK, ""), "<>\n");
            assert_eq!(
                out.matches(MARK).count(),
                1 + value.len() / HOLD_MAX,
                "{out}"
            );
        }
        let out = redacted(&redactor, &STANDARD.encode(&text));
        assert_eq!(
            out.replace(MARK, ""),
            STANDARD.encode(&text)[..2].to_owned() + &out[out.len() - 6..]
        );
    }
}

#[test]
fn what_is_held_back_of_values_is_bounded_whatever_comes() {
    let value = "a1b2a1b2a1b2a1b2";
    let redactor = knowing(&[value]);
    let (mut stream, mut out) = (Stream::default(), Vec::new());
    for piece in value.repeat(2000).as_bytes().chunks(5000) {
        stream.push(&redactor, piece, &mut out);
        let held = stream.held_bytes();
        assert!(held < 3 * HOLD_MAX, "{held}");
    }
    stream.finish(&redactor, &mut out);
    let left = String::from_utf8(out).unwrap();
    assert_eq!(left.replace("[REDACTED:environment]", ""), "");
}

#[test]
fn a_value_within_a_secret_or_around_one_leaves_nothing_of_either() {
    let value = "left ghp_0123456789abcdefghijABCDEFGHIJ012345 right";
    let redactor = knowing(&[value, "plainer-than-plain"]);
    for (text, expected) in [
        (format!("a {value} b\n"), "a [REDACTED:environment] b\n"),
        (
            "export API_KEY=plainer-than-plain-8f14e45f x\n".into(),
            "export API_KEY=[REDACTED:assignment] x\n",
        ),
        (
            "Authorization: Basic plainer-than-plain\n".into(),
            "Authorization: [REDACTED:authorization]\n",
        ),
        (
            "password=plainer-than-plain\n".into(),
            "password=[REDACTED:assignment]\n",
        ),
    ] {
        for at in 0..=text.len() {
            assert_eq!(in_two_writes(&redactor, &text, at, false), expected);
            let paused = in_two_writes(&redactor, &text, at, true);
            let seen = ["0123456789", "plainer-than", "right"];
            assert!(!seen.iter().any(|seen| paused.contains(seen)), "{paused:?}");
        }
    }
}

#[test]
fn values_that_are_no_secret_stay() {
    for (name, value) in [
        ("EDITOR", "/usr/bin/vim --clean"),
        ("NODE_ENV", "development-eu"),
        ("ANTHROPIC_MODEL", "claude-sonnet-4-5-20250929"),
        ("TERM", "xterm-256color"),
        ("AWS_REGION", "ap-southeast-2"),
        ("SERVER", "https://example.com:8443/api"),
        ("NUMBER", "-123456789.123"),
        ("KEY_FILE", "/home/user/.ssh/id_ed25519"),
        ("COMMIT_ID", "8f14e45fceea167a5a36dedd4bea25438f14e45f"),
        ("WORD", "international"),
        ("RULE", "===================="),
        ("SHORT", "elevenchars"),
        ("KEY", "-----BEGIN CERTIFICATE-----"),
    ] {
        assert!(!is_given(name, value), "{name}={value}");
        let redactor = Arc::new(redactor()).for_session([(name, value)].into_iter());
        assert_eq!(redactor.redact(value), value);
    }
    for (name, value) in [
        ("DATABASE_URL", "postgres://user:hunter2@db/x"),
        ("CHAT_URL", "https://chat.example.com/hook/a8F3kQ9zL2mX7pR4"),
        (
            "CONFIG",
            "{\"url\":\"https://example.com\",\"pin\":\"abcd\"}",
        ),
        ("GREETING", "the eagle has landed"),
        ("ANYTHING", "swordfishandchips"),
        ("NODE_ENV", "developing-on-mars"),
        ("BUILD_NAME", "a8F3kQ9zL2mX7pR4"),
    ] {
        assert!(is_given(name, value), "{name}={value}");
    }
}
