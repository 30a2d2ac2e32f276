//! `coven doctor`: checks everything that a daemon needs, and says how to repair it.
//!
//! Changes nothing (the self-test deletes its session), and takes a few seconds at most in any state of the daemon.
//! Each check is a row of [`CHECKS`]; each file holds a group of checks, which are independent of each other.

mod adapters;
mod check;
mod daemon;
mod environment;
mod home;
mod left_behind;
mod limits;
mod self_test;
mod store;
mod unit;

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::adapters::unknown_harness;
use super::daemon::remark;
use super::observation::{Depth, Observation};
use super::output::{Out, columns};
use super::table::{Color, GREEN, RED, YELLOW, painted, told, width, wrapped};
use super::target::check_own;
use crate::daemon::status::is_forwarded;
use crate::daemon::{Home, HomeError, control};
use crate::settings::durations;
use crate::sys;
pub(super) use check::Findings;
use check::{CheckStatus, Verdict};

const HOME: &str = "home";
const SOCKET: &str = "socket";
const DAEMON: &str = "daemon";
const SELF_TEST: &str = "self_test";

/// Check the home, the daemon, the store, the harnesses and the system; exit 1 if something is broken.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// colours: auto, always or never
    #[argh(option, default = "Color::Auto", arg_name = "when")]
    color: Color,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// also run a session of the hello harness through the daemon, compare what comes back, and delete it
    #[argh(switch)]
    self_test: bool,
    /// only check whether the harnesses can be started; exit 1 if one cannot
    #[argh(switch)]
    adapters: bool,
    /// the harness
    #[argh(positional)]
    harness: Option<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    sys::unblock_all();
    check_own()?;
    let home = Home::from_env();
    if let Ok(home) = &home {
        control::revive(home, &remark);
    }
    let seen = home.as_ref().ok();
    let seen = seen.map(|home| Observation::of(home, Depth::All, durations::DOCTOR));
    let mut report = examine(home.as_ref(), seen.as_ref());
    if args.self_test {
        report.add(self_test::check(home.as_ref(), &report).of(SELF_TEST));
    }
    if args.adapters || args.harness.is_some() {
        let known = report.adapters();
        report = report.of_adapters(args.harness.as_deref());
        if let (Some(harness), []) = (&args.harness, report.checks.as_slice()) {
            return Err(unknown_harness(harness, &mut known.into_iter()));
        }
    }
    let mut out = Out::new();
    if args.json {
        out.pretty_json(&report)?;
    } else {
        out.line(&lines(&report, args.color.is_on()).join("\n"))?;
    }
    Ok(u8::from(!report.ok))
}

/// Subject of a check, with its function, which returns `None` without a subject.
enum Subject {
    /// Files of the home.
    Home(fn(&Home) -> Option<Verdict>),
    /// The daemon, even on another machine.
    Daemon(fn(&Observation) -> Option<Verdict>),
    /// The local daemon, its store, its unit and its harnesses.
    Here(fn(&Observation) -> Option<Verdict>),
    /// Limits of the daemon's environment and kernel, or of this shell.
    Machine(fn(Option<&Observation>) -> Option<Verdict>),
}

/// All checks except those of single adapters, in the order in which a person would make them, with what each asks.
#[rustfmt::skip]
const CHECKS: &[(&str, Subject, &str)] = &[
    (HOME, Subject::Home(home::home),
        "Is it a directory of yours, closed to others? The hint is the chmod or chown that mends it."),
    ("permissions", Subject::Home(home::permissions),
        "Do the daemon's own files have mode 0600, and its directories 0700? Can others write to yours? Is a link in a file's place?"),
    (SOCKET, Subject::Daemon(daemon::socket),
        "Is it there, does its path fit, who listens, and is that who `daemon.json` says?"),
    (DAEMON, Subject::Daemon(daemon::daemon),
        "Is it running, stopped (a warning), stale, or stopped by a signal? Why did its last start fail?"),
    ("contract", Subject::Daemon(daemon::contract),
        "Does the daemon speak this coven's contract?"),
    ("version", Subject::Daemon(daemon::version),
        "Is the daemon of this version, and from a file that is still there?"),
    ("writer", Subject::Here(daemon::writer),
        "Do events reach the disk?"),
    ("store", Subject::Here(store::store),
        "Does the database open, is it coven's, of which schema, and does SQLite's `quick_check` find it whole? A check that takes too long is ended, with a warning."),
    ("disk", Subject::Here(store::disk),
        "Is there room? Warns below 1 GiB, fails below 64 MiB."),
    ("retention", Subject::Here(store::retention),
        "How long is output kept, and how much has gone? Warns of a store past its limit."),
    ("left_behind", Subject::Here(left_behind::left_behind),
        "Which processes that ended sessions have left still run? Omitted where none was ever left."),
    ("service", Subject::Here(unit::service),
        "Is a `coven.service` of systemd, yours or the system's, active and enabled? Does it run this binary and this home, and does it outlive your login? Then hints name the unit's command. Passes without a service manager."),
    ("settings", Subject::Machine(limits::settings),
        "Would a daemon accept the `COVEN_…` variables of this shell? Is none misspelt, there or in the file `env`?"),
    ("limits.files", Subject::Machine(limits::files),
        "Are the open files enough for `COVEN_MAX_SESSIONS`? The limit is the daemon's own; without a daemon, this shell's."),
    ("limits.processes", Subject::Machine(limits::processes),
        "Are the processes of its user and its control group enough for `COVEN_MAX_SESSIONS`? The limit is the daemon's own; without a daemon, this shell's."),
    ("limits.niceness", Subject::Machine(limits::niceness),
        "Was the daemon, and so each session, started by hand with a niceness above 0?"),
    ("environment", Subject::Here(environment::inherited),
        "Which variables do sessions not inherit, and which of these was the daemon started with?"),
    ("environment.file", Subject::Here(environment::file),
        "What of the home's file `env` is ignored, and has it changed since the daemon read it?"),
    ("path", Subject::Here(adapters::path),
        "Which directories are only on the daemon's `PATH`, and which only on this shell's? Where that matters, `adapter.<id>` warns."),
    ("manifests", Subject::Here(adapters::manifests),
        "Which were refused, and why? Fails if one was."),
    ("redaction", Subject::Here(adapters::redaction),
        "Which patterns of `redact.txt` cannot be used (a fail)? Has the file changed since the daemon read it? Is redaction turned off?"),
];

/// The checks that are made for each adapter, and by `--self-test`.
#[rustfmt::skip]
const OTHERS: [(&str, &str); 2] = [
    ("adapter.<id>",
        "Where does the daemon find the harness, and where this shell? Warns where they differ, where none finds it, and where the daemon does not know it yet."),
    (SELF_TEST,
        "With `--self-test`: do launch, events, exit, record and replay of a session of `hello` return the same bytes? The session is deleted."),
];

/// Every check's id, with what it asks.
pub(super) fn declared() -> impl Iterator<Item = (&'static str, &'static str)> {
    let checks = CHECKS.iter().map(|(id, _, about)| (*id, *about));
    checks.chain(OTHERS)
}

/// Makes all checks of `home`, whose daemon is `seen`; without a usable home only those that need none.
pub(super) fn examine(home: Result<&Home, &HomeError>, seen: Option<&Observation>) -> Findings {
    let is_forwarded = home.is_ok_and(is_forwarded);
    let seen = seen.filter(|seen| home::is_readable(&seen.home));
    let here = seen.filter(|_| !is_forwarded);
    let mut checks = Vec::new();
    if let Err(err) = home {
        checks.push(home::unusable(err));
    }
    for (id, look, _) in CHECKS {
        let verdict = match look {
            Subject::Home(check) => home.ok().and_then(check),
            Subject::Daemon(check) => seen.and_then(check),
            Subject::Here(check) => here.and_then(check),
            // The limits belong to the other machine.
            Subject::Machine(_) if is_forwarded => None,
            Subject::Machine(check) => check(here),
        };
        checks.extend(verdict.map(|verdict| verdict.of(*id)));
    }
    checks.extend(here.into_iter().flat_map(adapters::each));
    Findings::new(checks)
}

/// One line for each check, with its hint on the next line, and a summary at the end.
fn lines(report: &Findings, has_colors: bool) -> Vec<String> {
    let ids = report.checks.iter().map(|check| check.id.to_string().len());
    let wide = ids.max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in &report.checks {
        let color = match check.status {
            CheckStatus::Pass => GREEN,
            CheckStatus::Warn => YELLOW,
            CheckStatus::Fail => RED,
        };
        let status = painted(has_colors, color, check.status.as_str());
        let head = format!("{status}  {:wide$}  ", check.id.to_string());
        let indent = width(&head);
        lines.push(wrapped(head, &told(&check.message), columns()));
        if let Some(hint) = &check.hint {
            // Not wrapped: a command is copied in one piece.
            lines.push(format!("{:indent$}try: {}", "", told(hint)));
        }
    }
    let [pass, warn, fail] = [CheckStatus::Pass, CheckStatus::Warn, CheckStatus::Fail]
        .map(|status| report.count(status));
    let all = report.checks.len();
    lines.extend([
        String::new(),
        format!("{all} checks: {pass} pass, {warn} warn, {fail} fail"),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_declared_once() {
        let mut ids: Vec<&str> = declared().map(|(id, _)| id).collect();
        assert!(ids.iter().any(|id| id.starts_with(check::ADAPTER)));
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
