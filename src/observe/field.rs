//! The kinds of log fields. A field's kind decides how much of it a diagnostics report shows.
//!
//! Pure; runs on the thread that logs, and in the CLI's process. It knows no event.

use std::fmt::Display;
use std::io;
use std::path;

use log::kv::Value;

use crate::api::{Code, EndCause, Failure, Fault, OnEnd, SessionId, SessionStatus, Word, words};
use crate::observe::Message;
use crate::sys::Exit;

/// Content of a field, and what `coven diagnostics` shows of it. A log file can be forged: a value is shown only if it
/// has the form of its kind.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number: shown.
    Number,
    /// A boolean: shown.
    Flag,
    /// A word or form of the program's own: shown if the function accepts it.
    Word(fn(&str) -> bool),
    /// A route's pattern: shown if the route exists.
    Route,
    /// A verb of the CLI: shown if the verb exists.
    Verb,
    /// A harness id: shown if a manifest declares it.
    Harness,
    /// A path: shown without its private part.
    Path,
    /// A reason of a failure: only its code is shown, which the line has in a field of its own.
    Reason,
    /// Any text: never shown.
    Text,
}

/// A type of a log field.
pub(super) trait LogField {
    const KIND: Kind;

    /// The value to write; `None` omits the field.
    fn value(&self) -> Option<Value<'_>>;

    /// The code that the line also has, in a field behind this one.
    fn fault(&self) -> Option<Fault> {
        None
    }
}

impl<T: LogField> LogField for Option<T> {
    const KIND: Kind = T::KIND;

    fn value(&self) -> Option<Value<'_>> {
        self.as_ref().and_then(LogField::value)
    }

    fn fault(&self) -> Option<Fault> {
        self.as_ref().and_then(LogField::fault)
    }
}

/// Types whose values are written directly.
macro_rules! plain {
    ($($kind:ident: $($type:ty)*;)*) => {$($(
        impl LogField for $type {
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

/// Types whose values are written by Display.
macro_rules! displayed {
    ($($kind:expr => $($type:ty)*;)*) => {$($(
        impl LogField for $type {
            const KIND: Kind = $kind;

            fn value(&self) -> Option<Value<'_>> {
                Some(Value::from_display(self))
            }
        }
    )*)*};
}

displayed! {
    Kind::Word(|text| text.parse::<Self>().is_ok()) => SessionStatus OnEnd CloseCause StateInput StopCause Untouched WatchedThread;
    // An id chosen by a client can contain anything.
    Kind::Word(|text| text.parse().is_ok_and(|id: SessionId| id.is_uuid())) => SessionId;
    Kind::Word(is_code) => Code Word<Code>;
    Kind::Word(is_exit) => Exit;
    Kind::Path => path::Display<'_>;
}

/// Declares text types of one kind.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $kind:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a>(pub &'a str);

        impl LogField for $name<'_> {
            const KIND: Kind = $kind;

            fn value(&self) -> Option<Value<'_>> {
                Some(Value::from(self.0))
            }
        }
    )*};
}

texts! {
    Route: Kind::Route;
    Verb: Kind::Verb;
    Harness: Kind::Harness;
    /// A session as a client named it: any text.
    NamedSession: SessionId::KIND;
    Request: Kind::Word(is_request);
    /// An HTTP method as the client sent it.
    Method: Kind::Word(is_method);
    /// A version, or a contract's name.
    Version: Kind::Word(is_version);
    /// A place in this program's source.
    Place: Kind::Word(is_source_place);
    /// Any text.
    Text: Kind::Text;
}

/// A reason of a failure, in the words of the system, of SQLite, or of this program.
pub trait Cause: Display {
    /// The code that the system or SQLite gave for it.
    fn fault(&self) -> Option<Fault> {
        None
    }
}

pub type Reason<'a> = &'a dyn Cause;

impl LogField for Reason<'_> {
    const KIND: Kind = Kind::Reason;

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::from_display(self))
    }

    fn fault(&self) -> Option<Fault> {
        Cause::fault(*self)
    }
}

impl Cause for &str {}
impl Cause for String {}
impl Cause for Message {}

impl Cause for io::Error {
    fn fault(&self) -> Option<Fault> {
        Fault::of(self)
    }
}

impl Cause for Failure {
    fn fault(&self) -> Option<Fault> {
        self.fault()
    }
}

words! {
    /// Why processes of orphaned sessions are left alone.
    pub enum Untouched {
        /// The store is a copy: the processes belong to the daemon that serves the original.
        Copy = "copy",
        /// The store was served in another boot or PID namespace.
        Elsewhere = "elsewhere",
        /// No owner of the store is on record.
        Unknown = "unknown",
    }

    /// Why a stop ends the grace period.
    pub enum StopCause {
        /// A second signal.
        AskedAgain = "asked_again",
    }

    /// Why a late stream is closed while a process still holds it.
    pub enum CloseCause {
        /// A new session needs its place.
        Room = "room",
        /// The daemon stops.
        Stop = "stop",
        /// The session is deleted.
        Deleted = "deleted",
    }

    /// Kinds of inputs of the state thread, for the log.
    pub enum StateInput {
        /// A client's command.
        Command = "command",
        /// A launch's row is on disk.
        Created = "created",
        /// A report of a harness thread.
        Harness = "harness",
        /// A session's closing facts are on disk.
        Ended = "ended",
        /// A session is deleted.
        Deleted = "deleted",
        /// A child of the daemon has exited.
        ChildEnded = "child_ended",
        /// A request to hand everything over.
        HandOver = "hand_over",
        /// A request of the watchdog.
        Ping = "ping",
        /// The memory of a large answer or request is free.
        MemoryFree = "memory_free",
        /// A stop signal.
        Stop = "stop",
        /// A deadline has passed.
        Deadline = "deadline",
    }

    /// A thread that the watchdog checks.
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
    /// Its end was requested.
    Asked(EndCause),
    /// The session did not end within the grace period.
    GraceOver,
}

impl KillCause {
    const GRACE_OVER: &str = "grace_over";
}

impl LogField for KillCause {
    const KIND: Kind =
        Kind::Word(|text| text == Self::GRACE_OVER || EndCause::parse(text).is_some());

    fn value(&self) -> Option<Value<'_>> {
        Some(Value::from(match self {
            Self::Asked(cause) => cause.as_str(),
            Self::GraceOver => Self::GRACE_OVER,
        }))
    }
}

/// Written instead of an error code of invalid form.
pub const UNKNOWN_CODE: &str = "unknown";

fn is_code(text: &str) -> bool {
    Code::parse(text).is_some() || text == UNKNOWN_CODE
}

/// True if `text` has the form of a version or a contract's name, such as `0.1.0` or `coven.daemon.v1`.
pub fn is_version(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    let is_contract = text
        .strip_prefix("coven.daemon.v")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    text.len() <= 40 && text.bytes().all(plain) && (is_contract || is_number)
}

/// True if `text` has the form of a request id: two hexadecimal numbers.
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

/// True if `text` has the form of an [`Exit`].
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
