//! Parses files of variables in the syntax of systemd's `EnvironmentFile=` (systemd.exec(5)): `env` in a home, and
//! those of `coven run --env-file`.
//!
//! Runs on the caller's thread. A message about a line never contains its value.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::Chars;

use crate::api::{Variables, is_variable_name};
use crate::observe::{Message, Mode, message};
use crate::settings;
use crate::sys;

use super::SESSION_VARIABLE;

/// Largest size of such a file, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// A part of a file that was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The first line; 0 means the file itself.
    pub line: usize,
    pub reason: Message,
}

/// Reads the variables of a home's file `env`, and the ignored parts. A file that other users can read is ignored
/// completely; a missing file sets nothing.
pub fn read_own(path: &Path) -> (Variables, Vec<Ignored>) {
    let text = match sys::open_own(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Default::default(),
        Err(err) if err.raw_os_error() == Some(libc::ELOOP) => Err("is a symbolic link".into()),
        Err(err) => Err(message!("cannot be read: {}", &err)),
        Ok(file) => read(file, |meta| match meta.is_file() {
            true => check_private(meta, 0o077, path),
            false => Err("is not a regular file".into()),
        }),
    };
    let (mut variables, mut ignored) = match text {
        Ok(text) => parse(&text),
        Err(reason) => return (Variables::default(), vec![Ignored { line: 0, reason }]),
    };
    for name in [settings::HOME.name, SESSION_VARIABLE] {
        if variables.unset(name) {
            let reason = message!("{} cannot be set in it", name);
            ignored.push(Ignored { line: 0, reason });
        }
    }
    (variables, ignored)
}

/// Reads the variables of a file that a launch names; it can be a pipe.
///
/// # Errors
/// Other users can read it, or one of its lines is invalid.
pub fn read_given(path: &Path) -> Result<Variables, Message> {
    let file = File::open(path).map_err(|err| message!("cannot be read: {}", &err))?;
    let text = read(file, |meta| check_private(meta, 0o044, path))?;
    match parse(&text) {
        (variables, ignored) if ignored.is_empty() => Ok(variables),
        (_, mut ignored) => {
            let Ignored { line, reason } = ignored.swap_remove(0);
            Err(message!("line {}: {}", line, reason))
        }
    }
}

fn read(file: File, check: impl Fn(&Metadata) -> Result<(), Message>) -> Result<String, Message> {
    let unreadable = |err: io::Error| message!("cannot be read: {}", &err);
    check(&file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(message!("is larger than {} bytes", SIZE_MAX));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

/// Checks that only this user can read the file: it contains keys. `others` are forbidden mode bits.
fn check_private(meta: &Metadata, others: u32, path: &Path) -> Result<(), Message> {
    if meta.is_dir() {
        return Err("is a directory".into());
    }
    if meta.uid() != sys::euid() {
        let (owner, own) = (meta.uid(), sys::euid());
        return Err(message!(
            "belongs to another user (uid {}): chown {} {}",
            owner,
            own,
            path
        ));
    }
    match meta.mode() & others {
        0 => Ok(()),
        _ => Err(message!(
            "is open to others (mode {}): chmod 600 {}",
            Mode(meta.mode() & 0o7777),
            path
        )),
    }
}

/// The variables that `text` sets, later lines replacing earlier ones; and the ignored parts.
pub(super) fn parse(text: &str) -> (Variables, Vec<Ignored>) {
    let (mut variables, mut ignored) = (Variables::default(), Vec::new());
    let chars = text.chars();
    let mut reader = Reader { chars, newlines: 0 };
    while let Some(first) = reader.next() {
        let line = reader.newlines + 1;
        if is_blank(first) {
            continue;
        }
        if matches!(first, '#' | ';') {
            reader.until(is_newline);
            continue;
        }
        let (rest, end) = reader.until(|c| c == '=' || is_newline(c));
        let name = format!("{first}{rest}");
        let name = name.trim_end();
        let checked = match end {
            Some('=') => checked(name, reader.value()),
            _ => Err("it has no `=`".into()),
        };
        match checked {
            Ok(value) => variables.set(name, value),
            Err(reason) => ignored.push(Ignored { line, reason }),
        }
    }
    (variables, ignored)
}

/// `value`, if a variable can have this name and value.
fn checked(name: &str, value: String) -> Result<String, Message> {
    // The name is not shown: it may be part of a key with several lines.
    if name.starts_with("export ") {
        Err("it begins with `export`".into())
    } else if !is_variable_name(name) {
        Err("what stands before `=` is not a variable's name".into())
    } else if value.contains('\0') {
        let name = Message::name(name);
        Err(message!("the value of {} holds a NUL byte", name))
    } else {
        Ok(value)
    }
}

fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn is_blank(c: char) -> bool {
    is_newline(c) || matches!(c, ' ' | '\t')
}

/// The rest of a file.
struct Reader<'a> {
    chars: Chars<'a>,
    newlines: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        self.chars
            .next()
            .inspect(|c| self.newlines += usize::from(*c == '\n'))
    }

    /// The text before the next character that `ends` it, and that one; `None` at the end of the file.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> (String, Option<char>) {
        let mut text = String::new();
        loop {
            match self.next() {
                Some(c) if !ends(c) => text.push(c),
                end => return (text, end),
            }
        }
    }

    /// The value behind `=`. The end of the file closes open quotes.
    fn value(&mut self) -> String {
        let mut value = String::new();
        // Length of the value without trailing white space.
        let mut kept = 0;
        // True within an unquoted value, in which quotes are literal.
        let mut is_unquoted = false;
        while let Some(c) = self.next().filter(|c| !is_newline(*c)) {
            match c {
                '\'' if !is_unquoted => value += &self.until(|c| c == '\'').0,
                '"' if !is_unquoted => value += &self.double_quoted(),
                '\\' => {
                    is_unquoted = true;
                    // Otherwise a line continuation.
                    value.extend(self.next().filter(|c| !is_newline(*c)));
                }
                c if is_blank(c) => {
                    value.extend(is_unquoted.then_some(c));
                    continue;
                }
                c => {
                    is_unquoted = true;
                    value.push(c);
                }
            }
            kept = value.len();
        }
        value.truncate(kept);
        value
    }

    /// The text to the closing quote. As in a shell, only special characters are unescaped.
    fn double_quoted(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.next().filter(|c| *c != '"') {
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.next() {
                Some(c @ ('"' | '\\' | '`' | '$')) => text.push(c),
                // Line continuation.
                Some('\n') | None => {}
                Some(c) => text.extend(['\\', c]),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    fn one(text: &str) -> Vec<(String, String)> {
        let (variables, ignored) = parse(text);
        assert_eq!(ignored, [], "{text:?}");
        let pairs = variables.iter();
        pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    /// Expected values are the results of systemd 252's `load_env_file`; for a continued comment those of 254.
    #[test]
    fn values_are_quoted_as_in_an_environment_file_of_systemd() {
        for (text, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("  A = b c  \n", "b c"),
            ("A=b#c ;d", "b#c ;d"),
            ("A='a b'\n", "a b"),
            ("A='a\nb'", "a\nb"),
            ("A=\"a\nb\"", "a\nb"),
            (r#"A="a\"b\\c\$d\`e\nf""#, "a\"b\\c$d`e\\nf"),
            ("A=\"a\\\nb\"", "ab"),
            (r"A='a\b'", r"a\b"),
            ("A=a\\\nb", "ab"),
            (r"A=a\ b\\c\n", r"a b\cn"),
            ("A=a\\ ", "a "),
            ("A=\"a\" 'b'  c", "abc"),
            ("A=a\"b\"", "a\"b\""),
            ("A=a'b", "a'b"),
            ("A=\"open", "open"),
            ("A=$B${C}%h", "$B${C}%h"),
            ("A=b\r\n", "b"),
            ("A=x=y", "x=y"),
            ("A=1\nA=2", "2"),
            ("# A=1\n; A=2\n\nA=3", "3"),
            ("# a \\\nA=3", "3"),
            ("A=é", "é"),
            ("A=a\\", "a"),
            ("A=a \\\n", "a "),
            ("A='a'\\\nb", "ab"),
            ("A=\"a\"b\\ c ", "ab c"),
        ] {
            assert_eq!(one(text), [("A".into(), value.into())], "{text:?}");
        }
        assert_eq!(one("# only\n\n"), []);
    }

    #[test]
    fn a_line_that_is_not_taken_costs_the_others_nothing_and_shows_no_value() {
        let text =
            "GOOD=1\nexport KEY=secret\n1X=secret\nsecret_alone\nA B=secret\n=secret\nLAST=2";
        let (variables, ignored) = parse(text);
        assert_eq!(variables.names(), ["GOOD", "LAST"]);
        let lines: Vec<usize> = ignored.iter().map(|ignored| ignored.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6]);
        assert!(!format!("{ignored:?}").contains("secret"), "{ignored:?}");
    }

    #[test]
    fn a_file_of_any_content_gives_only_names_of_variables() {
        let mut random = Random::new(1);
        let pieces = [
            "A", "=", "\"", "'", "\\", "\n", " ", "#", "b", "\0", "é", "\r",
        ];
        for _ in 0..rounds(20_000) {
            let text: String = (0..random.below(24))
                .map(|_| *random.pick(&pieces))
                .collect();
            for (name, value) in parse(&text).0.iter() {
                assert!(is_variable_name(name) && !value.contains('\0'), "{text:?}");
            }
        }
    }
}
