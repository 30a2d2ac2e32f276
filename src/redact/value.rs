//! Decides whether the value of a secret's name is a secret: `API_KEY=8f14e45f…` is, `token = lexer.next()` is not.
//!
//! Pure: maps a value and its surroundings to a verdict. Contains all heuristics about values.

use super::{REDACTED, names};

/// Strength of a name as evidence for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// `key`, `auth`, or a service: the value must be random.
    Weak,
    /// `api_key`, `token`: the value must not be a word.
    Secret,
    /// `password`: a person may have chosen the value.
    Password,
}

/// A value found by a form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) name: Name,
    /// Its text without quotes.
    pub(super) text: &'a [u8],
    pub(super) is_quoted: bool,
    /// Space precedes it, as in code.
    pub(super) is_spaced: bool,
    /// The value stands in a shell assignment, a settings file or a query: `NAME=value`.
    pub(super) is_setting: bool,
    /// The byte after it.
    pub(super) next: u8,
}

/// Minimum lengths, in bytes, of a value that is a secret by its shape, and of a password.
const SECRET_MIN: usize = 8;
const PASSWORD_MIN: usize = 4;

/// Minimum length of a secret with a weak name, in bytes.
const WEAK_MIN: usize = 14;

/// Minimum length of a given value, in characters: shorter ones occur in other words by chance.
const GIVEN_MIN: usize = 12;

/// Maximum length of a given word, in bytes: `development-eu` is one; a passphrase of letters is longer.
const GIVEN_WORD_MAX: usize = 15;

/// Random text changes between upper case, lower case and digits at about 0.45 of its characters, hexadecimal digits at
/// 0.47; names in code (`ClientV1CredentialRecord`, `sha256_digest`) at less than 0.2. Unit: bytes per change.
const BYTES_A_CHANGE: usize = 5;

/// Bits per character (Shannon): random text of 16 characters has at least 3.4, English words of that length less than
/// 3.2.
const ENTROPY_MIN: f64 = 2.9;

/// Words that stand in place of a value.
#[rustfmt::skip]
const PLACEHOLDERS: &[&str] = &[
    "true", "false", "null", "none", "nil", "undefined", "string", "required", "optional", "changeme", "example",
    "redacted", "hidden", "masked", "secret", "password", "token", "unset", "empty", "missing", "invalid", "expired",
    "aws4-hmac-sha256", "passwd", "value", "default", "disabled", "enabled", "prompt", "yes", "no", "anonymous",
    "guest",
];

/// Parts of a value that show that it is no secret.
#[rustfmt::skip]
const TELLING: &[&str] = &[
    "your", "example", "placeholder", "changeme", "change-me", "change_me", "dummy", "xxxx", "****", "....",
    "redacted", "<", "${", "{{", "$(", "%(", "insert", "replace", "%s",
];

/// True if `value` is a secret.
pub(super) fn is_secret(value: &Value<'_>) -> bool {
    let text = value.text;
    let has_shape = || match (value.is_quoted, value.name) {
        (true, Name::Password) => is_quoted_password(text),
        (true, Name::Secret) => is_mixed(text) && !has_space(text),
        (false, name) if name >= Name::Secret => is_bare_secret(value),
        _ => text.len() >= WEAK_MIN && is_random(text) && !is_bare_code(value) && !is_digest(text),
    };
    text.len() >= PASSWORD_MIN
        && has_shape()
        && !(is_placeholder(text)
            || is_place(text)
            || is_json_gap(text)
            || text.starts_with(b"-----")
            || holds(text, &[REDACTED])
            || text.contains(&b'\n')
            || text.contains(&b'&') && text.contains(&b'=')
            || text.contains(&b'{') && text.contains(&b'}'))
}

/// True if a program's argument is a secret under that name. Arguments contain no code.
pub(super) fn is_secret_argument(name: Name, text: &[u8]) -> bool {
    let is_password = name == Name::Password
        && text.len() >= PASSWORD_MIN
        && !is_placeholder(text)
        && !is_place(text);
    let value = Value {
        name,
        text,
        is_quoted: has_space(text),
        is_spaced: false,
        is_setting: true,
        next: b'\n',
    };
    is_password || is_secret(&value)
}

/// True if `line` of the value of the environment variable `name` can be a secret. Paths, URLs, numbers, words, and values of settings are none:
/// ordinary output is full of them.
pub(super) fn is_given(name: &str, line: &str) -> bool {
    let text = line.as_bytes();
    let is_place = || match line.split_once("://") {
        Some((scheme, rest)) => is_plain_url(scheme, rest),
        None => is_place(text),
    };
    let is_number = || {
        text.iter()
            .all(|byte| byte.is_ascii_digit() || is_one_of!(*byte, b".-"))
    };
    // A line of one repeated character, which underlines a heading.
    let is_rule = || text.iter().all(|byte| *byte == text[0]);
    let is_word = || {
        let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || is_one_of!(*byte, b"-_.");
        text.len() <= GIVEN_WORD_MAX && text.iter().all(is_letter)
    };
    let is_setting = || names::is_setting(name.as_bytes()) && (is_digest(text) || !is_random(text));
    line.chars().count() >= GIVEN_MIN
        // The first or last line of a private key.
        && !line.starts_with("-----")
        && !is_place()
        && !is_number()
        && !is_rule()
        && !is_word()
        // A URL with a login is a secret also as a setting.
        && (!is_setting() || line.contains("://"))
}

/// True if a URL has no login, no query, and no random part in its path.
fn is_plain_url(scheme: &str, rest: &str) -> bool {
    scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || is_one_of!(byte, b"+-."))
        && !rest.contains(['@', '?', '"', ' '])
        && !rest
            .split('/')
            .any(|part| part.len() >= GIVEN_MIN && is_random(part.as_bytes()))
}

/// True for user and password of a registry in base64, under the name `auth`.
pub(super) fn is_basic(name: &[u8], text: &[u8]) -> bool {
    use base64::Engine;
    let name = name
        .rsplit(|byte| !byte.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    name.eq_ignore_ascii_case(b"auth")
        && text.len() >= 12
        && base64::prelude::BASE64_STANDARD
            .decode(text)
            .is_ok_and(|plain| plain.is_ascii() && plain.contains(&b':'))
}

/// A passphrase has several words; a sentence about passwords has more, or no unusual one.
fn is_quoted_password(text: &[u8]) -> bool {
    let spaces = text.iter().filter(|byte| **byte == b' ').count();
    let words = text.split(|byte| *byte == b' ').count();
    match spaces {
        0 => {
            !is_code(text)
                && (count(text, u8::is_ascii_digit) > 0
                    || text.len() >= SECRET_MIN && !has_common_part(text)
                    || has_symbol(text))
        }
        _ => {
            let is_sentence = words > 8
                || matches!(text.last(), Some(b'.' | b':' | b'?'))
                || text[0].is_ascii_uppercase();
            let is_odd = count(text, u8::is_ascii_digit) > 0 || has_symbol(text) || words >= 4;
            text.len() >= 12
                && text.trim_ascii().len() == text.len()
                && is_odd
                && !is_sentence
                && !has_common_word(text)
        }
    }
}

/// Letters with digits, or long and random text.
fn is_mixed(text: &[u8]) -> bool {
    let digits = count(text, u8::is_ascii_digit);
    let letters = count(text, u8::is_ascii_alphabetic);
    text.len() >= SECRET_MIN
        && !is_code(text)
        && digits > 0
        && letters > 0
        && (is_random(text)
            || digits >= 3 && text.len() <= 24
            || text.iter().all(u8::is_ascii_hexdigit))
        || text.len() >= 24 && is_random_letters(text)
}

fn is_bare_secret(value: &Value<'_>) -> bool {
    let text = value.text;
    if is_bare_code(value) {
        return false;
    }
    let is_password = value.name == Name::Password;
    let digits = count(text, u8::is_ascii_digit);
    if digits > 0 && digits < text.len() {
        let is_long_enough = text.len() >= if is_password { 6 } else { SECRET_MIN };
        return is_long_enough
            && (is_mixed(text)
                || is_password && value.is_setting
                || is_password && has_symbol(text));
    }
    // Letters only: accepted in settings, where only values stand.
    let is_alone =
        value.is_setting && !value.is_spaced && !matches!(value.next, b',' | b';' | b')');
    is_alone && is_password && text.len() >= 6 && !has_common_part(text)
        || text.len() >= 24 && is_random_letters(text)
}

/// A call, an index, an argument, or the end of a statement.
fn is_bare_code(value: &Value<'_>) -> bool {
    if value.is_quoted {
        return false;
    }
    let is_call = matches!(value.next, b'(' | b'[' | b'{')
        || value.next == b'<' && !is_random(value.text)
        || value.text.iter().any(|byte| is_one_of!(*byte, b"([{"));
    let is_argument = value.next == b')'
        || value.is_spaced && !value.is_setting && matches!(value.next, b';' | b',');
    is_call || is_argument && !is_random(value.text) || is_code(value.text)
}

/// Operators in code.
const OPERATORS: &[&str] = &["->", "()", "::", "=>", "||", "&&", "==", "[\"", "['"];

/// A name in code: words joined by dots, underscores or changes of case, with few digits.
fn is_code(text: &[u8]) -> bool {
    // `module$contents$of$it`, as JavaScript compilers join names.
    let parts = || text.split(|byte| *byte == b'$');
    if parts().count() > 2
        && parts().all(|part| {
            part.iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.')
        })
    {
        return true;
    }
    let is_name = |part: &[u8]| {
        part.first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
            && part.iter().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'!' | b'?')
            })
            && count(part, u8::is_ascii_digit) <= 2
            && !(part.len() >= 12 && is_random(part))
    };
    let is_path = text.contains(&b'.') && count(text, u8::is_ascii_digit) < 4;
    if text.len() >= 20 && !is_path && is_random(text) {
        return false;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = &text[..text.len() - padding];
    let mut parts = text.split(|byte| matches!(byte, b'.' | b':' | b'/'));
    let joined = text.iter().any(|byte| matches!(byte, b'.' | b':' | b'/'));
    joined && parts.all(|part| part.is_empty() || is_name(part))
        || starts_with(text, &["(", "[", "&", "!"])
        || holds(text, OPERATORS)
}

/// True if `text` looks random: digits among letters, many changes between classes, many different characters.
pub(super) fn is_random(text: &[u8]) -> bool {
    let digits = count(text, u8::is_ascii_digit);
    let letters = count(text, u8::is_ascii_alphabetic);
    let is_mixed =
        changes(text) * BYTES_A_CHANGE >= text.len() || text.len() >= 15 && has_consonants(text);
    digits > 0
        && letters > 0
        && is_mixed
        && text.len() >= SECRET_MIN
        && entropy(text) >= ENTROPY_MIN.min((text.len() as f64).log2() * 0.75)
}

/// True if too many consonants follow each other for a word.
fn has_consonants(text: &[u8]) -> bool {
    let is_consonant =
        |byte: &u8| byte.is_ascii_alphabetic() && !is_one_of!(*byte, b"aeiouyAEIOUY");
    text.split(|byte| !is_consonant(byte))
        .any(|run| run.len() >= 5)
}

/// Random changes of case, which no word has.
fn is_random_letters(text: &[u8]) -> bool {
    changes(text) * BYTES_A_CHANGE >= text.len()
        && entropy(text) >= 3.8
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

/// Number of changes between character classes. A capital letter that begins a word, and joints of words, do not count.
fn changes(text: &[u8]) -> usize {
    let class = |byte: &u8| match byte {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        b'_' | b'-' | b'.' | b'/' | b':' | b' ' => None,
        _ => Some(3),
    };
    let mut last = None;
    let mut changes = 0;
    for now in text.iter().filter_map(class) {
        let is_change = last.is_some_and(|last| last != now && (last, now) != (2, 1));
        changes += usize::from(is_change);
        last = Some(now);
    }
    changes
}

/// Bits per character.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let length = text.len() as f64;
    let share = |count: &u32| f64::from(*count) / length;
    -counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| share(count) * share(count).log2())
        .sum::<f64>()
}

/// A hash or a UUID: with a weak name, it is as likely a checksum.
pub(super) fn is_digest(text: &[u8]) -> bool {
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    text.iter().all(is_hex) || starts_with(text, &["sha", "md5"])
}

pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let word = text.trim_ascii().to_ascii_lowercase();
    let is_variable = |rest: &[u8]| {
        !rest.is_empty()
            && rest
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || is_one_of!(*byte, b"_-."))
            && !is_random(rest)
    };
    PLACEHOLDERS
        .iter()
        .any(|placeholder| word == placeholder.as_bytes())
        || !(text.len() >= 24 && is_random(text)) && holds(&word, TELLING)
        || matches!(word.first(), Some(b'$' | b'@' | b'%')) && is_variable(&word[1..])
        || word.starts_with(b"%") && word.len() <= 4
        || starts_with(&word, &["process.env", "os.environ", "env.", "env["])
        || text.iter().all(|byte| {
            matches!(
                byte,
                b'*' | b'.' | b'x' | b'X' | b'-' | b'_' | b'#' | b'0' | 0x80..
            )
        })
        || !text.iter().any(u8::is_ascii_alphanumeric)
}

/// A path or a URL, which tells a secret's location. A leading slash alone is not enough: one base64 value in 64 begins
/// with one.
pub(super) fn is_place(text: &[u8]) -> bool {
    // `SOFTWARE\Microsoft\Windows`
    let parts = text
        .windows(2)
        .filter(|pair| pair[0] == b'\\' && pair[1].is_ascii_uppercase());
    starts_with(
        text,
        &["./", "../", "~/", "file:", "arn:", "vault:", "C:\\"],
    ) || parts.count() > 1
        || holds(text, &["://"])
        || text.starts_with(b"/")
            && !text
                .split(|byte| *byte == b'/')
                .any(|part| part.len() >= 12 && is_random(part))
}

/// Text between two JSON strings, which a form can mistake for a value after the end of the first.
fn is_json_gap(text: &[u8]) -> bool {
    let inner = text.trim_ascii();
    matches!(inner.first(), Some(b',' | b':' | b'}' | b']'))
        && (inner.len() <= 2
            || inner[1..]
                .iter()
                .all(|byte| is_one_of!(*byte, b",:{}[] \t0123456789.eE+-truefalsn")))
}

fn has_space(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_whitespace)
}

fn has_symbol(text: &[u8]) -> bool {
    text.iter().any(|byte| {
        byte.is_ascii_punctuation()
            && !matches!(
                byte,
                b'_' | b'-' | b'.' | b'/' | b',' | b'\'' | b':' | b'(' | b')'
            )
    })
}

/// Words that occur in sentences about passwords, but not in passphrases.
fn has_common_word(text: &[u8]) -> bool {
    #[rustfmt::skip]
    const WORDS: &[&str] = &[
        "the", "is", "are", "to", "for", "of", "must", "be", "not", "your", "password", "enter", "with", "this", "and", "or",
        "at", "no", "if", "has", "have", "you", "please", "wrong", "an",
    ];
    text.split(|byte| !byte.is_ascii_alphanumeric())
        .any(|part| {
            WORDS
                .iter()
                .any(|word| part.eq_ignore_ascii_case(word.as_bytes()))
        })
}

/// Letters only, with a part that names a purpose: `challengePassword`.
fn has_common_part(text: &[u8]) -> bool {
    #[rustfmt::skip]
    const PARTS: &[&str] = &[
        "pass", "word", "token", "secret", "key", "name", "user", "valid", "correct", "requir", "login", "auth",
    ];
    holds(&text.to_ascii_lowercase(), PARTS)
        || text.iter().any(u8::is_ascii_uppercase) && changes(text) == 0
}

fn count(text: &[u8], is: fn(&u8) -> bool) -> usize {
    text.iter().filter(|byte| is(byte)).count()
}

fn starts_with(text: &[u8], starts: &[&str]) -> bool {
    starts
        .iter()
        .any(|start| text.starts_with(start.as_bytes()))
}

/// True if `text` contains one of these `parts`.
fn holds(text: &[u8], parts: &[&str]) -> bool {
    let is_in = |part: &&str| memchr::memmem::find(text, part.as_bytes()).is_some();
    parts.iter().any(is_in)
}
