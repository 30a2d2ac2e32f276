//! Live figures of running sessions: CPU time, memory, output. Read when a client asks for them, never on a timer.
//!
//! Runs on the connection threads, because a pass over many processes takes milliseconds. It does not know how the
//! processes of a session are found.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Context;
use crate::api::{SessionCost, SessionId, SessionRecord, SessionStatus, Timestamp};
use crate::harness::family;
use crate::settings::durations;
use crate::state::{Command, Running};
use crate::sys::{self, FamilyUse};

type Uses = Arc<HashMap<SessionId, FamilyUse>>;

/// The result of the last pass over all processes. Concurrent requests wait for the lock and share one pass.
#[derive(Default)]
pub struct LastPass(Mutex<Option<(Instant, Uses)>>);

impl LastPass {
    /// CPU time and memory by session, at most a second old. Sessions that have started since the pass are missing.
    fn uses(&self, running: &HashMap<SessionId, Running>) -> Uses {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, uses)) if at.elapsed() < durations::LIVE_FIGURES => Arc::clone(uses),
            _ => {
                let families = running.values().map(|one| family(one.id, one.pid));
                let uses = sys::family_uses(&families.collect::<Vec<_>>());
                let uses: Uses = Arc::new(running.keys().copied().zip(uses).collect());
                *last = Some((Instant::now(), Arc::clone(&uses)));
                uses
            }
        }
    }
}

/// The live figures of all running sessions.
pub(super) struct Figures {
    running: HashMap<SessionId, Running>,
    uses: Uses,
}

impl Figures {
    /// Fills in the live figures if the session runs.
    pub(super) fn complete(&self, record: &mut SessionRecord) {
        let running = self.running.get(&record.id);
        let Some(running) = running.filter(|_| record.status == SessionStatus::Running) else {
            return;
        };
        let known = self.uses.get(&record.id).copied();
        let usage = known.or_else(|| sys::leader_use(record.pid?));
        record.cost = SessionCost {
            started_at: record.cost.started_at,
            cpu_ms: usage.map(|usage| usage.leader_cpu_ms),
            ..running.tally.written()
        };
        record.family_cpu_ms = usage.map(|usage| usage.cpu_ms);
        record.family_rss_bytes = usage.map(|usage| usage.rss_bytes);
        record.last_output_at = running.tally.last_output_at();
    }
}

impl Context {
    /// The running sessions; none if the state thread does not answer, so that records are still shown.
    pub(super) fn running(&self) -> HashMap<SessionId, Running> {
        let running = match self.live.load(Ordering::Relaxed) {
            0 => Vec::new(),
            _ => self
                .ask_within(durations::LIVE_FIGURES, Command::ListRunning)
                .unwrap_or_default(),
        };
        running.into_iter().map(|one| (one.id, one)).collect()
    }

    /// The harness of each running session, and the time since its last output.
    pub(super) fn silences(&self) -> impl Iterator<Item = (String, Duration)> + use<> {
        let now = Timestamp::now();
        let running = self.running().into_values();
        let running = running.filter(|one| one.pid.is_some());
        running.map(move |one| (one.harness, one.tally.silent_since().until(now)))
    }

    /// The live figures of all running sessions.
    pub(super) fn figures(&self) -> Figures {
        let running = self.running();
        let uses = match running.is_empty() {
            true => Uses::default(),
            false => self.last_pass.uses(&running),
        };
        Figures { running, uses }
    }
}
