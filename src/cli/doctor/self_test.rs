//! The self-test: runs a session of the `hello` harness through the daemon, and compares its replayed events byte for
//! byte with the expected output.

use std::time::Instant;

use serde::de::DeserializeOwned;

use super::DAEMON;
use super::check::{Check, CheckStatus, Findings, Verdict, fail, pass};
use crate::api::routes::{self, Endpoint, Request};
use crate::api::{Event, EventKind, EventsQuery, LaunchRequest, SessionStatus, Stream};
use crate::cli::follow::{is_final_status, output_of};
use crate::daemon::{Home, HomeError};
use crate::harness::hello_script;
use crate::http::client::{Client, ClientError};
use crate::observe::{Message, message};
use crate::settings::durations;

/// Characters of every UTF-8 length, to detect splits.
const PROMPT: &str = "coven doctor --self-test: a, é, ✓, 🦀";

/// Runs only with a daemon that `report` found healthy: a hanging one could block the connect for ever.
pub(super) fn check(home: Result<&Home, &HomeError>, report: &Findings) -> Verdict {
    let started = Instant::now();
    let runs = |check: &Check| check.id.to_string() == DAEMON && check.status == CheckStatus::Pass;
    let home = match home {
        Ok(home) if report.checks.iter().any(runs) => home,
        Err(err) => return fail(err.message(), err.mend()),
        Ok(_) => {
            let message = "there is no daemon to test that answers";
            return fail(message, "coven daemon start, or what the check daemon says");
        }
    };
    let mut client = match Client::connect_within(&home.socket(), durations::HEALTH) {
        Ok((client, _)) => client,
        Err(err) => return fail(err.message(), "coven daemon status"),
    };
    let id = match client.call(routes::Launch.request().body(&launch())) {
        Ok(record) => record.id.to_string(),
        Err(err) => {
            let message = Message::foreign(format!("hello cannot be launched: {err}"));
            return fail(message, "coven daemon logs --level warn --since 5m");
        }
    };
    match run(&mut client, &id) {
        Ok(events) => pass(message!(
            "hello ran, its {} events came back byte for byte, and so did their replay; deleted ({} ms)",
            events,
            started.elapsed().as_millis()
        )),
        Err(reason) => {
            let id = || Message::name(&id);
            let hint = message!(
                "coven events {}; coven daemon logs --session {}; then coven sacrifice --yes {}",
                id(),
                id(),
                id()
            );
            let message = message!("session {}: {}", id(), Message::foreign(reason));
            fail(message, hint)
        }
    }
}

fn launch() -> LaunchRequest {
    LaunchRequest {
        // A directory that exists everywhere.
        project_root: "/".into(),
        harness: "hello".into(),
        prompt: PROMPT.into(),
        title: Some("coven doctor --self-test".into()),
        // Ends the session if this command dies.
        timeout_ms: Some(durations::SELF_TEST_SESSION.as_millis() as u64),
        ..LaunchRequest::default()
    }
}

/// Tests the launched session; returns the number of replayed events. A faulty session is not deleted.
fn run(client: &mut Client, id: &str) -> Result<usize, String> {
    let events = compare(client, id)?;
    client
        .call(routes::DeleteSession.of(id))
        .map_err(|err| format!("it cannot be deleted: {err}"))?;
    match client.call(routes::ShowSession.of(id)) {
        Err(ClientError::Api { status: 404, .. }) => Ok(events),
        _ => Err("it has been deleted, and is still there".into()),
    }
}

fn compare(client: &mut Client, id: &str) -> Result<usize, String> {
    let events = follow(client, id)?;
    for (event, seq) in events.iter().zip(1..) {
        if event.seq != seq {
            return Err(format!("event {seq} is missing: {} came", event.seq));
        }
    }
    let (lines, _) = hello_script(PROMPT);
    for stream in [Stream::Stdout, Stream::Stderr] {
        let lines = lines.iter().filter(|(of, _)| *of == stream);
        let expected: String = lines.map(|(_, line)| format!("{line}\n")).collect();
        let found = output(&events, stream)?;
        if found != expected.as_bytes() {
            let found = String::from_utf8_lossy(&found);
            return Err(format!("its {stream:?} is {found:?}, and not {expected:?}"));
        }
    }
    let replayed = get(client, routes::SessionEvents.of(id))?;
    if replayed.events != events {
        return Err("the replay of its events is not what was seen first".into());
    }
    let record = get(client, routes::ShowSession.of(id))?;
    let last = events.last().map_or(0, |event| event.seq);
    if (record.status, record.exit_code, record.last_seq)
        != (SessionStatus::Completed, Some(0), last)
    {
        return Err(format!(
            "its record says {}, exit code {:?}, {} events, and not completed, 0, {last}",
            record.status, record.exit_code, record.last_seq
        ));
    }
    Ok(events.len())
}

/// The session's events until its end.
fn follow(client: &mut Client, id: &str) -> Result<Vec<Event>, String> {
    let deadline = Instant::now() + durations::SELF_TEST_SESSION;
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let query = EventsQuery {
            after_seq: Some(after),
            wait_ms: Some(1000),
            ..EventsQuery::default()
        };
        events.extend(get(client, routes::SessionEvents.of(id).query(&query))?.events);
        if events.last().is_some_and(is_final_status) {
            return Ok(events);
        }
        if Instant::now() > deadline {
            let seconds = durations::SELF_TEST_SESSION.as_secs();
            return Err(format!("it has not ended within {seconds} s"));
        }
    }
}

fn output(events: &[Event], stream: Stream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let is_output = |event: &&Event| event.kind == EventKind::Output;
    for event in events.iter().filter(is_output) {
        let output = output_of(event).map_err(|err| err.to_string())?;
        if output.stream == stream {
            bytes.extend(output.bytes);
        }
    }
    Ok(bytes)
}

fn get<E: Endpoint>(client: &mut Client, request: Request<E>) -> Result<E::Answer, String>
where
    E::Answer: DeserializeOwned,
{
    let target = request.target();
    client
        .call(request)
        .map_err(|err| format!("GET {target}: {err}"))
}
