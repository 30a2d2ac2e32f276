//! `coven adapters`: the harnesses that the daemon knows.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::follow::connect;
use super::output::{Out, visible};
use crate::api::routes::{self, Endpoint};

/// List the harnesses that the daemon knows, and where its PATH has them.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "adapters", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let home = super::home()?;
    let capabilities = connect(&home)?.call(routes::Capabilities.request())?;
    let mut out = Out::new();
    if args.json {
        let json = serde_json::json!({
            "adapters": capabilities.adapters, "refusedManifests": capabilities.refused_manifests,
        });
        out.pretty_json(&json)?;
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = capabilities
        .adapters
        .iter()
        .map(|adapter| {
            let found = match (&adapter.path, &adapter.problem) {
                (_, Some(problem)) => format!("cannot be started: {}", visible(problem)),
                (Some(path), None) => visible(path),
                (None, None) => format!("not found. {}", visible(&adapter.install_hint)),
            };
            vec![
                adapter.id.clone(),
                visible(&adapter.source.to_string()),
                found,
            ]
        })
        .collect();
    out.table(&["ID", "SOURCE", "PATH"], &rows)?;
    for refused in &capabilities.refused_manifests {
        out.line(&format!(
            "refused: {}: {}",
            visible(&refused.source),
            visible(&refused.reason)
        ))?;
    }
    Ok(0)
}
