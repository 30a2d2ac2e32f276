//! Reads recorded events of sessions, and waits for them.

use memchr::memmem;
use serde_json::Value;

use super::{Answer, Coven};

impl Coven {
    /// All recorded events of a session, page by page, without waiting.
    pub fn events(&self, id: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map_or(0, |e| e["seq"].as_u64().unwrap());
            let page = self.events_after(id, after).json();
            events.extend(page["events"].as_array().unwrap().clone());
            if page["hasMore"] == false {
                return events;
            }
        }
    }

    /// Reads one page.
    pub fn events_after(&self, id: &str, seq: u64) -> Answer {
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={seq}");
        let answer = self.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// Waits until the session has ended, and gives all of its events. Long polls: no clock.
    pub fn events_to_end(&self, id: &str) -> Vec<Value> {
        self.events_until(id, |event| {
            let status = payload(event)["status"].as_str().unwrap_or("").to_owned();
            event["kind"] == "status" && !["created", "running"].contains(&status.as_str())
        })
    }

    /// Waits for the first event that `is_wanted`, and gives all events up to its page's end.
    pub fn events_until(&self, id: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events
                .last()
                .map_or(0, |event| event["seq"].as_u64().unwrap());
            let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=30000");
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            let new = page["events"].as_array().unwrap().clone();
            let found = new.iter().any(&is_wanted);
            assert!(
                !new.is_empty() || found,
                "nothing happened in {id} after {after}: {events:?}"
            );
            events.extend(new);
            if found {
                return events;
            }
        }
    }

    /// Waits until the session's output on `stream` holds `text`.
    pub fn wait_for_output(&self, id: &str, text: &str) {
        let seen = std::cell::RefCell::new(Vec::new());
        self.events_until(id, |event| {
            let mut seen = seen.borrow_mut();
            // What was searched before is not searched again.
            let from = seen.len().saturating_sub(text.len());
            if event["kind"] == "output" {
                seen.extend(payload(event)["data"].as_str().unwrap().as_bytes());
            }
            memmem::find(&seen[from..], text.as_bytes()).is_some()
        });
    }
}

/// An event's payload.
pub fn payload(event: &Value) -> Value {
    serde_json::from_str(event["payload_json"].as_str().unwrap()).unwrap()
}

/// The bytes that a harness wrote to `stream`, put together from its events.
pub fn output(events: &[Value], stream: &str) -> Vec<u8> {
    use base64::Engine;
    let mut bytes = Vec::new();
    for payload in events
        .iter()
        .filter(|event| event["kind"] == "output")
        .map(payload)
    {
        if payload["stream"] != stream {
            continue;
        }
        match payload["base64"].as_str() {
            Some(encoded) => bytes.extend(
                base64::engine::general_purpose::STANDARD
                    .decode(encoded)
                    .unwrap(),
            ),
            None => bytes.extend_from_slice(payload["data"].as_str().unwrap().as_bytes()),
        }
    }
    bytes
}

/// The kinds of `events`, in order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

/// The payloads of clients' input, without the prompt.
pub fn typed(events: &[Value]) -> Vec<Value> {
    let inputs = events.iter().filter(|event| event["kind"] == "input");
    let payloads = inputs.map(payload);
    payloads.filter(|input| input["origin"].is_null()).collect()
}

/// Every event but output, in order, as `kind`, `status:word` or `prompt`.
pub fn milestones(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .filter(|event| event["kind"] != "output")
        .map(|event| match event["kind"].as_str().unwrap() {
            "status" => format!("status:{}", payload(event)["status"].as_str().unwrap()),
            "input" if payload(event)["origin"] == "prompt" => "prompt".to_owned(),
            kind => kind.to_owned(),
        })
        .collect()
}

/// Asserts that `events` are all of a session's, of which there is one at least: seq from 1, without a gap, each with its
/// id.
#[track_caller]
pub fn assert_gapless(id: &str, events: &[Value]) {
    assert!(!events.is_empty(), "{id} has no events");
    for (event, seq) in events.iter().zip(1u64..) {
        assert_eq!(event["seq"], seq);
        assert_eq!(event["session_id"], id);
        assert!(event["id"].as_str().unwrap().ends_with(&seq.to_string()));
    }
}

/// The end of the harness in an `exit` event, without its cost.
pub fn ending(exit: &Value) -> Value {
    let fields = ["status", "exitCode", "signal"];
    let kept = fields.map(|name| (name.to_owned(), exit[name].clone()));
    Value::Object(kept.into_iter().collect())
}
