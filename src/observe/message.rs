//! A message for people that keeps quoted values apart from the program's own words, so that a diagnostics report can
//! omit private parts.
//!
//! Pure. Display prints all of it; `coven diagnostics` decides what it shows of each part.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::api::{Code, Failure, SessionId, Timestamp, UnconfirmedClock, Word};

/// The program's own words, numbers and times, and quoted values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text without any user data.
    Ours(Ours),
    /// A path.
    Path(PathBuf),
    /// A path quoted for a shell.
    Quoted(PathBuf),
    /// Name of a program, a unit, a variable or a harness.
    Name(String),
    /// Login name of a user.
    User(String),
    /// Any other text.
    Foreign(String),
    /// A reason, whose code is public.
    Failure(Failure),
    /// A point in time.
    Time(Timestamp),
}

/// Text that only [`Message`] can create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours(Cow<'static, str>);

impl Ours {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A file mode, printed in octal.
#[derive(Debug, Clone, Copy)]
pub struct Mode(pub u32);

/// Formats a message: `message!("{} is {} bytes long", path, length)`. Each value needs a conversion into [`Message`].
macro_rules! message {
    ($format:literal $(, $part:expr)* $(,)?) => {{
        const { assert!($crate::observe::Message::holes($format) == <[&str]>::len(&[$(stringify!($part)),*])) };
        $crate::observe::Message::fill($format, [$($crate::observe::Message::from($part)),*])
    }};
}
pub(crate) use message;

impl Message {
    /// Number of `{}` in `format`.
    pub const fn holes(format: &str) -> usize {
        let (bytes, mut at, mut holes) = (format.as_bytes(), 0, 0);
        while at + 1 < bytes.len() {
            holes += (bytes[at] == b'{' && bytes[at + 1] == b'}') as usize;
            at += 1;
        }
        holes
    }

    /// Replaces each `{}` of `format` by a part.
    pub fn fill<const N: usize>(format: &'static str, parts: [Self; N]) -> Self {
        let mut parts = parts.into_iter();
        let texts = format.split("{}").enumerate();
        let pieces = texts.flat_map(|(at, text)| {
            let part = if at > 0 { parts.next() } else { None };
            [part.unwrap_or_default(), text.into()]
        });
        Self(pieces.flat_map(|piece| piece.0).collect())
    }

    /// Joins `messages`, separated by `between`.
    pub fn join(messages: impl IntoIterator<Item = Self>, between: &'static str) -> Self {
        let all = messages.into_iter().enumerate();
        let parts = all.flat_map(|(at, message)| {
            let between = if at > 0 { between } else { "" };
            [between.into(), message]
                .into_iter()
                .flat_map(|piece| piece.0)
        });
        Self(parts.collect())
    }

    /// `path`, quoted for a shell.
    pub fn quoted(path: &Path) -> Self {
        Self(vec![Part::Quoted(path.to_owned())])
    }

    /// Name of a program, a unit, a variable or a harness.
    pub fn name(name: impl Into<String>) -> Self {
        Self(vec![Part::Name(name.into())])
    }

    /// Login name of a user.
    pub fn user(name: String) -> Self {
        Self(vec![Part::User(name)])
    }

    /// A reason, whose code is public.
    pub fn failure(failure: Failure) -> Self {
        Self(vec![Part::Failure(failure)])
    }

    /// Any other text.
    pub fn foreign(text: impl Into<String>) -> Self {
        Self(vec![Part::Foreign(text.into())])
    }

    /// `text` as the program's own word if `is_ours` accepts it, otherwise as other text.
    pub fn word(text: &str, is_ours: impl FnOnce(&str) -> bool) -> Self {
        match is_ours(text) {
            true => Self::ours(text.to_owned()),
            false => Self::foreign(text),
        }
    }

    /// The text, with times formatted by `time`.
    pub fn with_times(&self, time: fn(Timestamp) -> String) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Time(at) => time(*at),
            part => part.to_string(),
        });
        parts.collect()
    }

    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    fn ours(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self(Vec::from_iter(
            (!text.is_empty()).then_some(Part::Ours(Ours(text))),
        ))
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Self::ours(text)
    }
}

macro_rules! ours {
    ($($type:ty)*) => {$(
        impl From<$type> for Message {
            fn from(value: $type) -> Self {
                Self::ours(value.to_string())
            }
        }
    )*};
}

ours! { SessionId u32 u64 usize i32 i64 u128 Code UnconfirmedClock }

impl From<Mode> for Message {
    fn from(mode: Mode) -> Self {
        Self::ours(format!("{:04o}", mode.0))
    }
}

impl From<Timestamp> for Message {
    fn from(at: Timestamp) -> Self {
        Self(vec![Part::Time(at)])
    }
}

impl From<f64> for Message {
    fn from(value: f64) -> Self {
        Self::ours(format!("{value:.1}"))
    }
}

impl From<&Path> for Message {
    fn from(path: &Path) -> Self {
        Self(vec![Part::Path(path.to_owned())])
    }
}

impl From<&PathBuf> for Message {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&io::Error> for Message {
    fn from(err: &io::Error) -> Self {
        match err.get_ref() {
            // The error was created with a custom text.
            Some(_) => Self::foreign(err.to_string()),
            None => Self::ours(err.to_string()),
        }
    }
}

impl<T: Copy + Into<Message>> From<&Word<T>> for Message {
    fn from(word: &Word<T>) -> Self {
        match word {
            Word::Known(word) => (*word).into(),
            Word::Other(text) => Self::foreign(text),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part.fmt(f))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(text) => f.write_str(text.as_str()),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Quoted(path) => f.write_str(&quoted(path)),
            Self::Name(text) | Self::User(text) | Self::Foreign(text) => f.write_str(text),
            Self::Failure(failure) => failure.fmt(f),
            Self::Time(at) => at.fmt(f),
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_writes_itself_as_it_is_and_keeps_its_parts() {
        let inner = message!("{} bytes", 7_u64);
        let message = message!(
            "{} has {}: {}",
            Path::new("/a b"),
            inner,
            Message::foreign("no")
        );
        assert_eq!(message.to_string(), "/a b has 7 bytes: no");
        let is_foreign = |part: &&Part| matches!(part, Part::Foreign(_) | Part::Path(_));
        assert_eq!(message.parts().iter().filter(is_foreign).count(), 2);
        let at = message!("at {}", Timestamp::from_millis(0));
        assert_eq!(at.to_string(), "at 1970-01-01T00:00:00.000Z");
        assert_eq!(at.with_times(|_| "noon".into()), "at noon");
        let joined = Message::join(["a".into(), "b".into()], "; ");
        assert_eq!(joined.to_string(), "a; b");
    }

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted(Path::new("/a/b.c")), "/a/b.c");
        assert_eq!(quoted(Path::new("/a b")), "'/a b'");
        assert_eq!(quoted(Path::new("/it's;x")), "'/it'\\''s;x'");
    }
}
