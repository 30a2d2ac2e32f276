//! The daemon's own figures and its state from outside: status, health, doctor's checks, capabilities, adapters,
//! metrics.
//!
//! Runs on the main thread, except for requests to the daemon.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Number, Value};

use super::privacy::Privacy;
use super::shown::{Shown, object};
use crate::api::routes::{self, Endpoint};
use crate::api::{AdapterStatus, RefusedManifest, Word};
use crate::cli::doctor::Findings;
use crate::cli::observation::Observation;
use crate::cli::status::{StatusValue, as_json, facts};
use crate::http::client::Client;
use crate::observe::{Message, metrics};
use crate::settings::durations;

/// `coven daemon status`, without the parts that health shows.
pub(super) fn status(seen: &Arc<Observation>, privacy: &Privacy) -> Shown {
    let facts = facts(&seen.home, &seen.status).into_iter();
    let is_whole = |said: &StatusValue| matches!(said, StatusValue::Data(Value::Object(_)));
    let facts = facts.filter(|fact| !fact.key.is_empty() && !is_whole(&fact.said));
    Shown::object(facts.map(|fact| match fact.said {
        StatusValue::Message(message) => (fact.key, privacy.message(&message)),
        StatusValue::Data(value) => (fact.key, privacy.answer(fact.key, &value)),
    }))
}

/// `GET /health`.
pub(super) fn health(seen: &Arc<Observation>, privacy: &Privacy) -> Shown {
    match seen.health() {
        Some(health) => privacy.answer("", &as_json(health)),
        None => object! { "unavailable": "no daemon answers" },
    }
}

/// The checks of `coven doctor`.
pub(super) fn doctor(found: &Findings, privacy: &Privacy) -> Shown {
    let checks = found.checks.iter().map(|check| {
        let [id, message] = [&check.id, &check.message].map(|text| privacy.message(text));
        object! { "id": id, "status": check.status.as_str(), "message": message }
    });
    object! { "ok": found.ok, "checks": checks.collect::<Shown>() }
}

/// Settings and limits of the daemon, without its `PATH`.
pub(super) fn process(seen: &Arc<Observation>, _: &Privacy) -> Shown {
    match seen.process() {
        None => object! { "unavailable": "no daemon says so" },
        Some(process) => object! {
            "redact": process.redact,
            "maxSessions": process.max_sessions,
            "maxConnections": process.max_connections,
            "openFiles": process.open_files.soft,
            "processes": process.processes.soft,
        },
    }
}

pub(super) fn capabilities(seen: &Arc<Observation>, privacy: &Privacy) -> Shown {
    let Some(capabilities) = &seen.capabilities else {
        return object! { "unavailable": "no daemon answers" };
    };
    let row = |capability: &crate::api::Capability| {
        object! {
            "id": privacy.name(&capability.id),
            "status": capability.status.known().map(|word| word.as_str()),
            "policy": capability.policy.known().map(|word| word.as_str()),
            "actions": privacy.name(&capability.actions.join(", ")),
        }
    };
    capabilities.capabilities.iter().map(row).collect()
}

/// The known harnesses, by the daemon's registry or, if it does not answer, by that of a daemon started from here.
pub(super) struct Harnesses {
    known_to: &'static str,
    adapters: Vec<AdapterStatus>,
    refused: Vec<RefusedManifest>,
}

impl Harnesses {
    pub(super) fn of(seen: &Arc<Observation>) -> Self {
        if let Some(capabilities) = &seen.capabilities {
            return Self {
                known_to: "the daemon, in its environment",
                adapters: capabilities.adapters.clone(),
                refused: capabilities.refused_manifests.clone(),
            };
        }
        let (path, here) = (std::env::var_os("PATH"), seen.registry());
        let status = |adapter: &crate::adapters::Adapter| adapter.status(path.as_deref());
        Self {
            known_to: "this command, in its environment",
            adapters: here.adapters.iter().map(status).collect(),
            refused: here.refused.clone(),
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.adapters
            .iter()
            .map(|adapter| adapter.id.clone())
            .collect()
    }

    pub(super) fn show(&self, privacy: &Privacy) -> Shown {
        let place = |path: &String| privacy.place(Path::new(path));
        let adapters = self.adapters.iter().map(|adapter| {
            let source = match &adapter.source {
                Word::Known(source) => source.as_str().into(),
                Word::Other(manifest) => {
                    privacy.count("labels and hints of manifests", 1);
                    place(manifest)
                }
            };
            object! {
                "id": privacy.name(&adapter.id),
                "source": source,
                "executable": privacy.name(&adapter.executable),
                "available": adapter.available,
                "path": adapter.path.as_ref().map(place),
            }
        });
        let refused = self.refused.iter().map(|refused| {
            privacy.count("reasons why a manifest was refused", 1);
            object! { "source": place(&refused.source) }
        });
        object! {
            "knownTo": self.known_to,
            "adapters": adapters.collect::<Shown>(),
            "refusedManifests": refused.collect::<Shown>(),
        }
    }
}

/// The daemon's metrics page.
pub(super) fn read_metrics(seen: &Arc<Observation>) -> Result<String, Message> {
    if seen.health().is_none() {
        return Err("no daemon answers".into());
    }
    let client = Client::connect_within(&seen.home.socket(), durations::DIAGNOSTICS_METRICS);
    let page = client.and_then(|(mut client, _)| client.fetch(&routes::Metrics.request()));
    let page = page.map_err(|err| err.message())?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

pub(super) fn metrics(page: &str, privacy: &Privacy) -> Shown {
    let row = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        // Whole numbers stay whole.
        let value: Number = crate::api::from_json(value).ok()?;
        let metric = metrics::ALL
            .iter()
            .find(|metric| metric.family.name == name)?;
        let is_reported = metric.is_reported();
        is_reported.then(|| object! { "name": privacy.name(series), "value": value })
    };
    page.lines().filter_map(row).collect()
}
