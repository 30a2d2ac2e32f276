//! `coven diagnostics`: one report of everything that somebody who helps would ask for, and nothing of what the user
//! does. It goes from most to least asked for, and ends with what was left out.
//!
//! What can take its time is gathered on threads, each waited for until a deadline; the main thread makes the report. It
//! changes nothing.

mod anonymise;
mod daemon;
mod identity;
mod install;
mod log;
mod names;
mod paths;
mod report;
mod settings;
mod store;
mod words;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use argh::FromArgs;
use crossbeam_channel::{Receiver, bounded};

use super::doctor::{self, Probe};
use super::output::{Out, visible};
use super::{CliError, Outcome};
use crate::adapters::{ManifestSources, Registry};
use crate::api::{CONTRACT, Check, Report as Findings, Timestamp, VERSION};
use crate::daemon::{Home, HomeError};
use crate::redact::Redactor;
use crate::sys;
use anonymise::Anonymiser;
use report::{Block, Part, Report};

/// How long all of it may take, and how long the parts may that others wait for.
const PATIENCE: Duration = Duration::from_millis(4500);
const IDENTITY_PATIENCE: Duration = Duration::from_millis(1500);
const PROBE_PATIENCE: Duration = Duration::from_millis(2800);
/// What is left for the report itself after the longest part, with much to be said.
const LOOK_PATIENCE: Duration = Duration::from_millis(4000);

/// Make a report for somebody who helps: versions, status, health, failures, doctor, log, counts. Secrets, names and
/// private paths are taken out; prompts, titles, output and environment values never go in. Read it before you share it.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "diagnostics",
    help_triggers("-h", "--help"),
    note = "It works with the daemon running, stopped or hanging, changes nothing, and takes 5 s at most."
)]
pub(super) struct Args {
    /// write it to this new file, for you alone to read, and print its name
    #[argh(option)]
    output: Option<PathBuf>,
    /// as JSON
    #[argh(switch)]
    json: bool,
    /// add this session's record, and its events' kinds, sizes and times: its id, or a beginning of it
    #[argh(option)]
    session: Option<String>,
}

pub(super) fn run(args: &Args) -> Outcome {
    sys::unblock_all();
    // First: nobody waits five seconds to be told that the name is taken.
    let file = args.output.as_ref().map(create).transpose()?;
    let report = make(args.session.clone());
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).map(|json| json + "\n"),
        false => Ok(report.markdown()),
    };
    let text = text.map_err(|err| CliError::failed("internal_error", err.to_string(), None))?;
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
        io::ErrorKind::AlreadyExists => CliError::failed(
            "output_exists",
            format!("{} is there already", path.display()),
            Some("coven diagnostics --output, with another name"),
        ),
        _ => CliError::failed("io_error", format!("{}: {err}", path.display()), None),
    })
}

/// What is found by threads.
struct Gathered {
    doctor: Result<Findings, String>,
    install: Result<install::Install, String>,
    probe: Result<Probe, String>,
    harnesses: Result<daemon::Harnesses, String>,
    metrics: Result<String, String>,
    log: Result<log::Tail, String>,
    commands: Result<log::Tail, String>,
    store: store::Found,
}

fn make(session: Option<String>) -> Report {
    let begun = Instant::now();
    let end = begun + PATIENCE;
    let home = Home::from_env();
    let known = home.as_ref().ok().cloned();
    let identity = start(move || {
        let identity = identity::complete(known.as_ref());
        let file = known.map(|home| home.redact_file());
        (
            identity,
            file.map_or_else(|| Redactor::new("").0, |file| Redactor::load(&file).0),
        )
    });
    let gathered = gather(&home, session, begun, end);
    let (mut identity, redactor) = wait(&identity, begun + IDENTITY_PATIENCE)
        .unwrap_or_else(|_| (identity::at_hand(home.as_ref().ok()), Redactor::new("").0));
    let probe = gathered.probe.as_ref().ok();
    identity
        .dirs
        .extend(probe.and_then(daemon::path_of).into_iter().flatten());
    let anonymiser = Anonymiser::new(&identity, redactor);
    let mut report = Report {
        made_at: Timestamp::now(),
        parts: parts(&home, &gathered, &anonymiser),
    };
    report.anonymise(&anonymiser);
    report.parts.push(left_out(&anonymiser));
    report
}

/// Starts everything at once, and waits for it until `end` at most.
fn gather(
    home: &Result<Home, HomeError>,
    session: Option<String>,
    begun: Instant,
    end: Instant,
) -> Gathered {
    let look = begun + LOOK_PATIENCE;
    let doctor = start(move || doctor::examine(Home::from_env().as_ref(), look));
    let install = start(install::Install::look);
    let Ok(home) = home else {
        // What is there without a home; the part on it says why there is none.
        let none = || "there is no usable COVEN_HOME".to_owned();
        return Gathered {
            doctor: wait(&doctor, end),
            install: wait(&install, end),
            probe: Err(none()),
            harnesses: Err(none()),
            metrics: Err(none()),
            log: Err(none()),
            commands: Err(none()),
            store: store::Found {
                survey: Err(none()),
                session: session.map(|_| Err(none())),
            },
        };
    };
    let with_home = || home.clone();
    let probe = start({
        let home = with_home();
        move || Probe::of(&home)
    });
    let here = start({
        let home = with_home();
        move || daemon::Harnesses::from_here(&home)
    });
    let log = start({
        let home = with_home();
        move || log::daemon_tail(&home)
    });
    let commands = start({
        let home = with_home();
        move || log::commands_tail(&home)
    });
    let probe = wait(&probe, begun + PROBE_PATIENCE);
    let is_stopped = probe.as_ref().is_ok_and(Probe::is_stopped);
    let store = start({
        let (home, session) = (with_home(), session.clone());
        move || store::look(&home, is_stopped, session.as_deref(), look)
    });
    let answers = probe.as_ref().is_ok_and(|probe| probe.health().is_some());
    let metrics = match answers {
        true => {
            let home = with_home();
            wait(&start(move || daemon::read_metrics(&home)), end).and_then(|page| page)
        }
        false => Err("no daemon answers".into()),
    };
    let capabilities = probe
        .as_ref()
        .ok()
        .and_then(|probe| probe.capabilities.as_ref());
    Gathered {
        harnesses: match capabilities {
            Some(capabilities) => Ok(daemon::Harnesses::of_daemon(capabilities)),
            None => wait(&here, end),
        },
        probe,
        metrics,
        log: wait(&log, end).and_then(|tail| tail),
        commands: wait(&commands, end).and_then(|tail| tail),
        store: wait(&store, end).unwrap_or_else(|why| store::Found {
            session: session.map(|_| Err(why.clone())),
            survey: Err(why),
        }),
        install: wait(&install, end),
        doctor: wait(&doctor, end),
    }
}

/// Does `work` on a thread that nobody joins: it ends with this process at the latest.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (give, take) = bounded(1);
    // Without a thread the channel is closed, and its part is missing.
    let _ = std::thread::Builder::new().spawn(move || give.send(work()));
    take
}

fn wait<T>(work: &Receiver<T>, deadline: Instant) -> Result<T, String> {
    work.recv_deadline(deadline)
        .map_err(|err| match err.is_timeout() {
            true => "it took too long".into(),
            false => "it failed".into(),
        })
}

/// The report's parts: first the seven things that a good report of a problem has, in this order.
fn parts(home: &Result<Home, HomeError>, gathered: &Gathered, a: &Anonymiser) -> Vec<Part> {
    let missing = |why: &String| Block::Missing(a.text(why));
    let of_probe = |part: &dyn Fn(&Home, &Probe) -> Block| match (home, &gathered.probe) {
        (Ok(home), Ok(probe)) => part(home, probe),
        (Err(err), _) => Block::Missing(a.text(&err.to_string())),
        (_, Err(why)) => missing(why),
    };
    let harnesses = gathered.harnesses.as_ref();
    let ids = harnesses.map(daemon::Harnesses::ids).unwrap_or_default();
    let filter = log::Filter {
        anonymiser: a,
        harnesses: &ids,
    };
    let version = vec![("version", VERSION.into()), ("contract", CONTRACT.into())];
    let failures = vec![
        ("commands", filter.commands(gathered.commands.as_ref())),
        ("daemonLog", filter.failures(gathered.log.as_ref())),
    ];
    let install = gathered.install.as_ref();
    let settings = Block::Group(vec![
        ("daemon", of_probe(&|_, probe| daemon::process(probe))),
        ("environmentHere", settings::block(a)),
    ]);
    let part = |key, title, block| Part { key, title, block };
    let mut parts = vec![
        part("coven", "1. Coven version", Block::Facts(version)),
        part(
            "os",
            "2. Operating system",
            install.map_or_else(missing, |install| install.os(a)),
        ),
        part(
            "install",
            "3. Install path and package manager",
            install.map_or_else(missing, |install| install.block(a)),
        ),
        part(
            "home",
            "4. Whether COVEN_HOME is customized",
            home_facts(home, a),
        ),
        part(
            "status",
            "5. coven daemon status",
            of_probe(&|home, probe| daemon::status(home, probe, a)),
        ),
        part(
            "health",
            "6. Health",
            of_probe(&|_, probe| daemon::health(probe, a)),
        ),
        part(
            "failures",
            "7. Last failing commands and error codes",
            Block::Group(failures),
        ),
        part(
            "doctor",
            "Doctor",
            gathered
                .doctor
                .as_ref()
                .map_or_else(missing, |found| findings(found, a)),
        ),
        part(
            "capabilities",
            "Capabilities",
            of_probe(&|_, probe| daemon::capabilities(probe, a)),
        ),
        part(
            "adapters",
            "Adapters",
            harnesses.map_or_else(missing, |harnesses| harnesses.block(a)),
        ),
        part("settings", "Settings", settings),
        part(
            "store",
            "Store",
            store::counts(gathered.store.survey.as_ref(), &ids, a),
        ),
        part("metrics", "Metrics", daemon::metrics(&gathered.metrics, a)),
    ];
    if let Some(session) = &gathered.store.session {
        parts.push(part("session", "Session", store::session(session, &ids, a)));
    }
    parts.push(part(
        "log",
        "The daemon's log",
        filter.records(gathered.log.as_ref()),
    ));
    parts
}

fn home_facts(home: &Result<Home, HomeError>, a: &Anonymiser) -> Block {
    let is_set = std::env::var_os("COVEN_HOME").is_some_and(|home| !home.is_empty());
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
fn findings(found: &Findings, a: &Anonymiser) -> Block {
    let bundled = Registry::load(Path::new("/"), &ManifestSources::default());
    let is_manifests = |check: &Check| {
        let id = check.id.strip_prefix("adapter.");
        id.is_some_and(|id| bundled.get(id).is_none())
    };
    let checks = found.checks.iter().map(|check| {
        // What to do to get a harness is the manifest's own text.
        let hint = check.hint.as_deref().filter(|_| !is_manifests(check));
        a.count(
            daemon::MANIFEST_TEXTS,
            u64::from(hint.is_none() && check.hint.is_some()),
        );
        Check {
            id: a.text(&check.id),
            status: check.status,
            message: a.text(&check.message),
            hint: hint.map(|hint| a.text(hint)),
        }
    });
    let found = Findings {
        ok: found.ok,
        checks: checks.collect(),
    };
    match serde_json::to_value(&found) {
        Ok(json) => Block::Printed(json, doctor::lines(&found)),
        Err(err) => Block::Missing(a.text(&err.to_string())),
    }
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
