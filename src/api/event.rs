//! Events: kinds, payloads, and ids.
//!
//! Plain data, for every thread. It knows nothing of pages or of the store.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::cost::{PayloadCost, Usage, usage_in_payload};
use super::escape::write_json_string;
use super::prompt::PromptPayload;
use super::wire::wire;
use super::{Code, EndedBy, SessionCost, SessionId, SessionStatus, Timestamp, Word, words};

/// Largest payload of an `output` or an `input`, in bytes.
pub const OUTPUT_PAYLOAD_MAX: usize = 60_000;

words! {
    /// Kind of an event.
    pub enum EventKind {
        /// The session's status changed.
        Status = "status",
        /// The harness wrote something.
        Output = "output",
        /// A client wrote to the harness; also the prompt that it was launched with.
        Input = "input",
        /// The session's end was requested.
        Kill = "kill",
        /// The harness has exited.
        Exit = "exit",
        /// An error occurred.
        Error = "error",
        /// Retention deleted output or the prompt; replaces the last deleted event.
        OutputTruncated = "output_truncated",
    }

    /// Output stream of a harness.
    pub enum Stream {
        Stdout = "stdout",
        Stderr = "stderr",
    }
}

/// Origin of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub stream: Stream,
    /// A process that the harness left behind wrote it after the session's end.
    pub is_late: bool,
}

/// Content of an event, to be serialized as its payload.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Payload<'a> {
    /// `status`
    Status {
        status: SessionStatus,
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// `output`: bytes that are not UTF-8, and their lossy conversion to text.
    Bytes {
        data: &'a str,
        stream: Stream,
        base64: &'a str,
        #[serde(skip_serializing_if = "is_false")]
        late: bool,
    },
    /// `input`; `eof` closes stdin after the data.
    Input {
        data: &'a str,
        #[serde(skip_serializing_if = "is_false")]
        eof: bool,
    },
    /// `input`: a part of the prompt.
    Prompt(&'a PromptPayload<'a>),
    /// `kill`: the signal and its cause, with the limit if a limit is the cause.
    #[serde(rename_all = "camelCase")]
    Kill {
        status: SessionStatus,
        signal: i32,
        cause: EndedBy,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit_tokens: Option<u64>,
    },
    /// `exit`
    #[serde(rename_all = "camelCase")]
    Exit {
        status: SessionStatus,
        exit_code: Option<i32>,
        signal: Option<i32>,
        ended_by: Option<EndedBy>,
        #[serde(skip_serializing_if = "is_false")]
        oom_killed: bool,
        #[serde(flatten, with = "PayloadCost")]
        cost: SessionCost,
        #[serde(serialize_with = "usage_in_payload")]
        usage: Option<&'a Usage>,
    },
    /// `error`
    Error { code: Code, message: &'a str },
    /// `output_truncated`
    Truncated(Truncation),
}

impl Payload<'_> {
    /// The kind of the event with this payload.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Status { .. } => EventKind::Status,
            Self::Bytes { .. } => EventKind::Output,
            Self::Input { .. } | Self::Prompt(_) => EventKind::Input,
            Self::Kill { .. } => EventKind::Kill,
            Self::Exit { .. } => EventKind::Exit,
            Self::Error { .. } => EventKind::Error,
            Self::Truncated(_) => EventKind::OutputTruncated,
        }
    }

    /// The JSON that is stored and shown.
    pub fn to_json(&self) -> String {
        // Cannot fail: a payload holds strings and numbers, and writing to a String cannot fail.
        serde_json::to_string(self).expect("a payload is plain data")
    }

    /// Payload of an `output` of text.
    pub fn text_to_json(data: &str, origin: Origin) -> String {
        let end = match origin.is_late {
            false => r#""}"#,
            true => r#"","late":true}"#,
        };
        let mut json = Vec::with_capacity(data.len() + data.len() / 16 + 64);
        json.extend_from_slice(br#"{"data":"#);
        write_json_string(&mut json, data);
        for part in [r#","stream":""#, origin.stream.as_str(), end] {
            json.extend_from_slice(part.as_bytes());
        }
        // Cannot fail: `data` is UTF-8, and only ASCII is inserted between characters.
        String::from_utf8(json).expect("text is UTF-8")
    }

    /// Payload of an `output` of bytes that are not UTF-8.
    pub fn bytes_to_json(bytes: &[u8], origin: Origin) -> String {
        let data = String::from_utf8_lossy(bytes);
        Payload::Bytes {
            data: &data,
            stream: origin.stream,
            base64: &STANDARD.encode(bytes),
            late: origin.is_late,
        }
        .to_json()
    }
}

pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

/// An `output` payload, parsed by a client.
#[derive(Debug, Clone, Deserialize)]
pub struct OutputPayload {
    /// The text, or a lossy conversion of the bytes.
    pub data: String,
    pub stream: Stream,
    /// The exact bytes, if they are not UTF-8.
    pub base64: Option<String>,
    /// Written after the session's end.
    #[serde(default)]
    pub late: bool,
}

impl OutputPayload {
    /// The bytes that the harness wrote.
    ///
    /// # Errors
    /// `base64` is invalid.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        match &self.base64 {
            Some(encoded) => STANDARD.decode(encoded),
            None => Ok(self.data.clone().into_bytes()),
        }
    }
}

/// An `output_truncated` payload: the events that retention deleted in a range of seqs. Events of other kinds in the
/// range are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truncation {
    /// The first deleted seq.
    pub from_seq: u64,
    /// The last deleted seq, which is this event's own.
    pub through_seq: u64,
    /// Number of deleted events, including the replaced one.
    pub dropped_events: u64,
    /// Bytes of output and prompt that the deleted events showed.
    pub dropped_bytes: u64,
}

/// Number of bytes that an `output` or `input` payload shows; `None` for other payloads.
pub fn output_length(payload_json: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Shown<'a> {
        #[serde(borrow)]
        data: Cow<'a, str>,
        base64: Option<Cow<'a, str>>,
    }
    let shown: Shown<'_> = super::from_json(payload_json).ok()?;
    let length = match shown.base64 {
        None => shown.data.len(),
        // Four characters encode three bytes; each `=` at the end subtracts one (RFC 4648, 4).
        Some(text) => {
            let padding = text.bytes().rev().take_while(|&b| b == b'=').count();
            text.len() / 4 * 3 - padding.min(2)
        }
    };
    Some(length as u64)
}

/// A `status` payload, parsed by a client.
#[derive(Debug, Clone, Deserialize)]
pub struct StatusPayload {
    pub status: SessionStatus,
}

/// An `exit` payload, parsed by a client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitPayload {
    /// The harness's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that terminated it, if any.
    pub signal: Option<i32>,
    /// The cause of the session's end; missing in an event of an older version.
    pub ended_by: Option<Word<EndedBy>>,
    /// The OOM killer killed the harness.
    #[serde(default)]
    pub oom_killed: bool,
}

/// A `kill` payload, parsed by a client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KillPayload {
    /// The session's time limit in milliseconds, if that is the cause.
    pub limit_ms: Option<u64>,
    /// The session's token limit, if that is the cause.
    pub limit_tokens: Option<u64>,
}

/// An event's id: session id and seq, so that a cursor made of it needs no look-up. It consists of characters that a
/// query need not escape (RFC 3986, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    pub session: SessionId,
    pub seq: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.seq)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (session, seq) = text.rsplit_once('.').ok_or("not an event id")?;
        let id = Self {
            session: session.parse()?,
            seq: seq.parse().map_err(|_| "not an event id".to_owned())?,
        };
        // `+1` and `01` also parse as numbers.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err("not an event id".into())
        }
    }
}

wire! {
    /// An event, as clients see it.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Event {
        /// Its position in the session, from 1.
        pub seq: u64,
        /// An [`EventId`].
        pub id: String,
        pub session_id: SessionId,
        /// The kind; may be unknown to an older client.
        pub kind: Word<EventKind>,
        /// A JSON object.
        pub payload_json: String,
        /// When the daemon observed it.
        pub created_at: Timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STDOUT: Origin = Origin {
        stream: Stream::Stdout,
        is_late: false,
    };
    const LATE: Origin = Origin {
        stream: Stream::Stderr,
        is_late: true,
    };

    #[test]
    fn an_event_id_reads_back_and_nothing_else_does() {
        let id = EventId {
            session: SessionId::random(),
            seq: 42,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            "",
            "x.1",
            ".1",
            &format!("{}.+1", id.session),
            &format!("{}.01", id.session),
        ] {
            assert!(other.parse::<EventId>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_length_of_an_output_is_that_of_its_bytes() {
        for length in 0..9 {
            let bytes = vec![0xff; length];
            let payload = Payload::bytes_to_json(&bytes, STDOUT);
            assert_eq!(output_length(&payload), Some(length as u64));
        }
        let data = "a\n\u{0}é";
        let payload = Payload::text_to_json(data, STDOUT);
        assert_eq!(output_length(&payload), Some(data.len() as u64));
        let read: OutputPayload = serde_json::from_str(&payload).unwrap();
        assert_eq!((read.data.as_str(), read.stream), (data, Stream::Stdout));
        assert_eq!(output_length("{}"), None);
    }

    #[test]
    fn payloads_have_the_contracts_shape() {
        let exit = Payload::Exit {
            status: SessionStatus::Completed,
            exit_code: Some(0),
            signal: None,
            ended_by: Some(EndedBy::Exit),
            oom_killed: false,
            cost: SessionCost {
                ended_at: Some(Timestamp::from_millis(1)),
                cpu_ms: Some(2),
                ..SessionCost::default()
            },
            usage: Some(&Usage {
                input_tokens: Some(3),
                ..Usage::default()
            }),
        };
        assert_eq!(
            exit.to_json(),
            r#"{"status":"completed","exitCode":0,"signal":null,"endedBy":"exit","startedAt":null,"#
                .to_owned()
                + r#""endedAt":"1970-01-01T00:00:00.001Z","cpuMs":2,"peakRssBytes":null,"#
                + r#""stdoutBytes":null,"stdoutLines":null,"stderrBytes":null,"stderrLines":null,"#
                + r#""usage":{"inputTokens":3,"outputTokens":null,"cachedTokens":null,"costUsd":null,"numTurns":null,"model":null}}"#
        );
        let status = Payload::Status {
            status: SessionStatus::Running,
            pid: Some(4242),
        };
        assert_eq!(status.to_json(), r#"{"status":"running","pid":4242}"#);
        let status = Payload::Status {
            status: SessionStatus::Created,
            pid: None,
        };
        assert_eq!(status.to_json(), r#"{"status":"created"}"#);
        let output = [STDOUT, LATE].map(|origin| Payload::bytes_to_json(b"\xff", origin));
        assert_eq!(
            output,
            [
                "{\"data\":\"\u{fffd}\",\"stream\":\"stdout\",\"base64\":\"/w==\"}",
                "{\"data\":\"\u{fffd}\",\"stream\":\"stderr\",\"base64\":\"/w==\",\"late\":true}"
            ]
        );
        let output = [STDOUT, LATE].map(|origin| Payload::text_to_json("a\n", origin));
        assert_eq!(
            output,
            [
                r#"{"data":"a\n","stream":"stdout"}"#,
                r#"{"data":"a\n","stream":"stderr","late":true}"#
            ]
        );
    }
}
