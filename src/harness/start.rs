//! The start of a harness, in two parts: what can be prepared while the session's row is on its way to the disk, and
//! the start itself. Runs on the harness's thread.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Shared;
use super::input::{Backlog, End, Input};
use super::pipes::{Lease, Place, SMALL};
use super::telemetry::Reader;
use crate::adapters::{
    Environment, Limits, Program, SESSION_VARIABLE, StdinMode, problem, problem_of_env,
};
use crate::api::{SessionId, Stream};
use crate::store::{Fact, Note, SessionNum};
use crate::sys::{self, Family, OomWatch};

/// What the processes of the session `id` are known by. `leader` is the harness, while its zombie has not been reaped.
pub fn family(id: SessionId, leader: Option<i32>) -> Family {
    Family {
        variable: format!("{SESSION_VARIABLE}={id}").into_bytes(),
        number: id.random_bits(),
        leader,
        known: Vec::new(),
    }
}

/// All that a start needs, at hand.
pub(super) struct Prepared {
    id: SessionId,
    path: PathBuf,
    cwd: PathBuf,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// Its `PATH`.
    search: Option<OsString>,
    /// The child's ends: its descriptors 0, 1 and 2.
    child: [OwnedFd; 3],
    stdout: OutputPipe,
    stderr: OutputPipe,
    place: Place,
    input: Option<Input>,
    telemetry: Option<Reader>,
    limits: Limits,
    oom: Option<OomWatch>,
}

/// Our end of a pipe that a harness writes to, which does not block.
pub(super) struct OutputPipe {
    pub(super) pipe: Arc<File>,
    /// As long as it is a large one.
    pub(super) lease: Option<Lease>,
}

/// A program that runs, and our ends of its pipes, which do not block.
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) stdout: OutputPipe,
    pub(super) stderr: OutputPipe,
    /// Counts its pipes.
    pub(super) place: Place,
    /// `None` if it reads nothing.
    pub(super) input: Option<Input>,
    pub(super) telemetry: Option<Reader>,
    pub(super) limits: Limits,
    /// `None` where the kernel does not tell.
    pub(super) oom: Option<OomWatch>,
}

impl Prepared {
    /// # Errors
    /// No descriptor is to be had, or env(1) would not find what the program's `#!` names.
    pub(super) fn new(
        program: Program,
        id: SessionId,
        backlog: &Backlog,
        shared: &Shared,
    ) -> io::Result<Self> {
        let search = program.env.get("PATH").map(OsStr::to_owned);
        if let Some(problem) = problem_of_env(&program.path, search.as_deref()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, problem.to_string()));
        }
        let Shared { queue, pipes, .. } = shared;
        let told = |num| queue.fact(pipe_shrunk(num), None);
        let place = pipes.enter(told);
        let output_pipe = |stream| {
            let (ours, childs) = sys::pipe()?;
            sys::set_nonblocking(&ours)?;
            let pipe = Arc::new(File::from(ours));
            let lease = pipes.widen(&pipe, stream, told);
            io::Result::Ok((OutputPipe { pipe, lease }, childs))
        };
        let (stdout, child_stdout) = output_pipe(Stream::Stdout)?;
        let (stderr, child_stderr) = output_pipe(Stream::Stderr)?;
        let (input, child_stdin) = stdin(program.stdin, program.prompt, backlog)?;
        // The last that was opened: a launch leaves some for whoever asks how the sessions are, and ends them.
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
            stdout,
            stderr,
            place,
            input,
            telemetry: program.telemetry.map(|telemetry| {
                let id = program.harness_session_id;
                let redactor = Arc::clone(&shared.redactor);
                Reader::new(
                    telemetry,
                    program.harness,
                    id,
                    &program.told_before,
                    redactor,
                )
            }),
            limits: program.limits,
            oom: OomWatch::begin(),
        })
    }

    /// Starts it. The child's ends of the pipes are dropped here: the last writer's exit is then the end of file.
    ///
    /// # Errors
    /// What [`sys::spawn`] reports, with the file that it is about.
    pub(super) fn spawn(self) -> io::Result<Started> {
        let [stdin, stdout, stderr] = &self.child;
        let pid = sys::spawn(
            &sys::Program {
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
        Ok(Started {
            pid,
            stdout: self.stdout,
            stderr: self.stderr,
            place: self.place,
            input: self.input,
            telemetry: self.telemetry,
            limits: self.limits,
            oom: self.oom,
        })
    }
}

/// `err` with what it does not say: whether it is the program, its interpreter or the directory that is missing or closed.
fn refused(err: io::Error, program: &Path, cwd: &Path, search: Option<&OsStr>) -> io::Error {
    // Those say that something has run out, and know what.
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

/// Its stdout's pipe was made small for another session's.
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

/// The child's stdin, and our end of it if it is a pipe: for the prompt, for what clients send, or for both.
fn stdin(
    mode: StdinMode,
    prompt: Option<String>,
    backlog: &Backlog,
) -> io::Result<(Option<Input>, OwnedFd)> {
    let end = match (mode, &prompt) {
        (StdinMode::Closed, None) => return Ok((None, File::open("/dev/null")?.into())),
        (StdinMode::Closed, Some(_)) => End::AfterPrompt,
        (StdinMode::Open, _) => End::Open,
    };
    let (reader, writer) = sys::pipe()?;
    sys::set_nonblocking(&writer)?;
    let input = Input::new(writer.into(), backlog.clone(), prompt, end);
    Ok((Some(input), reader))
}

/// `environment` as execve(2) takes it.
fn environment(environment: &Environment) -> Vec<CString> {
    let variables = environment.iter();
    variables
        .map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='))
        // Each source has been checked for NUL, but for what is inherited, which cannot have one (environ(7)).
        .filter_map(|variable| CString::new(variable).ok())
        .collect()
}
