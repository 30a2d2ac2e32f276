//! Gathering: everything that can take its time, on a thread each, waited for until one deadline. Whatever hangs costs
//! its own part only.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use super::identity::Identity;
use super::install::Install;
use super::{daemon, log, store};
use crate::cli::doctor::{self, Report as Findings};
use crate::cli::observation::{Depth, Observation};
use crate::daemon::Home;
use crate::observe::Message;
use crate::settings::durations;
use crate::store::{SessionOutline, Survey};

/// What was found; a part that has not come in time is not there.
#[derive(Default)]
pub(super) struct Gathered {
    pub identity: Option<Identity>,
    /// The user's own patterns of secrets.
    pub patterns: Option<String>,
    pub doctor: Option<Findings>,
    pub install: Option<Install>,
    pub seen: Option<Arc<Observation>>,
    /// The harnesses as this command has them; the daemon's own are in `seen`.
    pub harnesses: Option<daemon::Harnesses>,
    pub metrics: Read<String>,
    pub log: Read<log::Tail>,
    pub commands: Read<log::Tail>,
    pub survey: Read<Survey>,
    /// The session that was asked for.
    pub session: Read<SessionOutline>,
}

/// What can be there and not be readable.
pub(super) type Read<T> = Option<Result<T, Message>>;

/// Puts what was found in its place.
type Put = Box<dyn FnOnce(&mut Gathered) + Send>;

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
        let identity = Identity::at_hand(own_home.as_ref()).look_up(own_home.as_ref());
        Box::new(|all| all.identity = Some(identity))
    });
    if home.is_none() {
        start(&give, || {
            let found = doctor::examine(Home::from_env().as_ref(), None);
            Box::new(|all| all.doctor = Some(found))
        });
    }
    start(&give, || {
        let install = Install::look();
        Box::new(|all| all.install = Some(install))
    });
    if let Some(home) = home {
        start_with(&give, home, |home| {
            // A file that is not there has no patterns; doctor tells of one that cannot be read.
            let patterns = std::fs::read_to_string(home.redact_file()).unwrap_or_default();
            Box::new(|all| all.patterns = Some(patterns))
        });
        start_with(&give, home, |home| {
            let seen = Observation::of(home, Depth::All, durations::DIAGNOSTICS_STORE);
            Box::new(|all| all.seen = Some(Arc::new(seen)))
        });
        start_with(&give, home, |home| {
            let harnesses = daemon::Harnesses::from_here(home);
            Box::new(|all| all.harnesses = Some(harnesses))
        });
        start_with(&give, home, |home| {
            let tail = log::daemon_tail(home);
            Box::new(|all| all.log = Some(tail))
        });
        start_with(&give, home, |home| {
            let tail = log::commands_tail(home);
            Box::new(|all| all.commands = Some(tail))
        });
    }
    let mut gathered = Gathered::default();
    // Who else looks for something needs to know how the daemon is; then nobody but the threads holds the channel, and
    // it closes with the last of them.
    let mut give = home.map(|_| give);
    while let Ok(put) = finds.recv_deadline(end) {
        put(&mut gathered);
        if let (Some(seen), Some(home)) = (&gathered.seen, home)
            && let Some(give) = give.take()
        {
            let examined = Arc::clone(seen);
            start_with(&give, home, move |home| {
                let found = doctor::examine(Ok(home), Some(&examined));
                Box::new(|all| all.doctor = Some(found))
            });
            let (is_stopped, session) = (seen.is_stopped(), session.map(str::to_owned));
            start_with(&give, home, move |home| {
                let (survey, session) = store::look(home, is_stopped, session.as_deref(), look);
                Box::new(|all| (all.survey, all.session) = (Some(survey), session))
            });
            if seen.health().is_some() {
                start_with(&give, home, |home| {
                    let page = daemon::read_metrics(home);
                    Box::new(|all| all.metrics = Some(page))
                });
            }
        }
    }
    gathered
}

fn start_with(give: &Sender<Put>, home: &Home, work: impl FnOnce(&Home) -> Put + Send + 'static) {
    let home = home.clone();
    start(give, move || work(&home));
}

/// Does `work` on a thread that nobody joins: it ends with this process at the latest.
fn start(give: &Sender<Put>, work: impl FnOnce() -> Put + Send + 'static) {
    let give = give.clone();
    // Without a thread its part is missing, and nobody waits any more for what comes too late.
    let _ = std::thread::Builder::new().spawn(move || give.send(work()));
}
