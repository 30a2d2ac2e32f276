//! `run --stream-json`: prints a session as JSON lines; `--stream-json-input`: reads messages from stdin.
//!
//! The lines of a harness with a stream mode are passed through; other output is converted to lines here.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

use serde_json::Value;

use super::agent::{AgentLine, LineJoiner, said};
use super::ending::EndFacts;
use super::follow::{Output, Wait, follow_events, output_of};
use super::input::{end_input, send_beside, send_if_live};
use super::output::{Out, show_stderr};
use super::{CliError, Target, variables};
use crate::api::routes::{self, Endpoint};
use crate::api::{
    AdapterStatus, Event, EventKind, InputRequest, LaunchMode, LaunchRequest, SessionRecord,
    Stream, StreamLine, StreamMessage, TelemetryFormat, Word,
};
use crate::http::client::Client;

/// Conversion of a harness's output into lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its own lines, in both directions.
    Stream,
    /// Its own lines.
    Own,
    /// Its finished messages.
    Messages,
    /// One line for each piece of output.
    Pieces,
}

impl Form {
    /// Chooses the form for `adapter`, and requests it in `request`.
    pub(super) fn choose(adapter: &AdapterStatus, request: &mut LaunchRequest) -> Self {
        if adapter.modes.contains(&Word::Known(LaunchMode::Stream)) {
            request.launch_mode = Some(LaunchMode::Stream.into());
            return Self::Stream;
        }
        Self::choose_telling(adapter, request).unwrap_or(Self::Pieces)
    }

    /// The form in which `adapter` reports model usage; `None` if it does not, or if the arguments choose a form.
    pub(super) fn choose_telling(
        adapter: &AdapterStatus,
        request: &mut LaunchRequest,
    ) -> Option<Self> {
        let format = adapter.telemetry.as_ref().and_then(Word::known)?;
        let args = format.json_args();
        let names_form = |arg: &String| arg.split('=').next() == Some(args[0]);
        if request.args.iter().any(names_form) {
            return None;
        }
        request.args.extend(args.iter().map(|&arg| arg.to_owned()));
        Some(format.into())
    }

    /// The form that a launch of `harness` has requested already; `None` if the output is for people.
    pub(super) fn asked_for(
        client: &mut Client,
        harness: &str,
        mode: Option<&Word<LaunchMode>>,
        args: &[String],
    ) -> Result<Option<Self>, CliError> {
        let adapter = variables::adapter(client, harness)?;
        if mode == Some(&LaunchMode::Stream.into()) {
            return Ok(Some(Self::Stream));
        }
        let format = adapter.and_then(|adapter| adapter.telemetry?.known());
        let is_asked_for = |format: &TelemetryFormat| {
            let mut wanted = format.json_args().iter();
            wanted.all(|wanted| args.iter().any(|given| given == wanted))
        };
        Ok(format.filter(is_asked_for).map(Self::from))
    }
}

impl From<TelemetryFormat> for Form {
    fn from(format: TelemetryFormat) -> Self {
        match format {
            TelemetryFormat::Claude => Self::Own,
            TelemetryFormat::Codex | TelemetryFormat::Opencode => Self::Messages,
        }
    }
}

/// Prints the session `record` from start to end; returns the exit code.
pub(super) fn show(
    client: &mut Client,
    record: &SessionRecord,
    form: Form,
    prompt: &str,
) -> Result<u8, CliError> {
    let mut printer = Printer {
        out: Out::new(),
        form,
        id: record.id.to_string(),
        lines: LineJoiner::default(),
        is_inside_line: false,
    };
    printer.out.json(&StreamLine::System {
        subtype: "init",
        cwd: record.cwd.as_deref(),
        session_id: &printer.id,
        tools: [],
        agent_mode: None,
        model: record.options.model.as_deref(),
    })?;
    if form == Form::Pieces {
        printer.out.json(&StreamLine::User {
            message: StreamMessage::new("user", prompt),
            session_id: Some(&printer.id),
        })?;
    }
    let id = printer.id.clone();
    // Without a deadline the result is always an ending.
    let ending = follow_events(client, &id, 0, Wait::ToTheEnd, &mut |event| {
        printer.event(event)?;
        Ok(ControlFlow::Continue(()))
    })?;
    let ending = ending.unwrap_or_default();
    // The daemon's stop may have ended the session; then the daemon is gone.
    let record = client
        .call(routes::ShowSession.of(&id))
        .unwrap_or_else(|_| record.clone());
    printer.end(&record, &ending)?;
    Ok(ending.code())
}

struct Printer {
    out: Out,
    form: Form,
    /// Id of the session.
    id: String,
    lines: LineJoiner,
    /// The last output had no newline yet.
    is_inside_line: bool,
}

impl Printer {
    fn event(&mut self, event: &Event) -> Result<(), CliError> {
        if event.kind != EventKind::Output {
            return Ok(());
        }
        let Output { stream, bytes, .. } = output_of(event)?;
        match (stream, self.form) {
            (Stream::Stderr, _) => Ok(show_stderr(&bytes)?),
            (Stream::Stdout, Form::Stream | Form::Own) => {
                self.is_inside_line = !bytes.ends_with(b"\n");
                Ok(self.out.bytes(&bytes)?)
            }
            (Stream::Stdout, Form::Messages) => {
                let lines = self.lines.push(&bytes);
                lines.iter().try_for_each(|line| self.said(said(line)))
            }
            (Stream::Stdout, Form::Pieces) => {
                let text = String::from_utf8_lossy(&bytes);
                let session_id = &self.id;
                Ok(self.out.json(&StreamLine::Output {
                    text: &text,
                    session_id,
                })?)
            }
        }
    }

    fn said(&mut self, said: AgentLine) -> Result<(), CliError> {
        if let AgentLine::Message(text) = said {
            self.out.json(&StreamLine::Assistant {
                message: StreamMessage::new("assistant", &text),
                session_id: &self.id,
                stop_reason: "end_turn",
            })?;
        }
        Ok(())
    }

    fn end(&mut self, record: &SessionRecord, ending: &EndFacts) -> Result<(), CliError> {
        if self.is_inside_line {
            self.out.bytes(b"\n")?;
        }
        let is_error = ending.code() != 0;
        let error = ending.sentence(&self.id).or_else(|| {
            let code = ending.exit_code.filter(|&code| code != 0)?;
            Some(format!("{} exited with {code}", record.harness))
        });
        let cost = &record.cost;
        let duration = cost.started_at.zip(cost.ended_at);
        let duration = duration.map(|(from, to)| to.as_millis() - from.as_millis());
        let turns = record.usage.as_ref().and_then(|usage| usage.num_turns);
        Ok(self.out.json(&StreamLine::Result {
            subtype: if is_error {
                "error_during_execution"
            } else {
                "success"
            },
            duration_ms: duration,
            is_error,
            num_turns: turns.unwrap_or(1),
            session_id: &self.id,
            harness_session_id: record.harness_session_id.as_deref(),
            error: error.as_deref(),
        })?)
    }
}

/// The text of a message on stdin: `{"role":"user","content":[{"type":"text","text":"…"}]}`, or with that object as
/// `message`, as claude reads it. The content can also be a string.
///
/// # Errors
/// The line is no message.
fn given(line: &str) -> Result<String, CliError> {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let content = &line.get("message").unwrap_or(&line)["content"];
    let text = match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Option<Vec<&str>> = parts.iter().map(|part| part["text"].as_str()).collect();
            texts.map(|texts| texts.join("\n"))
        }
        _ => None,
    };
    text.ok_or_else(|| {
        let wanted = r#"{"role":"user","content":[{"type":"text","text":"…"}]}"#;
        CliError::usage(&format!(
            "run: a line of stdin is no message: it must be {wanted}"
        ))
    })
}

/// The next message on stdin; `None` at its end.
///
/// # Errors
/// Reading fails, or the line is no message.
pub(super) fn next_message() -> Result<Option<String>, CliError> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            return given(&line).map(Some);
        }
    }
    Ok(None)
}

/// Starts a thread that sends the messages on stdin to the session, and then the end of input.
pub(super) fn send_messages(target: Target, id: String) -> io::Result<()> {
    send_beside(move || {
        loop {
            match next_message() {
                Ok(Some(text)) => send_if_live(&target, &id, &InputRequest::data(text))?,
                Ok(None) => return end_input(&target, &id),
                Err(err) => {
                    err.print();
                    return end_input(&target, &id);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_in_the_forms_of_the_agents() {
        for line in [
            r#"{"role":"user","content":[{"type":"text","text":"hi"}]}"#,
            r#"{"role":"user","content":"hi"}"#,
            r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"hi"}]}}"#,
        ] {
            assert_eq!(given(line).unwrap(), "hi", "{line}");
        }
        for line in [
            "",
            "hi",
            "{}",
            "[]",
            r#"{"content":[{"type":"image"}]}"#,
            r#"{"content":7}"#,
        ] {
            assert!(given(line).is_err(), "{line}");
        }
    }
}
