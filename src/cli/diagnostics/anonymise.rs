//! Anonymising: secrets, directories and names out of what goes into a report, each counted.
//!
//! Pure: it reads nothing but what it is given. What may go into a report at all is decided where its parts are made;
//! this is what is done to a text that may.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::names::{Name, replace_names};
use super::paths::{Dirs, Reduced};
use crate::redact::Redactor;

/// Who and where this is.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The home directories of everybody concerned, under every name that they have.
    pub homes: Vec<String>,
    /// `COVEN_HOME`, under every name that it has.
    pub coven_homes: Vec<String>,
    /// Login and full names.
    pub users: Vec<String>,
    /// The machine's names.
    pub hosts: Vec<String>,
    /// Other directories that are known by name: so one with a space in it is known as a whole.
    pub dirs: Vec<String>,
    /// Texts that somebody else wrote, wherever they are quoted.
    pub texts: Vec<String>,
}

/// Takes out of texts what identifies somebody.
pub(super) struct Anonymiser {
    redactor: Redactor,
    dirs: Dirs,
    names: Vec<Name>,
    texts: Vec<String>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

impl Anonymiser {
    pub(super) fn new(identity: &Identity, redactor: Redactor) -> Self {
        let users = identity.users.iter().map(|name| Name::new(name, USER));
        let hosts = identity.hosts.iter().map(|name| Name::new(name, HOST));
        let mut names: Vec<Name> = users.chain(hosts).flatten().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self {
            redactor,
            dirs: Dirs::new(&identity.homes, &identity.coven_homes, &identity.dirs),
            names,
            texts: identity.texts.clone(),
            counts: RefCell::default(),
        }
    }

    /// A text of our own making that quotes others: a check's message, an error of the system's. What it has in
    /// quotes is left out, and URLs and paths are reduced.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for foreign in &self.texts {
            if !foreign.is_empty() && text.contains(foreign) {
                self.count(QUOTES, 1);
                text = text.replace(foreign, "…");
            }
        }
        let text = self.redactor.redact(&text);
        let text = without_quotes(&text, |quoted| match quoted.starts_with('/') {
            true => self.path(quoted),
            false => {
                self.count(QUOTES, 1);
                "…".to_owned()
            }
        });
        let text = without_urls(&text, || self.count(URLS, 1));
        let text = self.dirs.reduce_all(&text, |what| self.reduced(what));
        self.names(&text)
    }

    /// A path.
    pub(super) fn path(&self, path: &str) -> String {
        let path = self.redactor.redact(path);
        let path = self.dirs.reduce(&path, |what| self.reduced(what));
        self.names(&path)
    }

    /// Any text that has been decided upon: the last thing that is done to everything.
    pub(super) fn any(&self, text: &str) -> String {
        let text = self.redactor.redact(text);
        let text = self.dirs.reduce_known(&text, |what| self.reduced(what));
        self.names(&text)
    }

    /// Counts what was left out elsewhere.
    pub(super) fn count(&self, what: &'static str, n: u64) {
        if n > 0 {
            *self.counts.borrow_mut().entry(what).or_default() += n;
        }
    }

    /// Everything that was left out or replaced, and how often; also what was looked for and not found.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let mut counts = self.counts.borrow().clone();
        for what in [HOME, USER.1, HOST.1] {
            counts.entry(what).or_default();
        }
        let counts = counts.into_iter().map(|(what, n)| (what.to_owned(), n));
        let kinds = self.redactor.counts();
        let secrets = kinds.values().sum();
        let kinds = kinds
            .iter()
            .map(|(kind, n)| (format!("secrets: {kind}"), *n));
        counts
            .chain([("secrets".to_owned(), secrets)])
            .chain(kinds)
            .collect()
    }

    fn names(&self, text: &str) -> String {
        replace_names(text, &self.names, |what| self.count(what, 1))
    }

    fn reduced(&self, what: Reduced) {
        self.count(
            match what {
                Reduced::Home => HOME,
                Reduced::CovenHome => "COVEN_HOME, as <coven-home>",
                Reduced::Other => "paths, as <path>",
            },
            1,
        );
    }
}

const HOME: &str = "home directory, as ~";
const USER: (&str, &str) = ("<user>", "user name, as <user>");
const HOST: (&str, &str) = ("<host>", "host name, as <host>");
const QUOTES: &str = "quoted texts";
const URLS: &str = "URLs, as <url>";

/// `text` with what stands in double quotes, backticks, or, where it is a path, in single quotes, replaced.
fn without_quotes(text: &str, mut replaced: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '`', '\'']) {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        let quote = quoted.as_bytes()[0];
        let inside = &quoted[1..];
        // An apostrophe quotes nothing.
        let opens = quote != b'\'' || inside.starts_with('/');
        match opens.then(|| end_of_quote(inside, quote)) {
            None => {
                out.push('\'');
                rest = inside;
            }
            // A quote that is not closed goes to the end: better too much than half of it.
            Some(end) => {
                let end = end.unwrap_or(inside.len());
                if end > 0 {
                    let quote = char::from(quote);
                    out.extend([
                        quote.to_string(),
                        replaced(&inside[..end]),
                        quote.to_string(),
                    ]);
                } else {
                    out.push_str(&quoted[..1]);
                    out.push_str(quoted.get(1..2).unwrap_or(""));
                }
                rest = inside.get(end + 1..).unwrap_or("");
            }
        }
    }
    out + rest
}

/// Where the quote ends that `text` begins in; a backslash takes the next character with it.
fn end_of_quote(text: &str, quote: u8) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == quote && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

fn without_urls(text: &str, mut found: impl FnMut()) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let before = &rest[..at];
        let scheme = before.rfind(|c| !is_scheme(c)).map_or(0, |last| {
            last + before[last..].chars().next().map_or(1, char::len_utf8)
        });
        let after = &rest[at + 3..];
        let end = after
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | ',')
            })
            .unwrap_or(after.len());
        found();
        out.push_str(&rest[..scheme]);
        out.push_str("<url>");
        rest = &after[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymiser() -> Anonymiser {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let identity = Identity {
            homes: texts(&["/home/ada"]),
            coven_homes: texts(&["/srv/Ada's secret/coven"]),
            users: texts(&["ada", "Ada Lovelace"]),
            hosts: texts(&["engine"]),
            dirs: texts(&["/mnt/my tools/bin"]),
            texts: texts(&["go away, plan"]),
        };
        Anonymiser::new(&identity, Redactor::new("").0)
    }

    #[test]
    fn a_text_keeps_what_we_say_and_loses_what_it_quotes() {
        let a = anonymiser();
        for (text, expected) in [
            ("the daemon's PATH has it", "the daemon's PATH has it"),
            ("unknown harness \"my idea\"", "unknown harness \"…\""),
            ("\"a \\\" b\" and `c`", "\"…\" and `…`"),
            ("not closed \"to the end", "not closed \"…\""),
            ("it says go away, plan: no", "it says …: no"),
            ("empty \"\" is", "empty \"\" is"),
            ("mv '/srv/x y/z' away", "mv '<path>' away"),
            ("see https://gw.acme.example/v1?k=1, or", "see <url>, or"),
            (
                "/srv/Ada's secret/coven/coven.sock: no",
                "<coven-home>/coven.sock: no",
            ),
            ("/mnt/my tools/bin/codex is", "<path> is"),
            ("Ada Lovelace (ada) on engine", "<user> (<user>) on <host>"),
        ] {
            assert_eq!(a.text(text), expected);
        }
    }

    #[test]
    fn a_second_time_nothing_more_is_found_or_counted() {
        let a = anonymiser();
        let text = "ada@engine: /home/ada/x, /srv/Ada's secret/coven, \"q\", \
                    ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        let once = a.text(text);
        assert_eq!(
            once,
            "<user>@<host>: ~/<path>, <coven-home>, \"…\", [REDACTED:github]"
        );
        let counts = a.counts();
        assert_eq!(a.any(&once), once);
        assert_eq!(a.counts(), counts);
        assert!(
            counts.contains(&("secrets: github".into(), 1)),
            "{counts:?}"
        );
        assert!(
            counts.contains(&("user name, as <user>".into(), 1)),
            "{counts:?}"
        );
        assert!(
            counts.contains(&("home directory, as ~".into(), 1)),
            "{counts:?}"
        );
    }
}
