//! `coven doctor`: looks at everything that a daemon needs, says what is wrong, and what mends it.
//!
//! Changes nothing (the self-test deletes the session that it makes), and takes a few seconds at most, however the
//! daemon is. A file a group of checks; none knows how another looks.

mod adapters;
mod check;
mod daemon;
mod environment;
mod home;
mod left_behind;
mod limits;
mod probe;
mod self_test;
mod store;
mod unit;

use std::time::Instant;

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::output::{Out, visible};
use super::{CliError, Outcome};
use crate::api::Code;
use crate::daemon::control::{self, is_forwarded};
use crate::daemon::{Home, HomeError};
use crate::observe::Message;
use crate::settings::durations;
use crate::sys;
pub(super) use check::{Check, CheckStatus, Report};
pub(super) use probe::Probe;

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
    let mut report = examine(home.as_ref(), Instant::now() + durations::DOCTOR);
    if args.self_test {
        report.add(self_test::check(home.as_ref(), &report));
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
        out.line(&lines(&report, Message::to_string).join("\n"))?;
    }
    Ok(u8::from(!report.ok))
}

/// Looks at everything, until `deadline` or a little longer. Without a usable home, at what needs none.
pub(super) fn examine(home: Result<&Home, &HomeError>, deadline: Instant) -> Report {
    let mut checks = Vec::new();
    let probe = match home {
        Ok(home) => examine_home(home, deadline, &mut checks),
        Err(err) => {
            checks.push(home::unusable(err));
            None
        }
    };
    // Limits and harnesses are those of the machine that the connection leads to.
    if home.is_ok_and(is_forwarded) {
        return Report::new(checks);
    }
    limits::checks(probe.as_ref(), &mut checks);
    if let (Ok(home), Some(probe)) = (home, &probe) {
        environment::checks(home, probe, &mut checks);
        adapters::checks(home, probe, &mut checks);
    }
    Report::new(checks)
}

/// What is in the home, and who serves it; `None` if it cannot be looked into.
fn examine_home(home: &Home, deadline: Instant, checks: &mut Vec<Check>) -> Option<Probe> {
    if home::checks(home, checks) == home::Reach::Closed {
        return None;
    }
    let probe = Probe::of(home);
    if is_forwarded(home) {
        daemon::forwarded_checks(home, &probe, checks);
        return None;
    }
    daemon::checks(home, &probe, checks);
    store::checks(home, &probe, deadline, checks);
    checks.extend(left_behind::check(home, &probe));
    checks.push(unit::check(home, &probe));
    Some(probe)
}

/// A line a check, what to do about it on the line below, and the sum at the end.
pub(super) fn lines(report: &Report, write: impl Fn(&Message) -> String) -> Vec<String> {
    let ids = report.checks.iter().map(|check| write(&check.id).len());
    let width = ids.max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in &report.checks {
        let (status, id) = (check.status.as_str(), write(&check.id));
        lines.push(format!(
            "{status}  {id:width$}  {}",
            visible(&write(&check.message))
        ));
        if let Some(hint) = &check.hint {
            let indent = "pass".len() + 2 + width + 2;
            lines.push(format!("{:indent$}try: {}", "", visible(&write(hint))));
        }
    }
    let count = |status| report.count(status);
    let sum = format!(
        "{} checks: {} pass, {} warn, {} fail",
        report.checks.len(),
        count(CheckStatus::Pass),
        count(CheckStatus::Warn),
        count(CheckStatus::Fail),
    );
    lines.extend([String::new(), sum]);
    lines
}
