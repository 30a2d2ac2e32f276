//! `coven doctor`: looks at everything that a daemon needs, says what is wrong, and what mends it.
//!
//! Changes nothing (the self-test deletes the session that it makes), and takes a few seconds at most, however the
//! daemon is. A check is a row of [`CHECKS`]; a file a group of checks, none of which knows how another looks.

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

use super::daemon::remark;
use super::observation::{Depth, Observation};
use super::output::{Out, visible};
use super::{CliError, Outcome};
use crate::api::Code;
use crate::daemon::status::is_forwarded;
use crate::daemon::{Home, HomeError, control};
use crate::settings::durations;
use crate::sys;
pub(super) use check::Report;
use check::{CheckStatus, Verdict};

const HOME: &str = "home";
const SOCKET: &str = "socket";
const DAEMON: &str = "daemon";
const SELF_TEST: &str = "self_test";

/// Check the home, the daemon, the store, the harnesses and the system; exit 1 if something is broken.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "doctor", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// also run a session of the hello harness through the daemon, compare what comes back, and delete it
    #[argh(switch)]
    self_test: bool,
    /// only whether the harnesses can be started; exit 1 if one cannot
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
        report = report.of_adapters(args.harness.as_deref());
    }
    if let (Some(harness), []) = (&args.harness, report.checks.as_slice()) {
        let message = format!("there is no harness {harness}");
        return Err(CliError::failed(
            Code::InvalidRequest,
            message,
            Some("coven adapters"),
        ));
    }
    let mut out = Out::new();
    if args.json {
        out.pretty_json(&report)?;
    } else {
        out.line(&lines(&report).join("\n"))?;
    }
    Ok(u8::from(!report.ok))
}

/// What a check looks at, and by which function; `None` where there is nothing to look at.
enum Look {
    /// The home's files.
    Home(fn(&Home) -> Option<Verdict>),
    /// The daemon, also one on the machine that a connection leads to.
    Daemon(fn(&Observation) -> Option<Verdict>),
    /// What is here: the daemon, its store, its unit and its harnesses.
    Here(fn(&Observation) -> Option<Verdict>),
    /// What the environment and the kernel allow a daemon, or this shell that would start one.
    Machine(fn(Option<&Observation>) -> Option<Verdict>),
}

/// Every check but those of single adapters, in the order in which a person would make them.
const CHECKS: &[(&str, Look)] = &[
    (HOME, Look::Home(home::home)),
    ("permissions", Look::Home(home::permissions)),
    (SOCKET, Look::Daemon(daemon::socket)),
    (DAEMON, Look::Daemon(daemon::daemon)),
    ("contract", Look::Daemon(daemon::contract)),
    ("version", Look::Daemon(daemon::version)),
    ("writer", Look::Here(daemon::writer)),
    ("store", Look::Here(store::store)),
    ("disk", Look::Here(store::disk)),
    ("retention", Look::Here(store::retention)),
    ("left_behind", Look::Here(left_behind::left_behind)),
    ("service", Look::Here(unit::service)),
    ("settings", Look::Machine(limits::settings)),
    ("limits.files", Look::Machine(limits::files)),
    ("limits.processes", Look::Machine(limits::processes)),
    ("limits.niceness", Look::Machine(limits::niceness)),
    ("environment", Look::Here(environment::inherited)),
    ("environment.file", Look::Here(environment::file)),
    ("path", Look::Here(adapters::path)),
    ("manifests", Look::Here(adapters::manifests)),
    ("redaction", Look::Here(adapters::redaction)),
];

/// Makes every check of `home`, whose daemon is `seen`. Without a usable home, those that need none.
pub(super) fn examine(home: Result<&Home, &HomeError>, seen: Option<&Observation>) -> Report {
    let is_forwarded = home.is_ok_and(is_forwarded);
    let seen = seen.filter(|seen| home::is_readable(&seen.home));
    let here = seen.filter(|_| !is_forwarded);
    let mut checks = Vec::new();
    if let Err(err) = home {
        checks.push(home::unusable(err));
    }
    for (id, look) in CHECKS {
        let verdict = match look {
            Look::Home(check) => home.ok().and_then(check),
            Look::Daemon(check) => seen.and_then(check),
            Look::Here(check) => here.and_then(check),
            // They are those of the machine that the connection leads to.
            Look::Machine(_) if is_forwarded => None,
            Look::Machine(check) => check(here),
        };
        checks.extend(verdict.map(|verdict| verdict.of(*id)));
    }
    checks.extend(here.into_iter().flat_map(adapters::each));
    Report::new(checks)
}

/// A line a check, what to do about it on the line below, and the sum at the end.
fn lines(report: &Report) -> Vec<String> {
    let ids = report.checks.iter().map(|check| check.id.to_string().len());
    let width = ids.max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in &report.checks {
        let (status, id) = (check.status.as_str(), check.id.to_string());
        let message = visible(&check.message.to_string());
        lines.push(format!("{status}  {id:width$}  {message}"));
        if let Some(hint) = &check.hint {
            let indent = "pass".len() + 2 + width + 2;
            lines.push(format!("{:indent$}try: {}", "", visible(&hint.to_string())));
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
