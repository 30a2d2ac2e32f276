//! What a session was asked: its prompt, as its events have it.

use super::CliError;
use super::follow::payload;
use super::table::shortened;
use crate::api::routes::{self, Endpoint};
use crate::api::{EventKind, EventsQuery, PromptPayload};
use crate::http::client::Client;

/// How much of a prompt is shown where it stands beside other things, in lines and in characters.
const SHOWN_LINES: usize = 3;
const SHOWN_CHARACTERS: usize = 300;

/// More events than there are of a prompt, and one behind them.
const EVENTS: u64 = 10;

/// What is kept of a session's prompt.
pub(super) struct Prompt {
    /// Redacted.
    pub text: String,
    /// It is all there is: neither was it too long, nor has retention taken a part.
    pub is_whole: bool,
    /// How long the whole is, in bytes, if it was too long.
    pub bytes: Option<u64>,
}

/// The prompt of session `id`; `None` if nothing of one is kept.
pub(super) fn of(client: &mut Client, id: &str) -> Result<Option<Prompt>, CliError> {
    let query = EventsQuery {
        // Behind the first status.
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
            // Retention leaves a gap, and its event in the place of the last that is gone.
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
    /// Its first lines, on one: a line ends with `\n`.
    pub(super) fn shown(&self) -> String {
        let lines: Vec<&str> = self.text.lines().take(SHOWN_LINES).collect();
        let is_all = self.text.lines().nth(SHOWN_LINES).is_none() && self.is_whole;
        let more = if is_all { "" } else { " …" };
        let length = self.bytes.map(|bytes| format!(" ({bytes} bytes)"));
        let text = shortened(&lines.join("\n"), SHOWN_CHARACTERS);
        format!("{text}{more}{}", length.unwrap_or_default())
    }
}
