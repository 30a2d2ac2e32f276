//! Gathering: everything that can take its time, on a thread each, waited for until one deadline. Whatever hangs costs
//! its own part only.

use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use super::anonymise::Identity;
use super::install::Install;
use super::{daemon, identity, log, store};
use crate::cli::doctor::Report as Findings;
use crate::cli::doctor::{self, Probe};
use crate::daemon::Home;
use crate::settings::durations;

/// What was found; a part that has not come in time is not there.
#[derive(Default)]
pub(super) struct Gathered {
    /// What has to be looked up of it.
    pub identity: Option<Identity>,
    /// The user's own patterns of secrets.
    pub patterns: Option<String>,
    pub doctor: Option<Findings>,
    pub install: Option<Install>,
    pub probe: Option<Probe>,
    /// The harnesses as this command has them; the daemon's own are in `probe`.
    pub harnesses: Option<daemon::Harnesses>,
    pub metrics: Option<Result<String, String>>,
    pub log: Option<Result<log::Tail, String>>,
    pub commands: Option<Result<log::Tail, String>>,
    pub store: Option<store::Found>,
}

/// One of them. They differ in size, and are few.
#[allow(clippy::large_enum_variant, reason = "each is moved twice")]
enum Found {
    Identity(Identity),
    Patterns(String),
    Doctor(Findings),
    Install(Install),
    Probe(Probe),
    Harnesses(daemon::Harnesses),
    Metrics(Result<String, String>),
    Log(Result<log::Tail, String>),
    Commands(Result<log::Tail, String>),
    Store(store::Found),
}

/// Looks for everything, with what is there of a home.
pub(super) fn gather(home: Option<&Home>, session: Option<&str>) -> Gathered {
    let begun = Instant::now();
    let (end, look) = (
        begun + durations::DIAGNOSTICS,
        begun + durations::DIAGNOSTICS_STORE,
    );
    let (give, finds) = unbounded();
    let own_home = home.cloned();
    start(&give, move || {
        Found::Identity(identity::looked_up(own_home.as_ref()))
    });
    start(&give, move || {
        Found::Doctor(doctor::examine(Home::from_env().as_ref(), look))
    });
    start(&give, || Found::Install(Install::look()));
    if let Some(home) = home {
        // A file that is not there has no patterns; doctor tells of one that cannot be read.
        start_with(&give, home, |home| {
            Found::Patterns(std::fs::read_to_string(home.redact_file()).unwrap_or_default())
        });
        start_with(&give, home, |home| Found::Probe(Probe::of(home)));
        start_with(&give, home, |home| {
            Found::Harnesses(daemon::Harnesses::from_here(home))
        });
        start_with(&give, home, |home| Found::Log(log::daemon_tail(home)));
        start_with(&give, home, |home| {
            Found::Commands(log::commands_tail(home))
        });
    }
    let mut gathered = Gathered::default();
    // Who else looks for something needs to know how the daemon is; then nobody but the threads holds the channel, and
    // it closes with the last of them.
    let mut give = home.map(|_| give);
    while let Ok(found) = finds.recv_deadline(end) {
        if let (Found::Probe(probe), Some(home)) = (&found, home)
            && let Some(give) = give.take()
        {
            let is_stopped = probe.is_stopped();
            let session = session.map(str::to_owned);
            start_with(&give, home, move |home| {
                Found::Store(store::look(home, is_stopped, session.as_deref(), look))
            });
            if probe.health().is_some() {
                start_with(&give, home, |home| {
                    Found::Metrics(daemon::read_metrics(home))
                });
            }
        }
        gathered.add(found);
    }
    gathered
}

impl Gathered {
    fn add(&mut self, found: Found) {
        match found {
            Found::Identity(identity) => self.identity = Some(identity),
            Found::Patterns(patterns) => self.patterns = Some(patterns),
            Found::Doctor(findings) => self.doctor = Some(findings),
            Found::Install(install) => self.install = Some(install),
            Found::Probe(probe) => self.probe = Some(probe),
            Found::Harnesses(harnesses) => self.harnesses = Some(harnesses),
            Found::Metrics(page) => self.metrics = Some(page),
            Found::Log(tail) => self.log = Some(tail),
            Found::Commands(tail) => self.commands = Some(tail),
            Found::Store(found) => self.store = Some(found),
        }
    }
}

fn start_with(
    give: &Sender<Found>,
    home: &Home,
    work: impl FnOnce(&Home) -> Found + Send + 'static,
) {
    let home = home.clone();
    start(give, move || work(&home));
}

fn start(give: &Sender<Found>, work: impl FnOnce() -> Found + Send + 'static) {
    start_boxed(give.clone(), Box::new(work));
}

/// Does `work` on a thread that nobody joins: it ends with this process at the latest.
fn start_boxed(give: Sender<Found>, work: Box<dyn FnOnce() -> Found + Send>) {
    // Without a thread its part is missing.
    let _ = std::thread::Builder::new().spawn(move || {
        // Nobody waits any more for what comes too late.
        let _ = give.send(work());
    });
}
