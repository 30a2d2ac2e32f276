//! A session's prompt, read from its events.

use super::CliError;
use super::follow::payload;
use super::table::shortened;
use crate::api::routes::{self, Endpoint};
use crate::api::{EventKind, EventsQuery, PromptPayload};
use crate::http::client::Client;

/// Most lines and characters of a prompt in a summary.
const SHOWN_LINES: usize = 3;
const SHOWN_CHARACTERS: usize = 300;

/// More events than a prompt has, and one after them.
const EVENTS: u64 = 10;

/// The stored part of a session's prompt.
pub(super) struct Prompt {
    /// The redacted text.
    pub text: String,
    /// Nothing is missing: it was not too long, and retention deleted no part.
    pub is_whole: bool,
    /// Size of the whole prompt in bytes, if it was too long.
    pub bytes: Option<u64>,
}

/// The prompt of session `id`; `None` if nothing of it is stored.
pub(super) fn of(client: &mut Client, id: &str) -> Result<Option<Prompt>, CliError> {
    let query = EventsQuery {
        // The events after the first status.
        after_seq: Some(1),
        limit: Some(EVENTS),
        ..EventsQuery::default()
    };
    let page = client.call(routes::SessionEvents.of(id).query(&query))?;
    let mut prompt = Prompt {
        text: String::new(),
        is_whole: true,
        bytes: None,
    };
    for (event, seq) in page.events.iter().zip(2..) {
        let part = payload::<PromptPayload<'_>>(event, EventKind::Input);
        let Some(part) = part.filter(|_| event.seq == seq) else {
            // Retention leaves a gap of seqs, and an event in place of the last deleted one.
            let is_gone = event.seq != seq || event.kind == EventKind::OutputTruncated;
            prompt.is_whole &= !is_gone;
            break;
        };
        prompt.text.push_str(&part.data);
        prompt.bytes = part.bytes;
        prompt.is_whole = !part.truncated;
    }
    Ok((!prompt.text.is_empty()).then_some(prompt))
}

impl Prompt {
    /// Its first lines as one line, with `\n` for line ends.
    pub(super) fn shown(&self) -> String {
        let lines: Vec<&str> = self.text.lines().take(SHOWN_LINES).collect();
        let is_all = self.text.lines().nth(SHOWN_LINES).is_none() && self.is_whole;
        let more = if is_all { "" } else { " …" };
        let length = self.bytes.map(|bytes| format!(" ({bytes} bytes)"));
        let text = shortened(&lines.join("\n"), SHOWN_CHARACTERS);
        format!("{text}{more}{}", length.unwrap_or_default())
    }
}
