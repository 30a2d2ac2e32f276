//! The arguments of a program: what each says is known to the byte, and a value can stand behind the word that names it.
//!
//! Pure. A word by itself is text as any other; here is what only the words together tell.

use super::layer::Layer;
use super::rules::{self, Ending, Found};
use super::value::{self, Name};
use super::{REDACTED, Redactor, names, tokens};

/// What an option begins with that takes no value: `--ask-pass`, `--no-password`.
#[rustfmt::skip]
const SWITCHES: &[&str] = &[
    "ask", "no", "prompt", "skip", "require", "show", "hide", "use", "with", "without", "enable", "disable", "allow", "force",
];

impl Redactor {
    /// `words`, the arguments of a program, as they are stored.
    pub fn redact_arguments(&self, words: &[String]) -> Vec<String> {
        if self.stores_secrets {
            return words.to_vec();
        }
        let mut redacted = words.to_vec();
        for (at, word) in words.iter().enumerate() {
            match word.split_once('=').filter(|(name, _)| is_name(name)) {
                Some((name, value)) => {
                    let begin = name.len() + 1;
                    let end = begin + value_length(value);
                    if is_secret(name, &word[begin..end]) {
                        self.take_out("assignment", &mut redacted[at], begin, end);
                    }
                }
                None if takes_value(word) => {
                    let value = redacted.get_mut(at + 1);
                    if let Some(value) = value.filter(|value| is_secret(word, value)) {
                        self.take_out("assignment", value, 0, value.len());
                    }
                }
                None => {}
            }
        }
        self.redact_logins(&mut redacted);
        let redact = |word: String| match word.strip_prefix("-H") {
            Some(header) => format!("-H{}", self.redact(header)),
            None => self.redact(&word).into_owned(),
        };
        redacted.into_iter().map(redact).collect()
    }

    /// Takes out what the options of some commands hold: `docker login -p PASSWORD`.
    fn redact_logins(&self, words: &mut [String]) {
        let (mut line, mut begins) = (Layer::default(), Vec::new());
        for word in &*words {
            begins.push(line.text.len());
            line.text.extend(word.bytes().map(|byte| match byte {
                // None of these ends a value that stands in a word.
                0..=b' ' | b'"' | b'\'' | b'`' | b'\\' => b'\xff',
                byte => byte,
            }));
            line.text.push(b' ');
        }
        let mut floor = 0;
        while let Found::Secret(secret) = rules::find(&line, floor, floor, Ending::Last) {
            let at = begins.partition_point(|begin| *begin <= secret.range.start) - 1;
            floor = secret.range.end;
            if matches!(secret.kind, "basic-auth" | "cookie") {
                let (begin, end) = (secret.range.start - begins[at], words[at].len());
                self.take_out(secret.kind, &mut words[at], begin, end);
                floor = floor.max(begins.get(at + 1).copied().unwrap_or(line.text.len()));
            }
        }
    }

    fn take_out(&self, kind: &str, word: &mut String, begin: usize, end: usize) {
        word.replace_range(begin..end, &format!("{REDACTED}{kind}]"));
        self.count(kind);
    }
}

/// Whether `text` can be the name in `NAME=VALUE`, or an option.
fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Whether `word` is an option whose value is the next word.
fn takes_value(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    let first = name.split(['-', '_']).next().unwrap_or_default();
    word.starts_with('-') && is_name(name) && !SWITCHES.contains(&first)
}

/// How long the value is at the beginning of `text`: `NAME=VALUE` can follow it, as in a query and in settings.
fn value_length(text: &str) -> usize {
    let mut joints = text.match_indices(['&', ',', ';']);
    let next = joints.find(|(at, _)| {
        let name = text[at + 1..].split_once('=');
        name.is_some_and(|(name, _)| !name.is_empty() && is_name(name))
    });
    next.map_or(text.len(), |(at, _)| at)
}

/// Whether `value` is a secret that `name` tells, and not a token, which tells itself.
fn is_secret(name: &str, value: &str) -> bool {
    let strength = names::strength(name.as_bytes())
        .or_else(|| names::names_service(name.as_bytes()).then_some(Name::Weak));
    strength.is_some_and(|name| value::is_secret_argument(name, value.as_bytes()))
        && !tokens::is_token_in(value)
}

#[cfg(test)]
mod tests {
    use super::super::tests::redactor;

    fn redacted(line: &[&str]) -> Vec<String> {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let redacted = redactor().redact_arguments(&words);
        assert_eq!(redactor().redact_arguments(&redacted), redacted, "again");
        redacted
    }

    #[test]
    fn a_secret_is_known_by_the_option_in_front_of_it() {
        #[rustfmt::skip]
        let rows: &[(&[&str], &[&str])] = &[
            (&["--token", "8f14e45fceea167a"], &["--token", "[REDACTED:assignment]"]),
            (&["--api-key=8f14e45fceea167a", "-v"], &["--api-key=[REDACTED:assignment]", "-v"]),
            (&["--password", "my secret words", "--x"], &["--password", "[REDACTED:assignment]", "--x"]),
            (&["--password=my \"own\" words)"], &["--password=[REDACTED:assignment]"]),
            (&["-password", "supersecret"], &["-password", "[REDACTED:assignment]"]),
            (&["-e", "DB_PASS=hunter2 horse", "img"], &["-e", "DB_PASS=[REDACTED:assignment]", "img"]),
            (&["--set", "db.password=hunter2,image.tag=v1"], &["--set", "db.password=[REDACTED:assignment],image.tag=v1"]),
            (&["-d", "password=hunter22&user=joe"], &["-d", "password=[REDACTED:assignment]&user=joe"]),
            (&["-d", "user=joe&password=hunter22"], &["-d", "user=joe&password=[REDACTED:assignment]"]),
            (&["--header", "Authorization: Basic dXNlcjpwYXNz"], &["--header", "Authorization: [REDACTED:authorization]"]),
            (&["-HX-Api-Key: 8f14e45fceea167a"], &["-HX-Api-Key: [REDACTED:authorization]"]),
            (&["-HAuthorization: Basic dXNlcjpwYXNz"], &["-HAuthorization: [REDACTED:authorization]"]),
            (&["--token", "glpat-0123456789abcdefghij"], &["--token", "[REDACTED:gitlab]"]),
            (&["docker", "login", "-u", "joe", "-p", "s3cretive", "host"], &["docker", "login", "-u", "joe", "-p", "[REDACTED:basic-auth]", "host"]),
            (&["/usr/bin/curl", "-u", "joe:pa55 word", "x"], &["/usr/bin/curl", "-u", "joe:[REDACTED:basic-auth]", "x"]),
            (&["mysql", "-ps3cretive", "db"], &["mysql", "-p[REDACTED:basic-auth]", "db"]),
            (&["{\"password\":\"hunter2horse\",\"n\":12345678}"], &["{\"password\":\"[REDACTED:assignment]\",\"n\":12345678}"]),
        ];
        for (line, expected) in rows {
            assert_eq!(redacted(line), *expected);
        }
    }

    #[test]
    fn arguments_that_are_no_secrets_stay() {
        #[rustfmt::skip]
        let lines: &[&[&str]] = &[
            &["--token-limit", "4096", "--max-tokens", "10", "--token", "4096"],
            &["run", "-p", "8080:80", "-e", "NODE_ENV=production", "img"],
            &["--password-file", "secrets/db1.txt", "--key-id", "x1y2z3w4v5u6t7s8"],
            &["--key", "certs/server.pem", "--token", "--verbose", "--token=$TOKEN", "--password", "<password>"],
            &["--ask-pass", "playbook.yml", "--no-password", "database"],
            &["login", "--password-stdin", "registry.example.com"],
            &["--secret", "id=npmrc,src=.npmrc", "--auth", "basic"],
            &["--settings", "{\"password\":12345678,\"token\":null,\"secret\":true}"],
            &["--session-id", "0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b", "", "-", "--", "="],
        ];
        for line in lines {
            assert_eq!(redacted(line), *line);
        }
    }
}
