//! What the daemon says of itself: health, metrics, version, capabilities, and the action that refreshes them.
//!
//! Health is made of what others have published: it waits for nobody.

use serde_json::{Value, json};

use crossbeam_channel::bounded;

use super::Context;
use super::fields::Body;
use super::response::Answer;
use super::routes::Call;
use crate::adapters::{Adapter, Registry};
use crate::api::{
    API_VERSION, ApiError, ApiVersion, BASE_PATH, CONTRACT, Capabilities, Capability,
    CapabilityFlags, CapabilityPolicy, CapabilityStatus, DaemonInfo, DaemonProcess, Health,
    SessionCounts, VERSION,
};
use crate::observe::metrics::{self, CONTENT_TYPE, Snapshot};
use crate::state::{Command, Event};
use crate::sys;
use std::sync::atomic::Ordering;

/// The one action there is.
const REFRESH: &str = "coven.capabilities.refresh";

pub(super) fn health(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    Answer::of(200, &current_health(call.context))
}

fn current_health(context: &Context) -> Health {
    let daemon = &context.daemon;
    Health {
        ok: true,
        api_version: CONTRACT.into(),
        coven_version: VERSION.into(),
        capabilities: CapabilityFlags::default(),
        daemon: DaemonInfo {
            pid: daemon.pid,
            started_at: daemon.started_at,
            uptime_seconds: daemon.started.elapsed().as_secs(),
            socket: daemon.socket.clone(),
            supervisor: Some(daemon.supervisor.clone()),
            stop_within_ms: Some(daemon.stop_within.as_millis() as u64),
        },
        sessions: SessionCounts {
            live: context.live.load(Ordering::Relaxed),
            total: context.queue.sessions(),
        },
        event_writer: context.queue.health(),
        storage: context.queue.storage(),
    }
}

/// In Prometheus' format; the only answer that is not JSON.
pub(super) fn metrics(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let context = call.context;
    let snapshot = Snapshot {
        uptime: context.daemon.started.elapsed(),
        // A store that cannot be read is no reason to show nothing: it is when the rest is wanted.
        sessions: context.reader.session_tally().ok(),
        writer: context.queue.health(),
        storage: context.queue.storage(),
        redactions: context.redactions.counts(),
        process: sys::own_usage(),
    };
    Ok(Answer::text(CONTENT_TYPE, metrics::page(&snapshot)))
}

pub(super) fn api_version(_: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let version = ApiVersion {
        api_version: API_VERSION.into(),
        supported_api_versions: vec![API_VERSION.into()],
    };
    Answer::of(200, &version)
}

/// `POST /daemon/stop`: ends the daemon as SIGTERM does, and is answered when everything is over.
pub(super) fn stop(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let (reply, answer) = bounded(1);
    let waiting = &call.context.awaiting_end;
    waiting.fetch_add(1, Ordering::SeqCst);
    // Without a bound of its own: the stop has one, and a state thread that has ended drops the reply.
    let _ = call
        .context
        .state
        .send(Event::Command(Command::Stop(reply)));
    let report = answer.recv().unwrap_or(Err(ApiError::ShuttingDown));
    waiting.fetch_sub(1, Ordering::SeqCst);
    Answer::of(200, &report?)
}

/// For whoever tries the socket by hand: where to go from here.
pub(super) fn index(_: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    Answer::of(
        200,
        &json!({ "apiVersion": CONTRACT, "health": format!("{BASE_PATH}/health") }),
    )
}

pub(super) fn capabilities(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let registry = call.context.adapters.current();
    Answer::of(200, &current_capabilities(&registry, call.context))
}

fn current_capabilities(registry: &Registry, context: &Context) -> Capabilities {
    let capability = |id: &str, label: &str, actions: &[&str]| Capability {
        id: id.into(),
        label: label.into(),
        adapter: "coven".into(),
        status: CapabilityStatus::Available.into(),
        policy: CapabilityPolicy::Allow.into(),
        actions: actions.iter().map(|&action| action.into()).collect(),
    };
    Capabilities {
        capabilities: vec![
            capability(
                "coven.sessions",
                "Sessions of coding-agent command lines",
                &[],
            ),
            capability("coven.control.actions", "Control actions", &[REFRESH]),
        ],
        adapters: registry.adapters().iter().map(Adapter::status).collect(),
        refused_manifests: registry.refused().to_vec(),
        process: Some(DaemonProcess {
            patterns_read_at: Some(context.redactions.own_read_at()),
            ..context.daemon.process.clone()
        }),
    }
}

pub(super) fn action(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let body = Body::parse(&call.request.body)?;
    let action = body.required("action")?;
    if action != REFRESH {
        let rejection = json!({
            "ok": false, "accepted": false, "action": action, "status": "rejected",
            "reason": format!("unknown action `{action}`"),
        });
        return Answer::of(400, &rejection);
    }
    let registry = call.context.adapters.reload();
    let count = current_capabilities(&registry, call.context)
        .capabilities
        .len();
    let mut event = json!({
        "kind": "capabilities.refreshed", "action": action, "payload": { "capabilities": count },
    });
    for name in ["origin", "intentId"] {
        if let (Some(value), Value::Object(event)) = (body.value(name), &mut event) {
            event.insert(name.into(), value);
        }
    }
    let answer = json!({
        "ok": true, "accepted": true, "action": action, "status": "completed", "event": event,
    });
    Answer::of(200, &answer)
}
