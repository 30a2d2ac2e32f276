//! What the daemon says of itself, and what can be said of it from outside: status, health, capabilities, adapters,
//! metrics.

use std::borrow::Cow;

use serde_json::Value;

use super::anonymise::Anonymiser;
use super::reasons::known_reason;
use super::report::{Block, aligned, as_json};
use crate::adapters::{ManifestSources, Registry};
use crate::api::routes::{self, Endpoint};
use crate::api::{AdapterStatus, Capabilities, RefusedManifest, Word};
use crate::cli::doctor::Probe;
use crate::cli::status::{facts, for_people, for_programs};
use crate::daemon::Home;
use crate::daemon::control::Status;
use crate::http::client::Client;
use crate::observe::field::is_version;
use crate::observe::{Message, metrics};
use crate::settings::durations;

/// What manifests say for people.
pub(super) const MANIFEST_TEXTS: &str = "labels and hints of manifests";

/// `coven daemon status`.
pub(super) fn status(home: &Home, probe: &Probe, a: &Anonymiser) -> Block {
    let facts = facts(home, &probe.status);
    let text = |message: &Message| a.text(&message.to_string());
    let json = for_programs(
        &facts,
        |message| text(message).into(),
        |value| {
            let mut value = value.clone();
            anonymise(&mut value, a);
            value
        },
    );
    let facts = for_people(&facts, text).into_iter();
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    Block::Printed(json, aligned(&facts.collect::<Vec<_>>()))
}

/// `GET /health`.
pub(super) fn health(probe: &Probe, a: &Anonymiser) -> Block {
    let Some(health) = probe.health() else {
        return Block::Missing("no daemon answers".into());
    };
    let mut json = as_json(health);
    anonymise(&mut json, a);
    Block::Json(json)
}

/// The texts of an answer, each by its name. Numbers and words of our own are most of it.
fn anonymise(json: &mut Value, a: &Anonymiser) {
    let Value::Object(object) = json else {
        if let Value::String(text) = json {
            *text = a.text(text);
        }
        if let Value::Array(values) = json {
            values.iter_mut().for_each(|value| anonymise(value, a));
        }
        return;
    };
    for (name, value) in object {
        match (name.as_str(), value) {
            ("socket", Value::String(path)) => *path = a.path(path),
            ("lastError", Value::String(reason)) => {
                *reason = known_reason(reason).unwrap_or_else(|| "?".into());
            }
            ("covenVersion" | "apiVersion", Value::String(version)) if !is_version(version) => {
                a.count("versions that are none", 1);
                *version = "?".into();
            }
            (_, value) => anonymise(value, a),
        }
    }
}

/// What whoever listens on the socket, or the record of the last start, says in words of their own.
pub(super) fn foreign_text(probe: &Probe) -> Option<String> {
    match &probe.status {
        Status::Busy { reason, .. } => Some(reason.to_string()),
        // A file of the home has it, and whatever the reason quotes.
        Status::Failed(failure) => Some(failure.reason.clone()),
        Status::Unsupported { found } if !is_version(found) => Some(found.clone()),
        _ => None,
    }
}

/// The directories in which the daemon looks harnesses up.
pub(super) fn path_of(probe: &Probe) -> Option<Vec<String>> {
    let path = probe.process()?.path.as_ref()?;
    let dirs = std::env::split_paths(path);
    Some(dirs.map(|dir| dir.display().to_string()).collect())
}

/// What the daemon is set to and may use, but for its `PATH`.
pub(super) fn process(probe: &Probe) -> Block {
    let Some(process) = probe.process() else {
        return Block::Missing("no daemon says so".into());
    };
    Block::Facts(vec![
        ("redact", process.redact.into()),
        ("maxSessions", process.max_sessions.into()),
        ("maxConnections", process.max_connections.into()),
        ("openFiles", process.open_files.soft.into()),
        ("processes", process.processes.soft.into()),
    ])
}

/// What clients can ask for.
pub(super) fn capabilities(probe: &Probe, a: &Anonymiser) -> Block {
    let Some(capabilities) = &probe.capabilities else {
        return Block::Missing("no daemon answers".into());
    };
    const COLUMNS: &[&str] = &["id", "status", "policy", "actions"];
    let rows = capabilities.capabilities.iter().map(|capability| {
        [
            &capability.id,
            &capability.status.to_string(),
            &capability.policy.to_string(),
            &capability.actions.join(", "),
        ]
        .map(|text| Value::from(a.text(text)))
        .to_vec()
    });
    Block::Table(COLUMNS, rows.collect())
}

/// The harnesses that are known, and to whom.
#[derive(Clone)]
pub(super) struct Harnesses {
    known_to: &'static str,
    adapters: Vec<AdapterStatus>,
    refused: Vec<RefusedManifest>,
}

/// The daemon's, or, if it does not say, those that a daemon would have that is started from here.
pub(super) fn harnesses<'a>(
    probe: Option<&Probe>,
    here: Option<&'a Harnesses>,
) -> Option<Cow<'a, Harnesses>> {
    let capabilities = probe.and_then(|probe| probe.capabilities.as_ref());
    let daemons = capabilities.map(|said| Cow::Owned(Harnesses::of_daemon(said)));
    daemons.or(here.map(Cow::Borrowed))
}

impl Harnesses {
    /// As the daemon has them.
    fn of_daemon(capabilities: &Capabilities) -> Self {
        Self {
            known_to: "the daemon, in its environment",
            adapters: capabilities.adapters.clone(),
            refused: capabilities.refused_manifests.clone(),
        }
    }

    /// As a daemon would have them that is started from here.
    pub(super) fn from_here(home: &Home) -> Self {
        let executable = std::env::current_exe().unwrap_or_default();
        let registry = Registry::load(&executable, &ManifestSources::from_env(home.adapters()));
        let adapters = registry.adapters().iter();
        let path = std::env::var_os("PATH");
        let path = path.as_deref();
        Self {
            known_to: "this command, in its environment",
            adapters: adapters.map(|adapter| adapter.status(path)).collect(),
            refused: registry.refused().to_vec(),
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.adapters
            .iter()
            .map(|adapter| adapter.id.clone())
            .collect()
    }

    pub(super) fn block(&self, a: &Anonymiser) -> Block {
        const COLUMNS: &[&str] = &["id", "source", "executable", "available", "path"];
        const REFUSED: &[&str] = &["source", "reason"];
        let adapters = self.adapters.iter().map(|adapter| {
            let source = match &adapter.source {
                Word::Known(source) => source.to_string(),
                Word::Other(manifest) => {
                    a.count(MANIFEST_TEXTS, 1);
                    a.path(manifest)
                }
            };
            vec![
                a.text(&adapter.id).into(),
                source.into(),
                a.text(&adapter.executable).into(),
                adapter.available.into(),
                adapter.path.as_deref().map(|path| a.path(path)).into(),
            ]
        });
        let refused = self.refused.iter().map(|refused| {
            let reason = known_reason(&refused.reason);
            if reason.is_none() {
                a.count("reasons why a manifest was refused", 1);
            }
            vec![a.path(&refused.source).into(), reason.into()]
        });
        Block::Group(vec![
            (
                "knownTo",
                Block::Facts(vec![("knownTo", self.known_to.into())]),
            ),
            ("adapters", Block::Table(COLUMNS, adapters.collect())),
            ("refusedManifests", Block::Table(REFUSED, refused.collect())),
        ])
    }
}

/// The daemon's metrics, as it sends them.
pub(super) fn read_metrics(home: &Home) -> Result<String, String> {
    let result = Client::connect_within(&home.socket(), durations::DIAGNOSTICS_METRICS)
        .and_then(|(mut client, _)| client.fetch(&routes::Metrics.request()));
    match result {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) => Err(err.to_string()),
    }
}

pub(super) fn metrics(page: Option<&Result<String, String>>, a: &Anonymiser) -> Block {
    let page = match page {
        Some(Ok(page)) => page,
        Some(Err(why)) => return Block::Missing(a.text(why)),
        None => return Block::Missing("no daemon answers".into()),
    };
    const COLUMNS: &[&str] = &["name", "value"];
    let rows = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        // Most are whole numbers, and stay such.
        let value: Value = serde_json::from_str(value).ok()?;
        let mut declared = metrics::ALL.iter();
        let metric = declared.find(|metric| metric.family.name == name)?;
        (metric.is_reported() && value.is_number()).then(|| vec![series.into(), value])
    });
    Block::Table(COLUMNS, rows.collect())
}
