//! The processes that have outlived their sessions.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::probe::Probe;
use super::store::is_alone;
use crate::api::{Check, LeftBehind};
use crate::daemon::Home;
use crate::harness;
use crate::store;
use crate::sys::{self, Family, Process};

pub(in crate::cli) const LEFT_BEHIND: &str = "left_behind";

/// How many sessions are named.
const NAMED_MAX: usize = 20;

/// `None` where no session has left any, or the database cannot be read, which is another check's to say.
pub(super) fn check(home: &Home, probe: &Probe) -> Option<Check> {
    let path = home.database();
    // To read a database of another user can leave files beside it.
    if path.metadata().ok()?.uid() != sys::euid() {
        return None;
    }
    let sessions = store::left_behind(&path, is_alone(&path, probe)).ok()?;
    if sessions.is_empty() {
        return None;
    }
    let family = |(id, left): &(_, LeftBehind)| Family {
        known: left.known(),
        ..harness::family(*id, None)
    };
    let families: Vec<Family> = sessions.iter().map(family).collect();
    let mut found: BTreeMap<usize, Vec<Process>> = BTreeMap::new();
    for (session, process) in sys::members(&families) {
        found.entry(session).or_default().push(process);
    }
    if found.is_empty() {
        let message = "nothing that ended sessions have left behind still runs";
        return Some(Check::pass(LEFT_BEHIND, message));
    }
    let processes: usize = found.values().map(Vec::len).sum();
    let count = found.len();
    let (ids, named): (Vec<String>, Vec<String>) = found
        .into_iter()
        .take(NAMED_MAX)
        .map(|(session, left)| {
            let id = sessions[session].0.to_string();
            let named = format!("{id} ({})", LeftBehind::new(left));
            (id, named)
        })
        .unzip();
    Some(Check::warn(
        LEFT_BEHIND,
        format!(
            "{processes} processes of {count} ended sessions still run: {}",
            named.join("; ")
        ),
        format!("coven kill {}", ids.join(" ")),
    ))
}

/// The check's `message` without the names of processes, which can be private.
pub(in crate::cli) fn without_names(message: &str) -> &str {
    message
        .split_once(':')
        .map_or(message, |(counts, _)| counts)
}
