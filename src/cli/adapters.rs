//! `coven adapters`: lists the known harnesses; `coven adapters show`: shows the command lines of one.

use argh::{ArgsInfo, FromArgs};

use std::time::Instant;

use super::output::{Out, command_text, visible};
use super::table::{Color, RED, painted, terminal_width};
use super::{CliError, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::api::{AdapterCommand, AdapterStatus, Code, Word};
use crate::daemon::tool_output;
use crate::settings::{did_you_mean, durations};

/// List the harnesses that the daemon knows, and where its PATH has them.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "adapters", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// colours: auto, always or never
    #[argh(option, default = "Color::Auto", arg_name = "when")]
    color: Color,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    #[argh(subcommand)]
    verb: Option<Verb>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Show(ShowArgs),
}

/// Show a harness's command line for each mode and permission, how to log in to it, and its version.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
struct ShowArgs {
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// the harness
    #[argh(positional, arg_name = "harness")]
    id: String,
}

pub(super) fn run(args: &Args) -> ExitResult {
    if let Some(Verb::Show(args)) = &args.verb {
        return show(args);
    }
    let target = super::target()?;
    let capabilities = target.connect()?.call(routes::Capabilities.request())?;
    let mut out = Out::new();
    if args.json {
        let json = serde_json::json!({
            "adapters": capabilities.adapters, "refusedManifests": capabilities.refused_manifests,
        });
        out.pretty_json(&json)?;
        return Ok(0);
    }
    let row = |adapter: &AdapterStatus| {
        let is_red = adapter.problem.is_some() && args.color.is_on();
        let place = painted(is_red, RED, &place(adapter));
        vec![adapter.id.clone(), source(adapter), place]
    };
    let rows: Vec<Vec<String>> = capabilities.adapters.iter().map(row).collect();
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

/// The manifest's name on a terminal, its path elsewhere: `adapters show` has the path.
fn source(adapter: &AdapterStatus) -> String {
    let source = adapter.source.to_string();
    match terminal_width() {
        Some(_) => visible(source.rsplit('/').next().unwrap_or(&source)),
        None => visible(&source),
    }
}

/// The program's path, or its problem.
fn place(adapter: &AdapterStatus) -> String {
    match (&adapter.path, &adapter.problem) {
        (_, Some(problem)) => format!("cannot be started: {}", visible(problem)),
        (Some(path), None) => visible(path),
        (None, None) => format!("not found. {}", visible(&adapter.install_hint)),
    }
}

fn show(args: &ShowArgs) -> ExitResult {
    let target = super::target()?;
    let capabilities = target.connect()?.call(routes::Capabilities.request())?;
    let adapters = capabilities.adapters;
    let Some(adapter) = adapters.iter().find(|adapter| adapter.id == args.id) else {
        let mut known = adapters.iter().map(|adapter| adapter.id.clone());
        return Err(unknown_harness(&args.id, &mut known));
    };
    let version = version(adapter);
    let format = adapter.telemetry.as_ref().and_then(Word::known);
    let added = format.filter(|format| format.has_id_in_json_only());
    let added = added.map_or(String::new(), |format| format.json_args().join(" "));
    let mut out = Out::new();
    if args.json {
        out.pretty_json(&serde_json::json!({ "adapter": adapter, "version": version }))?;
        return Ok(0);
    }
    let mut facts = vec![
        ("id", adapter.id.clone()),
        ("label", visible(&adapter.label)),
        ("source", visible(&adapter.source.to_string())),
        ("program", place(adapter)),
        (
            "version",
            version.as_deref().map(visible).unwrap_or_default(),
        ),
        ("install", visible(&adapter.install_hint)),
        ("log in", visible(&adapter.login_hint)),
        ("variables", adapter.pass_env.join(", ")),
        (
            "permission",
            format!("{}, where a launch gives none", adapter.default_permission),
        ),
        ("run adds", added),
    ];
    facts.retain(|(_, fact)| !fact.is_empty());
    out.facts(&facts)?;
    out.line("")?;
    let rows: Vec<Vec<String>> = adapter.commands.iter().map(row).collect();
    out.table(&["MODE", "PERMISSION", "CHANGES FILES", "COMMAND"], &rows)?;
    Ok(0)
}

/// Error: no harness has the id `given`.
pub(super) fn unknown_harness(given: &str, known: &mut dyn Iterator<Item = String>) -> CliError {
    let message = format!("unknown harness {given:?}{}", did_you_mean(given, known));
    CliError::failed(Code::InvalidRequest, message, Some("coven adapters"))
}

fn row(command: &AdapterCommand) -> Vec<String> {
    let changes = match command.can_write {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let variables = command.env.iter();
    let variables = variables.map(|(name, value)| format!("{name}={value}"));
    let words: Vec<String> = variables.chain(command.argv.iter().cloned()).collect();
    let stdin = if command.reads_prompt {
        " < prompt"
    } else {
        ""
    };
    vec![
        command.mode.to_string(),
        command.permission.to_string(),
        changes.to_owned(),
        command_text(&words) + stdin,
    ]
}

/// The version that its program prints; `None` if it is absent, or prints none.
fn version(adapter: &AdapterStatus) -> Option<String> {
    let program = adapter.path.as_deref().filter(|_| adapter.available)?;
    let deadline = Instant::now() + durations::HARNESS_VERSION;
    let said = tool_output(program, &["--version"], deadline)?;
    said.lines().next().map(str::to_owned)
}
