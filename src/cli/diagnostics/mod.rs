//! `coven diagnostics`: one report of everything that somebody who helps would ask for, and nothing of what the user
//! does. It goes from most to least asked for, and ends with what was left out.
//!
//! What can take its time is gathered on threads ([`mod@gather`]); the main thread makes the report. It changes nothing.

mod anonymise;
mod daemon;
mod gather;
mod identity;
mod install;
mod log;
mod names;
mod paths;
mod reasons;
mod report;
mod settings;
mod store;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};

use super::doctor;
use super::output::{Out, visible};
use super::{CliError, Outcome};
use crate::adapters::{ManifestSources, Registry};
use crate::api::{BUILD, CONTRACT, Code, Timestamp, VERSION};
use crate::cli::doctor::{Check, Report as Findings};
use crate::daemon::{Home, HomeError};
use crate::observe::Message;
use crate::redact::Redactor;
use crate::settings as declared;
use crate::sys;
use anonymise::Anonymiser;
use daemon::Harnesses;
use gather::{Gathered, gather};
use report::{Block, Part, Report, as_json};

/// Make a report for somebody who helps, without what is private. Read it before you share it.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "diagnostics",
    help_triggers("-h", "--help"),
    note = "In it: versions, status, health, failures, doctor, log, counts. Never in it: prompts, titles, output, environment
values. Secrets, names and private paths are taken out, and counted at its end.

It works with the daemon running, stopped or hanging, changes nothing, and takes 5 s at most."
)]
pub(super) struct Args {
    /// write it to this new file, for you alone to read, and print its name
    #[argh(option, arg_name = "file")]
    output: Option<PathBuf>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// add this session's record, and its events' kinds, sizes and times: its id, or a beginning of it
    #[argh(option, arg_name = "id")]
    session: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    sys::unblock_all();
    // First: nobody waits five seconds to be told that the name is taken.
    let file = args.output.as_ref().map(create).transpose()?;
    let report = make(args.session.as_deref());
    let text = match args.json {
        true => report.json(),
        false => report.markdown(),
    };
    match (file, &args.output) {
        (Some(mut file), Some(path)) => {
            if let Err(err) = file.write_all(text.as_bytes()) {
                // Half a report is none.
                let _ = std::fs::remove_file(path);
                return Err(err.into());
            }
            Out::new().line(&visible(&path.display().to_string()))?;
        }
        _ => Out::new().bytes(text.as_bytes())?,
    }
    Ok(0)
}

/// The file for the report: new, and for its owner alone.
fn create(path: &PathBuf) -> Result<File, CliError> {
    // O_EXCL: also a link by this name is something that is there (open(2)).
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|err| match err.kind() {
        io::ErrorKind::AlreadyExists => CliError::new(
            Code::OutputExists,
            format!("{} is there already", path.display()),
        ),
        _ => CliError::new(Code::IoError, format!("{}: {err}", path.display())),
    })
}

fn make(session: Option<&str>) -> Report {
    let home = Home::from_env();
    let known = home.as_ref().ok();
    let gathered = gather(known, session);
    let anonymiser = anonymiser(known, &gathered);
    let mut report = Report {
        made_at: Timestamp::now(),
        parts: parts(&home, &gathered, session.is_some(), &anonymiser),
    };
    report.anonymise(&anonymiser);
    report.parts.push(left_out(&anonymiser));
    report
}

/// Knows what was found of names, directories and patterns of secrets; what was not found in time, it says at the end.
fn anonymiser(home: Option<&Home>, gathered: &Gathered) -> Anonymiser {
    let mut identity = identity::at_hand(home);
    if let Some(found) = &gathered.identity {
        identity.add(found);
    }
    if let Some(probe) = &gathered.probe {
        identity
            .dirs
            .extend(daemon::path_of(probe).into_iter().flatten());
        identity.texts.extend(daemon::foreign_text(probe));
    }
    let patterns = gathered.patterns.as_deref().unwrap_or_default();
    let anonymiser = Anonymiser::new(&identity, Redactor::new(patterns).0);
    let is_late = |part: bool| u64::from(home.is_some() && !part);
    anonymiser.count(
        "NOT in time: names in the user database",
        is_late(gathered.identity.is_some()),
    );
    anonymiser.count(
        "NOT in time: redact.txt",
        is_late(gathered.patterns.is_some()),
    );
    anonymiser
}

/// The report's parts: first the seven things that a good report of a problem has, in this order.
fn parts(
    home: &Result<Home, HomeError>,
    gathered: &Gathered,
    is_session_wanted: bool,
    a: &Anonymiser,
) -> Vec<Part> {
    let probe = gathered.probe.as_ref();
    // Without a home, most has nothing to look at.
    let late = match home {
        Ok(_) => "it took too long".to_owned(),
        Err(err) => a.text(&err.to_string()),
    };
    let missing = || Block::Missing(late.clone());
    let harnesses = daemon::harnesses(probe, gathered.harnesses.as_ref());
    let ids = harnesses.as_deref().map(Harnesses::ids).unwrap_or_default();
    let log = log::Logs {
        anonymiser: a,
        harnesses: &ids,
        late: &late,
    };
    let status = match (home, probe) {
        (Ok(home), Some(probe)) => daemon::status(home, probe, a),
        _ => missing(),
    };
    let store = gathered.store.as_ref();
    let install = gathered.install.as_ref();
    let version = vec![
        ("version", VERSION.into()),
        ("contract", CONTRACT.into()),
        ("commit", BUILD.commit.into()),
        ("buildDate", BUILD.date.into()),
    ];
    let failures = vec![
        ("commands", log.commands(gathered.commands.as_ref())),
        ("daemonLog", log.failures(gathered.log.as_ref())),
    ];
    let settings = vec![
        ("daemon", probe.map_or_else(missing, daemon::process)),
        ("environmentHere", settings::block(a)),
    ];
    let mut parts = Vec::new();
    let mut part = |key, title, block| parts.push(Part { key, title, block });
    part("coven", "1. Coven version", Block::Facts(version));
    let block = install.map_or_else(missing, |install| install.os(a));
    part("os", "2. Operating system", block);
    let block = install.map_or_else(missing, |install| install.block(a));
    part("install", "3. Install path and package manager", block);
    let block = home_facts(home, a);
    part("home", "4. Whether COVEN_HOME is customized", block);
    part("status", "5. coven daemon status", status);
    let block = probe.map_or_else(missing, |probe| daemon::health(probe, a));
    part("health", "6. Health", block);
    let title = "7. Last failing commands and error codes";
    part("failures", title, Block::Group(failures));
    let findings = gathered.doctor.as_ref();
    let block = findings.map_or_else(missing, |found| doctors(found, a));
    part("doctor", "Doctor", block);
    let block = probe.map_or_else(missing, |probe| daemon::capabilities(probe, a));
    part("capabilities", "Capabilities", block);
    let block = harnesses.map_or_else(missing, |harnesses| harnesses.block(a));
    part("adapters", "Adapters", block);
    part("settings", "Settings", Block::Group(settings));
    let block = store.map_or_else(missing, |store| store::counts(&store.survey, &ids, a));
    part("store", "Store", block);
    part(
        "metrics",
        "Metrics",
        daemon::metrics(gathered.metrics.as_ref(), a),
    );
    if is_session_wanted {
        let session = store.and_then(|store| store.session.as_ref());
        let block = session.map_or_else(missing, |session| store::session(session, &ids, a));
        part("session", "Session", block);
    }
    part(
        "log",
        "The daemon's log",
        log.records(gathered.log.as_ref()),
    );
    parts
}

fn home_facts(home: &Result<Home, HomeError>, a: &Anonymiser) -> Block {
    let is_set = declared::HOME.read().is_ok_and(|home| home.is_some());
    let (path, usable) = match home {
        Ok(home) => {
            let usable = match home.check() {
                Ok(()) => "yes".to_owned(),
                Err(err) => a.text(&err.to_string()),
            };
            (Some(a.path(&home.path().display().to_string())), usable)
        }
        Err(err) => (None, a.text(&err.to_string())),
    };
    Block::Facts(vec![
        ("customized", is_set.into()),
        ("path", path.into()),
        ("usable", usable.into()),
    ])
}

/// As `coven doctor` prints and writes it.
fn doctors(found: &Findings, a: &Anonymiser) -> Block {
    let bundled = Registry::load(Path::new("/"), &ManifestSources::default());
    let is_manifests = |check: &Check| {
        let id = check.id.to_string();
        let id = id.strip_prefix("adapter.");
        id.is_some_and(|id| bundled.get(id).is_none())
    };
    let checks = found.checks.iter().map(|check| {
        // What to do to get a harness is the manifest's own text.
        let hint = check.hint.as_ref().filter(|_| !is_manifests(check));
        a.count(
            daemon::MANIFEST_TEXTS,
            u64::from(hint.is_none() && check.hint.is_some()),
        );
        Check {
            id: Message::name(a.text(&check.id.to_string())),
            status: check.status,
            message: Message::name(a.text(&check.message.without_foreign())),
            hint: hint.map(|hint| Message::name(a.text(&hint.to_string()))),
        }
    });
    let found = Findings::new(checks.collect());
    Block::Printed(as_json(&found), doctor::lines(&found))
}

fn left_out(a: &Anonymiser) -> Part {
    const COLUMNS: &[&str] = &["what", "times"];
    let counts = a.counts().into_iter();
    let rows = counts.map(|(what, times)| vec![what.into(), times.into()]);
    Part {
        key: "leftOut",
        title: "Left out or redacted",
        block: Block::Table(COLUMNS, rows.collect()),
    }
}
