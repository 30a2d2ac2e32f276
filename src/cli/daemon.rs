//! `coven daemon`: start, stop, restart, status, serve, logs.

use std::fs::File;
use std::io::{self, Write};

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::observation::{Depth, Observation};
use super::output::{Out, visible};
use super::status::{STATE, facts, for_people, for_programs};
use super::table::{Color, GREEN, RED, painted};
use super::{CliError, ExitResult, Home, consent, daemon_logs, hint, hosts, say_answer, upgrade};
use crate::api::{Code, StopReport};
use crate::daemon::control::{self, ControlError, DaemonStart, StartReport};
use crate::daemon::handover::check;
use crate::daemon::handover::take_up::Executed;
use crate::daemon::service::Supervisor;
use crate::daemon::status::{DaemonState, Status};
use crate::daemon::stop::{self, StopOutcome};
use crate::daemon::{ServeOptions, failure, serve};
use crate::settings::durations;
use crate::sys;

/// Exit code of `status` for a stopped daemon, as service tools expect it (LSB).
const STOPPED: u8 = 3;

/// Start, stop and look at the daemon.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "daemon", help_triggers("-h", "--help"))]
pub(super) struct Args {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    Status(StatusArgs),
    Serve(Serve),
    Upgrade(upgrade::Args),
    Logs(daemon_logs::Args),
}

/// Start it in the background; a success if it runs already.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help"))]
struct Start {
    /// also if the home's socket forwards to another machine, whose socket is replaced
    #[argh(switch)]
    here: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

/// Stop it, and with it all sessions; a success if it does not run.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stop", help_triggers("-h", "--help"))]
struct Stop {
    /// do not ask whether the live sessions may end
    #[argh(switch)]
    yes: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

/// Stop it, and with it all sessions, and start it again.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "restart", help_triggers("-h", "--help"))]
struct Restart {
    /// do not ask whether the live sessions may end
    #[argh(switch)]
    yes: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

/// Show whether it runs: exit 0 running, 3 stopped or failed to start, 1 stale.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
struct StatusArgs {
    /// colours: auto, always or never
    #[argh(option, default = "Color::Auto", arg_name = "when")]
    color: Color,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

/// Serve in the foreground, for supervisors; the log goes to stderr.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "serve", help_triggers("-h", "--help"))]
#[argh(note = "There is no --json: it prints only its log, as COVEN_LOG_FORMAT says.")]
struct Serve {
    /// log to the home's file, and report on stdout when serving: what `start` does
    #[argh(switch, hidden_help)]
    background: bool,
    /// only tell whether this program can take over a handover of this format: what an upgrade asks
    #[argh(option, hidden_help, arg_name = "format")]
    check_handover: Option<u32>,
    /// go on with the daemon of the previous program, which has left these descriptors
    #[argh(option, hidden_help, arg_name = "descriptors")]
    handover: Option<String>,
    /// why the program that should have taken over could not
    #[argh(option, hidden_help, arg_name = "reason")]
    went_wrong: Option<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    if let Verb::Status(args) = &args.verb
        && let Some(code) = hosts::status(args.json, args.color)?
    {
        return Ok(code);
    }
    if let Verb::Serve(Serve {
        check_handover: Some(format),
        ..
    }) = args.verb
    {
        // The daemon that is to be upgraded asks.
        Out::new().json(&check::fitness(format))?;
        return Ok(0);
    }
    if let Verb::Serve(serve) = &args.verb
        && let Some(descriptors) = &serve.handover
    {
        let executed = Executed::parse(descriptors, serve.went_wrong.as_deref());
        let executed = executed.map_err(|err| CliError::usage(&err))?;
        // Its signals stay blocked: one may wait since the previous program.
        return serve_at(&Home::from_env()?, serve, Some(executed));
    }
    let is_serve = matches!(args.verb, Verb::Serve(_));
    let home = super::home().inspect_err(|err| {
        if is_serve {
            failure::tell_manager(&err.to_string());
        }
    })?;
    if !is_serve && !matches!(args.verb, Verb::Logs(_)) {
        control::revive(&home, &remark);
    }
    match &args.verb {
        Verb::Start(args) => start(&home, args),
        Verb::Stop(args) => stop(&home, args),
        Verb::Restart(args) => restart(&home, args),
        Verb::Status(args) => status(&home, args),
        Verb::Serve(args) => serve_at(&home, args, None),
        Verb::Upgrade(args) => upgrade::run(&home, args),
        Verb::Logs(args) => daemon_logs::run(args),
    }
}

fn start(home: &Home, args: &Start) -> ExitResult {
    let is_unanswered = || matches!(Status::of(home), Status::Forwarded(_));
    if args.here && is_unanswered() {
        std::fs::remove_file(home.socket())?;
    }
    say_started(home, control::start(home, &remark)?, args.json)
}

fn say_started(home: &Home, started: DaemonStart, json: bool) -> ExitResult {
    let (done, what, pid) = match started {
        DaemonStart::New(pid) => ("started", "started".into(), Some(pid)),
        DaemonStart::ByUnit(pid, unit) => {
            let by = format!("started by {}", Supervisor::Systemd(unit));
            ("started", by, pid)
        }
        DaemonStart::Already(pid) => ("already_running", "already running".into(), pid),
    };
    let socket = home.socket().display().to_string();
    let answer = json!({ "result": done, "pid": pid, "socket": socket });
    let pid = pid.map(|pid| format!("pid {pid}, ")).unwrap_or_default();
    let line = format!("{} ({pid}socket {})", visible(&what), visible(&socket));
    say_answer(json, &answer, &line)
}

/// A remark about a step that went differently than expected, but did not fail.
pub(super) fn remark(text: &str) {
    hint::erase();
    let _ = writeln!(io::stderr(), "coven: {}", visible(text));
}

fn stop(home: &Home, args: &Stop) -> ExitResult {
    consent::ask(home, args.yes)?;
    let (pid, told, recovered) = match stop::stop(home, &remark)? {
        StopOutcome::Ended {
            pid,
            told,
            recovered,
        } => (pid, told, recovered),
        StopOutcome::NotRunning => {
            return say_answer(
                args.json,
                &json!({ "result": "not_running" }),
                "not running",
            );
        }
        StopOutcome::Unclean { pid, report } => return Err(unclean(pid, &report)),
    };
    let how = match (&recovered, told) {
        (Some(copy), _) => format!(
            "; the database's files were gone; everything is saved as {}",
            visible(copy)
        ),
        (None, true) => String::new(),
        (None, false) => {
            ", by a signal: whether everything is on disk, coven daemon logs says".into()
        }
    };
    let answer = json!({ "result": "stopped", "pid": pid, "clean": told.then_some(true), "recovered": recovered });
    say_answer(args.json, &answer, &format!("stopped (pid {pid}){how}"))
}

/// Error of a stop after which some data is not on disk.
fn unclean(pid: i32, report: &StopReport) -> CliError {
    let message = format!("stopped (pid {pid}), but {}", visible(&report.to_string()));
    CliError::failed(Code::StoreUnavailable, message, Some("coven doctor"))
}

fn restart(home: &Home, args: &Restart) -> ExitResult {
    consent::ask(home, args.yes)?;
    let (stopped, started) = stop::restart(home, &remark)?;
    let started = started
        .map_err(CliError::from)
        .and_then(|started| say_started(home, started, args.json));
    match stopped {
        // The loss is reported first: the next start reports why it fails.
        StopOutcome::Unclean { pid, report } => Err(unclean(pid, &report)),
        StopOutcome::Ended { .. } | StopOutcome::NotRunning => started,
    }
}

fn status(home: &Home, args: &StatusArgs) -> ExitResult {
    let status = Observation::of(home, Depth::Status, durations::DOCTOR_PROBE).status;
    let mut out = Out::new();
    let facts = facts(home, &status);
    if args.json {
        out.pretty_json(&for_programs(&facts))?;
    } else {
        let mut facts = for_people(&facts);
        let color = match status.state() {
            DaemonState::Running => Some(GREEN),
            DaemonState::Stopped => None,
            _ => Some(RED),
        };
        for (_, state) in facts.iter_mut().filter(|(name, _)| *name == STATE) {
            if let Some(color) = color {
                *state = painted(args.color.is_on(), color, state);
            }
        }
        out.facts(&facts)?;
    }
    Ok(match status.state() {
        DaemonState::Running => 0,
        DaemonState::Stopped | DaemonState::Failed => STOPPED,
        DaemonState::Stale
        | DaemonState::Unknown
        | DaemonState::Unsupported
        | DaemonState::Forwarded => 1,
    })
}

fn serve_at(home: &Home, args: &Serve, executed: Option<Executed>) -> ExitResult {
    let options = ServeOptions {
        log_to_file: args.background,
        executed,
    };
    match args.background {
        true => serve_in_background(home, options),
        false => serve_in_foreground(home, options),
    }
}

fn serve_in_foreground(home: &Home, options: ServeOptions) -> ExitResult {
    match serve(home, options, || {}) {
        Ok(()) => Ok(0),
        Err(err) => {
            let failed = CliError::failed(err.code(), err.to_string(), Some(&err.next()));
            if err.exit_code() == failed.exit_code("daemon serve") {
                return Err(failed);
            }
            failed.print();
            Ok(err.exit_code())
        }
    }
}

/// Serves as `start` runs it: reports the result in one line on stdout, and closes stdout.
fn serve_in_background(home: &Home, options: ServeOptions) -> ExitResult {
    let report = |report: &StartReport| -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, report)?;
        out.write_all(b"\n")?;
        out.flush()?;
        drop(out);
        sys::replace_stdout(&File::options().write(true).open("/dev/null")?)
    };
    let mut served = false;
    let ready = || {
        served = true;
        let (pid, error) = (Some(std::process::id()), None);
        // Best effort: the parent may be gone, and the daemon serves nevertheless.
        let _ = report(&StartReport { pid, error });
    };
    match serve(home, options, ready) {
        Ok(()) => Ok(0),
        Err(err) => {
            if !served {
                let (code, message, next) = (err.code().into(), err.to_string(), err.next());
                let error = Some(ControlError {
                    code,
                    message,
                    next,
                });
                let pid = err.running_pid();
                let _ = report(&StartReport { pid, error });
            }
            // The log has the error; stderr is the log's file here.
            Ok(err.exit_code())
        }
    }
}
