//! Gathering: everything that can take its time, on a thread each, waited for until one deadline. What hangs costs its own
//! part only.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use super::daemon::{Harnesses, read_metrics};
use super::install::Install;
use super::privacy::Identity;
use super::{log, store};
use crate::cli::doctor::{self, Report as Findings};
use crate::cli::observation::{Depth, Observation};
use crate::daemon::{Home, HomeError};
use crate::observe::Message;
use crate::settings::durations;
use crate::store::{SessionOutline, Survey};

/// What was found, or why it was not.
pub(super) type Read<T> = Result<T, Message>;

/// What was found of everything.
pub(super) struct Gathered {
    pub identity: Read<Identity>,
    /// The user's own patterns of secrets.
    pub patterns: Read<String>,
    pub doctor: Read<Findings>,
    pub install: Read<Install>,
    pub seen: Read<Arc<Observation>>,
    pub harnesses: Read<Harnesses>,
    pub metrics: Read<String>,
    pub log: Read<log::Tail>,
    pub commands: Read<log::Tail>,
    pub survey: Read<Survey>,
    pub session: Read<SessionOutline>,
}

/// Puts what was found in its place.
type Put = Box<dyn FnOnce(&mut Gathered) + Send>;

/// Looks for everything, with what is there of a home.
pub(super) fn gather(home: Result<&Home, &HomeError>, session: Option<&str>) -> Gathered {
    let end = Instant::now() + durations::DIAGNOSTICS;
    let (give, finds) = unbounded();
    let mut all = missing(match home {
        Ok(_) => "it took too long".into(),
        Err(err) => err.message(),
    });
    let own = home.ok().cloned();
    let identity = |home: &Option<Home>| Identity::look_up(home.as_ref());
    start(&give, &own, identity, |all, found| all.identity = Ok(found));
    start(
        &give,
        &(),
        |()| Install::look(),
        |all, found| all.install = Ok(found),
    );
    match home {
        Err(_) => {
            let examine = |_: &()| doctor::examine(Home::from_env().as_ref(), None);
            start(&give, &(), examine, |all, found| all.doctor = Ok(found));
        }
        Ok(home) => {
            // A file that is not there has no patterns; doctor tells of one that cannot be read.
            let patterns =
                |home: &Home| std::fs::read_to_string(home.redact_file()).unwrap_or_default();
            let look =
                |home: &Home| Observation::of(home, Depth::All, durations::DIAGNOSTICS_STORE);
            start(&give, home, patterns, |all, found| all.patterns = Ok(found));
            start(&give, home, look, |all, seen| all.seen = Ok(Arc::new(seen)));
            start(&give, home, log::daemon_tail, |all, found| all.log = found);
            start(&give, home, log::commands_tail, |all, found| {
                all.commands = found
            });
        }
    }
    // The rest needs to know how the daemon is; then nobody but the threads holds the channel, and it closes with the last
    // of them.
    let mut give = home.ok().map(|_| give);
    while let Ok(put) = finds.recv_deadline(end) {
        put(&mut all);
        if let Ok(seen) = &all.seen
            && let Some(give) = give.take()
        {
            let session = session.map(str::to_owned);
            let look = move |seen: &Arc<Observation>| store::look(seen, session.as_deref());
            let examine = |seen: &Arc<Observation>| doctor::examine(Ok(&seen.home), Some(seen));
            start(&give, seen, look, |all, found| {
                (all.survey, all.session) = found
            });
            start(&give, seen, examine, |all, found| all.doctor = Ok(found));
            start(&give, seen, Harnesses::of, |all, found| {
                all.harnesses = Ok(found)
            });
            start(&give, seen, read_metrics, |all, found| all.metrics = found);
        }
    }
    all
}

/// Nothing, and why.
fn missing(why: Message) -> Gathered {
    macro_rules! missing {
        ($($part:ident)*) => { Gathered { $($part: Err(why.clone())),* } };
    }
    missing! { identity patterns doctor install seen harnesses metrics log commands survey session }
}

/// Does `work` with `context` on a thread that nobody joins: it ends with this process at the latest.
fn start<C: Clone + Send + 'static, T: Send + 'static>(
    give: &Sender<Put>,
    context: &C,
    work: impl FnOnce(&C) -> T + Send + 'static,
    put: fn(&mut Gathered, T),
) {
    let (give, context) = (give.clone(), context.clone());
    let find = move || {
        let found = work(&context);
        let _ = give.send(Box::new(move |all| put(all, found)));
    };
    // Without a thread its part is missing, and nobody waits any more for what comes too late.
    let _ = std::thread::Builder::new().spawn(find);
}
