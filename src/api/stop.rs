//! The result of the daemon's stop.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SessionId;
use super::wire::wire;

wire! {
    /// The answer to `POST /daemon/stop`, the daemon's last: sent when the stop is complete.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct StopReport {
        /// All data of every session is on disk.
        pub clean: bool,
        /// The reason, if it is not clean.
        pub reason: Option<String>,
        /// Sessions with data that is not on disk.
        pub unwritten: Vec<UnwrittenSession>,
        /// The copy that holds everything, if the database's file was removed or replaced while the daemon ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recovered: Option<String>,
    }

    /// Data of a session that is not on disk.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct UnwrittenSession {
        pub session_id: SessionId,
        /// Number of events that were not written.
        pub events: u64,
        /// Size of their payloads, in bytes.
        pub bytes: u64,
        /// Its process has exited.
        pub exited: bool,
        /// Bytes that its pipes held at its exit and that may not have been read.
        pub unread_bytes: u64,
    }
}

impl StopReport {
    /// Everything is on disk.
    pub fn clean() -> Self {
        Self {
            clean: true,
            reason: None,
            unwritten: Vec::new(),
            recovered: None,
        }
    }

    /// Everything is lost with the database's files, for this reason.
    pub fn lose_store(&mut self, reason: &str) {
        self.clean = false;
        self.reason = Some(format!("the database could not be saved: {reason}"));
    }

    /// Some data is not on disk.
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
