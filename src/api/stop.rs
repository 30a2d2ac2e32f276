//! What a stop of the daemon has left undone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SessionId;

/// The answer to `POST /daemon/stop`: given when everything is over, as the daemon's last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// Every session's end is on disk.
    pub clean: bool,
    /// Where it is not clean, why not.
    pub reason: Option<String>,
    /// The sessions whose end is not on disk.
    pub unwritten: Vec<UnwrittenSession>,
    /// The copy that everything is in, where the database's file had been removed or replaced under the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
}

/// What of a session is not on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnwrittenSession {
    /// Which.
    pub session_id: SessionId,
    /// Events that were not written.
    pub events: u64,
    /// Their payloads, in bytes.
    pub bytes: u64,
    /// Whether its process has ended.
    pub exited: bool,
    /// What its pipes held when it ended and may not have been read, in bytes.
    pub unread_bytes: u64,
}

impl StopReport {
    /// Nothing is left undone.
    pub fn clean() -> Self {
        Self {
            clean: true,
            reason: None,
            unwritten: Vec::new(),
            recovered: None,
        }
    }

    /// The database's files have gone, and everything with them, for this reason.
    pub fn lose_store(&mut self, reason: &str) {
        self.clean = false;
        self.reason = Some(format!("the database could not be saved: {reason}"));
    }

    /// This is.
    pub fn unclean(reason: String, unwritten: Vec<UnwrittenSession>) -> Self {
        Self {
            clean: false,
            reason: Some(reason),
            unwritten,
            recovered: None,
        }
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&UnwrittenSession) -> u64| self.unwritten.iter().map(of).sum::<u64>();
        let (events, bytes) = (sum(|session| session.events), sum(|session| session.bytes));
        write!(f, "{events} events ({bytes} bytes) are not on disk: ")?;
        f.write_str(self.reason.as_deref().unwrap_or("nothing was missed"))?;
        self.unwritten
            .iter()
            .try_for_each(|session| write!(f, "; {session}"))
    }
}

impl fmt::Display for UnwrittenSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            session_id,
            events,
            bytes,
            unread_bytes,
            exited,
        } = self;
        write!(f, "session {session_id}: {events} events, {bytes} bytes")?;
        if *unread_bytes > 0 {
            write!(f, ", and up to {unread_bytes} bytes in its pipes")?;
        }
        if !exited {
            f.write_str(", and its process has not ended")?;
        }
        Ok(())
    }
}
