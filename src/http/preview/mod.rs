//! `GET /sessions/:id/log`: a readable preview of a session's newest events.
//!
//! Runs on the connection thread while it holds one of the store's readers: few previews are built at once.

mod entries;
mod plain;

use std::collections::VecDeque;

use super::budget::Bounded;
use super::call::Call;
use super::response::Answer;
use crate::api::{ApiError, Event, PreviewLevel, Timestamp, routes};
use entries::Entries;

/// Most payload bytes read of a session: more than the answer can hold, since escape sequences are removed.
const READ_MAX: usize = 4 * 1024 * 1024;

/// `GET /sessions/:id/log`
pub(super) fn log(call: &Call<'_, routes::PreviewLog>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let context = call.context;
    let (body, lease) = context.answers.read(|bytes_max| {
        let show = |events: &[Event], is_all| {
            let mut entries = Entries::new(bytes_max);
            for event in events {
                entries.add(event);
            }
            let tail = entries.finish();
            let is_cut = tail.is_cut;
            let content = tail.into_json(is_all);
            let length = content.len();
            Bounded {
                content,
                length,
                is_cut,
            }
        };
        Ok(context.reader.newest_events(id, READ_MAX, show)?)
    })?;
    Ok(Answer {
        lease,
        ..Answer::json(200, body)
    })
}

/// The newest lines that fit into an answer, as JSON.
struct Tail {
    lines: VecDeque<(Timestamp, String)>,
    bytes: usize,
    bytes_max: usize,
    is_cut: bool,
}

/// Bytes reserved for brackets, and for the line that reports missing lines.
const RESERVE: usize = 200;

impl Tail {
    fn new(bytes_max: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            bytes_max: bytes_max - RESERVE,
            is_cut: false,
        }
    }

    fn push(&mut self, at: Timestamp, level: PreviewLevel, message: &str) {
        let line = line_json(at, level, message);
        self.bytes += line.len() + 1;
        self.lines.push_back((at, line));
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.lines.pop_front()
        {
            self.bytes -= oldest.len() + 1;
            self.is_cut = true;
        }
    }

    fn into_json(mut self, is_all: bool) -> Vec<u8> {
        if (self.is_cut || !is_all)
            && let Some(&(at, _)) = self.lines.front()
        {
            let missing = line_json(at, PreviewLevel::Info, "(earlier lines are left out)");
            self.lines.push_front((at, missing));
        }
        let mut body = Vec::with_capacity(self.bytes + RESERVE);
        body.push(b'[');
        for (i, (_, line)) in self.lines.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            body.extend_from_slice(line.as_bytes());
        }
        body.push(b']');
        body
    }
}

fn line_json(at: Timestamp, level: PreviewLevel, message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(
        r#"{{"ts":"{at}","level":"{}","message":{message}}}"#,
        level.as_str()
    )
}
