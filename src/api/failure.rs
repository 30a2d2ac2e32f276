//! The reason of a failure: a text for people, and the code that the system or SQLite gave.
//!
//! Pure. `coven diagnostics` shows the code and never the text, which can contain paths and names.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use crate::sys;

/// The code of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The system's error number (errno(3)).
    Errno(i32),
    /// SQLite's extended result code.
    Sqlite(i32),
}

/// SQLite's texts for its primary result codes.
const SQLITE: [(i32, &str); 8] = [
    (5, "database is locked"),
    (7, "out of memory"),
    (8, "attempt to write a readonly database"),
    (10, "disk I/O error"),
    (11, "database disk image is malformed"),
    (13, "database or disk is full"),
    (14, "unable to open database file"),
    (26, "file is not a database"),
];

impl Fault {
    /// The log fields that hold codes.
    pub const FIELDS: [&str; 2] = ["errno", "sqlite"];

    pub fn of(err: &io::Error) -> Option<Self> {
        err.raw_os_error().map(Self::Errno)
    }

    /// The code in the log field `name`, if that holds codes.
    pub fn of_field(name: &str, code: i64) -> Option<Self> {
        let code = code.try_into().ok()?;
        let all = [Self::Errno(code), Self::Sqlite(code)];
        all.into_iter().find(|fault| fault.field() == name)
    }

    /// The log field that holds the code.
    pub fn field(self) -> &'static str {
        match self {
            Self::Errno(_) => Self::FIELDS[0],
            Self::Sqlite(_) => Self::FIELDS[1],
        }
    }

    pub fn code(self) -> i32 {
        match self {
            Self::Errno(code) | Self::Sqlite(code) => code,
        }
    }

    /// The code that a log of an older version has only in the text of a reason.
    pub fn in_older(reason: &str) -> Option<Self> {
        let number = || {
            let (_, rest) = reason.rsplit_once("(os error ")?;
            rest.split_once(')')?.0.parse().ok().map(Self::Errno)
        };
        let sqlite = SQLITE.iter().find(|(_, text)| *text == reason);
        sqlite.map(|(code, _)| Self::Sqlite(*code)).or_else(number)
    }
}

/// The meaning of the code, in the words of the system or SQLite.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Errno(code) => io::Error::from_raw_os_error(code).fmt(f),
            Self::Sqlite(code) => {
                // The lower byte is the primary code (sqlite.org/rescode.html).
                let primary = SQLITE.iter().find(|(known, _)| *known == code & 0xff);
                match primary {
                    Some((_, text)) => f.write_str(text),
                    None => write!(f, "SQLite's result code {code}"),
                }
            }
        }
    }
}

/// A reason. It is a string in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    text: String,
    fault: Option<Fault>,
}

impl Failure {
    pub fn new(text: impl Into<String>, fault: Option<Fault>) -> Self {
        let text = text.into();
        Self { text, fault }
    }

    /// `err`, with the name of the limit that was reached, if any.
    pub fn explained(err: &io::Error) -> Self {
        Self::new(sys::explain(err), Fault::of(err))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(text, None)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text, None)
    }
}

impl From<&io::Error> for Failure {
    fn from(err: &io::Error) -> Self {
        Self::new(err.to_string(), Fault::of(err))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_in_the_words_of_the_system_or_of_sqlite() {
        let gone = Failure::from(&io::Error::from_raw_os_error(libc::ENOENT));
        let text = "No such file or directory (os error 2)";
        assert_eq!(gone.to_string(), text);
        assert_eq!(gone.fault().unwrap().to_string(), text);
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        for (code, text) in SQLITE {
            assert_eq!(Fault::Sqlite(code | (3 << 8)).to_string(), text);
            assert_eq!(Fault::in_older(text), Some(Fault::Sqlite(code)));
        }
        let full = "PRAGMA max_page_count = 1; CREATE TABLE t (x); CREATE TABLE u (x)";
        let err = connection.execute_batch(full).unwrap_err();
        assert_eq!(err.to_string(), Fault::Sqlite(13).to_string());
    }

    #[test]
    fn the_text_of_an_older_log_gives_only_its_code() {
        let fault = Fault::in_older("planted (os error 2) planted");
        assert_eq!(fault, Some(Fault::Errno(2)));
        assert_eq!(Fault::in_older("planted database is locked"), None);
    }
}
