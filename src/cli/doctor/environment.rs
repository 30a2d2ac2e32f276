//! Checks of the sessions' environment: inherited and filtered variables, and the home's file `env`.

use super::adapters::{then_reload, unread};
use super::check::{Verdict, pass, warn};
use crate::adapters::environment::{FILTERED, read_own};
use crate::cli::observation::Observation;
use crate::observe::{Message, message};

pub(super) fn inherited(seen: &Observation) -> Option<Verdict> {
    let message = match seen.process()?.filtered.as_slice() {
        [] => message!(
            "sessions inherit all of the daemon's environment: it has none of the {} kinds of variables that are filtered",
            FILTERED.len()
        ),
        names => message!(
            "sessions inherit the daemon's environment without {}",
            Message::join(names.iter().map(Message::name), ", ")
        ),
    };
    Some(pass(message))
}

pub(super) fn file(seen: &Observation) -> Option<Verdict> {
    let file = seen.home.env_file();
    let (variables, ignored) = read_own(&file);
    if !ignored.is_empty() {
        let each = ignored.into_iter().map(|ignored| match ignored.line {
            // Line 0 is the file itself.
            0 => ignored.reason,
            line => message!("line {}: {}", line, ignored.reason),
        });
        let message = message!("ignored in {}: {}", &file, Message::join(each, "; "));
        return Some(warn(message, then_reload("repair it", seen)));
    }
    let read_at = seen.process().and_then(|process| process.env_read_at);
    let count = variables.iter().count();
    Some(
        unread(&file, read_at, seen).unwrap_or_else(|| match file.exists() {
            true => pass(message!("{} sets {} variables", &file, count)),
            false => pass(message!("there is no {}", &file)),
        }),
    )
}
