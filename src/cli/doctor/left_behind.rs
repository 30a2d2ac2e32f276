//! Checks for processes that outlived their sessions.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::check::{Verdict, pass, warn};
use crate::api::LeftBehind;
use crate::cli::observation::Observation;
use crate::harness;
use crate::observe::{Message, message};
use crate::store;
use crate::sys::{self, Family, Process};

/// Most sessions named.
const NAMED_MAX: usize = 20;

/// `None` if no session left any, or if the database is unreadable, which another check reports.
pub(super) fn left_behind(seen: &Observation) -> Option<Verdict> {
    let path = seen.home.database();
    // Reading another user's database can leave files beside it.
    if path.metadata().ok()?.uid() != sys::euid() {
        return None;
    }
    let sessions = store::left_behind(&path, seen.is_store_alone()).ok()?;
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
        return Some(pass(message));
    }
    let processes: usize = found.values().map(Vec::len).sum();
    let count = found.len();
    let (ids, named): (Vec<Message>, Vec<Message>) = found
        .into_iter()
        .take(NAMED_MAX)
        .map(|(session, left)| {
            let id = Message::from(sessions[session].0);
            let processes = Message::foreign(LeftBehind::new(left).to_string());
            let named = message!("{} ({})", id.clone(), processes);
            (id, named)
        })
        .unzip();
    Some(warn(
        message!(
            "{} processes of {} ended sessions still run: {}",
            processes,
            count,
            Message::join(named, "; ")
        ),
        message!("coven kill {}", Message::join(ids, " ")),
    ))
}
