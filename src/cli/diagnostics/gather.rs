//! Gathers the slow parts of the report, each on its own thread, until one deadline. A part that hangs is missing from
//! the report; the others are not affected.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use super::daemon::{Harnesses, read_metrics};
use super::install::Install;
use super::privacy::Identity;
use super::{log, store};
use crate::cli::doctor::{self, Findings};
use crate::cli::observation::{Depth, Observation};
use crate::daemon::{Home, HomeError};
use crate::observe::Message;
use crate::settings::durations;
use crate::store::{SessionOutline, Survey};

/// A finding, or the reason why it is missing.
pub(super) type Read<T> = Result<T, Message>;

/// All findings.
pub(super) struct Gathered {
    pub identity: Read<Identity>,
    /// The user's own redaction patterns.
    pub patterns: Read<String>,
    pub doctor: Read<Findings>,
    pub install: Read<Install>,
    pub seen: Read<Arc<Observation>>,
    pub harnesses: Read<Harnesses>,
    pub metrics: Read<String>,
    pub log: Read<log::LogTail>,
    pub commands: Read<log::LogTail>,
    pub survey: Read<Survey>,
    pub session: Read<SessionOutline>,
}

/// Stores a finding in its field.
type Put = Box<dyn FnOnce(&mut Gathered) + Send>;

/// Gathers everything, with the home as far as it exists.
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
        |()| Install::find(),
        |all, found| all.install = Ok(found),
    );
    match home {
        Err(_) => {
            let examine = |_: &()| doctor::examine(Home::from_env().as_ref(), None);
            start(&give, &(), examine, |all, found| all.doctor = Ok(found));
        }
        Ok(home) => {
            // A missing file has no patterns; doctor reports an unreadable one.
            let patterns =
                |home: &Home| std::fs::read_to_string(home.redact_file()).unwrap_or_default();
            let observe =
                |home: &Home| Observation::of(home, Depth::All, durations::DIAGNOSTICS_STORE);
            start(&give, home, patterns, |all, found| all.patterns = Ok(found));
            start(&give, home, observe, |all, seen| {
                all.seen = Ok(Arc::new(seen))
            });
            start(&give, home, log::daemon_tail, |all, found| all.log = found);
            start(&give, home, log::commands_tail, |all, found| {
                all.commands = found
            });
        }
    }
    // The other parts need the observation first. Then only the threads hold the sender: the channel closes when the
    // last one ends.
    let mut give = home.ok().map(|_| give);
    while let Ok(put) = finds.recv_deadline(end) {
        put(&mut all);
        if let Ok(seen) = &all.seen
            && let Some(give) = give.take()
        {
            let session = session.map(str::to_owned);
            let survey = move |seen: &Arc<Observation>| store::survey(seen, session.as_deref());
            let examine = |seen: &Arc<Observation>| doctor::examine(Ok(&seen.home), Some(seen));
            start(&give, seen, survey, |all, found| {
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

/// All findings missing, for the reason `why`.
fn missing(why: Message) -> Gathered {
    macro_rules! missing {
        ($($part:ident)*) => { Gathered { $($part: Err(why.clone())),* } };
    }
    missing! { identity patterns doctor install seen harnesses metrics log commands survey session }
}

/// Runs `work` with `context` on a detached thread, which ends with the process at the latest.
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
    // Without a thread the part is missing; a late finding has no receiver.
    let _ = std::thread::Builder::new().spawn(find);
}
