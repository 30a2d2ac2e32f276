//! The command line: one file a verb. To add a verb is to add its file, a line to `Verb`, and a line to
//! `Verb::run`.
//!
//! Runs in processes of its own, and knows the daemon only by its API and its home.

mod adapters;
mod archive;
mod args;
mod attach;
mod completions;
mod daemon;
mod diagnostics;
mod doctor;
mod error;
mod events;
mod follow;
mod input;
mod kill;
mod log;
mod logs;
mod metrics;
mod output;
mod run;
mod sacrifice;
mod sessions;
mod show;
mod store;
mod time;
mod version;
mod wait;

use std::process::ExitCode;

use argh::FromArgs;

use crate::adapters::HELLO_VERB;
use crate::daemon::Home;
use crate::observe::FailedCommand;
use crate::{harness, sys};
use error::CliError;

/// Runs coding-agent command lines as supervised sessions, and keeps every byte of their output.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    note = "Exit codes: 0 success, 1 failure, 2 usage, 3 the daemon is not running. `run`, `attach` and `wait` exit
with the session's own code, or 128 and the number of the signal that ended it. `doctor` exits 1 if a check fails.

Everything is kept in COVEN_HOME (default: ~/.coven)."
)]
struct Cli {
    /// print the version
    #[argh(switch, short = 'V')]
    version: bool,
    #[argh(subcommand)]
    verb: Option<Verb>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Daemon(daemon::Args),
    Run(run::Args),
    Sessions(sessions::Args),
    Show(show::Args),
    Events(events::Args),
    Attach(attach::Args),
    Wait(wait::Args),
    Input(input::Args),
    Kill(kill::Args),
    Archive(archive::ArchiveArgs),
    Summon(archive::SummonArgs),
    Sacrifice(sacrifice::Args),
    Log(log::Args),
    Logs(logs::Args),
    Adapters(adapters::Args),
    Doctor(doctor::Args),
    Diagnostics(diagnostics::Args),
    Metrics(metrics::Args),
    Vacuum(store::VacuumArgs),
    Backup(store::BackupArgs),
    Completions(completions::Args),
    Version(version::Args),
}

/// What a verb ends with: the exit code, or why it failed.
type Outcome = Result<u8, CliError>;

impl Verb {
    fn run(self) -> Outcome {
        match self {
            Self::Daemon(args) => daemon::run(args),
            Self::Run(args) => run::run(args),
            Self::Sessions(args) => sessions::run(&args),
            Self::Show(args) => show::run(&args),
            Self::Events(args) => events::run(&args),
            Self::Attach(args) => attach::run(&args),
            Self::Wait(args) => wait::run(&args),
            Self::Input(args) => input::run(&args),
            Self::Kill(args) => kill::run(&args),
            Self::Archive(args) => archive::archive(&args),
            Self::Summon(args) => archive::summon(&args),
            Self::Sacrifice(args) => sacrifice::run(&args),
            Self::Log(args) => log::run(&args),
            Self::Logs(args) => logs::run(&args),
            Self::Adapters(args) => adapters::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Diagnostics(args) => diagnostics::run(&args),
            Self::Metrics(args) => metrics::run(&args),
            Self::Vacuum(args) => store::vacuum(&args),
            Self::Backup(args) => store::backup(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Version(args) => version::run(&args),
        }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    if let Some(words) = completions::asked_for() {
        return ExitCode::from(completions::complete(&words).unwrap_or(1));
    }
    let args = match args::from_env() {
        Ok(args) => args,
        Err(err) => return finish(Err(err), &[]),
    };
    if let [verb, .., prompt] = args.as_slice()
        && verb == HELLO_VERB
    {
        // A harness like any other: its reader may go away at any time.
        return ExitCode::from(harness::run_hello(prompt).unwrap_or(1) as u8);
    }
    let verb = args.first().filter(|verb| has_help(&[verb]));
    finish(parse_and_run(&args).map_err(|err| err.of_verb(verb)), &args)
}

fn parse_and_run(args: &[String]) -> Outcome {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match Cli::from_args(&["coven"], &args) {
        Ok(Cli { version: true, .. }) => version::run(&version::Args { json: false }),
        Ok(Cli {
            verb: Some(verb), ..
        }) => verb.run(),
        Ok(Cli { verb: None, .. }) => Err(CliError::usage("no verb given")),
        // Help that was asked for.
        Err(early) if early.status.is_ok() => {
            output::Out::new().line(early.output.trim_end())?;
            Ok(0)
        }
        Err(early) => Err(CliError::usage(early.output.trim_end())),
    }
}

/// Whether `words` are a verb: then it has a help of its own.
fn has_help(words: &[&str]) -> bool {
    let early = Cli::from_args(&["coven"], &[words, &["--help"]].concat()).err();
    early.is_some_and(|early| early.status.is_ok())
}

fn finish(outcome: Outcome, args: &[String]) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            err.print();
            record(&err, args);
            ExitCode::from(err.exit_code())
        }
    }
}

/// Puts a failure on record, in a home that is there and ours: diagnostics tell of it later.
fn record(err: &CliError, args: &[String]) {
    let (Some(code), Ok(home)) = (err.code(), Home::from_env()) else {
        return;
    };
    let is_dir = || {
        let logs = home.logs().symlink_metadata();
        logs.is_ok_and(|meta| meta.is_dir())
    };
    if home.check().is_err() || !is_dir() {
        return;
    }
    let command = FailedCommand {
        verb: &verb_of(args),
        code,
        exit: err.exit_code(),
    };
    command.append_to(&home.failures_file());
}

/// Whether `text` is what [`verb_of`] gives for some command line.
fn is_verb(text: &str) -> bool {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    verb_of(&words) == text
}

/// The verb that `args` begin with, as far as there is one: nothing that could be a prompt.
fn verb_of(args: &[String]) -> String {
    let words: Vec<&str> = args.iter().take(2).map(String::as_str).collect();
    match words.as_slice() {
        [verb @ "daemon", action] if has_help(&[verb, action]) => format!("{verb} {action}"),
        [verb, ..] if has_help(&[verb]) => (*verb).to_owned(),
        _ => String::new(),
    }
}

/// The home, for every verb.
fn home() -> Result<Home, CliError> {
    sys::unblock_all();
    Ok(Home::from_env()?)
}
