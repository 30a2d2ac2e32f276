//! The kinds of fields that a log record can have. The kind of a field decides what a report may show of it.
//!
//! Pure; runs on the thread that logs, and in the CLI's process. It knows no event.

use std::fmt::Display;
use std::path;

use log::kv::Value;

use crate::api::{Code, EndCause, OnEnd, SessionId, SessionStatus, Word, words};
use crate::sys::Exit;

/// What a field holds, and what `coven diagnostics` shows of it. A log file can be forged: a value is shown only if it
/// has the form of its kind.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number: shown.
    Number,
    /// Yes or no: shown.
    Flag,
    /// A word or a form of the program's own: shown if the function knows it.
    Word(fn(&str) -> bool),
    /// The pattern of a route: shown if there is such a route.
    Route,
    /// A verb of the CLI: shown if there is such a verb.
    Verb,
    /// The id of a harness: shown if a manifest names it.
    Harness,
    /// A path: shown without its private part.
    Path,
    /// Why something failed: only its known phrases and the system's errors are shown.
    Reason,
    /// Anybody's text: never shown.
    Text,
}

/// A value that a log record can have.
pub(super) trait Field {
    const KIND: Kind;

    /// The value as it is written; `None` leaves the field out.
    fn value(&self) -> Option<Value<'_>>;
}

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;

    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().and_then(Field::value)
    }
}

/// Types whose values are written as they are.
macro_rules! plain {
    ($($kind:ident: $($type:ty)*;)*) => {$($(
        impl Field for $type {
            const KIND: Kind = Kind::$kind;

            fn value(&self) -> Option<Value<'_>> {
                Some(Value::from(*self))
            }
        }
    )*)*};
}

plain! {
    Number: u8 u16 u32 u64 usize i32 i64;
    Flag: bool;
}

/// Types that are written as text.
macro_rules! displayed {
    ($($kind:expr => $($type:ty)*;)*) => {$($(
        impl Field for $type {
            const KIND: Kind = $kind;

            fn value(&self) -> Option<Value<'_>> {
                Some(Value::from_display(self))
            }
        }
    )*)*};
}

displayed! {
    Kind::Word(|text| text.parse::<Self>().is_ok()) => SessionStatus OnEnd CloseCause StateInput StopCause Untouched WatchedThread;
    // A registrar's own names say who knows what.
    Kind::Word(|text| text.parse().is_ok_and(|id: SessionId| id.is_uuid())) => SessionId;
    Kind::Word(is_code) => Code Word<Code>;
    Kind::Word(is_exit) => Exit;
    Kind::Path => path::Display<'_>;
    Kind::Reason => Reason<'_>;
}

/// Text of one kind.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $kind:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a>(pub &'a str);

        impl Field for $name<'_> {
            const KIND: Kind = $kind;

            fn value(&self) -> Option<Value<'_>> {
                Some(Value::from(self.0))
            }
        }
    )*};
}

texts! {
    /// The pattern of a route.
    Route: Kind::Route;
    /// A verb of the CLI.
    Verb: Kind::Verb;
    /// The id of a harness.
    Harness: Kind::Harness;
    /// A session as a client names it: any text.
    NamedSession: SessionId::KIND;
    /// The id of a request.
    Request: Kind::Word(is_request);
    /// An HTTP method as a client sends it.
    Method: Kind::Word(is_method);
    /// A version or a contract.
    Version: Kind::Word(is_version);
    /// A place in our source.
    Place: Kind::Word(is_source_place);
    /// Anybody's text.
    Text: Kind::Text;
}

/// Why something failed, in the system's words, SQLite's or ours.
pub type Reason<'a> = &'a dyn Display;

words! {
    /// Why the processes of orphaned sessions are left alone.
    pub enum Untouched {
        /// The store is a copy: they are those of the daemon that serves the other file.
        Copy = "copy",
        /// The store was served in another boot, or in another PID namespace.
        Elsewhere = "elsewhere",
        /// Nobody is on record as having served the store.
        Unknown = "unknown",
    }
}

words! {
    /// Why a stop does not wait for the grace period.
    pub enum StopCause {
        /// A second signal.
        AskedAgain = "asked_again",
    }
}

words! {
    /// Why a late stream is closed while something holds it.
    pub enum CloseCause {
        /// A new session takes the place.
        Room = "room",
        /// The daemon stops.
        Stop = "stop",
        /// The session is deleted.
        Deleted = "deleted",
    }
}

words! {
    /// What the state thread handles.
    pub enum StateInput {
        /// A client's command.
        Command = "command",
        /// A session's row is on disk.
        Created = "created",
        /// A harness thread reports.
        Harness = "harness",
        /// A session's closing facts are on disk.
        Ended = "ended",
        /// A session is deleted.
        Deleted = "deleted",
        /// A child of the daemon has ended.
        ChildEnded = "child_ended",
        /// The watchdog asks for an answer.
        Ping = "ping",
        /// The daemon is to stop.
        Stop = "stop",
        /// A deadline is over.
        Deadline = "deadline",
    }
}

words! {
    /// A thread that the watchdog asks.
    pub enum WatchedThread {
        /// The state thread.
        State = "state",
        /// The writer thread.
        Writer = "writer",
    }
}

/// Why a session is signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillCause {
    /// Its end has been asked for.
    Asked(EndCause),
    /// It did not end within the grace period.
    GraceOver,
}

impl KillCause {
    const GRACE_OVER: &str = "grace_over";
}

impl Field for KillCause {
    const KIND: Kind =
        Kind::Word(|text| text == Self::GRACE_OVER || EndCause::parse(text).is_some());

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::from(match self {
            Self::Asked(cause) => cause.as_str(),
            Self::GraceOver => Self::GRACE_OVER,
        }))
    }
}

/// What stands for a code that has not the form of one.
pub const UNKNOWN_CODE: &str = "unknown";

fn is_code(text: &str) -> bool {
    Code::parse(text).is_some() || text == UNKNOWN_CODE
}

/// Whether `text` can be a version or a contract, as `0.1.0` or `coven.daemon.v1`.
pub fn is_version(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    let is_contract = text
        .strip_prefix("coven.daemon.v")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    text.len() <= 40 && text.bytes().all(plain) && (is_contract || is_number)
}

/// Whether `text` is a request's id: two numbers in hexadecimal.
fn is_request(text: &str) -> bool {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.len() <= 33
        && text
            .split_once('-')
            .is_some_and(|(a, b)| is_hex(a) && is_hex(b))
}

fn is_method(text: &str) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&text)
}

fn is_source_place(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_/.:".contains(&b);
    text.len() <= 80 && text.starts_with("src/") && text.contains(".rs:") && text.bytes().all(plain)
}

/// Whether `text` says how a harness ended, as [`Exit`] is written.
fn is_exit(text: &str) -> bool {
    let number = text.strip_prefix("signal:").unwrap_or(text);
    number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_requests_and_places_have_their_form() {
        assert!(is_version("0.1.0-rc.1+x") && is_version("coven.daemon.v12"));
        assert!(!is_version("my plan") && !is_version("") && !is_version("coven.daemon.vplan"));
        assert!(is_request("1f-a") && !is_request("plan-b") && !is_request("1"));
        assert!(is_source_place("src/store/writer.rs:12:5") && !is_source_place("/src/x.rs:1"));
        assert!(is_exit("signal:9") && is_exit("3") && !is_exit("plan"));
    }
}
