//! Routes about the daemon: health, metrics, version, capabilities and their refresh, stop.
//!
//! Runs on the connection thread. Health consists of published figures: it never waits for another thread.

use crossbeam_channel::bounded;

use super::Context;
use super::call::Call;
use super::count::Counted;
use super::response::Answer;
use crate::adapters::Registry;
use crate::api::routes::Route;
use crate::api::{
    API_VERSION, ActionEvent, ActionResult, ActionStatus, ApiError, ApiVersion, BASE_PATH,
    CONTRACT, Capabilities, Capability, CapabilityFlags, CapabilityPolicy, CapabilityStatus,
    DaemonInfo, DaemonProcess, Health, Index, REFRESH, RefreshedCapabilities, SessionCounts,
    openapi, routes, version,
};
use crate::observe::metrics::{self, CONTENT_TYPE, Snapshot};
use crate::state::{Command, StateEvent};
use crate::sys;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

pub(super) fn health(call: &Call<'_, routes::Health>) -> Result<Answer, ApiError> {
    let context = call.context;
    let daemon = &context.daemon;
    call.ok(&Health {
        ok: true,
        api_version: CONTRACT.into(),
        coven_version: version().into(),
        capabilities: CapabilityFlags::default(),
        daemon: DaemonInfo {
            pid: daemon.pid,
            started_at: daemon.started_at,
            uptime_seconds: daemon.started.elapsed().as_secs(),
            upgraded_at: daemon.upgraded_at,
            socket: daemon
                .socket
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            supervisor: Some(daemon.supervisor.clone()),
            stop_within_ms: Some(daemon.stop_within.as_millis() as u64),
        },
        sessions: SessionCounts {
            live: context.live.load(Ordering::Relaxed),
            total: context.queue.sessions(),
        },
        event_writer: context.queue.health(),
        storage: context.queue.storage(),
    })
}

/// In Prometheus' format; the only answer that is not JSON.
pub(super) fn metrics(call: &Call<'_, routes::Metrics>) -> Result<Answer, ApiError> {
    let context = call.context;
    let snapshot = Snapshot {
        uptime: context.daemon.started.elapsed(),
        // An unreadable store must not hide the other figures: then they are needed most.
        sessions: context.reader.session_tally().ok(),
        silence: metrics::longest_silence(context.silences()),
        writer: context.queue.health(),
        storage: context.queue.storage(),
        redactions: context.redactor.counts(),
        process: sys::own_usage(),
    };
    Ok(Answer::text(CONTENT_TYPE, metrics::page(&snapshot)))
}

pub(super) fn api_version(call: &Call<'_, routes::ApiVersion>) -> Result<Answer, ApiError> {
    call.ok(&ApiVersion {
        api_version: API_VERSION.into(),
        supported_api_versions: vec![API_VERSION.into()],
    })
}

/// `POST /daemon/stop`: stops the daemon as SIGTERM does; answered when the stop is complete.
pub(super) fn stop(call: &Call<'_, routes::StopDaemon>) -> Result<Answer, ApiError> {
    let (reply, answer) = bounded(1);
    let _waiting = Counted::new(&call.context.awaiting_end);
    call.server.parking().threads.look_again();
    // Without a timeout: the stop has one, and a state thread that has ended drops the reply.
    let _ = call
        .context
        .state
        .send(StateEvent::Command(Command::Stop(reply)));
    let report = answer.recv().unwrap_or(Err(ApiError::ShuttingDown));
    call.ok(&report?)
}

pub(super) fn openapi(call: &Call<'_, routes::OpenApi>) -> Result<Answer, ApiError> {
    call.ok(&openapi::document())
}

/// For a user who tries the socket by hand.
pub(super) fn index(call: &Call<'_, routes::Index>) -> Result<Answer, ApiError> {
    call.ok(&Index {
        api_version: CONTRACT.into(),
        health: BASE_PATH.to_owned() + Route::Health.pattern(),
    })
}

pub(super) fn capabilities(call: &Call<'_, routes::Capabilities>) -> Result<Answer, ApiError> {
    let registry = call.context.adapters.current();
    call.ok(&current_capabilities(&registry, call.context))
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
    let base = context.environment.current();
    let path = base.path();
    Capabilities {
        capabilities: vec![
            capability(
                "coven.sessions",
                "Sessions of coding-agent command lines",
                &[],
            ),
            capability("coven.control.actions", "Control actions", &[REFRESH]),
        ],
        adapters: registry
            .adapters
            .iter()
            .map(|adapter| adapter.status(path))
            .collect(),
        refused_manifests: registry.refused.clone(),
        process: Some(DaemonProcess {
            path: path.map(|path| path.to_string_lossy().into_owned()),
            filtered: base.filtered.clone(),
            env_read_at: base.file_read_at,
            patterns_read_at: Some(context.redactor.own_read_at()),
            ..context.daemon.process.clone()
        }),
    }
}

pub(super) fn act(call: &Call<'_, routes::Act>) -> Result<Answer, ApiError> {
    let request = call.body()?;
    let action = request.action;
    if action != REFRESH {
        let rejection = ActionResult {
            ok: false,
            accepted: false,
            status: ActionStatus::Rejected.into(),
            reason: Some(format!("unknown action `{action}`")),
            action,
            event: None,
        };
        return call.answer(400, &rejection);
    }
    let registry = call.context.adapters.reload();
    let capabilities = current_capabilities(&registry, call.context).capabilities;
    call.ok(&ActionResult {
        ok: true,
        accepted: true,
        status: ActionStatus::Completed.into(),
        reason: None,
        action: action.clone(),
        event: Some(ActionEvent {
            kind: "capabilities.refreshed".into(),
            action,
            origin: request.origin,
            intent_id: request.intent_id,
            payload: RefreshedCapabilities {
                capabilities: capabilities.len(),
            },
        }),
    })
}
