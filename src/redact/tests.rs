//! The rules and the stream together: what is found, what is left alone, and that no split matters.

use super::*;
use crate::random::{Random, rounds, sampled};

#[path = "../../tests/coven/support/secrets.rs"]
mod secrets;

/// Output of a stream for writes that end at these `cuts`, with a pause behind each, if `paused`, that is longer than
/// anything is held back.
pub(super) fn in_writes(
    redactor: &Redactor,
    text: &str,
    cuts: impl IntoIterator<Item = usize>,
    paused: bool,
) -> String {
    let (mut stream, mut out, mut from) = (Stream::default(), Vec::new(), 0);
    for cut in cuts {
        stream.push(redactor, &text.as_bytes()[from..cut], &mut out);
        if paused {
            stream.expire(redactor, &mut out);
        }
        from = cut;
    }
    stream.push(redactor, &text.as_bytes()[from..], &mut out);
    stream.finish(redactor, &mut out);
    String::from_utf8(out).unwrap()
}

pub(super) fn in_two_writes(redactor: &Redactor, text: &str, at: usize, paused: bool) -> String {
    in_writes(redactor, text, [at], paused)
}

/// Asserts that `text` is stored as `expected`, cut in two at each place, without and with a pause.
fn assert_stored(text: &str, expected: &str) {
    let redactor = redactor();
    for at in 0..text.len() {
        for paused in [false, true] {
            let out = in_two_writes(&redactor, text, at, paused);
            assert_eq!(out, expected, "{at} {paused}");
        }
    }
}

#[test]
fn no_part_of_a_token_beside_a_setting_gets_out_behind_a_pause() {
    assert_stored(
        "npm config set //registry.npmjs.org/:_authToken q7Hs2kLm9Zx4vBn1\n",
        "npm config set //registry.npmjs.org/:_authToken [REDACTED:assignment]\n",
    );
}

#[test]
fn no_part_of_a_block_scalar_gets_out_behind_a_pause() {
    assert_stored(
        "password: |\n  q7Hs2kLm9Zx4vBn1\nuser: bob\n",
        "password: |\n  [REDACTED:assignment]\nuser: bob\n",
    );
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
            let whole = redactor.redact(&text);
            let failed = sampled(text.len() + 1, 5, count).find_map(|at| {
                [false, true].into_iter().find_map(|paused| {
                    let out = in_two_writes(&redactor, &text, at, paused);
                    let seen = planted.seen_in(&out);
                    let stays = out.starts_with(&planted.before) && out.ends_with(&planted.after);
                    let is_same = paused || out == whole;
                    (seen.is_some() || !stays || !is_same)
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
fn a_mark_says_the_kind_of_a_secret_under_any_name_and_is_none_itself() {
    let redactor = redactor();
    #[rustfmt::skip]
    let rows = [
        ("\"auth\":\"", "dXNlcjpwYXNzd29yZA==", "\"", "basic-auth"),
        ("_auth = ", "dXNlcjpwYXNzd29yZA==", "", "basic-auth"),
        ("token=", "ghp_0123456789abcdefghijklmnopqrstuvwxyz", ", x", "github"),
        ("export NPM_TOKEN='", "npm_0123456789abcdefghijklmnopqrstuvwxyz", "'", "npm"),
        ("password: ", "x-ghp_0123456789abcdefghijklmnopqrstuvwxyz", "", "assignment"),
        ("curl -u ", "", "[REDACTED:1password] x", ""),
        ("auth = \"", "", "cmVxdWlyZWQ=\"", ""),
    ];
    for (before, secret, after, kind) in rows {
        let mark = match secret {
            "" => String::new(),
            _ => format!("{REDACTED}{kind}]"),
        };
        let redacted = redactor
            .redact(&format!("{before}{secret}{after}"))
            .into_owned();
        assert_eq!(redacted, format!("{before}{mark}{after}"));
    }
}

#[test]
fn a_command_line_with_three_secrets_loses_all_wherever_a_write_ends() {
    let redactor = redactor();
    let text = "curl -H 'X-Api-Key: q7Hs2kLm9Zx4' -u a:hunter2horse -b sid=x1y2z3w4 https://x\n";
    let expected = "curl -H 'X-Api-Key: [REDACTED:authorization]' -u a:[REDACTED:basic-auth] \
        -b sid=[REDACTED:cookie] https://x\n";
    for at in 0..text.len() {
        let out = in_two_writes(&redactor, text, at, false);
        assert_eq!(out, expected, "split at {at}");
    }
    let words = text.replace('\'', "");
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let redacted = redactor.redact_arguments(&words).join(" ");
    assert!(
        !redacted.contains("hunter2horse") && !redacted.contains("x1y2z3w4"),
        "{redacted}"
    );
}

#[test]
fn a_private_key_without_its_end_is_taken_out_to_its_last_line() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{line}\nthe end of it\n");
    let expected = "[REDACTED:private-key]the end of it\n";
    assert_eq!(redactor().redact(&broken), expected);
}

#[test]
fn the_users_own_patterns_hold_wherever_a_write_ends_and_bad_ones_are_named() {
    let (redactor, bad) = Redactor::new("# mine\nproject-\\d+\n(\n\nx*\n");
    let text = "see project-42 here\n";
    for at in 0..=text.len() {
        let out = in_two_writes(&redactor, text, at, false);
        assert_eq!(out, "see [REDACTED:custom] here\n", "split at {at}");
    }
    let lines: Vec<usize> = bad.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [3, 5]);
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

#[test]
fn a_path_or_an_id_that_holds_a_token_is_told_from_one_that_only_looks_odd() {
    let redactor = redactor();
    for (yes, no) in super::matrix::tokens() {
        let yes = yes.text();
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

#[test]
fn text_of_a_secret_that_a_pause_has_taken_out_is_not_searched_again() {
    let text = "sk.eyJ1-sntryu_013=twiter', 'x\"";
    let out = in_writes(&redactor(), text, [12, 20], true);
    assert_eq!(out, "[REDACTED:mapbox]=twiter', 'x\"");
}
