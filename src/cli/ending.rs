//! How a session ended, for `run`, `attach` and `wait`: the exit code and a sentence.

use std::time::Duration;

use libc::SIGKILL;

use crate::api::{EndedBy, ExitPayload, KillPayload, SessionRecord, SessionStatus, Word};

/// Exit code after a time limit, as of timeout(1); also of `wait`'s own.
pub(super) const TIMED_OUT: u8 = 124;

/// Exit code if coven itself failed or lost the session.
pub(super) const FAILED: u8 = 125;

/// A shell's exit code for SIGTERM.
const TERMINATED: u8 = 143;

/// A shell's exit code for SIGKILL.
const KILLED: u8 = 137;

/// Text for a session that the OOM killer ended.
pub(super) const OOM_KILLED: &str = "killed by the kernel for memory";

/// Facts about a session's end.
#[derive(Debug, Default)]
pub(super) struct EndFacts {
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// Missing for an older daemon.
    pub ended_by: Option<EndedBy>,
    /// The OOM killer killed it.
    oom_killed: bool,
    status: Option<SessionStatus>,
    /// The limit that ended it, if known.
    limit: Option<String>,
}

impl EndFacts {
    /// The end by a session's `exit` event, and its `kill` event, if any.
    pub(super) fn of_events(exit: &ExitPayload, kill: Option<&KillPayload>) -> Self {
        Self {
            exit_code: exit.exit_code,
            signal: exit.signal,
            ended_by: exit.ended_by.as_ref().and_then(Word::known),
            oom_killed: exit.oom_killed,
            status: None,
            limit: kill.and_then(limit),
        }
    }

    pub(super) fn of_record(record: &SessionRecord) -> Self {
        Self {
            exit_code: record.exit_code,
            signal: record.signal,
            ended_by: record.ended_by.as_ref().and_then(Word::known),
            oom_killed: record.oom_killed,
            status: Some(record.status),
            limit: None,
        }
    }

    /// Exit code of the waiting command. A note of the help has this table.
    pub(super) fn code(&self) -> u8 {
        match self.ended_by {
            // The grace period was over.
            Some(EndedBy::Kill) if self.signal == Some(SIGKILL) => KILLED,
            Some(EndedBy::Kill | EndedBy::DaemonStop) => TERMINATED,
            Some(EndedBy::Timeout | EndedBy::Idle | EndedBy::TokenLimit) => TIMED_OUT,
            Some(EndedBy::Lost) => FAILED,
            Some(EndedBy::Exit | EndedBy::Signal) | None => self.own_code(),
        }
    }

    /// The harness's own exit code, as a shell reports it.
    fn own_code(&self) -> u8 {
        match (self.exit_code, self.signal, self.status) {
            (Some(code), _, _) => u8::try_from(code).unwrap_or(1),
            (None, Some(signal), _) => u8::try_from(128 + signal).unwrap_or(1),
            (None, None, Some(SessionStatus::Completed | SessionStatus::Idle)) => 0,
            (None, None, Some(SessionStatus::Killed)) => TERMINATED,
            (None, None, _) => FAILED,
        }
    }

    /// A sentence for an end other than the harness's own exit.
    pub(super) fn sentence(&self, id: &str) -> Option<String> {
        let how = match (self.ended_by, self.signal) {
            (Some(EndedBy::Timeout), _) => self.with_limit("was ended by its time limit"),
            (Some(EndedBy::Idle), _) => self.with_limit("was ended by its idle limit"),
            (Some(EndedBy::TokenLimit), _) => self.with_limit("was ended by its token limit"),
            (Some(EndedBy::DaemonStop), _) => "was ended by the daemon's stop".to_owned(),
            (Some(EndedBy::Lost), _) => "was lost by its daemon".to_owned(),
            (Some(EndedBy::Kill), Some(SIGKILL)) => {
                "was killed: SIGKILL, after the grace period".to_owned()
            }
            (Some(EndedBy::Kill), _) => "was killed".to_owned(),
            (_, Some(_)) if self.oom_killed => format!("was {OOM_KILLED}"),
            (_, None) if self.oom_killed => format!("had a process {OOM_KILLED}"),
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            (_, None) => return None,
        };
        Some(format!("session {id} {how}"))
    }

    fn with_limit(&self, how: &str) -> String {
        match &self.limit {
            Some(limit) => format!("{how} of {limit}"),
            None => how.to_owned(),
        }
    }
}

/// The limit in a `kill` event.
fn limit(kill: &KillPayload) -> Option<String> {
    let time = kill.limit_ms.map(Duration::from_millis).map(seconds);
    time.or_else(|| Some(format!("{} tokens", kill.limit_tokens?)))
}

/// A time limit in seconds, with fraction if any.
fn seconds(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => format!("{} s", limit.as_secs()),
        _ => format!("{} s", limit.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_says_what_ended_the_session() {
        let code = |ended_by, exit_code, signal, status| {
            let ending = EndFacts {
                exit_code,
                signal,
                ended_by,
                status,
                ..EndFacts::default()
            };
            ending.code()
        };
        use EndedBy::{DaemonStop, Exit, Idle, Kill, Lost, Signal, Timeout, TokenLimit};
        for (ended_by, exit_code, signal, expected) in [
            (Some(Exit), Some(0), None, 0),
            (Some(Exit), Some(3), None, 3),
            (Some(Exit), Some(255), None, 255),
            (Some(Signal), None, Some(9), 137),
            (Some(Signal), None, Some(11), 139),
            // gemini exits with 0 on SIGTERM.
            (Some(Kill), Some(0), None, 143),
            (Some(Kill), Some(7), None, 143),
            (Some(Kill), None, Some(15), 143),
            (Some(Kill), None, Some(9), 137),
            (Some(DaemonStop), Some(0), None, 143),
            (Some(DaemonStop), None, Some(9), 143),
            (Some(Timeout), Some(0), None, 124),
            (Some(Timeout), None, Some(9), 124),
            (Some(Idle), Some(0), None, 124),
            (Some(TokenLimit), None, Some(15), 124),
            (Some(Lost), None, None, 125),
            (None, Some(4), None, 4),
            (None, None, None, 125),
        ] {
            assert_eq!(code(ended_by, exit_code, signal, None), expected);
        }
        let of_record = |status| code(None, None, None, Some(status));
        assert_eq!(of_record(SessionStatus::Completed), 0);
        assert_eq!(of_record(SessionStatus::Orphaned), 125);
        assert_eq!(of_record(SessionStatus::Killed), 143);
    }

    #[test]
    fn a_limit_is_named_in_seconds() {
        assert_eq!(seconds(Duration::from_secs(1)), "1 s");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5 s");
    }
}
