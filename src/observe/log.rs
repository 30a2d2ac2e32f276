//! The log: one record per line with UTC time (for the journal: priority), level and fields. External text cannot forge
//! a line.
//!
//! `env_logger` filters the records by level and module on the logging thread. The log thread writes them: a full pipe
//! or a dead disk must not block the state thread.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use env_logger::{Builder, Target};

use super::event::say;
use super::field::{Place, Text};
use super::line::Stamp;
use super::record::LogRecord;
use super::rotate::RotatingFile;
use crate::redact::Redactor;
use crate::settings::{LogFormat, durations};

/// Most lines that wait for the log thread; further ones are dropped and counted, and the count is logged.
const LINES_MAX: usize = 1024;

/// Size in bytes at which the log's file is rotated.
const FILE_MAX: u64 = 10 * 1024 * 1024;

#[derive(Debug)]
pub enum Destination {
    /// stderr, which the daemon has inherited.
    Stderr,
    /// stderr, which is a stream of systemd's journal.
    Journal,
    /// A file, rotated.
    File(PathBuf),
}

/// The running log; dropping it writes all queued lines.
pub struct Log {
    lines: Sender<Message>,
}

enum Message {
    Line(Vec<u8>),
    /// Answers when all earlier lines are written.
    Flush(Sender<io::Result<()>>),
    /// Opens the file again, and answers.
    Reopen(Sender<io::Result<()>>),
    /// Opens the file again if its name is gone or leads to another file; answers whether it was.
    Restore(Sender<io::Result<bool>>),
}

/// Asks the log thread, from any thread, to open its file again.
#[derive(Clone)]
pub struct Reopener(Sender<Message>);

impl Reopener {
    /// Opens the file at the log's path again; a log on stderr stays there.
    ///
    /// # Errors
    /// The error of open(2); then the log stays in its current file.
    pub fn reopen(&self) -> io::Result<()> {
        self.ask(Message::Reopen)
    }

    /// Creates the log's file again if its name is gone or leads to another file; true if it was.
    pub fn restore(&self) -> io::Result<bool> {
        self.ask(Message::Restore)
    }

    fn ask<T>(&self, message: impl FnOnce(Sender<io::Result<T>>) -> Message) -> io::Result<T> {
        let (done, answer) = bounded(1);
        let _ = self.0.send_timeout(message(done), durations::LOG_ANSWER);
        let answer = answer.recv_timeout(durations::LOG_ANSWER);
        answer.unwrap_or_else(|_| Err(io::Error::other("the log's thread is stuck")))
    }
}

impl Log {
    /// Installs the process's logger and starts the log thread. It logs what `filter` admits (`env_logger`'s syntax),
    /// with secrets redacted.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be created.
    pub fn start(
        destination: Destination,
        filter: &str,
        format: LogFormat,
        redactor: Arc<Redactor>,
    ) -> io::Result<Self> {
        let (lines, inbox) = bounded(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let (stamp, file) = match destination {
            Destination::Stderr => (Stamp::Time, None),
            Destination::Journal => (Stamp::Priority, None),
            Destination::File(path) => (Stamp::Time, Some(RotatingFile::open(path, FILE_MAX)?)),
        };
        let counter = Arc::clone(&lost);
        let of_lost = {
            let redactor = Arc::clone(&redactor);
            move |lines| format.lost(stamp, lines, &redactor)
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&inbox, file, &counter, of_lost))?;
        let pipe = Pipe {
            lines: lines.clone(),
            lost,
        };
        Builder::new()
            .parse_filters(filter)
            .format(move |out, record| {
                let record = LogRecord::of_log(record);
                writeln!(out, "{}", format.line(stamp, &record, &redactor))
            })
            .target(Target::Pipe(Box::new(pipe)))
            .init();
        log_panics();
        Ok(Self { lines })
    }

    pub fn reopener(&self) -> Reopener {
        Reopener(self.lines.clone())
    }

    /// Waits until all queued lines are written, but not for ever.
    pub fn flush(&self) {
        let _ = self.reopener().ask(Message::Flush);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Logs a panic's place, after printing it to stderr: the process may be about to abort.
fn log_panics() {
    let to_stderr = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        to_stderr(panic);
        let thread = std::thread::current();
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        say!(Panic, thread: Text(thread.name().unwrap_or("")), at: Place(&place),
            message: Text(panic.payload_as_str().unwrap_or("")));
    }));
}

/// env_logger's target: each write is one line.
struct Pipe {
    lines: Sender<Message>,
    lost: Arc<AtomicU64>,
}

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to `file`, or without one to stderr.
fn write_lines(
    inbox: &Receiver<Message>,
    mut file: Option<RotatingFile>,
    lost: &AtomicU64,
    of_lost: impl Fn(u64) -> String,
) {
    let mut stderr = io::stderr();
    for message in inbox {
        let out: &mut dyn Write = match &mut file {
            Some(file) => file,
            None => &mut stderr,
        };
        match message {
            Message::Line(line) => {
                // A failed write of the log cannot be reported anywhere.
                let _ = out.write_all(&line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(out, "{}", of_lost(lost));
                }
            }
            Message::Flush(done) => {
                let _ = done.send(out.flush());
            }
            Message::Reopen(done) => {
                let _ = done.send(file.as_mut().map_or(Ok(()), RotatingFile::reopen));
            }
            Message::Restore(done) => {
                let _ = done.send(match &mut file {
                    Some(file) if !file.has_its_name() => file.reopen().map(|()| true),
                    _ => Ok(false),
                });
            }
        }
    }
}
