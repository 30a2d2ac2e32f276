//! The rules and the stream together: what is found, what is left alone, and that no split matters.

use super::issuers::{ISSUERS, MARKED};
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
            "AWS_SECRET_ACCESS_KEY=[REDACTED:assignment]",
        ),
        (
            "Ocp-Apim-Subscription-Key: cd99c09d6d055fd85b825fdbf6f31ad6",
            "Ocp-Apim-Subscription-Key: [REDACTED:authorization]",
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
            "authorization: [REDACTED:authorization]",
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
            "aws_secret_access_key = [REDACTED:assignment]",
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

#[test]
fn the_beginning_of_a_text_is_redacted_as_the_whole_is() {
    let redactor = redactor();
    for unit in [
        "API_KEY=8f14e45fceea167a5a36 é\n",
        "plain text 🦀\n",
        "\u{1b}[32mok\u{1b}[m ",
    ] {
        let text = unit.repeat(100_000 / unit.len());
        let whole = redactor.redact_stored(text.clone());
        for length in [0, 1, 20_000, 65_536, whole.len(), text.len()] {
            let beginning = redactor.redact_stored_beginning(&text, length);
            let kept = &beginning[..beginning.floor_char_boundary(length)];
            assert!(whole.starts_with(kept), "{unit:?} {length}");
            assert_eq!(
                beginning.len() > length,
                whole.len() > length,
                "{unit:?} {length}"
            );
        }
    }
}

/// The samples of the issuers' tables: what is taken out, what is not, and what is left of the former.
fn samples() -> impl Iterator<Item = (&'static str, &'static str)> {
    ISSUERS
        .iter()
        .map(|row| row.samples)
        .chain(MARKED.iter().map(|row| row.samples))
}

/// A layer's name, and what wraps a text in it as other programs do.
type Wrap = (&'static str, fn(&str) -> String);

const LAYERS: &[Wrap] = &[
    ("plain", |text| format!("see {text} there\n")),
    ("colours around", |text| {
        format!("see \x1b[32m{text}\x1b[0m there\n")
    }),
    ("colours inside", |text| {
        let (left, right) = text.split_at(text.len() / 2);
        format!("see {left}\x1b[1;31m{right}\x1b[0m there\n")
    }),
    ("JSON", |text| {
        serde_json::json!({ "text": format!("a\n{text}\nb") }).to_string() + "\n"
    }),
    ("JSON in JSON", |text| {
        let inner = serde_json::json!({ "text": format!("a\n{text}\nb") }).to_string();
        serde_json::json!({ "inner": inner, "n": 1 }).to_string() + "\n"
    }),
    ("percent", |text| {
        let encode = |byte: u8| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.' | b'-' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        format!(
            "GET /?q=a%0A{}%0Ab\n",
            text.bytes().map(encode).collect::<String>()
        )
    }),
    ("HTML", |text| {
        format!(
            "<b>&quot;{}&quot;</b>\n",
            text.replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;")
        )
    }),
    ("shell", |text| {
        format!("echo '{}'\n", text.replace('\'', "'\\''"))
    }),
];

#[test]
fn the_tables_samples_are_told_apart_in_every_layer() {
    let redactor = redactor();
    let mut wrong = Vec::new();
    for (yes, no) in samples() {
        for (layer, wrap) in LAYERS {
            let whole = redactor.redact(&wrap(yes)).into_owned();
            let hidden = &yes[yes.len() - 8..];
            if !whole.contains("[REDACTED:") || whole.contains(hidden) {
                wrong.push(format!("{layer}: {yes} stays: {whole}"));
            }
            if redactor.redact(&wrap(no)) != wrap(no) {
                wrong.push(format!(
                    "{layer}: {no} is taken out: {}",
                    redactor.redact(&wrap(no))
                ));
            }
            if redactor.redact(&whole) != whole {
                wrong.push(format!(
                    "{layer}: {whole} is redacted again: {}",
                    redactor.redact(&whole)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_stored_text_is_the_same_wherever_a_write_ends() {
    let redactor = redactor();
    let mut random = Random::new(11);
    let mut texts: Vec<String> = Vec::new();
    for (yes, _) in samples() {
        texts.extend(LAYERS.iter().map(|(_, wrap)| wrap(yes)));
    }
    for planted in secrets::planted(&mut random) {
        texts.push(planted.text());
    }
    let mut wrong = Vec::new();
    for text in &texts {
        let whole = redactor.redact(text);
        let differs =
            (1..text.len()).find(|&at| in_two_writes(&redactor, text, at, false) != whole);
        if let Some(at) = differs {
            wrong.push(format!(
                "{at}: {text:?}\n  -> {:?}\n  not {whole:?}",
                in_two_writes(&redactor, text, at, false)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        texts.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_json_line_stays_one_with_its_keys_and_its_other_values() {
    use serde_json::{Value, json};
    let redactor = redactor();
    let mut random = Random::new(3);
    let samples: Vec<&str> = samples().map(|sample| sample.0).collect();
    let names = [
        "token",
        "password",
        "api_key",
        "text",
        "key",
        "Authorization",
        "cookie",
        "note",
    ];
    let texts = [
        "token=",
        "password: \"a b\"",
        "export DB_PASS='x1y2z3w4' \\",
        "Authorization: Bearer ",
        "a\nkey: ",
        "C:\\token\\",
        "it's",
        "{\"secret\":\"",
        "postgres://u:p4ssw0rd@h/x",
        "hunter2horse!",
        "\u{1b}[32m",
        "%20",
        "&quot;",
    ];
    for _ in 0..rounds(10_000) {
        let mut line = serde_json::Map::new();
        for _ in 0..1 + random.below(4) {
            let mut text = String::new();
            for _ in 0..random.below(4) {
                text += *random.pick(&texts);
                if random.one_in(3) {
                    text += *random.pick(&samples);
                }
            }
            let value = match random.below(6) {
                0 => json!(random.below(1_000_000_000)),
                1 => json!(random.one_in(2)),
                2 => Value::Null,
                3 => json!([text, json!({ "password": text }).to_string()]),
                4 => json!(json!({ "inner": json!({ "token": text }).to_string() }).to_string()),
                _ => json!(text),
            };
            line.insert((*random.pick(&names)).to_owned(), value);
        }
        let before = Value::Object(line);
        let text = before.to_string();
        let redacted = redactor.redact(&text);
        let after: Value = serde_json::from_str(&redacted)
            .unwrap_or_else(|err| panic!("{err}:\n{text}\n{redacted}"));
        let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
        assert!(before.keys().eq(after.keys()), "{text}\n{redacted}");
        for (key, value) in before {
            let is_same = value == &after[key] || value.is_string() || value.is_array();
            assert!(
                is_same && std::mem::discriminant(value) == std::mem::discriminant(&after[key]),
                "{text}\n{redacted}"
            );
        }
    }
}

#[test]
fn a_path_or_an_id_that_holds_a_token_is_told_from_one_that_only_looks_odd() {
    let redactor = redactor();
    for (yes, no) in samples() {
        assert!(redactor.holds_token(&format!("/srv/{yes}/x")), "{yes}");
        assert!(!redactor.holds_token(&format!("/srv/{no}/x")), "{no}");
    }
    let mut random = Random::new(17);
    let alphabets: [&[u8]; 3] = [
        b"0123456789abcdef",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    ];
    for _ in 0..rounds(5000) {
        let alphabet = random.pick(&alphabets).to_vec();
        let mut name = |length| -> String {
            (0..length)
                .map(|_| char::from(*random.pick(&alphabet)))
                .collect()
        };
        let path = format!("/tmp/{}/test_{}/{}", name(22), name(32), name(64));
        assert!(!redactor.holds_token(&path), "{path}");
    }
    let secrets = "/home/u/password=hunter2horse/token: 8f14e45fceea167a5a36";
    assert!(!redactor.holds_token(secrets));
    assert!(
        !self::redactor()
            .storing_secrets(true)
            .holds_token("AKIAIOSFODNN7EXAMPLE")
    );
}
