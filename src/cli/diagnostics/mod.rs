//! `coven diagnostics`: one report of everything that somebody who helps would ask for, and nothing of what the user
//! does. It goes from most to least asked for, and ends with what was left out.
//!
//! What can take its time is gathered on threads ([`mod@gather`]); the main thread makes the report. It changes nothing.

mod daemon;
mod gather;
mod identity;
mod install;
mod log;
mod place;
mod report;
mod shown;
mod store;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::output::{Out, visible};
use super::{CliError, Outcome};
use crate::api::{BUILD, CONTRACT, Code, Timestamp, VERSION};
use crate::daemon::{Home, HomeError};
use crate::observe::Message;
use crate::redact::Redactor;
use crate::settings::{self, ALL};
use crate::sys;
use daemon::Harnesses;
use gather::{Gathered, Read, gather};
use identity::Identity;
use install::Install;
use report::{Block, Part, Report};
use shown::Privacy;

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
    let mut gathered = gather(known, session);
    // The daemon's, or, if it does not say, those that a daemon would have that is started from here.
    let seen = gathered.seen.as_ref();
    let capabilities = seen.and_then(|seen| seen.capabilities.as_ref());
    let daemons = capabilities.map(Harnesses::of_daemon);
    gathered.harnesses = daemons.or(gathered.harnesses.take());
    let privacy = privacy(known, &mut gathered);
    let mut parts = Parts {
        parts: Vec::new(),
        // Without a home, most has nothing to look at.
        late: match &home {
            Ok(_) => "it took too long".into(),
            Err(err) => err.message(),
        },
        privacy: &privacy,
    };
    parts.add_first(&home, &gathered);
    parts.add_others(&gathered, session.is_some());
    let counts = privacy.counts().into_iter();
    let rows = counts.map(|(what, times)| vec![what, times.into()]);
    let rows = Block::Table(&["what", "times"], rows.collect());
    parts.add("leftOut", "Left out or redacted", rows);
    Report {
        made_at: Timestamp::now(),
        parts: parts.parts,
    }
}

/// Knows what was found of names, directories and patterns of secrets; what was not found in time, it says at the end.
fn privacy(home: Option<&Home>, gathered: &mut Gathered) -> Privacy {
    let late = [
        (
            "NOT in time: names in the user database",
            gathered.identity.is_none(),
        ),
        ("NOT in time: redact.txt", gathered.patterns.is_none()),
    ];
    let identity = gathered.identity.take();
    let mut identity = identity.unwrap_or_else(|| Identity::at_hand(home));
    let process = gathered.seen.as_ref().and_then(|seen| seen.process());
    if let Some(path) = process.and_then(|process| process.path.as_ref()) {
        let dirs: Vec<String> = path.split(':').map(str::to_owned).collect();
        identity.add_owners(&dirs);
    }
    let patterns = gathered.patterns.as_deref().unwrap_or_default();
    let harnesses = gathered.harnesses.as_ref().map(Harnesses::ids);
    let redactor = Redactor::new(patterns).0;
    let privacy = Privacy::new(&identity, redactor, harnesses.unwrap_or_default());
    for (what, is_late) in late {
        privacy.count(what, u64::from(home.is_some() && is_late));
    }
    privacy
}

/// The report's parts in the making.
struct Parts<'a> {
    parts: Vec<Part>,
    /// Why there is none where none has come.
    late: Message,
    privacy: &'a Privacy,
}

impl Parts<'_> {
    fn add(&mut self, key: &'static str, title: &'static str, block: Block) {
        self.parts.push(Part { key, title, block });
    }

    fn of<T>(&self, found: &Option<T>, show: impl FnOnce(&T, &Privacy) -> Block) -> Block {
        match found {
            Some(found) => show(found, self.privacy),
            None => Block::Missing(self.privacy.message(&self.late)),
        }
    }

    /// Of what can be there and not be readable.
    fn read<T>(&self, found: &Read<T>, show: impl FnOnce(&T, &Privacy) -> Block) -> Block {
        self.of(found, |found, privacy| match found {
            Ok(found) => show(found, privacy),
            Err(why) => Block::Missing(privacy.message(why)),
        })
    }

    /// The seven things that a good report of a problem has, in this order.
    fn add_first(&mut self, home: &Result<Home, HomeError>, all: &Gathered) {
        let version = vec![
            ("version", VERSION.into()),
            ("contract", CONTRACT.into()),
            ("commit", BUILD.commit.into()),
            ("buildDate", BUILD.date.into()),
        ];
        self.add("coven", "1. Coven version", Block::Facts(version));
        let os = self.of(&all.install, Install::os);
        self.add("os", "2. Operating system", os);
        let install = self.of(&all.install, Install::block);
        self.add("install", "3. Install path and package manager", install);
        let facts = home_facts(home, self.privacy);
        self.add("home", "4. Whether COVEN_HOME is customized", facts);
        let both = home.as_ref().ok().zip(all.seen.as_ref());
        let status = self.of(&both, |(home, seen), p| daemon::status(home, seen, p));
        self.add("status", "5. coven daemon status", status);
        let health = self.of(&all.seen, daemon::health);
        self.add("health", "6. Health", health);
        let failures = Block::Group(vec![
            ("commands", self.read(&all.commands, log::commands)),
            ("daemonLog", self.read(&all.log, log::failures)),
        ]);
        self.add(
            "failures",
            "7. Last failing commands and error codes",
            failures,
        );
    }

    fn add_others(&mut self, all: &Gathered, is_session_wanted: bool) {
        let doctor = self.of(&all.doctor, |found, p| {
            let (json, lines) = p.doctor(found);
            Block::Both(json, Box::new(Block::Lines(lines)))
        });
        self.add("doctor", "Doctor", doctor);
        let capabilities = self.of(&all.seen, daemon::capabilities);
        self.add("capabilities", "Capabilities", capabilities);
        let adapters = self.of(&all.harnesses, Harnesses::block);
        self.add("adapters", "Adapters", adapters);
        let settings = Block::Group(vec![
            ("daemon", self.of(&all.seen, daemon::process)),
            ("environmentHere", environment(self.privacy)),
        ]);
        self.add("settings", "Settings", settings);
        let survey = self.read(&all.survey, store::counts);
        self.add("store", "Store", survey);
        let metrics = match &all.metrics {
            None => Block::Missing("no daemon answers".into()),
            page => self.read(page, |page, p| daemon::metrics(page, p)),
        };
        self.add("metrics", "Metrics", metrics);
        if is_session_wanted {
            let session = self.read(&all.session, store::session);
            self.add("session", "Session", session);
        }
        let records = self.read(&all.log, log::records);
        self.add("log", "The daemon's log", records);
    }
}

fn home_facts(home: &Result<Home, HomeError>, p: &Privacy) -> Block {
    let usable = match home.as_ref().map(Home::check) {
        Ok(Ok(())) => "yes".into(),
        Ok(Err(err)) => p.message(&err.message()),
        Err(err) => p.message(&err.message()),
    };
    let is_set = settings::HOME.read().is_ok_and(|home| home.is_some());
    let path = home.as_ref().ok().map(|home| p.place(home.path()));
    Block::Facts(vec![
        ("customized", is_set.into()),
        ("path", path.into()),
        ("usable", usable),
    ])
}

/// What this command's environment sets. Values stay out, but for numbers and the few words that a setting can have.
fn environment(p: &Privacy) -> Block {
    let mut shown = 0;
    let rows = ALL.iter().filter_map(|setting| {
        let value = std::env::var_os(setting.name())?;
        let value = value.to_str();
        let value = value.and_then(|value| p.word(value, |value| setting.is_public(value)));
        shown += u64::from(value.is_some());
        let value = value.unwrap_or("set; value left out".into());
        Some(vec![setting.name().into(), value])
    });
    let rows = rows.collect();
    p.count(
        "environment values",
        std::env::vars_os().count() as u64 - shown,
    );
    Block::Table(&["name", "value"], rows)
}
