//! Declares every log event once: name, level, fields, and the question that it answers.
//!
//! Runs on the thread that logs. The table of coven-log(7) and the diagnostics report are generated from here.

use log::kv::{self, Key, Source, Value, VisitSource};
use log::{Level, Record};

use super::field::{
    CloseCause, Harness, KillCause, Kind, LogField, Method, NamedSession, Place, Reason, Request,
    Route, StateInput, StopCause, Text, Untouched, Verb, Version, WatchedThread,
};
use crate::api::{Code, Fault, OnEnd, SessionId, SessionStatus, Word};
use crate::sys::Exit;

type Path<'a> = std::path::Display<'a>;

/// Declaration of an event.
#[derive(Debug, Clone, Copy)]
pub struct DeclaredEvent {
    pub name: &'static str,
    /// The question that the event answers.
    pub answers: &'static str,
    /// The levels at which it is logged.
    pub levels: &'static [Level],
    /// The fields in the order of the line. A field without a value is omitted.
    pub fields: &'static [(&'static str, Kind)],
}

/// Syntax: `Variant "name" Level { fields }`, with the question as doc comment. `or Level if (condition)` declares a
/// second level; `code X` adds a constant first field.
macro_rules! events {
    ($($(#[doc = $answers:literal])+ $variant:ident $name:literal $level:ident $(or $worse:ident if ($is_worse:expr))?
        $(code $code:ident)? { $($field:ident: $type:ty),* $(,)? })*) => {
        /// A log event with its fields; `'a` is the lifetime of borrowed values.
        pub(crate) enum LogEvent<'a> {
            $($(#[doc = $answers])+ #[allow(missing_docs)] $variant { $($field: $type),* },)*
        }

        impl<'a> LogEvent<'a> {
            /// All events, in the order of the page's table.
            pub const ALL: &'static [DeclaredEvent] = &[$(DeclaredEvent {
                name: $name,
                answers: concat!($($answers),+),
                levels: &[Level::$level $(, Level::$worse)?],
                fields: &[
                    $((stringify!(code), { let _ = Code::$code; Code::KIND }),)?
                    $((stringify!($field), <$type as LogField>::KIND)),*
                ],
            }),*];

            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name),* }
            }

            #[allow(unused_variables)]
            pub fn level(&self) -> Level {
                match self {
                    $(Self::$variant { $($field),* } => {
                        $(if $is_worse { return Level::$worse; })?
                        Level::$level
                    })*
                }
            }
        }

        impl Source for LogEvent<'_> {
            fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
                visitor.visit_pair(Key::from_str("event"), Value::from(self.name()))?;
                match self {
                    $(Self::$variant { $($field),* } => {
                        $(visitor.visit_pair(Key::from_str("code"), Value::from(Code::$code.as_str()))?;)?
                        $(if let Some(value) = $field.value() {
                            visitor.visit_pair(Key::from_str(stringify!($field)), value)?;
                        }
                        if let Some(fault) = $field.fault() {
                            visitor.visit_pair(Key::from_str(fault.field()), fault.code().into())?;
                        })*
                    })*
                }
                Ok(())
            }
        }
    };
}

events! {
    /// Did the daemon bind the expected socket?
    SocketBound "socket_bound" Info { socket: Path<'a> }
    /// Did the store open?
    StoreOpened "store_opened" Info { path: Path<'a>, sessions: u64 }
    /// Did the health route serve the expected contract? Asked over the socket, at start.
    ContractServed "contract_served" Info {
        contract: Version<'a>, expected: Version<'a>, version: Version<'a>, pid: u32, socket: Path<'a>,
    }
    /// Did a launch request fail validation? An error from status 500 on.
    LaunchRejected "launch_rejected" Warn or Error if (*status >= 500) {
        code: Code, request: Request<'a>, route: Route<'a>, status: u16, session: Option<NamedSession<'a>>,
        took_ms: u64, reason: Reason<'a>,
    }
    /// Did a harness spawn fail?
    SpawnFailed "spawn_failed" Error {
        code: Code, request: Request<'a>, route: Route<'a>, status: u16, session: Option<NamedSession<'a>>,
        took_ms: u64, reason: Reason<'a>,
    }
    /// Did a live input or kill request target a non-live session?
    SessionNotLive "session_not_live" Warn {
        code: Code, request: Request<'a>, route: Route<'a>, status: u16, session: Option<NamedSession<'a>>,
        took_ms: u64, reason: Reason<'a>,
    }
    /// Why was another request refused? An error from status 500 on.
    RequestFailed "request_failed" Warn or Error if (*status >= 500) {
        code: Code, request: Request<'a>, route: Route<'a>, status: u16, session: Option<NamedSession<'a>>,
        took_ms: u64, reason: Reason<'a>,
    }
    /// Did a request meet a bug?
    InternalError "internal_error" Error {
        code: Code, request: Request<'a>, route: Route<'a>, status: u16, session: Option<NamedSession<'a>>,
        took_ms: u64, reason: Reason<'a>,
    }
    /// Which requests came, and how long did they take?
    Request "request" Debug {
        request: Request<'a>, method: Method<'a>, route: Route<'a>, session: Option<NamedSession<'a>>, status: u16,
        bytes: usize, took_us: u64,
    }
    /// Which command failed? In `logs/cli.log`, not in the daemon's log.
    CommandFailed "command_failed" Error { verb: Verb<'a>, code: Word<Code>, exit: u8, pid: u32 }
    /// Were there too many connections?
    ConnectionRefused "connection_refused" Warn code TooManyConnections {
        request: Request<'a>, route: Route<'a>, status: u16, limit: usize,
    }
    /// Why did a connection get no thread?
    ThreadFailed "thread_failed" Warn code TooManyConnections { reason: Reason<'a> }
    /// Why was a connection not accepted?
    AcceptFailed "accept_failed" Error code InternalError { reason: Reason<'a> }
    /// Were there too many open files for a connection?
    OutOfDescriptors "out_of_descriptors" Warn code TooManyConnections { reason: Reason<'a> }
    /// Did another user try to connect?
    PeerRefused "peer_refused" Warn { uid: Option<u32>, reason: Option<Reason<'a>> }
    /// Which process runs a session?
    SessionStarted "session_started" Info { session: SessionId, pid: i32, harness: Harness<'a> }
    /// How did a session end? `oom_killed`: the OOM killer killed it. Without a process it has `code` and `reason`.
    SessionEnded "session_ended" Info {
        session: SessionId, pid: Option<i32>, status: SessionStatus, exit: Option<Exit>, oom_killed: Option<bool>,
        code: Option<Code>, reason: Option<Reason<'a>>,
    }
    /// What ended a session: a client, its time limit, the daemon's stop? A warning once the grace period is over.
    SessionKill "session_kill" Info or Warn if (*why == KillCause::GraceOver) {
        session: SessionId, pid: i32, why: KillCause,
    }
    /// Which signal did a client send to a session's processes, other than to end it?
    SessionSignalled "session_signalled" Info { session: SessionId, pid: i32, signal: i32 }
    /// How many processes that outlived a session's harness were ended?
    SessionSwept "session_swept" Info { session: SessionId, pid: Option<i32>, processes: usize }
    /// Which processes did a session leave running at its end? `names` has pids and names of the first hundred.
    SessionLeftBehind "session_left_behind" Info { session: SessionId, processes: usize, names: Text<'a> }
    /// Which session's output is still read after its end, since a left process holds it?
    SessionLate "session_late" Info { session: SessionId }
    /// Why was a late stream closed while a process still held it?
    LateStreamClosed "late_stream_closed" Info { session: SessionId, why: CloseCause }
    /// Which sessions did a dead daemon leave behind?
    SessionOrphaned "session_orphaned" Info { session: SessionId }
    /// Why were the processes of orphaned sessions left alone? The store is a copy of one that the daemon `owner` serves, comes
    /// from another boot or PID namespace, or tells no owner.
    OrphansUntouched "orphans_untouched" Warn { why: Untouched, owner: Option<i32>, sessions: usize }
    /// Which processes did a dead daemon leave behind?
    OrphanKilled "orphan_killed" Warn { session: Option<SessionId>, pid: i32 }
    /// Why does a process not end?
    KillFailed "kill_failed" Error code KillFailed { session: Option<SessionId>, reason: Reason<'a> }
    /// Why could an ended process not be reaped?
    ReapFailed "reap_failed" Error { session: SessionId, pid: i32, reason: Reason<'a> }
    /// Did the thread of a session meet a bug?
    HarnessLost "harness_lost" Error code InternalError { session: SessionId, reason: Reason<'a> }
    /// Which input did not fit a session's phase? It was ignored; it is a bug.
    SessionUnexpected "session_unexpected" Error code InternalError {
        session: SessionId, input: Text<'a>, phase: Text<'a>,
    }
    /// Was the disk full?
    StoreFailed "store_failed" Error code StoreUnavailable { reason: Reason<'a> }
    /// Which page of the database is damaged?
    StoreDamaged "store_damaged" Error code StoreUnavailable { reason: Reason<'a> }
    /// Has a check found a damaged database intact again?
    StoreWhole "store_whole" Info { reason: Reason<'a> }
    /// For how long could the store not be written?
    StoreRecovered "store_recovered" Info { outage_ms: u64 }
    /// Which file of the database was removed or replaced while the daemon ran? The open database is saved as `copy`.
    StoreLost "store_lost" Error code StoreUnavailable { path: Path<'a>, copy: Path<'a> }
    /// Where was a database saved whose file was removed?
    StoreSaved "store_saved" Warn { path: Path<'a>, bytes: u64 }
    /// Why was a database whose file was removed not saved?
    StoreSaveFailed "store_save_failed" Error code StoreUnavailable { path: Path<'a>, reason: Reason<'a> }
    /// Which write-ahead log belongs to another database? It is kept as `aside`.
    LogOrphaned "log_orphaned" Warn { path: Path<'a>, aside: Path<'a> }
    /// Are the database's files in place again?
    StoreBack "store_back" Info { path: Path<'a> }
    /// Why can the store's write-ahead log not be reset: a failed disk, a reader?
    CheckpointFailed "checkpoint_failed" Warn code StoreUnavailable { reason: Reason<'a> }
    /// Was a session archived or deleted by its launch's `onEnd`?
    OnEndDone "on_end_done" Info { session: SessionId, action: OnEnd }
    /// Why did a session's `onEnd` fail? It is retried.
    OnEndFailed "on_end_failed" Warn code StoreUnavailable { session: Option<SessionId>, reason: Reason<'a> }
    /// How much output did retention delete?
    OutputTruncated "output_truncated" Info { sessions: u64, events: u64, bytes: u64 }
    /// Which session's output exceeds its limit?
    SessionOutputCapped "session_output_capped" Warn { session: NamedSession<'a>, limit_bytes: u64 }
    /// Why is the store larger than its limit?
    StoreOverLimit "store_over_limit" Warn { limit_bytes: u64 }
    /// By how much was the wall clock set? Ages do not follow it.
    ClockSet "clock_set" Warn { seconds: i64 }
    /// Why is old output kept? The wall clock was set while no daemon ran.
    RetentionWaits "retention_waits" Warn { difference_seconds: i64, left_seconds: i64 }
    /// Why did a retention sweep fail?
    RetentionFailed "retention_failed" Warn code StoreUnavailable { reason: Reason<'a> }
    /// Which file of the home was removed, and created again?
    HomeFileRestored "home_file_restored" Warn { path: Path<'a> }
    /// Which file of the home was removed, and why can it not be created again?
    HomeFileLost "home_file_lost" Error { path: Path<'a>, reason: Reason<'a> }
    /// Where was the home moved to while the daemon ran?
    HomeMoved "home_moved" Warn { path: Path<'a> }
    /// Which home was deleted while the daemon ran, so that it stops?
    HomeGone "home_deleted" Error code HomeDeleted { path: Path<'a> }
    /// Why does the daemon not notice removed files at once? It checks before launches, with each sweep, and on SIGHUP.
    HomeUnwatched "home_unwatched" Warn { reason: Reason<'a> }
    /// Which manifest was rejected?
    ManifestRefused "manifest_refused" Error { path: Path<'a>, reason: Reason<'a> }
    /// Which redaction pattern was rejected?
    RedactPatternRefused "redact_pattern_refused" Warn { path: Path<'a>, line: usize, reason: Reason<'a> }
    /// Which line of the file `env` was ignored? Line 0 is the file itself.
    EnvIgnored "env_ignored" Warn { path: Path<'a>, line: usize, reason: Reason<'a> }
    /// Which unknown variable resembles the name of a setting?
    SettingMisspelt "setting_misspelt" Warn { name: Text<'a>, meant: Text<'a> }
    /// To which program is the daemon handed over, with how many sessions?
    UpgradeBegun "upgrade_begun" Info { from: Version<'a>, to: Version<'a>, sessions: usize }
    /// Did the new program take over, and how long did sessions and clients wait?
    Upgraded "upgraded" Info { from: Version<'a>, to: Version<'a>, sessions: usize, took_ms: u64 }
    /// Why could the new program not take over, so that the previous one goes on?
    UpgradeFailed "upgrade_failed" Error code UpgradeFailed { sessions: usize, took_ms: u64, reason: Reason<'a> }
    /// Was the configuration reloaded?
    Reloaded "reloaded" Info { pid: u32 }
    /// Why could the log's file not be reopened?
    LogNotReopened "log_not_reopened" Warn { path: Path<'a>, reason: Reason<'a> }
    /// Why could the service manager not be notified?
    NotifyFailed "notify_failed" Warn { socket: Option<Path<'a>>, reason: Reason<'a> }
    /// Which watchdog period does the service manager expect?
    WatchdogStarted "watchdog_started" Info { period_ms: u64 }
    /// Which thread hangs, so that the watchdog restarts the daemon?
    WatchdogWithheld "watchdog_withheld" Warn code InternalError { thread: WatchedThread }
    /// Which signal did the daemon get?
    Signal "signal" Info { signal: i32 }
    /// Does the daemon stop, and with how many sessions? A warning where a second signal ends the grace period.
    DaemonStopping "daemon_stopping" Info or Warn if (why.is_some()) { sessions: usize, why: Option<StopCause> }
    /// What was lost when the daemon stopped before the store could be written?
    SessionUnwritten "session_unwritten" Error code StoreUnavailable {
        session: SessionId, events: u64, bytes: u64, unread_bytes: u64, exited: bool,
    }
    /// Did the daemon stop with everything on disk?
    DaemonStopped "daemon_stopped" Info { clean: bool }
    /// Why did the daemon not start, or not stop cleanly?
    DaemonFailed "daemon_failed" Error { code: Code, reason: Reason<'a> }
    /// Which event blocked the state thread?
    StateSlow "state_slow" Warn { what: StateInput, took_ms: u64 }
    /// How many log lines were dropped here?
    LogLinesLost "log_lines_lost" Warn { lines: u64 }
    /// Where did the program panic? It is a bug.
    Panic "panic" Error code InternalError { thread: Text<'a>, at: Place<'a>, message: Text<'a> }
}

impl DeclaredEvent {
    /// The declaration of the event `name`.
    pub fn of(name: &str) -> Option<&'static Self> {
        LogEvent::ALL.iter().find(|declared| declared.name == name)
    }

    /// The field `name` and its kind. A reason's line also has the code of the failure.
    pub fn field(&self, name: &str) -> Option<(&'static str, Kind)> {
        let has_reason = || {
            self.fields
                .iter()
                .any(|(_, kind)| matches!(kind, Kind::Reason))
        };
        let codes = Fault::FIELDS.iter().filter(|_| has_reason());
        let codes = codes.map(|code| (*code, Kind::Number));
        let mut fields = self.fields.iter().copied().chain(codes);
        fields.find(|(field, _)| *field == name)
    }
}

/// Logs a [`LogEvent`] of the calling module: `say!(Variant, field: value, field)`.
macro_rules! say {
    ($event:ident, $($field:ident $(: $value:expr)?),+ $(,)?) => {
        $crate::observe::log_event(
            module_path!(),
            &$crate::observe::LogEvent::$event { $($field $(: $value)?),+ },
        )
    };
}
pub(crate) use say;

/// Logs `event` for `module`, by which `COVEN_LOG` filters. Called by [`say!`].
pub(crate) fn log_event(module: &str, event: &LogEvent<'_>) {
    let level = event.level();
    if level <= log::max_level() {
        let mut record = Record::builder();
        record.level(level).target(module).key_values(event);
        log::logger().log(&record.build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The questions of the observability guide about a daemon's log.
    const GUIDE: [&str; 6] = [
        "Did the daemon bind the expected socket?",
        "Did the store open?",
        "Did the health route serve the expected contract?",
        "Did a launch request fail validation?",
        "Did a harness spawn fail?",
        "Did a live input or kill request target a non-live session?",
    ];

    #[test]
    fn every_question_of_the_guide_has_its_event() {
        for question in GUIDE {
            let is_answered =
                |declared: &DeclaredEvent| declared.answers.trim().starts_with(question);
            assert!(LogEvent::ALL.iter().any(is_answered), "{question}");
        }
    }
}
