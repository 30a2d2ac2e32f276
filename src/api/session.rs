//! Session records, and the bodies of the requests about them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::is_false;
use super::{
    ApiError, Labels, LaunchOptions, PATH_MAX, SessionCost, SessionId, Timestamp, Usage, Word,
    rules, words,
};
use crate::sys::Process;

words! {
    /// Where a session is in its life.
    pub enum SessionStatus {
        /// The row is on disk, the harness is not started yet.
        Created = "created",
        /// The harness runs.
        Running = "running",
        /// Exit 0, with a conversation to come back to.
        Idle = "idle",
        /// Exit 0.
        Completed = "completed",
        /// Another exit code, a signal that nobody asked for, or a failed launch.
        Failed = "failed",
        /// A requested kill, a timeout, or the daemon's stop ended it.
        Killed = "killed",
        /// The daemon that ran it died.
        Orphaned = "orphaned",
    }
}

impl SessionStatus {
    /// Whether no more will happen in this session by itself.
    pub fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Running => false,
            Self::Idle | Self::Completed | Self::Failed | Self::Killed | Self::Orphaned => true,
        }
    }
}

words! {
    /// Why a session is ended that has not ended by itself.
    pub enum EndCause {
        /// A client asked for it.
        Kill = "kill",
        /// Its time limit, `timeoutMs`, has passed.
        Timeout = "timeout",
        /// It has written nothing for `idleTimeoutMs`.
        Idle = "idle",
        /// It has used `maxTokens`.
        TokenLimit = "token_limit",
        /// The daemon stops.
        DaemonStop = "stop",
    }
}

words! {
    /// What a session has ended by.
    pub enum EndedBy {
        /// The harness has exited by itself.
        Exit = "exit",
        /// A signal that the daemon has not sent.
        Signal = "signal",
        /// A client asked for it.
        Kill = "kill",
        /// Its time limit, `timeoutMs`, has passed.
        Timeout = "timeout",
        /// It had written nothing for `idleTimeoutMs`.
        Idle = "idle",
        /// It had used `maxTokens`.
        TokenLimit = "token_limit",
        /// The daemon stopped.
        DaemonStop = "daemon_stop",
        /// The daemon that ran it, or its thread for it, died.
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

/// What the pipe of a harness's stdout holds at most, in bytes: as much as an unprivileged user can ask for (pipe(7),
/// `pipe-max-size`).
pub const STDOUT_PIPE_MAX: usize = 1024 * 1024;

/// How many processes are on record of those that a session has left behind.
const LEFT_BEHIND_MAX: usize = 100;

/// A process that has outlived its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftProcess {
    /// Its number.
    pub pid: i32,
    /// What it calls itself.
    pub name: String,
    /// What tells it from a later process with its pid. Not shown: it names the boot.
    #[serde(skip)]
    pub mark: String,
}

/// The processes that have outlived their session, by pid: the first hundred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeftBehind(pub Vec<LeftProcess>);

impl LeftBehind {
    /// These, as far as they are put on record.
    pub fn new(processes: Vec<Process>) -> Self {
        let processes = processes.into_iter().take(LEFT_BEHIND_MAX);
        let left = |Process { pid, name, mark }| LeftProcess { pid, name, mark };
        Self(processes.map(left).collect())
    }

    /// Each pid with what tells its process from a later one.
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

/// A session, as every route shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// The canonical project root.
    pub project_root: String,
    /// The adapter's id.
    pub harness: String,
    /// A line for people.
    pub title: String,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The exit code; null while it runs, and when a signal ended it.
    pub exit_code: Option<i32>,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// When it was launched or registered.
    pub created_at: Timestamp,
    /// When its status last changed, or late output came last.
    pub updated_at: Timestamp,
    /// What the client has said about it, and how it was launched.
    #[serde(flatten)]
    pub options: LaunchOptions,
    /// Always null in this contract.
    pub execution_binding: Option<Value>,
    /// Whether somebody else runs it.
    pub external: bool,
    /// Where an external session keeps its transcript.
    pub transcript_path: Option<String>,
    /// The canonical working directory; null for an external one.
    pub cwd: Option<String>,
    /// The harness's process, which is also its process group; null before the spawn.
    pub pid: Option<i32>,
    /// What the pipe of its stdout holds, in bytes; null before it runs, and where that is not known.
    #[serde(default)]
    pub stdout_pipe_bytes: Option<u64>,
    /// The seq of its newest event.
    pub last_seq: u64,
    /// The signal that ended the harness.
    #[serde(default)]
    pub signal: Option<i32>,
    /// What it ended by; null while it lives, for a launch that failed, and where an older version saw the end.
    #[serde(default)]
    pub ended_by: Option<Word<EndedBy>>,
    /// Whether the kernel has killed the harness, or a process that it has waited for, because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    /// The harness's own id of its conversation: what it was given, or what it has told. It can be gone on with.
    #[serde(default)]
    pub harness_session_id: Option<String>,
    /// The session whose conversation it goes on with.
    #[serde(default)]
    pub continued_from: Option<SessionId>,
    /// What it used of a model; null where its harness has told nothing.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// What it had left running at its end.
    #[serde(default)]
    pub left_behind: LeftBehind,
    /// What it cost; while it runs, what it has cost so far.
    #[serde(flatten)]
    pub cost: SessionCost,
    /// While it runs, the processor time of all its processes that live, and of the children that they have waited for, in
    /// milliseconds; at most a second old. Null where the system does not tell.
    #[serde(default)]
    pub family_cpu_ms: Option<u64>,
    /// While it runs, the memory that all its processes have resident, in bytes; what several share counts for each.
    /// At most a second old. Null where the system does not tell.
    #[serde(default)]
    pub family_rss_bytes: Option<u64>,
    /// While it runs, when it last wrote; null before its first output.
    #[serde(default)]
    pub last_output_at: Option<Timestamp>,
}

impl SessionRecord {
    /// A session to be, as of now: what is not given here is unknown, or the default.
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

/// A page of sessions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    /// The page.
    pub sessions: Vec<SessionRecord>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// The query of `GET /sessions`. One that asks for nothing is answered with an array instead of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionsQuery {
    /// How many a page holds, 1 to 1000; 100 if it is left out.
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// With those that are archived.
    pub include_archived: Option<bool>,
    /// Only those whose id begins so.
    pub id_prefix: Option<String>,
    /// Only those of this harness.
    pub harness: Option<String>,
    /// Only those of this conversation: `harness_session_id` or `conversation_id`.
    pub conversation: Option<String>,
}

/// The body of `POST /sessions/external`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRequest {
    /// The registrar's id for it: [`SessionId::given`](super::SessionId::given).
    #[serde(deserialize_with = "rules::filled")]
    pub id: String,
    /// As the registrar sees it: absolute.
    #[serde(deserialize_with = "rules::argument")]
    pub project_root: String,
    /// What runs it.
    #[serde(deserialize_with = "rules::argument")]
    pub harness: String,
    /// Default: the harness. Cut to [`TITLE_MAX`](super::TITLE_MAX) where it is stored.
    #[serde(default, deserialize_with = "rules::text::<{ usize::MAX }, _>")]
    pub title: Option<String>,
    /// Where it keeps its transcript.
    #[serde(default, deserialize_with = "rules::text::<{ PATH_MAX - 1 }, _>")]
    pub transcript_path: Option<String>,
    /// Words of the client's.
    #[serde(default, deserialize_with = "rules::labels")]
    pub labels: Labels,
}

/// The body of `POST /sessions/:id/complete`, which may be left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompleteRequest {
    /// What it exited with; nothing and 0 are success.
    pub exit_code: Option<i32>,
}

/// The body of `PATCH /sessions/:id`: what changes in a record. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EditRequest {
    /// Cut to [`TITLE_MAX`](super::TITLE_MAX) where it is stored; not blank.
    #[serde(
        deserialize_with = "rules::optional_prompt",
        skip_serializing_if = "Option::is_none"
    )]
    pub title: Option<String>,
    /// Labels that it gets behind those that it has, unless it has them.
    #[serde(deserialize_with = "rules::filled_labels")]
    pub add_labels: Labels,
    /// Labels that it has no longer, if it had them.
    #[serde(deserialize_with = "rules::filled_labels")]
    pub remove_labels: Labels,
}

/// The body of `POST /sessions/:id/input`: data, the end of file, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InputRequest {
    /// What the harness reads from its stdin, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// `data` as some clients call it.
    #[serde(skip_serializing)]
    pub input: Option<String>,
    /// `data` as other clients call it.
    #[serde(skip_serializing)]
    pub text: Option<String>,
    /// Whether stdin is closed after the data.
    #[serde(skip_serializing_if = "is_false")]
    pub eof: bool,
}

impl InputRequest {
    /// Data without the end of file.
    pub fn data(data: impl Into<String>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::default()
        }
    }

    /// The data, under whichever name it came; none where only the end of file is sent.
    ///
    /// # Errors
    /// There is neither data nor the end of file.
    pub fn into_data(self) -> Result<String, ApiError> {
        match self.data.or(self.input).or(self.text) {
            Some(data) => Ok(data),
            None if self.eof => Ok(String::new()),
            None => Err(ApiError::invalid_field("data", "data is missing")),
        }
    }
}

words! {
    /// What a client has sent to a session's process group. The first two end the session; the others are only delivered.
    #[derive(Default)]
    pub enum KillSignal {
        /// With SIGKILL after the grace period.
        #[default]
        Term = "TERM",
        /// At once.
        Kill = "KILL",
        /// As Ctrl-C of a terminal.
        Int = "INT",
        /// As the end of a terminal.
        Hup = "HUP",
        /// What the harness makes of it.
        Usr1 = "USR1",
        /// What the harness makes of it.
        Usr2 = "USR2",
        /// Stops its processes.
        Stop = "STOP",
        /// Lets them go on.
        Cont = "CONT",
        /// As a new size of a terminal.
        Winch = "WINCH",
    }
}

impl KillSignal {
    /// Whether the session is ended.
    pub fn ends(self) -> bool {
        matches!(self, Self::Term | Self::Kill)
    }
}

/// The body of `POST /sessions/:id/kill`, which may be left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KillRequest {
    /// What is sent.
    pub signal: KillSignal,
    /// Whether what the session has left running is ended, too, also of one that has ended.
    pub sweep: bool,
}

/// The answer to input and kill.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Accepted {
    /// True.
    pub ok: bool,
    /// True.
    pub accepted: bool,
    /// How many processes that outlived the harness were ended, where a kill has asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<usize>,
}

/// The answer to a delete.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Deleted {
    /// True.
    pub ok: bool,
}
