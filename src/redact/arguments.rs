//! A program's arguments: the boundaries of each are known exactly, and a value can follow the word that names it.
//!
//! Pure. A single word is redacted like other text; this module adds what only several words together show.

use std::ops::Range;

use super::commands::{ARGUMENTS_MAX, COMMANDS, kind_of};
use super::value::{self, Name};
use super::{REDACTED, Redactor, names};

/// Beginnings of options without a value: `--ask-pass`, `--no-password`.
#[rustfmt::skip]
const SWITCHES: &[&str] = &[
    "ask", "no", "prompt", "skip", "require", "show", "hide", "use", "with", "without", "enable", "disable", "allow", "force",
];

impl Redactor {
    /// The arguments `words` of a program as they may be stored.
    pub fn redact_arguments(&self, words: &[String]) -> Vec<String> {
        if self.stores_secrets {
            return words.to_vec();
        }
        let mut redacted = words.to_vec();
        for (at, word) in redacted.iter_mut().enumerate() {
            let found = self
                .named(words, at)
                .map(|range| ("assignment", range))
                .or_else(|| login(words, at));
            if let Some((kind, range)) = found {
                word.replace_range(range, &format!("{REDACTED}{kind}]"));
                self.count(kind, 1);
            }
        }
        let redact = |word: String| match word.strip_prefix("-H") {
            Some(header) => format!("-H{}", self.redact(header)),
            None => self.redact(&word).into_owned(),
        };
        redacted.into_iter().map(redact).collect()
    }

    /// The secret in the word at `at` that a preceding option, or a name within the word, indicates.
    fn named(&self, words: &[String], at: usize) -> Option<Range<usize>> {
        let word = &words[at];
        let option = at.checked_sub(1).map(|before| &words[before]);
        let behind = option
            .filter(|option| takes_value(option, word))
            .map(|option| (option.as_str(), 0..word.len()));
        let inside = word
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .map(|(name, value)| (name, name.len() + 1..name.len() + 1 + value_length(value)));
        let mut values = behind.into_iter().chain(inside);
        let found = values.find(|(name, range)| self.is_secret(name, &word[range.clone()]));
        found.map(|(_, range)| range)
    }

    /// True if `value` is a secret under `name`, and not a token, which is recognised by itself.
    fn is_secret(&self, name: &str, value: &str) -> bool {
        let name = name.as_bytes();
        let strength = names::strength(name)
            .or_else(|| names::names_service(name).then_some(Name::Weak))
            .filter(|strength| value::is_secret_argument(*strength, value.as_bytes()));
        strength.is_some() && !value.contains(REDACTED) && {
            let alone = self.redact(value);
            !alone.starts_with(REDACTED) || !alone.ends_with(']')
        }
    }
}

/// The secret in the word at `at` that is an argument of a command, such as `docker login -p PASSWORD`, and its kind.
fn login(words: &[String], at: usize) -> Option<(&'static str, Range<usize>)> {
    let (before, word) = (&words[at.saturating_sub(ARGUMENTS_MAX)..at], &words[at]);
    let rows = COMMANDS
        .iter()
        .flat_map(|(names, subcommand, options, may_be_apart)| {
            let options = options.iter();
            options.map(move |(option, lead)| (names, subcommand, option, *lead, *may_be_apart))
        });
    let mut found = rows.filter_map(|(names, subcommand, option, lead, may_be_apart)| {
        let last = before.last().filter(|_| may_be_apart);
        let begin = argument_begin(word, option, last)?;
        let user = lead.map_or(Some(0), |lead| {
            Some(word[begin..].find(char::from(lead))? + 1)
        })?;
        let range = begin + user..word.len();
        let value = word[range.clone()].as_bytes();
        // A port mapping.
        let is_number = value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b':'));
        let is_secret = !is_number && value::is_secret_argument(Name::Password, value);
        (is_secret && runs(before, names, subcommand)).then_some((kind_of(lead), range))
    });
    found.next().filter(|_| !word.contains(REDACTED))
}

/// Beginning of the argument of `option` in `word`; the option is the `last` word, or is combined with other letters.
fn argument_begin(word: &str, option: &str, last: Option<&String>) -> Option<usize> {
    let is_short = option.len() == 2;
    let takes = |last: &String| {
        let letters = last.strip_prefix('-').unwrap_or_default();
        let is_several = is_short && letters.bytes().all(|byte| byte.is_ascii_alphabetic());
        last == option || is_several && letters.ends_with(&option[1..])
    };
    if last.is_some_and(takes) {
        return Some(0);
    }
    let argument = word.strip_prefix(option)?;
    let is_joined = argument.starts_with('=');
    (is_joined || is_short).then_some(option.len() + usize::from(is_joined))
}

/// True if `words` contain a command of `names`, with only options before its subcommand.
fn runs(words: &[String], names: &[&str], subcommand: &str) -> bool {
    let is_named = |word: &str| {
        let program = word.rsplit('/').next().unwrap_or(word);
        let mut names = names.iter();
        names.any(|name| match name.strip_suffix(' ') {
            Some(name) => program == name,
            None => program.starts_with(name),
        })
    };
    let is_of_option =
        |at: usize| words[at].starts_with('-') || at > 0 && words[at - 1].starts_with('-');
    let command = words.iter().rposition(|word| is_named(word));
    let Some(command) = command.filter(|command| !is_of_option(*command)) else {
        return false;
    };
    let mut behind = command + 1..words.len();
    subcommand.is_empty()
        || behind
            .find(|at| words[*at] == subcommand)
            .is_some_and(|at| (command + 1..at).all(is_of_option))
}

/// True if `text` can be the name in `NAME=VALUE`, or an option.
fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// True if `option` is an option and `word` its value. A value that looks like an option must be random.
fn takes_value(option: &str, word: &str) -> bool {
    let name = option.trim_start_matches('-');
    let first = name.split(['-', '_']).next().unwrap_or_default();
    let is_option =
        word.starts_with("--") || word.starts_with('-') && !value::is_random(word.as_bytes());
    option.starts_with('-') && is_name(name) && !SWITCHES.contains(&first) && !is_option
}

/// Length of the value at the beginning of `text`: another `NAME=VALUE` can follow, as in queries and settings.
fn value_length(text: &str) -> usize {
    let mut joints = text.match_indices(['&', ',', ';']);
    let next = joints.find(|(at, _)| {
        let name = text[at + 1..].split_once('=');
        name.is_some_and(|(name, _)| !name.is_empty() && is_name(name))
    });
    next.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::redactor;
    use crate::random::{Random, rounds};

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
            (&["--password", "-8f14e45fceea167a"], &["--password", "[REDACTED:assignment]"]),
            (&["--password", "--password=hunter2"], &["--password", "--password=[REDACTED:assignment]"]),
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
            (&["docker", "--config", "d", "login", "-pswordfish"], &["docker", "--config", "d", "login", "-p[REDACTED:basic-auth]"]),
            (&["sshpass", "-p", "swordfish", "ssh", "-p", "2222"], &["sshpass", "-p", "[REDACTED:basic-auth]", "ssh", "-p", "2222"]),
            (&["curl", "-su", "joe:swordfish", "-bid=abc123", "x"], &["curl", "-su", "joe:[REDACTED:basic-auth]", "-bid=[REDACTED:cookie]", "x"]),
            (&["/usr/bin/curl", "-u", "joe:pa55 word", "x"], &["/usr/bin/curl", "-u", "joe:[REDACTED:basic-auth]", "x"]),
            (&["curl", "-u", "joe:pa55word", "--proxy-user", "ann:pa55word", "x"],
                &["curl", "-u", "joe:[REDACTED:basic-auth]", "--proxy-user", "ann:[REDACTED:basic-auth]", "x"]),
            (&["mysql", "-ps3cretive", "db"], &["mysql", "-p[REDACTED:basic-auth]", "db"]),
            (&["{\"password\":\"hunter2horse\",\"n\":12345678}"], &["{\"password\":\"[REDACTED:assignment]\",\"n\":12345678}"]),
        ];
        for (line, expected) in rows {
            assert_eq!(redacted(line), *expected);
        }
        // Longer than the examined part of a value.
        let long = "é1x".repeat(1500);
        let expected = ["docker", "login", "-p", "[REDACTED:basic-auth]"];
        assert_eq!(redacted(&["docker", "login", "-p", &long]), expected);
    }

    #[test]
    fn arguments_that_are_no_secrets_stay() {
        #[rustfmt::skip]
        let lines: &[&[&str]] = &[
            &["--token-limit", "4096", "--max-tokens", "10", "--token", "4096"],
            &["run", "-p", "8080:80", "-e", "NODE_ENV=production", "img"],
            &["docker", "run", "-p", "8080:80", "img", "login", "-p", "9090:90"],
            &["--engine", "mysql", "-port=3306", "mysql", "-p", "shop", "curl", "-b", "jar.txt", "-u", "joe"],
            &["--password-file", "secrets/db1.txt", "--key-id", "x1y2z3w4v5u6t7s8"],
            &["--key", "certs/server.pem", "--token", "--verbose", "--token=$TOKEN", "--password", "<password>"],
            &["--password", "--verbose", "--passphrase", "-v"],
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

    #[test]
    fn any_arguments_stay_as_many_and_are_not_redacted_again() {
        #[rustfmt::skip]
        const PIECES: [&str; 24] = [
            "--token", "--password", "-p", "-u", "-H", "docker", "login", "mysql", "curl", "=", "-", " ", "\"", "'", "\\", "\n", "\u{1b}[1m",
            "é", "joe:pa55word", "8f14e45fceea167a", "glpat-0123456789abcdefghij", "Authorization: Bearer ", "%41", "&x=",
        ];
        let mut random = Random::new(23);
        for _ in 0..rounds(1500) {
            let mut word = || -> String {
                let mut pieces = (0..random.below(4))
                    .map(|_| *random.pick(&PIECES))
                    .collect::<String>();
                if random.one_in(20) {
                    pieces += &"é1x".repeat(random.below(100));
                }
                pieces
            };
            let words: Vec<String> = (0..6).map(|_| word()).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(redacted(&words).len(), words.len());
        }
    }
}
