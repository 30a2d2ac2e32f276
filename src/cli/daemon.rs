//! `coven daemon`: start, stop, restart, status, serve.

use std::fs::File;
use std::io::{self, Write};

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::{Out, visible};
use super::{CliError, Home, Outcome, consent, say};
use crate::api::{Code, DaemonInfo, Health, StopReport};
use crate::daemon::control::{self, DaemonState, StartReport, Started, Status};
use crate::daemon::stop::{self, StopOutcome};
use crate::daemon::supervisor::{Supervisor, command_by_hand};
use crate::daemon::{ServeOptions, failure, serve};
use crate::sys;

/// Exit code of `status` for a daemon that is stopped, as service tools expect it (LSB).
const STOPPED: u8 = 3;

/// What to try where a daemon is out of reach.
const WHOSE_HOME: &str = "coven doctor, which says whose home it is";
/// What to try where a start has failed.
const WHY_FAILED: &str = "coven doctor";
/// Where a service manager has the socket.
const AWAITED: &str = "the service manager listens, and starts it with the first client";

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
}

/// Start it in the background; a success if it runs already.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "start", help_triggers("-h", "--help"))]
struct Start {
    /// also where the home holds only a connection to another machine's daemon, which is taken away
    #[argh(switch)]
    here: bool,
}

/// Stop it, and with it all sessions; a success if it does not run.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "stop", help_triggers("-h", "--help"))]
struct Stop {
    /// do not ask whether the live sessions may end
    #[argh(switch)]
    yes: bool,
}

/// Stop it, and with it all sessions, and start it again.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "restart", help_triggers("-h", "--help"))]
struct Restart {
    /// do not ask whether the live sessions may end
    #[argh(switch)]
    yes: bool,
}

/// Say whether it runs: exit 0 running, 3 stopped or failed to start, 1 stale.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
struct StatusArgs {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// Serve in the foreground, for supervisors; the log goes to stderr.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "serve", help_triggers("-h", "--help"))]
struct Serve {
    /// log to the home's file, and report on stdout when serving: what `start` does
    #[argh(switch, hidden_help)]
    background: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let is_serve = matches!(args.verb, Verb::Serve(_));
    let home = super::home().inspect_err(|err| {
        if is_serve {
            failure::tell_manager(&err.to_string());
        }
    })?;
    if !is_serve {
        control::revive(&home, &remark);
    }
    match &args.verb {
        Verb::Start(args) => start(&home, args.here),
        Verb::Stop(args) => stop(&home, args.yes),
        Verb::Restart(args) => restart(&home, args.yes),
        Verb::Status(args) => status(&home, args.json),
        Verb::Serve(args) if args.background => serve_in_background(&home),
        Verb::Serve(_) => serve_in_foreground(&home),
    }
}

fn start(home: &Home, here: bool) -> Outcome {
    let is_unanswered = || matches!(control::status(home), Status::Forwarded(_));
    if here && is_unanswered() {
        std::fs::remove_file(home.socket())?;
    }
    say_started(home, control::start(home, &remark)?)
}

fn say_started(home: &Home, started: Started) -> Outcome {
    let (what, pid) = match started {
        Started::New(pid) => ("started".into(), Some(pid)),
        Started::ByUnit(pid, unit) => (format!("started by {}", Supervisor::Systemd(unit)), pid),
        Started::Already(pid) => ("already running".into(), pid),
    };
    let pid = pid.map(|pid| format!("pid {pid}, ")).unwrap_or_default();
    let socket = visible(&home.socket().display().to_string());
    say(&format!("{} ({pid}socket {socket})", visible(&what)))
}

/// What went another way than it should have, and is no failure.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "coven: {}", visible(text));
}

fn stop(home: &Home, yes: bool) -> Outcome {
    consent::ask(home, yes)?;
    let said = match stop::stop(home, &remark)? {
        StopOutcome::Ended {
            pid,
            recovered: Some(copy),
            ..
        } => format!(
            "stopped (pid {pid}); the database's files had gone, and everything is saved as {}",
            visible(&copy)
        ),
        StopOutcome::Ended {
            pid, told: true, ..
        } => format!("stopped (pid {pid})"),
        StopOutcome::Ended {
            pid, told: false, ..
        } => {
            format!(
                "stopped (pid {pid}), by a signal: whether everything is on disk, coven logs says"
            )
        }
        StopOutcome::NotRunning => "not running".to_owned(),
        StopOutcome::Unclean { pid, report } => return Err(unclean(pid, &report)),
    };
    say(&said)
}

/// A daemon that has stopped, and could not write everything.
fn unclean(pid: i32, report: &StopReport) -> CliError {
    let message = format!("stopped (pid {pid}), but {}", visible(&report.to_string()));
    CliError::failed(Code::StoreUnavailable, message, Some("coven doctor"))
}

fn restart(home: &Home, yes: bool) -> Outcome {
    consent::ask(home, yes)?;
    let (stopped, started) = stop::restart(home, &remark)?;
    let started = started
        .map_err(CliError::from)
        .and_then(|started| say_started(home, started));
    match stopped {
        // What is lost comes before why it does not start again: the next start says that.
        StopOutcome::Unclean { pid, report } => Err(unclean(pid, &report)),
        StopOutcome::Ended { .. } | StopOutcome::NotRunning => started,
    }
}

fn status(home: &Home, json: bool) -> Outcome {
    let status = control::status(home);
    let mut out = Out::new();
    if json {
        out.pretty_json(&status_json(home, &status))?;
    } else {
        out.facts(&status_facts(home, &status))?;
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

/// What `status` prints.
pub(super) fn status_facts(home: &Home, status: &Status) -> Vec<(&'static str, String)> {
    let socket = visible(&home.socket().display().to_string());
    let state = ("state", status.state().to_string());
    match status {
        Status::Running(health) => {
            let daemon = &health.daemon;
            let writer = &health.event_writer;
            let writing = match &writer.last_error {
                None => writer.state.to_string(),
                Some(err) => format!("{}: {}", writer.state, visible(err)),
            };
            let mut facts = vec![
                state,
                ("pid", daemon.pid.to_string()),
                ("socket", visible(&daemon.socket)),
                ("run by", run_by(daemon)),
                ("uptime", uptime(daemon.uptime_seconds)),
                ("api version", health.api_version.clone()),
                ("coven version", health.coven_version.clone()),
                (
                    "sessions",
                    format!(
                        "{} live, {} in all",
                        health.sessions.live, health.sessions.total
                    ),
                ),
                ("event writer", writing),
            ];
            let damage = health.storage.damage.as_ref();
            facts.extend(damage.map(|damage| {
                let what = visible(&damage.what);
                ("store", format!("damaged at {}: {what}", damage.at))
            }));
            facts.push(("next", next_of_running(health).into()));
            facts
        }
        Status::Busy { reason, pid } => {
            let mut facts = vec![state, ("reason", visible(reason)), ("socket", socket)];
            facts.extend(pid.map(|pid| ("pid", pid.to_string())));
            facts.push(("next", "wait, or close some of its connections".into()));
            facts
        }
        Status::Stopped { is_awaited } => {
            let mut facts = vec![state, ("socket", socket)];
            facts.extend(is_awaited.then(|| ("reason", AWAITED.to_owned())));
            facts.push(("next", "coven daemon start".into()));
            facts
        }
        Status::Failed(failure) => {
            let reason = format!("{} ({})", visible(&failure.reason), failure.code);
            let mut facts = vec![state, ("reason", reason), ("socket", socket)];
            facts.extend(failure.at.map(|at| ("failed at", at.to_string())));
            facts.push(("next", WHY_FAILED.into()));
            facts
        }
        Status::Stale {
            reason,
            pid,
            locked,
        } => {
            let next = match *locked {
                true => visible(&control::held_next(home, *pid)),
                false => "coven daemon start, which cleans up".into(),
            };
            let mut facts = vec![state, ("reason", visible(reason)), ("socket", socket)];
            facts.extend(pid.map(|pid| ("pid", pid.to_string())));
            facts.push(("next", next));
            facts
        }
        Status::Forwarded(err) => vec![
            state,
            ("reason", visible(&err.to_string())),
            ("socket", socket),
            ("next", err.mend()),
        ],
        Status::Unknown { reason } => vec![
            state,
            ("reason", visible(reason)),
            ("socket", socket),
            ("next", WHOSE_HOME.into()),
        ],
        Status::Unsupported { found } => vec![
            state,
            (
                "reason",
                format!(
                    "it speaks {} ({})",
                    visible(found),
                    Code::UnsupportedApiVersion
                ),
            ),
            ("socket", socket),
            ("next", command_by_hand("restart")),
        ],
    }
}

fn next_of_running(health: &Health) -> &'static str {
    match health.storage.damage {
        Some(_) => "coven doctor",
        None => "coven sessions",
    }
}

/// Who runs a daemon, as it sees it.
fn run_by(daemon: &DaemonInfo) -> String {
    let supervisor = daemon.supervisor.as_ref().map(Supervisor::of_info);
    match supervisor {
        Some(Supervisor::Nobody) => "nobody: started by hand".into(),
        Some(supervisor) => visible(&supervisor.to_string()),
        None => "it does not say".into(),
    }
}

/// What `status --json` prints.
pub(super) fn status_json(home: &Home, status: &Status) -> serde_json::Value {
    let socket = home.socket().display().to_string();
    match status {
        Status::Running(health) => json!({
            "state": status.state(), "pid": health.daemon.pid, "socket": health.daemon.socket,
            "uptimeSeconds": health.daemon.uptime_seconds, "startedAt": health.daemon.started_at,
            "apiVersion": health.api_version, "covenVersion": health.coven_version,
            "supervisor": health.daemon.supervisor, "sessions": health.sessions, "eventWriter": health.event_writer,
            "storage": health.storage, "next": next_of_running(health),
        }),
        Status::Busy { reason, pid } => json!({
            "state": status.state(), "reason": reason, "pid": pid, "socket": socket, "uptimeSeconds": null,
            "apiVersion": null, "next": "wait, or close some of its connections",
        }),
        Status::Stopped { is_awaited } => json!({
            "state": status.state(), "reason": is_awaited.then_some(AWAITED), "pid": null, "socket": socket, "uptimeSeconds": null, "apiVersion": null,
            "next": "coven daemon start",
        }),
        Status::Failed(failure) => json!({
            "state": status.state(), "code": failure.code, "reason": failure.reason, "failedAt": failure.at, "pid": null,
            "socket": socket, "uptimeSeconds": null, "apiVersion": null, "next": WHY_FAILED,
        }),
        Status::Stale {
            reason,
            pid,
            locked,
        } => json!({
            "state": status.state(), "reason": reason, "pid": pid, "socket": socket, "uptimeSeconds": null,
            "apiVersion": null, "locked": locked,
            "next": if *locked { control::held_next(home, *pid) } else { "coven daemon start".into() },
        }),
        Status::Forwarded(err) => json!({
            "state": status.state(), "code": err.code(), "reason": err.to_string(), "pid": null, "socket": socket,
            "uptimeSeconds": null, "apiVersion": null, "next": err.mend(),
        }),
        Status::Unknown { reason } => json!({
            "state": status.state(), "reason": reason, "pid": null, "socket": socket, "uptimeSeconds": null,
            "apiVersion": null, "next": WHOSE_HOME,
        }),
        Status::Unsupported { found } => json!({
            "state": status.state(), "code": Code::UnsupportedApiVersion, "apiVersion": found, "pid": null,
            "socket": socket, "uptimeSeconds": null, "next": command_by_hand("restart"),
        }),
    }
}

/// So long as people say it.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn serve_in_foreground(home: &Home) -> Outcome {
    match serve(home, ServeOptions { log_to_file: false }, || {}) {
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

/// As `start` runs it: one line on stdout says how it went, and then there is no stdout any more.
fn serve_in_background(home: &Home) -> Outcome {
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
        let ok = StartReport {
            ok: true,
            pid: Some(std::process::id()),
            code: None,
            message: String::new(),
            next: String::new(),
        };
        // Whoever started it may have gone; it serves all the same.
        let _ = report(&ok);
    };
    match serve(home, ServeOptions { log_to_file: true }, ready) {
        Ok(()) => Ok(0),
        Err(err) => {
            if !served {
                let _ = report(&StartReport {
                    ok: false,
                    pid: err.running_pid(),
                    code: Some(err.code().into()),
                    message: err.to_string(),
                    next: err.next(),
                });
            }
            // The log has it, and stderr is the log's file here.
            Ok(err.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_short() {
        assert_eq!(uptime(59), "59 s");
        assert_eq!(uptime(61), "1 min 1 s");
        assert_eq!(uptime(7260), "2 h 1 min");
        assert_eq!(uptime(90_000), "1 d 1 h");
    }
}
