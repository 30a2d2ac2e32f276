//! Pages of events: the query, the answer, and the writer that serializes them from the store's rows.
//!
//! Plain data; connection threads write pages. It knows no payload.

use serde::{Deserialize, Serialize};

use super::escape::write_json_string;
use super::wire::wire;
use super::{Event, SessionId, Timestamp};

wire! {
    /// The query of `GET /events` and of `GET /sessions/:id/events`. Numbers beyond a bound count as the bound.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct EventsQuery {
        /// The session, if the path does not contain it.
        pub session_id: Option<String>,
        /// Only events after this seq.
        pub after_seq: Option<u64>,
        /// Only events after the event with this id; `afterSeq` takes precedence.
        pub after_event_id: Option<String>,
        /// Most events, 1 to 1000; default 1000.
        pub limit: Option<u64>,
        /// Longest wait for the first event, in milliseconds, up to 60,000.
        pub wait_ms: Option<u64>,
    }

    /// Position of a client in a session's events.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct EventCursor {
        /// Seq of the last event read.
        pub after_seq: u64,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct EventPage {
        /// In the order of their seq.
        pub events: Vec<Event>,
        /// Null only if the page is empty.
        pub next_cursor: Option<EventCursor>,
        /// More events are stored already.
        pub has_more: bool,
    }
}

/// Writes the events of one session's page as JSON of [`Event`], directly from the store's rows.
pub struct EventWriter {
    session: String,
    /// The last event's time with its text, since many events share one.
    at: Option<(Timestamp, String)>,
}

impl EventWriter {
    /// A writer for events of `session`.
    pub fn new(session: SessionId) -> Self {
        Self {
            session: session.to_string(),
            at: None,
        }
    }

    /// Appends an event to `out`.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        seq: u64,
        kind: &str,
        payload_json: &str,
        created_at: Timestamp,
    ) {
        let (session, seq) = (self.session.as_str(), seq.to_string());
        let head = [
            r#"{"seq":"#,
            &seq,
            r#","id":""#,
            session,
            ".",
            &seq,
            r#"","session_id":""#,
            session,
            r#"","kind":""#,
            kind,
            r#"","payload_json":"#,
        ];
        for part in head {
            out.extend_from_slice(part.as_bytes());
        }
        write_json_string(out, payload_json);
        if self.at.as_ref().is_none_or(|(at, _)| *at != created_at) {
            self.at = Some((created_at, created_at.to_string()));
        }
        let at = self.at.as_ref().map_or("", |(_, text)| text);
        for part in [r#","created_at":""#, at, r#""}"#] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EventId, EventKind, Origin, Payload, Stream};

    const STDOUT: Origin = Origin {
        stream: Stream::Stdout,
        is_late: false,
    };

    #[test]
    fn an_event_written_by_hand_is_the_event() {
        let id = EventId {
            session: SessionId::random(),
            seq: 7,
        };
        let json = Payload::text_to_json("a \"quote\"\n\u{1b}[0m é \u{0}", STDOUT);
        let mut writer = EventWriter::new(id.session);
        for created_at in [1, 1, 2].map(Timestamp::from_millis) {
            let mut out = Vec::new();
            writer.write(&mut out, id.seq, "output", &json, created_at);
            let event: Event = serde_json::from_slice(&out).unwrap();
            let expected = Event {
                seq: 7,
                id: id.to_string(),
                session_id: id.session,
                kind: EventKind::Output.into(),
                payload_json: json.clone(),
                created_at,
            };
            assert_eq!(event, expected);
        }
    }
}
