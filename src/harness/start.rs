//! The start of a harness, in two parts: what can be prepared while the session's row is on its way to the disk, and
//! the start itself. Runs on the harness's thread.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::input::{Backlog, Input};
use crate::adapters::{Program, SESSION_VARIABLE, StdinMode};
use crate::api::SessionId;
use crate::sys::{self, Family};

/// What the processes of the session `id` are known by. `leader` is the harness, while its zombie has not been reaped.
pub fn family(id: SessionId, leader: Option<i32>) -> Family {
    Family {
        variable: format!("{SESSION_VARIABLE}={id}").into_bytes(),
        number: id.random_bits(),
        leader,
    }
}

/// All that a start needs, at hand.
pub(super) struct Prepared {
    id: SessionId,
    path: PathBuf,
    cwd: PathBuf,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// The child's ends: its descriptors 0, 1 and 2.
    child: [OwnedFd; 3],
    stdout: File,
    stderr: File,
    input: Option<Input>,
}

/// A program that runs, and our ends of its pipes, which do not block.
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) stdout: File,
    pub(super) stderr: File,
    /// `None` if it reads nothing.
    pub(super) input: Option<Input>,
}

impl Prepared {
    /// # Errors
    /// No descriptor is to be had.
    pub(super) fn new(program: Program, id: SessionId, backlog: &Backlog) -> io::Result<Self> {
        let (stdout, child_stdout) = output_pipe()?;
        let (stderr, child_stderr) = output_pipe()?;
        let (input, child_stdin) = match (program.stdin, program.prompt) {
            (StdinMode::Closed, None) => (None, OwnedFd::from(File::open("/dev/null")?)),
            (mode, prompt) => {
                let (reader, writer) = sys::pipe()?;
                sys::set_nonblocking(&writer)?;
                let is_closing = mode == StdinMode::Closed;
                let input = Input::new(writer.into(), backlog.clone(), prompt, is_closing);
                (Some(input), reader)
            }
        };
        // The last that was opened: a launch leaves some for whoever asks how the sessions are, and ends them.
        if sys::is_scarce(&child_stdin, sys::Use::Launch) {
            return Err(sys::too_many_open_files());
        }
        Ok(Self {
            id,
            path: program.path,
            cwd: program.cwd,
            argv: program
                .argv
                .into_iter()
                .map(CString::new)
                .collect::<Result<_, _>>()?,
            env: environment(program.env),
            child: [child_stdin, child_stdout, child_stderr],
            stdout,
            stderr,
            input,
        })
    }

    /// Starts it. The child's ends of the pipes are dropped here: the last writer's exit is then the end of file.
    ///
    /// # Errors
    /// What [`sys::spawn`] reports.
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
        )?;
        Ok(Started {
            pid,
            stdout: self.stdout,
            stderr: self.stderr,
            input: self.input,
        })
    }
}

/// Our end, which does not block, and the child's.
fn output_pipe() -> io::Result<(File, OwnedFd)> {
    let (ours, childs) = sys::pipe()?;
    sys::set_nonblocking(&ours)?;
    Ok((ours.into(), childs))
}

/// The daemon's environment with `own`, and without what its service manager has told it alone.
fn environment(own: Vec<(&'static str, String)>) -> Vec<CString> {
    let is_own = |name: &OsString| own.iter().any(|(own, _)| name == own);
    let inherited: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !is_own(name) && !sys::is_service_variable(name))
        .collect();
    let own = own
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()));
    inherited
        .into_iter()
        .chain(own)
        .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
        .map(CString::new)
        // An environment has no NUL inside its strings (environ(7)).
        .filter_map(Result::ok)
        .collect()
}
