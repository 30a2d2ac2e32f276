//! Names whose values are secret: tables of their words and of services.
//!
//! Pure. One table per kind; [`super::forms`] reads the text around a name.

use super::prefixes::Prefixes;
use super::value::Name;
use super::view::{More, View, is_behind_escape};

/// Maximum length of an examined name, in bytes: only the end of a longer one is read.
const NAME_MAX: usize = 64;

/// Range of the name around `at` in `text`, which is available from `from` on.
pub(super) fn around(view: View<'_>, from: usize, at: usize) -> Result<(usize, usize), More> {
    let text = view.text;
    let from = from.max(at.saturating_sub(NAME_MAX));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let mut start = at;
    while start > from && is_name(text[start - 1]) {
        start -= 1;
    }
    // Excludes the remaining characters of an escape before it.
    start = [5, 3, 2, 1]
        .into_iter()
        .map(|length| start + length)
        .find(|&begin| begin <= at && is_behind_escape(text, begin))
        .unwrap_or(start);
    let mut end = at;
    loop {
        match text.get(end) {
            Some(byte) if is_name(*byte) && end - at < NAME_MAX => end += 1,
            // `API\_KEY`
            Some(b'\\') if text.get(end + 1) == Some(&b'_') => end += 2,
            None if !view.is_last => return Err(More),
            _ => break,
        }
    }
    while end > at && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    Ok((start, end))
}

#[rustfmt::skip]
const PASSWORDS: &[&str] = &[
    "pass", "passwd", "password", "passphrase", "passcode", "pwd", "passwort", "passw",
];

/// Strength of words with these endings: `dbpassword`.
#[rustfmt::skip]
const ENDINGS: &[(&str, Name)] = &[
    ("password", Name::Password), ("passwd", Name::Password), ("passphrase", Name::Password), ("pwd", Name::Password),
    ("secret", Name::Secret), ("token", Name::Secret), ("apikey", Name::Secret), ("secretkey", Name::Secret),
    ("accesskey", Name::Secret), ("privatekey", Name::Secret), ("authkey", Name::Secret),
    ("signingkey", Name::Secret), ("encryptionkey", Name::Secret), ("sharedkey", Name::Secret),
    ("masterkey", Name::Secret), ("accountkey", Name::Secret), ("credential", Name::Secret),
    ("credentials", Name::Secret), ("creds", Name::Secret), ("authorization", Name::Secret),
    ("dbpass", Name::Password), ("userpass", Name::Password), ("mypass", Name::Password),
    ("adminpass", Name::Password), ("requirepass", Name::Password), ("storepass", Name::Password), ("keypass", Name::Password),
    ("bindpw", Name::Password), ("rootpass", Name::Password), ("key", Name::Weak), ("auth", Name::Weak),
];

/// Words that, before `key`, make it a secret's name.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "api", "access", "secret", "private", "account", "auth", "encryption", "encrypt", "signing", "sign", "shared",
    "master", "service", "subscription", "license", "deploy", "admin", "storage", "app", "application", "client",
    "consumer", "security", "jwt", "hmac", "aes", "webhook", "integration", "ingest", "write", "rest", "vault",
    "functions",
];

/// Words that, before a token or a key, make it harmless.
#[rustfmt::skip]
const HARMLESS_BEFORE: &[&str] = &[
    "public", "pub", "foreign", "primary", "partition", "sort", "cache", "map", "next", "page", "continuation",
    "sync", "progress", "cancel", "cancellation", "end", "eos", "bos", "pad", "sep", "mask", "max", "min", "num",
    "prompt", "completion", "syntax", "cursor", "pagination", "change", "sequence", "concurrency", "hot", "natural",
    "index", "host", "csrf", "xsrf", "antiforgery", "lookahead", "request", "output", "input", "stop", "start",
    "special", "unk", "cls", "current", "design",
];

/// Words that, after a secret's name, make it describe a secret instead of naming one.
#[rustfmt::skip]
const HARMLESS_BEHIND: &[&str] = &[
    "id", "ids", "name", "names", "path", "paths", "file", "files", "filename", "url", "uri", "urls", "type", "types",
    "kind", "count", "size", "length", "len", "endpoint", "expiry", "expires", "expiration", "expire", "ttl", "age",
    "policy", "field", "label", "header", "prefix", "suffix", "format", "version", "provider", "manager", "store",
    "ref", "refs", "alias", "index", "hint", "placeholder", "error", "input", "min", "max", "limit", "regex",
    "pattern", "algorithm", "alg", "location", "dir", "arn", "status", "valid", "validator", "required", "enabled",
    "code", "codes", "board", "frame", "frames", "press", "pair", "pairs", "stone", "word", "words", "up", "down",
    "map", "class", "usage", "strength", "hash", "digest", "fingerprint", "thumbprint", "checksum", "model", "set",
    "list", "cache", "generator", "factory", "service", "handler", "stream", "source", "position", "offset", "env",
    "var", "mode", "method", "scope", "issuer", "audience", "owner", "title", "description", "text", "message", "msg",
    "selector",
];

/// Last words of settings whose values are frequent in other text.
#[rustfmt::skip]
const SETTINGS: &[&str] = &[
    "branch", "cluster", "color", "colors", "email", "flags", "host", "hostname", "id", "image", "lang", "language", "locale",
    "location", "model", "name", "namespace", "options", "opts", "organization", "pager", "platform", "profile", "project",
    "region", "repository", "term", "timezone", "uri", "url", "user", "username", "version", "zone",
];

/// Words that change nothing after a secret's name.
#[rustfmt::skip]
const KEEPING: &[&str] = &[
    "key", "value", "val", "base", "base64", "b64", "raw", "plain", "plaintext", "prod", "production", "dev",
    "development", "test", "testing", "staging", "live", "default", "primary", "secondary", "main", "new", "old",
    "current", "backup", "data", "string", "str", "encoded", "root", "admin", "user", "db", "app", "api", "in",
    "secure", "ro", "rw", "readonly", "write", "read", "global", "local",
];

/// The words of a name in lower case, split at changes of case and at joints.
struct Words {
    text: [u8; 2 * NAME_MAX],
    length: usize,
}

impl Words {
    fn new(name: &[u8]) -> Self {
        let name = &name[name.len().saturating_sub(NAME_MAX)..];
        let mut words = Self {
            text: [b' '; 2 * NAME_MAX],
            length: 0,
        };
        for (at, byte) in name.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| name[at]);
            let next_is_lower = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let begins = byte.is_ascii_uppercase()
                && before.is_some_and(|before| {
                    before.is_ascii_lowercase()
                        || before.is_ascii_digit()
                        || before.is_ascii_uppercase() && next_is_lower
                });
            words.length += usize::from(begins);
            if byte.is_ascii_alphanumeric() {
                words.text[words.length] = byte.to_ascii_lowercase();
            }
            words.length += 1;
        }
        words
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &str> {
        // Only ASCII was written.
        let text = str::from_utf8(&self.text[..self.length]).unwrap_or_default();
        text.split_ascii_whitespace()
            .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()))
            .filter(|word| !word.is_empty())
    }
}

/// Strength of `name` as evidence for a secret; `None` for a harmless name.
pub(super) fn strength(name: &[u8]) -> Option<Name> {
    let words = Words::new(name);
    let all: usize = words.iter().count();
    let (mut is_kept, mut is_harmless) = (true, false);
    for (behind, word) in words.iter().rev().enumerate() {
        let before = all
            .checked_sub(behind + 2)
            .and_then(|at| words.iter().nth(at));
        if let Some(found) = word_strength(word, before) {
            if is_harmless
                || found != Name::Password
                    && before.is_some_and(|before| HARMLESS_BEFORE.contains(&before))
            {
                return None;
            }
            return Some(if is_kept { found } else { Name::Weak });
        }
        is_harmless |= HARMLESS_BEHIND.contains(&word);
        is_kept &= KEEPING.contains(&word);
    }
    None
}

/// True if `name` names a setting.
pub(super) fn is_setting(name: &[u8]) -> bool {
    let words = Words::new(name);
    words
        .iter()
        .next_back()
        .is_some_and(|word| SETTINGS.contains(&word))
}

fn word_strength(word: &str, before: Option<&str>) -> Option<Name> {
    if PASSWORDS.contains(&word) {
        return Some(Name::Password);
    }
    if word == "key" {
        let is_secret =
            before.is_some_and(|before| KEYS.contains(&before) || names_service(before.as_bytes()));
        return Some(if is_secret { Name::Secret } else { Name::Weak });
    }
    let ending = ENDINGS.iter().find(|(ending, _)| word.ends_with(ending))?;
    // `monkey`, `hockey`: `key` must be a separate word.
    (ending.1 != Name::Weak || word == ending.0).then_some(ending.1)
}

/// Services whose name suffices for a random value to be a secret, and words that are too common for the search.
#[rustfmt::skip]
const SERVICES: &[&str] = &[
    "access", "adafruit", "adobe", "airtable", "algolia", "alibaba", "api", "asana", "atlassian", "auth", "artifactory",
    "beamer", "bitbucket", "bittrex", "bintray", "codecov", "cohere", "coinbase", "confluence", "confluent", "contentful",
    "contribsys", "cloudflare", "datadog", "discord", "droneci", "dropbox", "etsy", "facebook", "fastly", "finicity", "finnhub",
    "flickr", "freshbooks", "gitter", "gocardless", "gitlab_session", "heroku", "hubspot", "intercom", "jfrog", "jira",
    "kraken", "kucoin", "launchdarkly", "linear", "linkedin", "linked_in", "linked-in", "lob", "mailchimp", "mailgun", "mapbox",
    "mattermost", "meraki", "messagebird", "message_bird", "message-bird", "netlify", "newrelic", "new_relic", "new-relic",
    "nytimes", "newyorktimes", "okta", "plaid", "private_ai", "privateai", "rapidapi", "sendbird", "sentry", "snyk", "sonar",
    "squarespace", "sumo", "telegr", "travis", "twitch", "twitter", "typeform", "xray", "yandex", "zendesk",
];

#[cfg(test)]
#[rustfmt::skip]
pub(super) const SAMPLES: &[(&str, &str)] = &[
    ("adafruit: «q7Hs2kLm9Zx4vBn1» x", "adafruit: sensors-and-more"),
    ("'heroku_id' => '«x1y2z3w4v5u6t7s8»',", "algolia = \"search-in-2-lines\""),
];

/// The rows of [`SERVICES`] that a text can begin with.
static FIRST: Prefixes = {
    let mut first = Prefixes::NONE;
    let mut row = 0;
    while row < SERVICES.len() {
        first.add(row, SERVICES[row]);
        row += 1;
    }
    first
};

/// Minimum length of a service's name, in bytes.
const SERVICE_MIN: usize = 3;

/// True if `name` contains a service's name.
pub(super) fn names_service(name: &[u8]) -> bool {
    (SERVICE_MIN..=name.len()).any(|end| {
        let rest = &name[end - SERVICE_MIN..];
        // Few texts need more than this.
        let may_begin = rest
            .first_chunk()
            .is_none_or(|first| FIRST.may_begin(first));
        may_begin && begins_with_service(rest)
    })
}

fn begins_with_service(text: &[u8]) -> bool {
    let mut rows = FIRST.rows(text);
    while rows != 0 {
        let service = SERVICES[rows.trailing_zeros() as usize].as_bytes();
        rows &= rows - 1;
        let start = text.get(..service.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(service)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_anywhere() {
        for service in SERVICES {
            let name = format!("my_{}", service.to_uppercase());
            for name in [service.to_string(), format!("{name}2"), name] {
                assert!(names_service(name.as_bytes()), "{name}");
            }
        }
        for name in ["", "x", "checksum", "tw-itch", "SENTR"] {
            assert!(!names_service(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_says_secret_by_its_words() {
        for (name, expected) in [
            ("API_KEY", Some(Name::Secret)),
            ("openaiApiKey", Some(Name::Secret)),
            ("DB_PASS", Some(Name::Password)),
            ("dbPassword2", Some(Name::Password)),
            ("spring.datasource.password", Some(Name::Password)),
            ("AWS_SECRET_ACCESS_KEY", Some(Name::Secret)),
            ("SECRET_KEY_BASE", Some(Name::Secret)),
            ("client-secret", Some(Name::Secret)),
            ("key", Some(Name::Weak)),
            ("next_page_token", None),
            ("ProgressToken", None),
            ("token_count", None),
            ("public_key", None),
            ("monkey", None),
            ("compass", None),
            ("author", None),
            ("tokens", None),
        ] {
            assert_eq!(strength(name.as_bytes()), expected, "{name}");
        }
    }
}
