//! `coven diagnostics`: a report for helpers, without private data. It starts with the most useful parts, and ends with
//! a list of omissions.
//!
//! Slow parts are gathered on threads ([`mod@gather`]); the main thread builds the report. It changes nothing.

mod daemon;
mod gather;
mod install;
mod log;
mod privacy;
mod report;
mod shown;
mod store;

use std::io::Write;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::output::{Out, visible};
use super::progress::Progress;
use super::target::check_own;
use super::text::create_new;
use crate::api::{BUILD, CONTRACT, Timestamp, VERSION};
use crate::daemon::{Home, HomeError};
use crate::redact::Redactor;
use crate::settings::{self, ALL};
use crate::sys;
use daemon::Harnesses;
use gather::{Gathered, gather};
use install::Install;
use privacy::{Identity, Privacy};
use report::Bundle;
use shown::{Shown, object};

/// Make a report for a helper, without private data. Read it before you share it.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "diagnostics", help_triggers("-h", "--help"))]
#[argh(
    note = "In it: versions, status, health, failures, doctor, log, counts. Never in it: prompts, titles, output, environment
values. Secrets, names and private paths are taken out, and counted at its end.

It works with the daemon running, stopped or hanging, changes nothing, and takes 5 s at most."
)]
pub(super) struct Args {
    /// write it to this new file, which only you can read, and print its name
    #[argh(option, arg_name = "file")]
    output: Option<PathBuf>,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// add this session's record, and its events' kinds, sizes and times: its id, or a beginning of it
    #[argh(option, arg_name = "id")]
    session: Option<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    check_own()?;
    sys::unblock_all();
    // Created first: the user need not wait five seconds to learn that the name is taken.
    let file = args.output.as_deref().map(create_new).transpose()?;
    let progress = Progress::begin("diagnostics", || None);
    let report = make(args.session.as_deref());
    drop(progress);
    let text = match args.json {
        true => report.json(),
        false => report.markdown(),
    };
    match (file, &args.output) {
        (Some(mut file), Some(path)) => {
            if let Err(err) = file.write_all(text.as_bytes()) {
                // An incomplete report is removed.
                let _ = std::fs::remove_file(path);
                return Err(err.into());
            }
            Out::new().line(&visible(&path.display().to_string()))?;
        }
        _ => Out::new().bytes(text.as_bytes())?,
    }
    Ok(0)
}

/// The report: first the seven items of a good problem report.
fn make(session: Option<&str>) -> Bundle {
    let home = Home::from_env();
    let all = gather(home.as_ref(), session);
    let privacy = privacy(home.as_ref().ok(), &all);
    let seen = &all.seen;
    let coven = object! {
        "version": VERSION, "contract": CONTRACT, "commit": BUILD.commit, "buildDate": BUILD.date,
    };
    let os = privacy.read(&all.install, Install::os);
    let install = privacy.read(&all.install, Install::show);
    let home = home_facts(home.as_ref(), &privacy);
    let status = privacy.read(seen, daemon::status);
    let health = privacy.read(seen, daemon::health);
    let failures = object! {
        "commands": privacy.read(&all.commands, log::commands),
        "daemonLog": privacy.read(&all.log, log::failures),
    };
    let doctor = privacy.read(&all.doctor, daemon::doctor);
    let capabilities = privacy.read(seen, daemon::capabilities);
    let adapters = privacy.read(&all.harnesses, Harnesses::show);
    let settings = object! {
        "daemon": privacy.read(seen, daemon::process),
        "environmentHere": environment(&privacy),
    };
    let counts = privacy.read(&all.survey, store::counts);
    let metrics = privacy.read(&all.metrics, |page, privacy| daemon::metrics(page, privacy));
    let session = session.map(|_| privacy.read(&all.session, store::session));
    let records = privacy.read(&all.log, log::records);
    // When all other parts have been counted.
    let left_out = privacy.counts();
    let mut parts = vec![
        ("coven", "1. Coven version", coven),
        ("os", "2. Operating system", os),
        ("install", "3. Install path and package manager", install),
        ("home", "4. Whether COVEN_HOME is customized", home),
        ("status", "5. coven daemon status", status),
        ("health", "6. Health", health),
        (
            "failures",
            "7. Last failing commands and error codes",
            failures,
        ),
        ("doctor", "Doctor", doctor),
        ("capabilities", "Capabilities", capabilities),
        ("adapters", "Adapters", adapters),
        ("settings", "Settings", settings),
        ("store", "Store", counts),
        ("metrics", "Metrics", metrics),
    ];
    parts.extend(session.map(|session| ("session", "Session", session)));
    parts.push(("log", "The daemon's log", records));
    parts.push(("leftOut", "Left out or redacted", left_out));
    let made_at = Timestamp::now();
    Bundle { made_at, parts }
}

/// Collects the names, directories and secret patterns to omit; counts sources that were not found in time.
fn privacy(home: Option<&Home>, all: &Gathered) -> Privacy {
    let at_hand = Identity::at_hand(home);
    let identity = all.identity.as_ref().unwrap_or(&at_hand);
    let harnesses = all.harnesses.as_ref().map(Harnesses::ids);
    let redactor = Redactor::new(all.patterns.as_deref().unwrap_or_default()).0;
    let privacy = Privacy::new(identity, redactor, harnesses.unwrap_or_default());
    let late = |is_late: bool| u64::from(is_late && home.is_some());
    let (users, patterns) = (late(all.identity.is_err()), late(all.patterns.is_err()));
    privacy.count("NOT in time: names in the user database", users);
    privacy.count("NOT in time: redact.txt", patterns);
    privacy
}

fn home_facts(home: Result<&Home, &HomeError>, privacy: &Privacy) -> Shown {
    let usable = match home {
        Ok(home) => home.check().map_err(|err| err.message()),
        Err(err) => Err(err.message()),
    };
    object! {
        "customized": settings::HOME.read().is_ok_and(|home| home.is_some()),
        "path": home.ok().map(|home| privacy.place(home.path())),
        "usable": usable.map_or_else(|why| privacy.message(&why), |()| "yes".into()),
    }
}

/// Variables of this command's environment. Values are omitted, except numbers and the words of settings.
fn environment(privacy: &Privacy) -> Shown {
    let mut hidden = std::env::vars_os().count();
    let rows = ALL.iter().filter_map(|setting| {
        let value = std::env::var_os(setting.name)?;
        let shown = value
            .to_str()
            .and_then(|value| privacy.word(value, |value| setting.kind.is_public(value)));
        hidden -= usize::from(shown.is_some());
        let value = shown.unwrap_or("set; value left out".into());
        Some(object! { "name": setting.name, "value": value })
    });
    let rows = rows.collect();
    privacy.count("environment values", hidden as u64);
    rows
}
