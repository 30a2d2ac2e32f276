//! Names of users and hosts in a text, also as URLs and escapes write them. Pure.
//!
//! A name that is a word of our own (`root`, `in`, `codex`) is only replaced where it cannot be that word: as a part of
//! a path or an address. The text stays readable, and the word alone gives nobody away.

/// Words of reports, and of the language: a name like these is one only in a path or an address.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "a", "adapter", "adapters", "admin", "agent", "all", "and", "app", "apt", "archived", "as", "at", "available",
    "be", "bin", "brew", "build", "by", "bytes", "cargo", "claude", "cli", "code", "codex", "completed",
    "connections", "copilot", "coven", "created", "daemon", "data", "database", "debian", "dev", "disk", "docker",
    "dpkg", "error", "etc", "event", "events", "exit", "external", "failed", "fedora", "file", "files", "free",
    "gemini", "git", "guest", "has", "hello", "home", "host", "id", "idle", "if", "in", "info", "input", "is", "it",
    "json", "kill", "killed", "kind", "lib", "limit", "limits", "linux", "live", "local", "localhost", "lock", "log",
    "logs", "mac", "main", "manifest", "me", "memory", "mode", "name", "new", "nix", "no", "node", "none", "not",
    "null", "of", "ok", "on", "open", "opencode", "opt", "or", "orphaned", "output", "owner", "pass", "path",
    "permissions", "pid", "proc", "process", "processes", "project", "queue", "read", "request", "root", "running",
    "server", "service", "session", "sessions", "signal", "size", "socket", "stale", "start", "state", "status",
    "stop", "stopped", "storage", "store", "sudo", "sys", "system", "systemd", "test", "text", "that", "the", "this",
    "time", "tmp", "to", "ubuntu", "uid", "unit", "url", "user", "users", "usr", "value", "var", "version", "wal",
    "warn", "was", "work", "worker", "writer",
];

/// A name to be replaced.
#[derive(Debug)]
pub(super) struct Name {
    /// Every way in which it can be written.
    forms: Vec<String>,
    /// It is also a word.
    is_word: bool,
    placeholder: &'static str,
    what: &'static str,
}

impl Name {
    /// `None` for what is no name.
    pub(super) fn new(
        name: &str,
        (placeholder, what): (&'static str, &'static str),
    ) -> Option<Self> {
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        let is_number = name.bytes().all(|b| b.is_ascii_digit());
        Some(Self {
            forms: forms(name),
            is_word: is_number
                || WORDS
                    .binary_search(&name.to_ascii_lowercase().as_str())
                    .is_ok(),
            placeholder,
            what,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }

    /// How many bytes of `text` at `at` are this name.
    fn at(&self, text: &str, at: usize) -> Option<usize> {
        let rest = text.as_bytes().get(at..)?;
        let form = self.forms.iter().find(|form| {
            let form = form.as_bytes();
            rest.len() >= form.len() && rest[..form.len()].eq_ignore_ascii_case(form)
        })?;
        let before = text[..at].chars().next_back();
        let after = text.get(at + form.len()..)?.chars().next();
        let is_apart = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        // `%2F` ends in a letter and is a slash.
        let is_escape = text[..at].ends_with("%2F") || text[..at].ends_with("%2f");
        let is_name = (is_apart(before) || is_escape)
            && is_apart(after)
            && (!self.is_word || is_escape || is_address(before, after));
        is_name.then_some(form.len())
    }
}

/// Whether what stands around a word makes it a part of a path or an address.
fn is_address(before: Option<char>, after: Option<char>) -> bool {
    matches!(before, Some('/' | '@' | '~')) || after == Some('@')
}

/// `name` as it is, and as URLs, JSON and the log's quotes write it.
fn forms(name: &str) -> Vec<String> {
    let mut forms = vec![name.to_owned()];
    forms.push(percent_encoded(name, ""));
    forms.push(name.escape_default().to_string());
    forms.push(name.replace(' ', "\\ "));
    forms.dedup();
    forms
}

/// `text` with every byte but letters, digits, `-._~` and those of `kept` percent-encoded (RFC 3986, 2.3).
pub(super) fn percent_encoded(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) => out.push(c),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `text` with every name in it replaced; `names` are in the order in which they are tried. `found` gets what was.
pub(super) fn replace_names(
    text: &str,
    names: &[Name],
    mut found: impl FnMut(&'static str),
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let name = names
            .iter()
            .find_map(|name| Some((name, name.at(text, at)?)));
        match name {
            Some((name, length)) => {
                found(name.what);
                out.push_str(name.placeholder);
                at += length;
            }
            None => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(names: &[&str], text: &str) -> String {
        let names: Vec<Name> = names
            .iter()
            .filter_map(|name| Name::new(name, ("<user>", "")))
            .collect();
        replace_names(text, &names, |_| {})
    }

    #[test]
    fn the_words_are_sorted() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn a_name_is_replaced_as_a_word_of_its_own() {
        let ada = |text| replaced(&["ada"], text);
        assert_eq!(ada("ada, ADA (ada)"), "<user>, <user> (<user>)");
        assert_eq!(ada("adapter canada"), "adapter canada");
        assert_eq!(ada("/tmp/ada-x_ada.log"), "/tmp/<user>-x_<user>.log");
        assert_eq!(ada("%2Fhome%2Fada%2F"), "%2Fhome%2F<user>%2F");
        assert_eq!(ada("é ada é"), "é <user> é");
        assert_eq!(ada("éada"), "éada");
    }

    #[test]
    fn a_name_is_found_as_urls_and_escapes_write_it() {
        let jose = |text: &str| replaced(&["josé b"], text);
        for form in [
            "josé b",
            "jos%C3%A9%20b",
            "jos%c3%a9%20b",
            "jos\\u{e9} b",
            "josé\\ b",
        ] {
            assert_eq!(jose(&format!("x {form}/")), "x <user>/", "{form}");
        }
    }

    #[test]
    fn a_name_that_is_a_word_does_not_shred_the_text() {
        let names = ["root", "in", "codex", "7"];
        for text in [
            "project root, in the store",
            "codex is in PATH",
            "root",
            "pid 7",
            "uid=0(root)",
        ] {
            assert_eq!(replaced(&names, text), text);
        }
        assert_eq!(
            replaced(&names, "/home/in/x root@vm"),
            "/home/<user>/x <user>@vm"
        );
        assert_eq!(replaced(&names, "%2Fhome%2Fin"), "%2Fhome%2F<user>");
    }
}
