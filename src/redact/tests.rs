//! The rules and the stream together: what is found, what is left alone, and that no split matters.

use super::*;
use crate::random::{Random, rounds};

#[path = "../../tests/coven/support/secrets.rs"]
mod secrets;

/// What a stream makes of two writes, with a pause between them that is longer than anything is held back.
pub(super) fn in_two_writes(redactor: &Redactor, text: &str, at: usize, paused: bool) -> String {
    let mut stream = Stream::default();
    let mut out = Vec::new();
    stream.push(redactor, &text.as_bytes()[..at], &mut out);
    if paused {
        stream.expire(redactor, &mut out);
    }
    stream.push(redactor, &text.as_bytes()[at..], &mut out);
    stream.finish(redactor, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn no_word_is_searched_for_twice() {
    let words: Vec<&str> = words().into_iter().map(|word| unmarked(word).0).collect();
    for (at, word) in words.iter().enumerate() {
        let mut others = words.iter().enumerate().filter(|(other, _)| *other != at);
        let held = others.find(|(_, other)| word.contains(**other));
        assert_eq!(held, None, "{word}");
    }
}

#[test]
fn a_word_that_is_said_to_begin_its_tokens_does() {
    for rule in TOKENS {
        let marked = rule.anchors.iter().map(|word| unmarked(word));
        let begins: Vec<&str> = marked
            .filter(|(_, begins)| *begins)
            .map(|(w, _)| w)
            .collect();
        if begins.is_empty() {
            continue;
        }
        assert_eq!(begins.len(), rule.anchors.len(), "{}", rule.kind);
        let prefixes = Regex::new(&format!("^(?:{})", rule.prefix)).unwrap();
        for sample in rule.samples {
            assert!(prefixes.is_match(sample), "{sample}");
            assert!(
                begins.iter().any(|word| sample.starts_with(word)),
                "{sample}"
            );
        }
    }
}

#[test]
fn no_part_of_a_secret_gets_out_wherever_and_however_long_the_writes_are_apart() {
    let redactor = redactor();
    let mut random = Random::new(1);
    let mut failures = Vec::new();
    let mut count = 0;
    for _ in 0..rounds(2) {
        for planted in secrets::planted(&mut random) {
            count += 1;
            let text = planted.text();
            let failed = (0..=text.len()).find_map(|at| {
                [false, true].into_iter().find_map(|paused| {
                    let out = in_two_writes(&redactor, &text, at, paused);
                    let seen = planted.seen_in(&out);
                    let stays = out.starts_with(&planted.before) && out.ends_with(&planted.after);
                    (seen.is_some() || !stays)
                        .then(|| format!("split at {at}, paused {paused}: {text:?}\n   -> {out:?}"))
                })
            });
            failures.extend(failed);
        }
    }
    let failed = failures.len();
    assert!(failed == 0, "{failed} of {count}:\n{}", failures.join("\n"));
}

pub(super) fn redactor() -> Redactor {
    Redactor::new("").0
}

#[test]
fn every_token_is_found_and_named() {
    let redactor = redactor();
    for rule in TOKENS {
        for sample in rule.samples {
            let redacted = redactor.redact(sample).into_owned();
            assert_eq!(redacted, format!("[REDACTED:{}]", rule.kind), "{sample}");
            let inside = format!("x = ({sample}), y");
            assert_eq!(
                redactor.redact(&inside),
                format!("x = ([REDACTED:{}]), y", rule.kind),
                "{sample}"
            );
        }
    }
}

#[test]
fn a_secret_is_known_by_what_stands_before_it() {
    let redactor = redactor();
    for (text, expected) in [
        (
            "Authorization: Bearer abc.def-ghi",
            "Authorization: [REDACTED:authorization]",
        ),
        (
            "{\"auths\":{\"ghcr.io\":{\"auth\":\"dXNlcjpwYXNzd29yZA==\"}}}",
            "{\"auths\":{\"ghcr.io\":{\"auth\":\"[REDACTED:basic-auth]\"}}}",
        ),
        (
            "_auth = dXNlcjpwYXNzd29yZA==",
            "_auth = [REDACTED:basic-auth]",
        ),
        (
            "AWS_SECRET_ACCESS_KEY=0123456789abcdef0123456789abcdef0123456789abcdef",
            "AWS_SECRET_ACCESS_KEY=[REDACTED:aws]",
        ),
        (
            "Ocp-Apim-Subscription-Key: cd99c09d6d055fd85b825fdbf6f31ad6",
            "Ocp-Apim-Subscription-Key: [REDACTED:assignment]",
        ),
        (
            "curl -H \"Authorization: Basic dXNlcjpwYXNz\" https://x",
            "curl -H \"Authorization: [REDACTED:authorization]\" https://x",
        ),
        (
            "secret abc8Q~0123456789abcdefghijklmnopqrstuv",
            "secret abc8Q~[REDACTED:azure]",
        ),
        (
            "123456789:AAF0123456789abcdefghijklmnopqrstuv",
            "123456789:AA[REDACTED:telegram]",
        ),
        (
            "authorization: 8f14e45fceea167a5a36dedd4bea2543",
            "authorization: [REDACTED:assignment]",
        ),
        (
            "Cookie: session=abc123; theme=dark",
            "Cookie: [REDACTED:cookie]",
        ),
        (
            "postgres://user:hunter2@db:5432/x",
            "postgres://user:[REDACTED:url-password]@db:5432/x",
        ),
        (
            "export OPENAI_API_KEY=8f14e45fceea167a5a36",
            "export OPENAI_API_KEY=[REDACTED:assignment]",
        ),
        (
            "{\"password\": \"correct horse 1!\"}",
            "{\"password\": \"[REDACTED:assignment]\"}",
        ),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [REDACTED:aws]",
        ),
        (
            "https://x/y?token=8f14e45fceea167a&z=1",
            "https://x/y?token=[REDACTED:assignment]&z=1",
        ),
    ] {
        assert_eq!(redactor.redact(text), expected);
    }
}

#[test]
fn what_is_no_secret_stays_as_it_is() {
    let redactor = redactor();
    for text in [
        "token = lexer.next()",
        "authorization = self.headers.get(\"authorization\")",
        "authorization: AuthorizationHeaderName",
        "commit 8f14e45fceea167a5a36dedd4bea25438f14e45f",
        "id 0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b",
        "/usr/lib/python3/secrets.py:12: token: str = field(default=None)",
        "fn password(&self) -> &str { &self.password }",
        "max_tokens: 4096, tokens=12345, tokenizer: gpt2",
        "see https://example.com:8080/@user/path",
        "PWD=/home/u/work",
        "Set the Authorization: header to the value of your token",
        "the cookie: chocolate",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "sk-folding-cube task-1 disk-0123456789",
        "if (token === null) { return password; }",
        "PASSWORD=$(pass show x)",
        "password: required",
    ] {
        assert_eq!(redactor.redact(text), text);
    }
}

#[test]
fn a_private_key_is_taken_out_as_a_block() {
    let redactor = redactor();
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\nabcd==\n-----END RSA PRIVATE KEY-----"
    );
    assert_eq!(
        redactor.redact(&format!("a\n{key}\nb\n")),
        "a\n[REDACTED:private-key]\nb\n"
    );
    let json = format!("{{\"k\":\"{}\",\"x\":1}}", key.replace('\n', "\\n"));
    assert_eq!(
        redactor.redact(&json),
        "{\"k\":\"[REDACTED:private-key]\",\"x\":1}"
    );
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{line}\nthe end of it\n");
    assert_eq!(
        redactor.redact(&broken),
        "[REDACTED:private-key]the end of it\n"
    );
}

#[test]
fn a_secret_is_found_wherever_the_writes_are_split() {
    let redactor = redactor();
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let texts = TOKENS
        .iter()
        .flat_map(|rule| rule.samples)
        .map(|sample| format!("a {sample} b\n"));
    let others = [
        "Authorization: Bearer abc.def-ghi\nx".to_owned(),
        "export OPENAI_API_KEY=8f14e45fceea167a5a36\n".to_owned(),
        "postgres://user:hunter2@db:5432/x\n".to_owned(),
        "{\"password\": \"correcthorse\", \"a\": 1}".to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\n{line}\nabcd==\n-----END PRIVATE KEY-----\nafter\n"),
    ];
    for text in texts.chain(others) {
        let whole = redactor.redact(&text).into_owned();
        assert!(whole.contains("[REDACTED:"), "{text}");
        for at in 0..=text.len() {
            let mut stream = Stream::default();
            let mut out = Vec::new();
            stream.push(&redactor, &text.as_bytes()[..at], &mut out);
            stream.push(&redactor, &text.as_bytes()[at..], &mut out);
            stream.finish(&redactor, &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                whole,
                "split at {at} of {text}"
            );
        }
    }
}

#[test]
fn after_the_time_is_up_no_byte_of_a_recognised_secret_gets_out() {
    let redactor = redactor();
    for rule in TOKENS {
        for sample in rule.samples {
            for at in 0..=sample.len() {
                let mut stream = Stream::default();
                let mut out = Vec::new();
                stream.push(&redactor, &sample.as_bytes()[..at], &mut out);
                stream.expire(&redactor, &mut out);
                stream.push(&redactor, &sample.as_bytes()[at..], &mut out);
                stream.push(&redactor, b" b\n", &mut out);
                let text = String::from_utf8_lossy(&out);
                let secret = &sample[sample.len() - 8..];
                assert!(!text.contains(secret), "{text} for {sample} split at {at}");
                assert!(text.ends_with(" b\n"), "{text} for {sample} split at {at}");
            }
        }
    }
}

#[test]
fn the_users_own_patterns_hold_and_bad_ones_are_named() {
    let (redactor, bad) = Redactor::new("# mine\nproject-\\d+\n(\n\nx*\n");
    assert_eq!(
        redactor.redact("see project-42 now"),
        "see [REDACTED:custom] now"
    );
    let lines: Vec<usize> = bad.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [3, 5]);
}

#[test]
fn a_match_of_the_users_own_patterns_is_found_wherever_the_writes_are_split() {
    let (redactor, _) = Redactor::new("project-\\d+");
    let text = "see project-42 here\n";
    for at in 0..=text.len() {
        let out = in_two_writes(&redactor, text, at, false);
        assert_eq!(out, "see [REDACTED:custom] here\n", "split at {at}");
    }
}

#[test]
fn patterns_that_are_read_again_hold_for_streams_that_have_begun_and_the_counts_go_on() {
    let file = std::env::temp_dir().join(format!("coven-redact-{}", std::process::id()));
    std::fs::write(&file, "first-\\d+\n").unwrap();
    let (redactor, bad) = Redactor::load(&file);
    assert_eq!(bad, []);
    let (mut stream, mut out) = (Stream::default(), Vec::new());
    let half = b"first-1 second-2\nAKIAIOSFODNN7";
    stream.push(&redactor, half, &mut out);
    std::fs::write(&file, "second-\\d+\n(\n").unwrap();
    assert_eq!(redactor.reload(&file).len(), 1);
    // The key's beginning was held back when the patterns changed.
    stream.push(&redactor, b"EXAMPLE\nfirst-1 second-2\n", &mut out);
    stream.finish(&redactor, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "[REDACTED:custom] second-2\n[REDACTED:aws]\nfirst-1 [REDACTED:custom]\n"
    );
    assert_eq!(redactor.counts()["custom"], 2);
    // A file that cannot be read takes no pattern away.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(redactor.reload(&file).len(), 1);
    assert_eq!(redactor.redact("second-3"), "[REDACTED:custom]");
    std::fs::remove_dir(&file).unwrap();
    assert_eq!(redactor.reload(&file), []);
    assert_eq!(redactor.redact("second-3"), "second-3");
}

#[test]
fn a_token_behind_a_long_colour_is_taken_out_wherever_a_write_ends() {
    let redactor = redactor();
    let before = "\u{1b}[0;1;38;2;100;200;100;48;2;255;255;255m";
    let secret = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    let text = format!("{before}sk-ant-api03-{secret} x");
    for at in 0..=text.len() {
        for paused in [false, true] {
            let out = in_two_writes(&redactor, &text, at, paused);
            let parts = secret.as_bytes().windows(3);
            let seen = parts.map(|part| str::from_utf8(part).unwrap());
            let seen: Vec<_> = seen.filter(|part| out.contains(part)).collect();
            assert!(
                seen.is_empty(),
                "split at {at}, paused {paused}: {out:?} has {seen:?}"
            );
        }
    }
}

#[test]
fn what_the_words_pass_over_holds_no_secret() {
    const PIECES: &[&str] = &[
        "SK1",
        "SKa",
        "AKIA",
        "A3T",
        "sk-ant-",
        "key",
        "KEY=",
        "password: ",
        "Bearer ",
        "eyJ",
        "a",
        "Z9",
        "_",
        "-",
        " ",
        "\n",
        "\\n",
        "\\u0041",
        "\u{1b}[38;2;10;20;30m",
        "%41",
        "\"",
        "0123456789abcdef0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "abcdef0123456789abcdef01234567",
        "IOSFODNN7EXAMPLE",
    ];
    let with_words = redactor();
    let mut without = redactor();
    without.words = None;
    let mut random = Random::new(7);
    for _ in 0..rounds(20_000) {
        let pieces = 1 + random.below(12);
        let text: String = (0..pieces)
            .map(|_| PIECES[random.below(PIECES.len())])
            .collect();
        assert_eq!(with_words.redact(&text), without.redact(&text), "{text:?}");
    }
}

#[test]
fn what_is_stored_keeps_its_secrets_only_if_that_is_turned_on_and_the_log_never_does() {
    let secret = "export API_KEY=ghp_0123456789abcdefghijABCDEFGHIJ012345";
    for stores_secrets in [false, true] {
        let redactor = redactor().storing_secrets(stores_secrets);
        let mut out = Vec::new();
        let mut stream = Stream::default();
        stream.push_stored(&redactor, secret.as_bytes(), &mut out);
        stream.finish(&redactor, &mut out);
        assert_eq!(out == secret.as_bytes(), stores_secrets);
        assert_eq!(
            redactor.redact_stored(secret.into()) == secret,
            stores_secrets
        );
        assert_ne!(redactor.redact(secret), secret);
    }
}
