//! How a client reaches its daemon: at a socket, or through a program whose stdin and stdout lead to one, as ssh.
//!
//! On the client's thread. It knows neither HTTP nor which program it is.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::ClientError;
use crate::settings::durations;
use crate::sys;

/// Most bytes of a program's stderr that are read.
const SAID_MAX: u64 = 16 * 1024;

/// Exit code of a shell that does not find a command.
pub const NOT_FOUND: i32 = 127;

/// The way to a daemon.
#[derive(Debug, Clone)]
pub enum Dial {
    Socket(PathBuf),
    Gateway(Gateway),
}

/// A program that passes its stdin and stdout on to a daemon.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Name of the daemon's place, for messages.
    pub name: String,
    /// The words that call coven there, before its own arguments.
    pub command: String,
    pub argv: Vec<String>,
}

/// The end of such a program.
#[derive(Debug)]
pub struct GatewayEnd {
    pub name: String,
    /// As [`Gateway::command`].
    pub command: String,
    /// Its exit code; `None` after a signal, or while it still runs.
    pub code: Option<i32>,
    /// Its stderr.
    pub said: String,
}

/// A program that runs, with its stderr. When it is dropped, the program ends by the end of its stdin; one that has
/// never led to a daemon, and can wait for a network, is killed.
pub(super) struct Running {
    program: Gateway,
    child: Child,
    stderr: UnixStream,
    /// An answer has come through it.
    pub has_answered: bool,
}

impl Dial {
    /// A connection whose writes are limited to `patience`, and the program that it leads through.
    pub(super) fn connect(
        &self,
        patience: Duration,
    ) -> Result<(UnixStream, Option<Running>), ClientError> {
        match self {
            Self::Socket(socket) => match sys::connect_within(socket, patience) {
                Ok(stream) => Ok((stream, None)),
                Err(reason) => match reason.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        let socket = socket.clone();
                        Err(ClientError::NotRunning { socket, reason })
                    }
                    _ => Err(ClientError::Io(reason)),
                },
            },
            Self::Gateway(program) => {
                let (stream, running) = program.start()?;
                stream.set_write_timeout(Some(patience))?;
                Ok((stream, Some(running)))
            }
        }
    }
}

impl Gateway {
    fn start(&self) -> Result<(UnixStream, Running), ClientError> {
        let (ours, theirs) = UnixStream::pair()?;
        let (stderr, their_stderr) = UnixStream::pair()?;
        let missing = || io::Error::from(io::ErrorKind::InvalidInput);
        let (program, args) = self.argv.split_first().ok_or_else(missing)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(OwnedFd::from(their_stderr)));
        // Ctrl-C goes to all processes of the terminal: the connection must outlive it, to carry the kill.
        sys::ignore_interrupts(&mut command);
        let child = command.spawn().map_err(|err| {
            let said = format!("{program} cannot be started: {err}");
            ClientError::Ended(self.ended(None, said))
        })?;
        let running = Running {
            program: self.clone(),
            child,
            stderr,
            has_answered: false,
        };
        Ok((ours, running))
    }

    fn ended(&self, code: Option<i32>, said: String) -> GatewayEnd {
        GatewayEnd {
            name: self.name.clone(),
            command: self.command.clone(),
            code,
            said,
        }
    }
}

impl Running {
    /// How the program has ended, after its stdout has. `None` if it ended as it should: the daemon has closed the
    /// connection.
    pub(super) fn ended(&mut self) -> Option<GatewayEnd> {
        let mut said = Vec::new();
        let _ = self.stderr.set_read_timeout(Some(durations::PROGRAM_END));
        let read = (&self.stderr).take(SAID_MAX).read_to_end(&mut said);
        let status = match read {
            // Both outputs are closed: it exits.
            Ok(_) => self.child.wait().ok(),
            // A shared connection's master can keep stderr open: what has come until the timeout is enough.
            Err(_) => self.child.try_wait().ok().flatten(),
        };
        if status.is_some_and(|status| status.success()) {
            return None;
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let code = status.and_then(|status| status.code());
        Some(self.program.ended(code, said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_answered {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
