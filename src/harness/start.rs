//! Starts a harness in two steps: the preparation while the session's row is written, and the spawn.
//!
//! Runs on the harness thread.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::HarnessShared;
use super::input::{InputEnd, StdinPipe, WaitingInput};
use super::pipes::{CountedPipes, SMALL};
use super::source::Source;
use super::telemetry::TelemetryReader;
use crate::adapters::{
    Environment, Program, SESSION_VARIABLE, SessionLimits, StdinMode, problem, problem_of_env,
};
use crate::api::{SessionId, Stream};
use crate::store::{Fact, Note, SessionNum};
use crate::sys::{self, Family, OomWatch};

/// Identity of the processes of session `id`. `leader` is the harness, while its zombie has not been reaped.
pub fn family(id: SessionId, leader: Option<i32>) -> Family {
    Family {
        variable: format!("{SESSION_VARIABLE}={id}").into_bytes(),
        number: id.random_bits(),
        leader,
        known: Vec::new(),
    }
}

/// Everything that a spawn needs.
pub(super) struct Prepared {
    id: SessionId,
    path: PathBuf,
    cwd: PathBuf,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Its `PATH`.
    search: Option<OsString>,
    /// The child's descriptors 0, 1 and 2.
    child: [OwnedFd; 3],
    ends: Ends,
}

/// The daemon's ends of a program's pipes, non-blocking, and what it watches the program by.
pub(super) struct Ends {
    pub(super) stdout: Source,
    pub(super) stderr: Source,
    /// Counts its pipes.
    pub(super) place: CountedPipes,
    /// `None` without input.
    pub(super) input: Option<StdinPipe>,
    pub(super) telemetry: Option<TelemetryReader>,
    pub(super) limits: SessionLimits,
    /// `None` if the kernel does not count kills.
    pub(super) oom: Option<OomWatch>,
}

impl Prepared {
    /// # Errors
    /// No descriptor can be created, or env(1) would not find the program that `#!` names.
    pub(super) fn new(
        program: Program,
        id: SessionId,
        backlog: &WaitingInput,
        shared: &HarnessShared,
    ) -> io::Result<Self> {
        let search = program.env.get("PATH").map(OsStr::to_owned);
        if let Some(problem) = problem_of_env(&program.path, search.as_deref()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, problem.to_string()));
        }
        let HarnessShared { queue, pipes, .. } = shared;
        let on_shrunk = |num| queue.fact(pipe_shrunk(num), None);
        let place = pipes.enter(on_shrunk);
        let output_pipe = |stream| {
            let (ours, childs) = sys::pipe()?;
            sys::set_nonblocking(&ours)?;
            let pipe = Arc::new(File::from(ours));
            let lease = pipes.widen(&pipe, stream, on_shrunk);
            io::Result::Ok((Source::new(pipe, lease, stream), childs))
        };
        let (stdout, child_stdout) = output_pipe(Stream::Stdout)?;
        let (stderr, child_stderr) = output_pipe(Stream::Stderr)?;
        let (input, child_stdin) = stdin(program.stdin, program.prompt, backlog)?;
        // The last opened descriptor: a launch leaves some for clients that inspect and end sessions.
        if sys::is_scarce(&child_stdin, sys::Use::Launch) {
            return Err(sys::too_many_open_files());
        }
        let argv = program.argv.into_iter().map(CString::new);
        Ok(Self {
            id,
            path: program.path,
            cwd: program.cwd,
            argv: argv.collect::<Result<_, _>>()?,
            env: environment(&program.env),
            search,
            child: [child_stdin, child_stdout, child_stderr],
            ends: Ends {
                stdout,
                stderr,
                place,
                input,
                telemetry: program.telemetry.map(|telemetry| {
                    let id = program.harness_session_id;
                    TelemetryReader::new(telemetry, program.harness, id, &program.told_before)
                }),
                limits: program.limits,
                oom: OomWatch::begin(),
            },
        })
    }

    /// Spawns the program; returns its pid. The child's ends of the pipes are closed here: the end of file then follows the last
    /// writer's exit.
    ///
    /// # Errors
    /// The error of [`sys::spawn`], with the file that it concerns.
    pub(super) fn spawn(self) -> io::Result<(i32, Ends)> {
        let [stdin, stdout, stderr] = &self.child;
        let pid = sys::spawn(
            &sys::Spawn {
                path: &self.path,
                argv: self.argv,
                env: self.env,
                cwd: &self.cwd,
                family: Some(&family(self.id, None)),
            },
            &sys::Stdio {
                stdin: stdin.as_fd(),
                stdout: stdout.as_fd(),
                stderr: stderr.as_fd(),
            },
        )
        .map_err(|err| refused(err, &self.path, &self.cwd, self.search.as_deref()))?;
        Ok((pid, self.ends))
    }
}

/// Adds to `err` which file is missing or inaccessible: the program, its interpreter, or the directory.
fn refused(err: io::Error, program: &Path, cwd: &Path, search: Option<&OsStr>) -> io::Error {
    // These errors name the exhausted resource already.
    if let Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM) = err.raw_os_error() {
        return err;
    }
    let why = if let Err(err) = cwd.join(".").metadata() {
        format!("its working directory {}: {err}", cwd.display())
    } else if let Some(problem) = problem(program, search) {
        format!("{problem} ({err})")
    } else {
        format!("{}: {err}", program.display())
    };
    io::Error::new(err.kind(), why)
}

/// Fact: the session's stdout pipe was made small in favour of another's.
fn pipe_shrunk(num: SessionNum) -> Fact {
    let note = Note {
        stdout_pipe_bytes: Some(SMALL as u64),
        ..Note::default()
    };
    Fact::Noted {
        num,
        note: Box::new(note),
    }
}

/// The child's stdin, and the daemon's end of it if it is a pipe: for the prompt, clients' input, or both.
fn stdin(
    mode: StdinMode,
    prompt: Option<String>,
    backlog: &WaitingInput,
) -> io::Result<(Option<StdinPipe>, OwnedFd)> {
    let end = match (mode, &prompt) {
        (StdinMode::Closed, None) => return Ok((None, File::open("/dev/null")?.into())),
        (StdinMode::Closed, Some(_)) => InputEnd::AfterPrompt,
        (StdinMode::Open, _) => InputEnd::Open,
    };
    let (reader, writer) = sys::pipe()?;
    sys::set_nonblocking(&writer)?;
    let input = StdinPipe::new(writer.into(), backlog.clone(), prompt, end);
    Ok((Some(input), reader))
}

/// `environment` as `NAME=value` for execve(2).
fn environment(environment: &Environment) -> Vec<CString> {
    let variables = environment.iter();
    variables
        .map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='))
        // All sources are checked for NUL, except the inherited environment, which cannot contain one (environ(7)).
        .filter_map(|variable| CString::new(variable).ok())
        .collect()
}
