//! Session records, and the bodies of requests about sessions.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::is_false;
use super::wire::wire;
use super::{
    ApiError, Labels, LaunchOptions, PATH_MAX, SessionCost, SessionId, Timestamp, Usage, Word,
    rules, words,
};
use crate::sys::Process;

words! {
    /// Status of a session.
    pub enum SessionStatus {
        /// The row is on disk; the harness has not started.
        Created = "created",
        /// The harness runs.
        Running = "running",
        /// Exit 0 of a session with a conversation, which can be continued.
        Idle = "idle",
        /// Exit 0.
        Completed = "completed",
        /// Another exit code, a signal that the daemon did not send, or a failed launch.
        Failed = "failed",
        /// Ended by a client's kill, a limit, or the daemon's stop.
        Killed = "killed",
        /// The daemon that ran it has died.
        Orphaned = "orphaned",
    }
}

impl SessionStatus {
    /// True if the session has ended.
    pub fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Running => false,
            Self::Idle | Self::Completed | Self::Failed | Self::Killed | Self::Orphaned => true,
        }
    }
}

words! {
    /// Cause of an end that the daemon brings about.
    pub enum EndCause {
        /// A client's kill.
        Kill = "kill",
        /// The time limit `timeoutMs`.
        Timeout = "timeout",
        /// No output for `idleTimeoutMs`.
        Idle = "idle",
        /// The token limit `maxTokens`.
        TokenLimit = "token_limit",
        /// The daemon's stop.
        DaemonStop = "stop",
    }

    /// Cause of a session's end.
    pub enum EndedBy {
        /// The harness exited by itself.
        Exit = "exit",
        /// A signal that the daemon did not send.
        Signal = "signal",
        /// A client's kill.
        Kill = "kill",
        /// The time limit `timeoutMs`.
        Timeout = "timeout",
        /// No output for `idleTimeoutMs`.
        Idle = "idle",
        /// The token limit `maxTokens`.
        TokenLimit = "token_limit",
        /// The daemon's stop.
        DaemonStop = "daemon_stop",
        /// The daemon, or the session's thread, died.
        Lost = "lost",
    }
}

impl From<EndCause> for EndedBy {
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Kill => Self::Kill,
            EndCause::Timeout => Self::Timeout,
            EndCause::Idle => Self::Idle,
            EndCause::TokenLimit => Self::TokenLimit,
            EndCause::DaemonStop => Self::DaemonStop,
        }
    }
}

/// Largest capacity of a stdout pipe, in bytes: as much as an unprivileged user can set (pipe(7), `pipe-max-size`).
pub const STDOUT_PIPE_MAX: usize = 1024 * 1024;

/// Most processes that are recorded as left behind.
const LEFT_BEHIND_MAX: usize = 100;

wire! {
    /// A process that has outlived its session.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LeftProcess {
        pub pid: i32,
        /// Name that it gives itself.
        pub name: String,
        /// Tells it from a later process with the same pid. Not shown to clients: it names the boot.
        #[serde(skip)]
        pub mark: String,
    }
}

/// The processes that have outlived their session, by pid; at most one hundred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeftBehind(pub Vec<LeftProcess>);

impl LeftBehind {
    /// Keeps the first hundred of `processes`.
    pub fn new(processes: Vec<Process>) -> Self {
        let processes = processes.into_iter().take(LEFT_BEHIND_MAX);
        let left = |Process { pid, name, mark }| LeftProcess { pid, name, mark };
        Self(processes.map(left).collect())
    }

    /// Each pid with its process mark.
    pub fn known(&self) -> Vec<(i32, String)> {
        let known = self.0.iter().map(|left| (left.pid, left.mark.clone()));
        known.collect()
    }
}

impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, LeftProcess { pid, name, .. }) in self.0.iter().enumerate() {
            let separator = if at > 0 { ", " } else { "" };
            write!(f, "{separator}{pid} {name}")?;
        }
        Ok(())
    }
}

wire! {
    /// A session, as every route shows it.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct SessionRecord {
        /// The session's id, a UUID unless a client chose it.
        pub id: SessionId,
        /// The canonical project root.
        pub project_root: String,
        /// Id of the harness.
        pub harness: String,
        /// Title for people.
        pub title: String,
        /// State, or kind of end.
        pub status: SessionStatus,
        /// The exit code; null while it runs, or if a signal terminated it.
        pub exit_code: Option<i32>,
        /// When it was archived; null if it is in the list.
        pub archived_at: Option<Timestamp>,
        /// When it was launched or registered.
        pub created_at: Timestamp,
        /// When its status last changed, or late output last arrived.
        pub updated_at: Timestamp,
        /// The client's options, and how it was launched.
        #[serde(flatten)]
        pub options: LaunchOptions,
        /// Always null in this contract.
        pub execution_binding: Option<Value>,
        /// True for a session that the daemon does not run.
        pub external: bool,
        /// Path of an external session's transcript.
        pub transcript_path: Option<String>,
        /// The canonical working directory; null for an external session.
        pub cwd: Option<String>,
        /// Pid of the harness, which is also its process group; null before the spawn.
        pub pid: Option<i32>,
        /// Capacity of its stdout pipe, in bytes; null before it runs, or if unknown.
        pub stdout_pipe_bytes: Option<u64>,
        /// Seq of its last event.
        pub last_seq: u64,
        /// The signal that terminated the harness.
        pub signal: Option<i32>,
        /// Cause of its end; null while it lives, for a failed launch, and if an older version recorded the end.
        pub ended_by: Option<Word<EndedBy>>,
        /// True if the OOM killer killed the harness, or a process that the harness waited for.
        #[serde(default)]
        pub oom_killed: bool,
        /// The harness's own id of its conversation, given or reported. It can be continued.
        pub harness_session_id: Option<String>,
        /// The session whose conversation it continues.
        pub continued_from: Option<SessionId>,
        /// Model usage; null if its harness reported none.
        pub usage: Option<Usage>,
        /// Processes that it left running at its end.
        #[serde(default)]
        pub left_behind: LeftBehind,
        /// Its cost; while it runs, the cost so far.
        #[serde(flatten)]
        pub cost: SessionCost,
        /// While it runs, the CPU time of all its living processes and the children that they have waited for, in
        /// milliseconds; at most a second old. Null if the system does not tell.
        pub family_cpu_ms: Option<u64>,
        /// While it runs, the resident memory of all its processes, in bytes; shared pages count for each. At most a second
        /// old. Null if the system does not tell.
        pub family_rss_bytes: Option<u64>,
        /// While it runs, the time of its last output; null before the first.
        pub last_output_at: Option<Timestamp>,
    }
}

impl SessionRecord {
    /// A new session's record, created now, with defaults for all other fields.
    pub fn new(id: SessionId, project_root: String, harness: String, title: String) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            project_root,
            harness,
            title,
            status: SessionStatus::Created,
            exit_code: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
            options: LaunchOptions::default(),
            execution_binding: None,
            external: false,
            transcript_path: None,
            cwd: None,
            pid: None,
            stdout_pipe_bytes: None,
            last_seq: 0,
            signal: None,
            ended_by: None,
            oom_killed: false,
            harness_session_id: None,
            continued_from: None,
            usage: None,
            left_behind: LeftBehind::default(),
            cost: SessionCost::default(),
            family_cpu_ms: None,
            family_rss_bytes: None,
            last_output_at: None,
        }
    }
}

wire! {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct SessionPage {
        pub sessions: Vec<SessionRecord>,
        /// Cursor of the next page; null on the last.
        pub next_cursor: Option<String>,
    }

    /// The query of `GET /sessions`. Without any parameter the answer is an array instead of a page.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct SessionsQuery {
        /// Sessions of a page, 1 to 1000; default 100.
        #[serde(deserialize_with = "rules::page_limit")]
        pub limit: Option<u64>,
        /// `next_cursor` of the previous page.
        pub cursor: Option<String>,
        /// Includes archived sessions.
        pub include_archived: Option<bool>,
        /// Only sessions whose id starts with this.
        #[serde(deserialize_with = "rules::id_prefix")]
        pub id_prefix: Option<String>,
        /// Only sessions of this harness.
        pub harness: Option<String>,
        /// Only sessions of this conversation, by `harness_session_id` or `conversation_id`.
        #[serde(deserialize_with = "rules::optional_conversation_id")]
        pub conversation: Option<String>,
    }

    /// The body of `POST /sessions/external`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct ExternalRequest {
        /// The client's id for it: 1 to 200 characters without control characters, `/`, `?`, `#`, and white space at its ends.
        #[serde(deserialize_with = "rules::given_id")]
        pub id: String,
        /// An absolute path, as the client sees it.
        #[serde(deserialize_with = "rules::absolute")]
        pub project_root: String,
        /// Name of the program that runs it.
        #[serde(deserialize_with = "rules::argument")]
        pub harness: String,
        /// Default: the harness. Stored up to 1024 bytes.
        #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
        pub title: Option<String>,
        /// Path of its transcript.
        #[serde(default, deserialize_with = "rules::text::<{ PATH_MAX - 1 }, _>")]
        pub transcript_path: Option<String>,
        /// The client's labels.
        #[serde(default, deserialize_with = "rules::labels")]
        pub labels: Labels,
    }

    /// The optional body of `POST /sessions/:id/complete`.
    #[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct CompleteRequest {
        /// Its exit code; null and 0 mean success.
        pub exit_code: Option<i32>,
    }

    /// The body of `PATCH /sessions/:id`: changes of a record. Absent fields stay unchanged.
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    pub struct EditRequest {
        /// The new title, not blank. Stored up to 1024 bytes.
        #[serde(
            deserialize_with = "rules::optional_prompt",
            skip_serializing_if = "Option::is_none"
        )]
        pub title: Option<String>,
        /// Labels to append, unless present.
        #[serde(deserialize_with = "rules::filled_labels")]
        pub add_labels: Labels,
        /// Labels to remove, if present.
        #[serde(deserialize_with = "rules::filled_labels")]
        pub remove_labels: Labels,
    }

    /// The body of `POST /sessions/:id/input`: data, end of file, or both.
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(default)]
    pub struct InputRequest {
        /// Data for the harness's stdin, byte for byte.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data: Option<String>,
        /// `data` under another client's name.
        #[serde(skip_serializing)]
        pub input: Option<String>,
        /// `data` under another client's name.
        #[serde(skip_serializing)]
        pub text: Option<String>,
        /// Closes stdin after the data.
        #[serde(skip_serializing_if = "is_false")]
        pub eof: bool,
    }
    r#"{"anyOf":[
        {"required":["data"],"properties":{"data":{"type":"string"}}},
        {"required":["input"],"properties":{"input":{"type":"string"}}},
        {"required":["text"],"properties":{"text":{"type":"string"}}},
        {"required":["eof"],"properties":{"eof":{"const":true}}}
    ]}"#
}

impl InputRequest {
    /// Data without end of file.
    pub fn data(data: impl Into<String>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::default()
        }
    }

    /// The data, under any of its names; empty for an end of file alone.
    ///
    /// # Errors
    /// There is neither data nor end of file.
    pub fn into_data(self) -> Result<String, ApiError> {
        match self.data.or(self.input).or(self.text) {
            Some(data) => Ok(data),
            None if self.eof => Ok(String::new()),
            None => Err(ApiError::invalid_field("data", "data is missing")),
        }
    }
}

words! {
    /// A signal for a session's process group. The first two end the session; the others are only delivered.
    #[derive(Default)]
    pub enum KillSignal {
        /// Ends it, with SIGKILL after the grace period.
        #[default]
        Term = "TERM",
        /// Ends it at once.
        Kill = "KILL",
        /// As Ctrl-C on a terminal.
        Int = "INT",
        /// As the hangup of a terminal.
        Hup = "HUP",
        /// Defined by the harness.
        Usr1 = "USR1",
        /// Defined by the harness.
        Usr2 = "USR2",
        /// Stops the processes.
        Stop = "STOP",
        /// Continues the processes.
        Cont = "CONT",
        /// As a terminal's new window size.
        Winch = "WINCH",
    }
}

impl KillSignal {
    /// True if it ends the session.
    pub fn ends(self) -> bool {
        matches!(self, Self::Term | Self::Kill)
    }

    /// Its number on this system.
    pub fn number(self) -> i32 {
        match self {
            Self::Term => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Int => libc::SIGINT,
            Self::Hup => libc::SIGHUP,
            Self::Usr1 => libc::SIGUSR1,
            Self::Usr2 => libc::SIGUSR2,
            Self::Stop => libc::SIGSTOP,
            Self::Cont => libc::SIGCONT,
            Self::Winch => libc::SIGWINCH,
        }
    }
}

wire! {
    /// The optional body of `POST /sessions/:id/kill`.
    #[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
    #[serde(default)]
    pub struct KillRequest {
        /// `TERM`, then SIGKILL after the grace period; `KILL` at once; the others are only sent. Default: `TERM`.
        pub signal: KillSignal,
        /// Also ends the processes that the session left running, even if it has ended already.
        pub sweep: bool,
    }

    /// The answer to input and kill.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub struct Accepted {
        /// Always true.
        pub ok: bool,
        /// Always true.
        pub accepted: bool,
        /// Number of processes that outlived the harness and were ended, if the kill requested a sweep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub swept: Option<usize>,
    }

    /// The answer to a delete.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub struct Deleted {
        /// Always true.
        pub ok: bool,
    }
}
