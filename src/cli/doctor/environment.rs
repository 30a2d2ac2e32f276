//! What sessions inherit from the daemon, what is kept from them, and what the home's file `env` gives them.

use super::adapters::since_epoch;
use super::check::{Verdict, pass, warn};
use crate::adapters::environment::{FILTERED, read_own};
use crate::cli::observation::Observation;
use crate::observe::{Message, message};

pub(super) fn inherited(seen: &Observation) -> Option<Verdict> {
    let found = match seen.process()?.filtered.as_slice() {
        [] => "none of them".into(),
        names => Message::join(names.iter().map(Message::name), ", "),
    };
    let message = message!(
        "sessions do not inherit {}; the daemon was started with {}",
        Message::join(FILTERED.iter().map(|&name| name.into()), ", "),
        found
    );
    Some(pass(message))
}

pub(super) fn file(seen: &Observation) -> Option<Verdict> {
    let file = seen.home.env_file();
    let (variables, ignored) = read_own(&file);
    let running = seen.health();
    let reload = running.map(|health| seen.service().reload(health.daemon.pid));
    if !ignored.is_empty() {
        let each = ignored.into_iter().map(|ignored| match ignored.line {
            // The file itself.
            0 => ignored.reason,
            line => message!("line {}: {}", line, ignored.reason),
        });
        let message = message!("ignored in {}: {}", &file, Message::join(each, "; "));
        let hint = match reload {
            Some(reload) => message!("mend it, then {}", reload),
            None => "mend it".into(),
        };
        return Some(warn(message, hint));
    }
    let Ok(changed) = file.metadata().and_then(|meta| meta.modified()) else {
        return Some(pass(message!("there is no {}", &file)));
    };
    let read_at = seen.process().and_then(|process| process.env_read_at);
    if let (Some(read_at), Some(reload)) = (read_at, reload)
        && since_epoch(changed) > read_at.as_millis()
    {
        let message = message!("{} has changed since the daemon read it", &file);
        return Some(warn(message, reload));
    }
    let count = variables.iter().count();
    Some(pass(message!("{} sets {} variables", &file, count)))
}
