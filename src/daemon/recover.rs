//! Recovers from a dead daemon: sessions recorded as running, and their processes.
//!
//! Runs once, on the main thread, before the first session.

use std::time::Duration;

use crate::api::{EndedBy, LeftBehind, SessionCost, SessionStatus};
use crate::harness;
use crate::observe::field::Untouched;
use crate::observe::say;
use crate::settings::durations;
use crate::store::{End, Fact, LastOwner, SessionNum, Store, StoreError, Unfinished};
use crate::sys::{self, Family, FamilyEnd};

/// Ends the remaining processes of unfinished sessions if they provably belong to a dead daemon, and records the
/// sessions as orphaned. The `running` ones have been handed over.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn orphan_unfinished(
    store: &mut Store,
    running: &[SessionNum],
) -> Result<(), StoreError> {
    let mut unfinished = store.unfinished()?;
    unfinished.retain(|session| !running.contains(&session.num));
    if unfinished.is_empty() {
        return Ok(());
    }
    match store.last_owner() {
        LastOwner::Dead => end_processes(&unfinished),
        last_owner => {
            let (why, owner) = match last_owner {
                LastOwner::Copy { pid } => (Untouched::Copy, Some(pid)),
                LastOwner::Elsewhere => (Untouched::Elsewhere, None),
                _ => (Untouched::Unknown, None),
            };
            say!(OrphansUntouched, why, owner, sessions: unfinished.len());
        }
    }
    let facts = unfinished.iter().map(|session| {
        say!(SessionOrphaned, session: session.id);
        Fact::Ended {
            num: session.num,
            end: Box::new(End {
                status: SessionStatus::Orphaned,
                exit_code: None,
                signal: None,
                ended_by: Some(EndedBy::Lost),
                oom_killed: false,
                left_behind: LeftBehind::default(),
            }),
            cost: SessionCost::default(),
            usage: None,
            events: Vec::new(),
        }
    });
    store.record(facts.collect())
}

fn end_processes(unfinished: &[Unfinished]) {
    let families: Vec<Family> = unfinished
        .iter()
        .map(|session| harness::family(session.id, living_leader(session)))
        .collect();
    let ended = sys::end_families(&families, Duration::ZERO, durations::ORPHANS_END);
    // Families first: descendants are found by their living parents, which killing the groups would end.
    for session in unfinished {
        end_group(session, &ended);
    }
    for pid in &ended.pids {
        let leads = unfinished.iter().find(|session| session.pid == Some(*pid));
        say!(OrphanKilled, session: leads.map(|session| session.id), pid: *pid);
    }
    if !ended.is_complete {
        let reason = "a process of an orphaned session does not end";
        say!(KillFailed, session: None, reason: &reason);
    }
}

/// The leader of a session, if it still lives. Its mark proves that the pid, and so the group, is its own.
fn living_leader(session: &Unfinished) -> Option<i32> {
    let mark = session.process_mark.as_ref()?;
    session
        .pid
        .filter(|pid| *pid > 1 && sys::process_mark(*pid).as_ref() == Some(mark))
}

/// Kills the process group of a session whose leader lives: the only means on systems that cannot find families.
fn end_group(session: &Unfinished, ended: &FamilyEnd) {
    if let Some(pid) = living_leader(session)
        && !ended.pids.contains(&pid)
        && sys::kill_group(pid, libc::SIGKILL).is_ok()
    {
        say!(OrphanKilled, session: Some(session.id), pid);
    }
}
