//! What the daemon says of itself, and what can be said of it from outside: status, health, capabilities, adapters,
//! metrics.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::report::Block;
use super::shown::{Privacy, Shown};
use crate::adapters::{ManifestSources, Registry};
use crate::api::routes::{self, Endpoint};
use crate::api::{AdapterStatus, Capabilities, RefusedManifest, Word};
use crate::cli::observation::Observation;
use crate::cli::status::{Said, as_json, facts};
use crate::daemon::Home;
use crate::http::client::Client;
use crate::observe::{Message, metrics};
use crate::settings::durations;

/// What manifests say for people.
const MANIFEST_TEXTS: &str = "labels and hints of manifests";

/// `coven daemon status`.
pub(super) fn status(home: &Home, seen: &Arc<Observation>, privacy: &Privacy) -> Block {
    let facts = facts(home, &seen.status);
    let said = |key, said: &Said| match said {
        Said::Message(message) => privacy.message(message),
        Said::Data(value) => privacy.answer(key, value),
    };
    let keyed = facts.iter().filter(|fact| !fact.key.is_empty());
    let json = Shown::object(keyed.map(|fact| (fact.key, said(fact.key, &fact.said))));
    let named = facts.iter().filter(|fact| !fact.name.is_empty());
    let named = named.filter(|fact| !matches!(fact.said, Said::Data(Value::Null)));
    let named = named.map(|fact| (fact.name, said(fact.key, &fact.said)));
    Block::Both(json, Box::new(Block::Facts(named.collect())))
}

/// `GET /health`.
pub(super) fn health(seen: &Arc<Observation>, privacy: &Privacy) -> Block {
    match seen.health() {
        Some(health) => Block::Json(privacy.answer("", &as_json(health))),
        None => Block::Missing("no daemon answers".into()),
    }
}

/// What the daemon is set to and may use, but for its `PATH`.
pub(super) fn process(seen: &Arc<Observation>, _: &Privacy) -> Block {
    let Some(process) = seen.process() else {
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
pub(super) fn capabilities(seen: &Arc<Observation>, privacy: &Privacy) -> Block {
    let Some(capabilities) = &seen.capabilities else {
        return Block::Missing("no daemon answers".into());
    };
    const COLUMNS: &[&str] = &["id", "status", "policy", "actions"];
    let rows = capabilities.capabilities.iter().map(|capability| {
        vec![
            privacy.name(&capability.id),
            capability.status.known().map(|word| word.as_str()).into(),
            capability.policy.known().map(|word| word.as_str()).into(),
            privacy.name(&capability.actions.join(", ")),
        ]
    });
    Block::Table(COLUMNS, rows.collect())
}

/// The harnesses that are known, and to whom.
pub(super) struct Harnesses {
    known_to: &'static str,
    adapters: Vec<AdapterStatus>,
    refused: Vec<RefusedManifest>,
}

impl Harnesses {
    /// As the daemon has them.
    pub(super) fn of_daemon(capabilities: &Capabilities) -> Self {
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
        let adapters = self.adapters.iter();
        adapters.map(|adapter| adapter.id.clone()).collect()
    }

    pub(super) fn block(&self, privacy: &Privacy) -> Block {
        const COLUMNS: &[&str] = &["id", "source", "executable", "available", "path"];
        const REFUSED: &[&str] = &["source", "reason"];
        let place = |path: &String| privacy.place(Path::new(path));
        let adapters = self.adapters.iter().map(|adapter| {
            let source = match &adapter.source {
                Word::Known(source) => source.as_str().into(),
                Word::Other(manifest) => {
                    privacy.count(MANIFEST_TEXTS, 1);
                    place(manifest)
                }
            };
            vec![
                privacy.name(&adapter.id),
                source,
                privacy.name(&adapter.executable),
                adapter.available.into(),
                adapter.path.as_ref().map(place).into(),
            ]
        });
        let refused = self.refused.iter().map(|refused| {
            let reason = privacy.reason(&refused.reason);
            let is_left_out = u64::from(reason.is_none());
            privacy.count("reasons why a manifest was refused", is_left_out);
            vec![place(&refused.source), reason.into()]
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
pub(super) fn read_metrics(home: &Home) -> Result<String, Message> {
    let result = Client::connect_within(&home.socket(), durations::DIAGNOSTICS_METRICS)
        .and_then(|(mut client, _)| client.fetch(&routes::Metrics.request()));
    let bytes = result.map_err(|err| err.message())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn metrics(page: &str, privacy: &Privacy) -> Block {
    const COLUMNS: &[&str] = &["name", "value"];
    let rows = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        // Most are whole numbers, and stay such.
        let value: serde_json::Number = serde_json::from_str(value).ok()?;
        let mut declared = metrics::ALL.iter();
        let metric = declared.find(|metric| metric.family.name == name)?;
        (metric.is_reported()).then(|| vec![privacy.name(series), value.into()])
    });
    Block::Table(COLUMNS, rows.collect())
}
