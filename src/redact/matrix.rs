//! Tests the samples of all tables in every layer and with writes cut at any place: the stored bytes must be the same, and
//! with a pause at the cut at least as many must be taken out. Redacted and harmless texts are cut at some of the places, in
//! each sample others; with `COVEN_TEST_ROUNDS=16` at all.

use serde_json::{Value, json};

use super::issuers::{ISSUERS, Issuer, MARKED};
use super::tests::{in_two_writes, in_writes, redactor};
use super::*;
use crate::random::{Random, rounds, sampled};

/// Beginning of a private key.
const KEY: &str = "-----BEGIN";

/// A row's text with a secret, and its text without one.
type Sample = (Planted, &'static str);

fn samples() -> Vec<Sample> {
    let others = [
        commands::SAMPLES,
        extent::SAMPLES,
        forms::SAMPLES,
        headers::SAMPLES,
        names::SAMPLES,
        rules::SAMPLES,
    ];
    let others = others.into_iter().flatten();
    tokens()
        .chain(others.map(|(yes, no)| (Planted::new(yes), *no)))
        .collect()
}

/// The samples of the issuers.
pub(super) fn tokens() -> impl Iterator<Item = Sample> {
    let rows = ISSUERS.iter().chain(MARKED);
    rows.map(|row| (Planted::token(row), row.samples.1))
}

/// A secret and its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planted {
    before: &'static str,
    secret: &'static str,
    after: &'static str,
    /// Number of bytes of the secret that a pause can leave: they are public, or also begin other words.
    public: usize,
}

impl Planted {
    /// The sample of an issuer: a word of its prefix and letters can be another word.
    fn token(row: &Issuer) -> Self {
        let yes = row.samples.0;
        let prefixes = row
            .prefixes
            .iter()
            .filter(|prefix| yes.starts_with(**prefix));
        let public = prefixes.map(|prefix| prefix.len()).max().map(|length| {
            let letters = yes[length..].bytes().take(6);
            length + letters.take_while(u8::is_ascii_alphabetic).count()
        });
        Self {
            public: public.unwrap_or_default(),
            ..Self::new(yes)
        }
    }

    /// Parses a text with the secret in `«»`, or a text that is the secret.
    fn new(text: &'static str) -> Self {
        let Some((before, rest)) = text.split_once('«') else {
            return Self {
                before: "",
                secret: text,
                after: "",
                public: 0,
            };
        };
        let (secret, after) = rest.split_once('»').unwrap();
        Self {
            before,
            secret,
            after,
            public: if secret.starts_with(KEY) {
                KEY.len()
            } else {
                0
            },
        }
    }

    pub(super) fn text(&self) -> String {
        self.with(self.secret)
    }

    fn with(&self, secret: &str) -> String {
        format!("{}{secret}{}", self.before, self.after)
    }
}

/// An encoding that other programs apply to text.
pub(super) type Wrap = fn(&str) -> String;

/// Encodes as `depth` nested JSON strings.
fn json(depth: usize, text: &str) -> String {
    let inner = match depth {
        1 => text.to_owned(),
        _ => json(depth - 1, text),
    };
    serde_json::json!({ "text": inner, "n": 1 }).to_string()
}

fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.' | b'-' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn html(text: &str) -> String {
    let pairs = [
        ('&', "&amp;"),
        ('"', "&quot;"),
        ('\'', "&#39;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
    ];
    let escape = |text: String, (char, entity)| text.replace(char, entity);
    pairs.into_iter().fold(text.to_owned(), escape)
}

macro_rules! layers {
    ($($name:ident: $colour:literal, $wrap:expr;)*) => {
        $(#[test]
        fn $name() {
            check($wrap, $colour);
        })*

        /// The colour inside each secret, and the encoding of its text.
        pub(super) const LAYERS: &[(&str, Wrap)] = &[$(($colour, $wrap)),*];
    };
}

layers! {
    plain: "", |text| text.to_owned();
    in_colours: "", |text| format!("\x1b[0;1;38;2;100;200;100;48;2;255;255;255m{text}\x1b[0m");
    with_a_colour_inside: "\x1b[1;31m", |text| format!("{text}\x1b[0m");
    with_a_written_colour_inside: "\\u001b[1;31m", |text| text.to_owned();
    in_json: "", |text| json(1, text);
    in_json_in_json: "", |text| json(2, text);
    in_json_three_deep: "", |text| json(3, text);
    in_percent_encoding: "", |text| format!("GET /?q={}&n=1", percent(text));
    in_html: "", |text| format!("<b>{}</b>", html(text));
    in_a_shells_quotes: "", |text| format!("echo '{}'", text.replace('\'', "'\\''"));
}

/// Checks all samples, one per line, in a text encoded by `wrap`, with `colour` inside each secret.
fn check(wrap: Wrap, colour: &str) {
    /// Stands for the secret's mark, which the encodings would escape.
    const MARK: &str = "zqMARKqz";
    let redactor = redactor();
    let mut random = Random::new(7);
    let mut wrong = Vec::new();
    for (index, (yes, no)) in samples().into_iter().enumerate() {
        let plain = redactor.redact(&yes.text()).into_owned();
        let mark = plain
            .split_once(REDACTED)
            .and_then(|(_, rest)| rest.split_once(']'));
        let Some((kind, _)) = mark else {
            wrong.push(format!("{yes:?} stays: {plain:?}"));
            continue;
        };
        let on_a_line = |text: &str| wrap(&format!("a\n{text}\nb")) + "\n";
        let (left, right) = yes.secret.split_at(yes.secret.len() / 2);
        let text = on_a_line(&yes.with(&format!("{left}{colour}{right}")));
        let stored = |shown: &str| {
            let text = on_a_line(&yes.with(&format!("{shown}{MARK}{colour}")));
            text.replace(MARK, &format!("{REDACTED}{kind}]"))
        };
        let expected = stored("");
        let no = on_a_line(no);
        let subset = (index % 8 == 0).then_some(&mut random);
        let cuts = |text: &str, stride| sampled(text.len(), stride, index);
        wrong.extend(differs(&redactor, &text, &expected, 0..text.len(), subset));
        let behind = |text: &str| "text\n".repeat(500) + text;
        let (far, at) = (behind(&text), cuts(&behind(&text), 900));
        wrong.extend(differs(&redactor, &far, &behind(&expected), at, None));
        let at = cuts(&expected, 16);
        wrong.extend(differs(&redactor, &expected, &expected, at, None));
        wrong.extend(differs(&redactor, &no, &no, cuts(&no, 8), None));
        let shown = stored(&yes.secret[..yes.public]);
        wrong.extend(shows_more(&redactor, &text, &shown));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The stored form of `text` if it is not `expected`: cut in two at each of `cuts` and, with a random source, in three and
/// into single bytes.
fn differs(
    redactor: &Redactor,
    text: &str,
    expected: &str,
    cuts: impl Iterator<Item = usize>,
    random: Option<&mut Random>,
) -> Option<String> {
    let mut ways: Vec<Vec<usize>> = cuts.map(|at| vec![at]).collect();
    if let Some(random) = random {
        ways.push((0..text.len()).collect());
        for _ in 0..rounds(20) {
            let first = random.below(text.len());
            let second = first + random.below(text.len() - first);
            ways.push(vec![first, second]);
        }
    }
    let outs = ways.iter();
    let mut outs = outs.map(|cuts| (cuts, in_writes(redactor, text, cuts.iter().copied(), false)));
    let (cuts, out) = outs.find(|(_, out)| out != expected)?;
    let cuts = &cuts[..cuts.len().min(2)];
    Some(format!(
        "{text:?} at {cuts:?}\n  -> {out:?}\n not {expected:?}"
    ))
}

/// The stored form of `text` with a pause in it, if that shows more than `most`.
fn shows_more(redactor: &Redactor, text: &str, most: &str) -> Option<String> {
    let most = without_marks(most);
    let mut outs = (0..text.len()).map(|at| in_two_writes(redactor, text, at, true));
    let out = outs.find(|out| !is_left_of(&without_marks(out), &most))?;
    Some(format!("{text:?} with a pause\n  -> {out:?}"))
}

fn without_marks(text: &str) -> String {
    let mut pieces = text.split(REDACTED);
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.filter_map(|piece| Some(piece.split_once(']')?.1));
    rest.fold(first, |all, piece| all + piece)
}

/// True if `left` is `text` without some of its bytes.
fn is_left_of(left: &str, text: &str) -> bool {
    let mut rest = text.bytes();
    left.bytes().all(|byte| rest.any(|other| other == byte))
}

/// True if `after` is `before` with marks in strings.
fn is_json_redaction(after: &Value, before: &Value) -> bool {
    match (after, before) {
        (Value::String(after), Value::String(before)) => {
            let left = without_marks(after);
            after == before || left != *after && is_left_of(&left, before)
        }
        (Value::Array(after), Value::Array(before)) => {
            let mut pairs = after.iter().zip(before);
            after.len() == before.len()
                && pairs.all(|(after, before)| is_json_redaction(after, before))
        }
        _ => after == before,
    }
}

/// A random JSON value made of `texts`; some of its strings hold a JSON object with a member `name`.
fn any_json(random: &mut Random, name: &str, texts: &[&str]) -> Value {
    let mut text = String::new();
    for _ in 0..random.below(5) {
        text += *random.pick(texts);
    }
    match random.below(7) {
        0 => json!(random.next() as i64),
        1 => json!(random.below(1_000_000) as f64 / 1000.0),
        2 => [json!(true), json!(false), Value::Null][random.below(3)].clone(),
        3 => json!([text, json!({ name: text }).to_string(), 12_345_678]),
        4 => json!(json!({ "inner": json!({ name: text, "n": 1 }).to_string() }).to_string()),
        _ => json!(text),
    }
}

#[test]
fn a_json_line_stays_one_with_its_keys_and_its_other_values() {
    #[rustfmt::skip]
    const NAMES: &[&str] = &[
        "token", "password", "api_key", "key", "Authorization", "cookie", "X-Api-Key", "name", "value", "env",
    ];
    #[rustfmt::skip]
    const TEXTS: &[&str] = &[
        "token=", "password: \"a b\"", "export DB_PASS='x1y2z3w4' \\", "Authorization: Bearer ", "a\nkey: ", "secret",
        "{\"secret\":\"", "postgres://u:p4ssw0rd@h/x", "hunter2horse!", "curl -u a:", "-----BEGIN PRIVATE KEY-----\n", "'", "\"",
        "Set-Cookie: a=\"", "<password>", "</password>", "\\", "name: API_KEY\n  value: ", "q7Hs2kLm9Zx4vBn1",
    ];
    /// Texts that are no parts of secrets in any combination.
    #[rustfmt::skip]
    const HARMLESS: &[&str] = &[
        "a sentence, with a comma. ", "C:\\dir\\file ", "it's ", "%20", "&quot;", " \u{1b}[32m", "{\"a\":[1,2]} ", "x=1&y=2 ",
        "1234567890 ", "\n", "\t", "é🦀", "`", "/usr/lib/a.so ",
    ];
    let redactor = redactor();
    let mut random = Random::new(3);
    // Two adjacent tokens are one word.
    let samples = samples();
    let samples: Vec<_> = samples
        .iter()
        .map(|(yes, _)| format!(" {} ", yes.text()))
        .collect();
    let mut texts = TEXTS.to_vec();
    texts.extend(HARMLESS);
    for _ in 0..rounds(10_000) {
        let sample = random.pick(&samples).as_str();
        let texts: Vec<&str> = texts.iter().copied().chain([sample; 5]).collect();
        let mut line = serde_json::Map::new();
        for _ in 0..1 + random.below(4) {
            let name = *random.pick(NAMES);
            line.insert(name.to_owned(), any_json(&mut random, name, &texts));
            let harmless = any_json(&mut random, "note", HARMLESS);
            line.insert(format!("note {}", random.below(9)), harmless);
        }
        let text = Value::Object(line).to_string();
        let redacted = redactor.redact(&text);
        let before: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let after: serde_json::Map<String, Value> = serde_json::from_str(&redacted)
            .unwrap_or_else(|err| panic!("{err}:\n{text}\n{redacted}"));
        assert!(after.keys().eq(before.keys()), "{text}\n{redacted}");
        for (key, value) in &before {
            let is_right = match key.starts_with("note") {
                true => &after[key] == value,
                false => is_json_redaction(&after[key], value),
            };
            assert!(is_right, "{key}:\n{text}\n{redacted}");
        }
        assert_eq!(redactor.redact(&redacted), redacted, "of {text}");
    }
}
