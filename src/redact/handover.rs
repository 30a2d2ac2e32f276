//! The state of streams and redactors, as the next program takes it up.
//!
//! Plain data, for the thread that hands over. It knows no session.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::known::{Known, Needle};
use super::{Open, Redactor, Stream};

/// A stream between two writes.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamHandover {
    stream: Stream,
    /// The session's value that the stream swallows: the next program can number the values differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Needle>,
}

impl Stream {
    /// The state of this stream, which `redactor` redacts.
    pub fn hand_over(self, redactor: &Redactor) -> StreamHandover {
        let value = match (self.swallowed(), &redactor.known) {
            (Some(Open::Known { needle, .. }), Some(known)) => known.value(needle),
            _ => None,
        };
        StreamHandover {
            stream: self,
            value,
        }
    }

    /// The stream of the previous program. A value that `redactor` does not know is swallowed to the end of its word.
    pub fn take_up(handover: StreamHandover, redactor: &Redactor) -> Self {
        let StreamHandover { mut stream, value } = handover;
        if let Some(Open::Known { matched, .. }) = stream.swallowed() {
            let known = redactor.known.as_ref();
            let needle = known
                .zip(value)
                .and_then(|(known, value)| known.number_of(&value));
            stream.go_on_with(match needle {
                Some(needle) => Open::Known { needle, matched },
                None => Open::Bare { is_alone: false },
            });
        }
        stream
    }
}

impl Redactor {
    /// The session's values that this redactor removes.
    pub fn values(&self) -> Vec<String> {
        self.known.as_ref().map(Known::lines).unwrap_or_default()
    }

    /// A redactor for the session of the previous program that removed these `values`.
    pub fn for_values(self: &Arc<Self>, values: Vec<String>) -> Arc<Self> {
        self.with_known(Known::of(values))
    }

    /// Adds the numbers of secrets that the previous program has removed.
    pub fn take_up_counts(&self, counts: &BTreeMap<String, u64>) {
        for (kind, count) in counts {
            self.count(kind, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    const VALUE: &str = "correct-horse-battery-staple-9471";

    /// `texts` through a stream that is handed over behind each of them.
    fn through(texts: &[&str]) -> String {
        let shared = Arc::new(Redactor::new("own-\\d+").0);
        let given = || {
            [
                ("GIVEN", VALUE),
                ("OTHER", "another value, of 37 bytes 1234"),
            ]
            .into_iter()
        };
        let mut redactor = shared.for_session(given());
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for text in texts {
            stream.push(&redactor, text.as_bytes(), &mut out);
            let handover = serde_json::to_string(&stream.hand_over(&redactor)).unwrap();
            redactor = shared.for_values(redactor.values());
            stream = Stream::take_up(serde_json::from_str(&handover).unwrap(), &redactor);
        }
        stream.finish(&redactor, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_stored_text_does_not_depend_on_where_a_stream_is_handed_over() {
        let pieces = [
            VALUE,
            "plain ",
            "ghp_0123456789abcdefghijABCDEFGHIJ012345 ",
            "password=hunter2hunter2\n",
            "\u{1b}[1;31mred\u{1b}[0m ",
            "own-123 ",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----\n",
            "{\"token\":\"\\u0041bcdef0123456789\"}\n",
        ];
        let mut random = Random::new(18);
        for _ in 0..rounds(60) {
            let text: String = (0..6).map(|_| *random.pick(&pieces)).collect();
            let whole = through(&[&text]);
            assert!(!whole.contains(VALUE) && !whole.contains("own-123"));
            let (mut parts, mut rest) = (Vec::new(), text.as_str());
            while !rest.is_empty() {
                let at = rest.floor_char_boundary(1 + random.below(20).min(rest.len() - 1));
                let (part, after) = rest.split_at(at.max(1));
                parts.push(part);
                rest = after;
            }
            assert_eq!(through(&parts), whole, "{parts:?}");
        }
    }

    #[test]
    fn a_begun_value_that_the_next_program_does_not_know_stays_hidden() {
        let shared = Arc::new(Redactor::new("").0);
        let redactor = shared.for_session([("GIVEN", VALUE)].into_iter());
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        stream.push(&redactor, &VALUE.as_bytes()[..20], &mut out);
        stream.expire(&redactor, &mut out);
        let mut stream = Stream::take_up(stream.hand_over(&redactor), &shared);
        stream.push(&shared, &VALUE.as_bytes()[20..], &mut out);
        stream.push(&shared, b" and more", &mut out);
        stream.finish(&shared, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "[REDACTED:environment] and more");
    }
}
