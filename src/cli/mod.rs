//! The command line: one file for each verb, with its `Args` and its `run`. To add a verb, add its file, its `mod`, and
//! its line in `verbs!`.
//!
//! Runs in processes of its own, and knows the daemon only by its API and its home.

mod adapters;
mod agent;
mod aliases;
mod archive;
mod args;
mod attach;
mod backup;
mod chat;
mod columns;
mod completions;
mod consent;
mod continued;
mod daemon;
mod daemon_logs;
mod diagnostics;
mod dial_stdio;
mod doctor;
mod ending;
mod error;
mod events;
mod export;
mod follow;
mod grammar;
mod help;
mod hint;
mod hosts;
mod input;
mod interrupt;
mod journal;
mod kill;
mod label;
mod launched;
mod logs;
mod logs_prune;
mod metrics;
mod observation;
mod order;
mod output;
mod pages;
mod permission;
mod places;
mod progress;
mod prompt;
mod prune;
mod rename;
mod rerun;
mod restore;
mod run;
mod sacrifice;
mod session;
mod sessions;
mod show;
mod stats;
mod status;
mod store;
mod stream_json;
mod summon;
mod table;
mod target;
mod text;
mod time;
mod upgrade;
mod vacuum;
mod variables;
mod version;
mod wait;

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use crate::adapters::HELLO_VERB;
use crate::daemon::Home;
use crate::daemon::handover::take_up;
use crate::observe::FailedCommand;
use error::CliError;
use target::{Target, home, target};

/// Runs coding-agent command lines as supervised sessions, and keeps every byte of their output.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "Exit codes:
  0         success
  1         failure; of `doctor`, a check that fails
  2         wrong usage
  3         the daemon is not running

Exit codes of `run`, `rerun`, `chat`, `attach` and `wait`:
  0 to 123  the harness's own code, which can also be a higher one
  124       a limit of time or tokens, also that of `wait --timeout`
  125       the session was lost, or coven failed
  128+N     signal N ended the harness, or interrupted `run`, which then kills its session
  129       also: the terminal of `run` hung up (SIGHUP); the session runs on
  137, 143  also: a kill or the daemon's stop, with SIGKILL or with SIGTERM",
    note = "Everything is kept in COVEN_HOME (default: ~/.coven).",
    note = "What shows what:
  attach ID    joins a session: its output from the beginning, then as it comes; what is typed goes to its stdin
  logs ID      its stored output, stdout to stdout and stderr to stderr; -f goes on as it comes
  events ID    everything that is on record of it, in order: for programs
  daemon logs  the daemon's own log: what it did, and what failed",
    note = "Another host: with -H or COVEN_HOST the daemon of that host is used, through ssh. --cwd and --root are paths of that host
(default: its home); --file and stdin are of this machine; of variables only those of -e and --env-file are sent. run starts
the host's daemon; nothing is started here. -H a,b,c shows sessions, stats and status of several hosts in one table. A line
of ~/.config/coven/hosts has a name and an address. coven is looked up on the PATH of the host's ssh, in ~/.local/bin and in
~/.cargo/bin."
)]
struct Cli {
    /// print the version
    #[argh(switch, short = 'V')]
    version: bool,
    /// use the daemon of this host, through ssh: ssh://user@host, or a name of ~/.config/coven/hosts (default:
    /// COVEN_HOST, else this machine)
    #[argh(option, short = 'H', arg_name = "host")]
    #[expect(dead_code, reason = "it is taken out of the words before")]
    host: Option<String>,
    #[argh(subcommand)]
    verb: Option<Verb>,
}

/// Result of a verb: the exit code, or the error.
type ExitResult = Result<u8, CliError>;

/// One line for each verb: its variant, and the module of its `Args` and `run`. The help has this order and these
/// groups.
macro_rules! verbs {
    ($($group:literal: { $($verb:ident($module:ident),)* })*) => {
        // A process has one value of it.
        #[allow(clippy::large_enum_variant)]
        #[derive(FromArgs, ArgsInfo)]
        #[argh(subcommand)]
        enum Verb {
            $($($verb($module::Args),)*)*
        }

        impl Verb {
            fn run(&self) -> ExitResult {
                match self {
                    $($(Self::$verb(args) => apart(|| $module::run(args)),)*)*
                }
            }
        }

        /// The groups of verbs, with the number of verbs in each.
        const GROUPS: &[(&str, usize)] = &[$(($group, [$(stringify!($verb)),*].len())),*];
    };
}

/// Runs a verb. Cold, so that inlined code is compiled for size: this saves 65 kB of the executable.
#[cold]
#[inline(never)]
fn apart(verb: impl FnOnce() -> ExitResult) -> ExitResult {
    verb()
}

verbs! {
    "Run and look": {
        Run(run),
        Rerun(rerun),
        Chat(chat),
        Attach(attach),
        Sessions(sessions),
        Stats(stats),
        Show(show),
        Logs(logs),
        Events(events),
        Wait(wait),
    }
    "Sessions": {
        Input(input),
        Kill(kill),
        Rename(rename),
        Label(label),
        Archive(archive),
        Summon(summon),
        Export(export),
        Sacrifice(sacrifice),
        Prune(prune),
    }
    "Daemon and setup": {
        Daemon(daemon),
        Adapters(adapters),
        Metrics(metrics),
        Backup(backup),
        Restore(restore),
        Vacuum(vacuum),
        Completions(completions),
    }
    "When something is wrong": {
        Doctor(doctor),
        Diagnostics(diagnostics),
        Version(version),
        Help(help),
    }
}

/// Entry point of the program.
pub fn main() -> ExitCode {
    take_up::begin();
    if let Some(words) = completions::asked_for() {
        return ExitCode::from(completions::complete(&words).unwrap_or(1));
    }
    let args = match args::from_env() {
        Ok(args) => args,
        Err(err) => return finish(Err(err), &[]),
    };
    match args.as_slice() {
        // A harness like any other: its output's reader may close at any time.
        [verb, .., prompt] if verb == HELLO_VERB => {
            ExitCode::from(crate::harness::run_hello(prompt).unwrap_or(1) as u8)
        }
        [verb, options @ ..] if verb == dial_stdio::VERB => finish(dial_stdio::run(options), &args),
        _ => match target::take_hosts(args) {
            Ok(args) => finish(
                args::prepared(&args).and_then(|args| parse_and_run(&args)),
                &args,
            ),
            Err(err) => finish(Err(err), &[]),
        },
    }
}

fn parse_and_run(args: &[String]) -> ExitResult {
    if let Some(help) = help::asked_for(args) {
        return say(&help);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match Cli::from_args(&["coven"], &args) {
        Ok(Cli { version: true, .. }) => version::run(&version::Args { json: false }),
        Ok(Cli {
            verb: Some(verb), ..
        }) => verb.run(),
        Ok(Cli { verb: None, .. }) => Err(CliError::usage("no verb given")),
        Err(early) => {
            let unknown = grammar::unknown_word(&args);
            Err(CliError::usage(unknown.as_deref().unwrap_or(&early.output)))
        }
    }
}

fn finish(outcome: ExitResult, args: &[String]) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            let verb = grammar::verb_of(args);
            let err = err.of_verb(&verb);
            err.print();
            record(&err, &verb);
            ExitCode::from(err.exit_code(&verb))
        }
    }
}

/// Records a failed command in this user's home, for diagnostics.
fn record(err: &CliError, verb: &str) {
    let (Some(code), Ok(home)) = (err.code(), Home::from_env()) else {
        return;
    };
    let logs = home.logs().symlink_metadata();
    if home.check().is_ok() && logs.is_ok_and(|meta| meta.is_dir()) {
        let exit = err.exit_code(verb);
        FailedCommand { verb, code, exit }.append_to(&home.failures_file());
    }
}

/// Prints `line` as the verb's whole output.
fn say(line: &str) -> ExitResult {
    output::Out::new().line(line)?;
    Ok(0)
}

/// Prints `answer` as JSON if `json`, otherwise `line`, as the verb's whole output.
fn say_answer(json: bool, answer: &impl Serialize, line: &str) -> ExitResult {
    if !json {
        return say(line);
    }
    output::Out::new().pretty_json(answer)?;
    Ok(0)
}
