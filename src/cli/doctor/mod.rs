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

use super::Outcome;
use super::adapters::unknown_harness;
use super::daemon::remark;
use super::observation::{Depth, Observation};
use super::output::{Out, columns};
use super::table::{Color, GREEN, RED, YELLOW, painted, told, width, wrapped};
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

pub(super) fn run(args: &Args) -> Outcome {
    sys::unblock_all();
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

/// All checks except those of single adapters, in the order in which a person would make them.
const CHECKS: &[(&str, Subject)] = &[
    (HOME, Subject::Home(home::home)),
    ("permissions", Subject::Home(home::permissions)),
    (SOCKET, Subject::Daemon(daemon::socket)),
    (DAEMON, Subject::Daemon(daemon::daemon)),
    ("contract", Subject::Daemon(daemon::contract)),
    ("version", Subject::Daemon(daemon::version)),
    ("writer", Subject::Here(daemon::writer)),
    ("store", Subject::Here(store::store)),
    ("disk", Subject::Here(store::disk)),
    ("retention", Subject::Here(store::retention)),
    ("left_behind", Subject::Here(left_behind::left_behind)),
    ("service", Subject::Here(unit::service)),
    ("settings", Subject::Machine(limits::settings)),
    ("limits.files", Subject::Machine(limits::files)),
    ("limits.processes", Subject::Machine(limits::processes)),
    ("limits.niceness", Subject::Machine(limits::niceness)),
    ("environment", Subject::Here(environment::inherited)),
    ("environment.file", Subject::Here(environment::file)),
    ("path", Subject::Here(adapters::path)),
    ("manifests", Subject::Here(adapters::manifests)),
    ("redaction", Subject::Here(adapters::redaction)),
];

/// Makes all checks of `home`, whose daemon is `seen`; without a usable home only those that need none.
pub(super) fn examine(home: Result<&Home, &HomeError>, seen: Option<&Observation>) -> Findings {
    let is_forwarded = home.is_ok_and(is_forwarded);
    let seen = seen.filter(|seen| home::is_readable(&seen.home));
    let here = seen.filter(|_| !is_forwarded);
    let mut checks = Vec::new();
    if let Err(err) = home {
        checks.push(home::unusable(err));
    }
    for (id, look) in CHECKS {
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
    fn the_readmes_table_has_every_check_in_order() {
        let readme = include_str!("../../../README.md");
        let table = readme
            .split("| check | looks at |\n| --- | --- |\n")
            .nth(1)
            .unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        let listed: Vec<&str> = cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let adapters = format!("{}<id>", check::ADAPTER);
        let declared = CHECKS.iter().map(|(id, _)| *id);
        let declared: Vec<&str> = declared.chain([adapters.as_str(), SELF_TEST]).collect();
        assert_eq!(listed, declared);
    }
}
