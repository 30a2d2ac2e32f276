//! The log: one record a line, UTC time (for the journal the priority), level, then its fields. Nothing from outside can
//! forge a line.
//!
//! `env_logger` filters the records by level and module; a thread of its own writes them, since a full pipe or
//! a dead disk behind the log must not hold the state thread.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use env_logger::{Builder, Target};

use super::event::say;
use super::field::{Place, Text};
use super::line::Stamp;
use super::rotate::RotatingFile;
use crate::redact::Redactor;
use crate::settings::{LogFormat, durations};

/// Lines that may wait for the log's thread; more are counted, and the count is logged.
const LINES_MAX: usize = 1024;

/// The log's file is renamed when it would pass this many bytes.
const FILE_MAX: u64 = 10 * 1024 * 1024;

/// Where the log goes.
#[derive(Debug)]
pub enum Destination {
    /// To stderr, and so to whoever has started the daemon.
    Stderr,
    /// To stderr, which is a stream of systemd's journal.
    Journal,
    /// To this file, rotated.
    File(PathBuf),
}

/// The running log; dropped, it writes what is still queued.
pub struct Log {
    lines: Sender<Message>,
}

enum Message {
    Line(Vec<u8>),
    /// Answer when everything before this is written.
    Flush(Sender<()>),
    /// Open the file anew, and answer.
    Reopen(Sender<io::Result<()>>),
    /// The same if the file's name has gone, or is another's; answer whether that was so.
    Restore(Sender<io::Result<bool>>),
}

/// Asks the log's thread to open its file anew, from any thread.
#[derive(Clone)]
pub struct Reopener(Sender<Message>);

impl Reopener {
    /// Goes on in the file that has the log's path by now; a log on stderr goes on there.
    ///
    /// # Errors
    /// What open(2) reports; the log goes on in the file that it has.
    pub fn reopen(&self) -> io::Result<()> {
        self.ask(Message::Reopen)
    }

    /// Makes the log's file anew where its name has gone, or leads to another file; gives whether that was so.
    ///
    /// # Errors
    /// As [`Reopener::reopen`].
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
    /// Installs the process's logger, which logs what `filter` lets through (`env_logger`'s syntax), takes secrets out of its lines, and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread is to be had.
    pub fn start(
        destination: Destination,
        filter: &str,
        format: LogFormat,
        redactor: Arc<Redactor>,
    ) -> io::Result<Self> {
        let (lines, inbox) = bounded(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let (stamp, out) = match destination {
            Destination::Stderr => (Stamp::Time, Out::Stderr(io::stderr())),
            Destination::Journal => (Stamp::Priority, Out::Stderr(io::stderr())),
            Destination::File(path) => {
                (Stamp::Time, Out::File(RotatingFile::open(path, FILE_MAX)?))
            }
        };
        let counter = Arc::clone(&lost);
        let of_lost = {
            let redactor = Arc::clone(&redactor);
            move |lines| format.lost(stamp, lines, &redactor)
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&inbox, out, &counter, of_lost))?;
        let pipe = Pipe {
            lines: lines.clone(),
            lost,
        };
        Builder::new()
            .parse_filters(filter)
            .format(move |out, record| writeln!(out, "{}", format.line(stamp, record, &redactor)))
            .target(Target::Pipe(Box::new(pipe)))
            .init();
        log_panics();
        Ok(Self { lines })
    }

    /// For who is to have the file opened anew.
    pub fn reopener(&self) -> Reopener {
        Reopener(self.lines.clone())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, flushed) = bounded(1);
        let flush = Message::Flush(done);
        if self
            .lines
            .send_timeout(flush, durations::LOG_ANSWER)
            .is_ok()
        {
            let _ = flushed.recv_timeout(durations::LOG_ANSWER);
        }
    }
}

/// A panic is a bug: its place goes to the log, and first to stderr, since the process may be about to abort.
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

/// What env_logger writes to: each write is one line.
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

enum Out {
    Stderr(io::Stderr),
    File(RotatingFile),
}

impl Out {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stderr(stderr) => stderr,
            Self::File(file) => file,
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr(_) => Ok(()),
            Self::File(file) => file.reopen(),
        }
    }

    fn restore(&mut self) -> io::Result<bool> {
        match self {
            Self::File(file) if !file.has_its_name() => file.reopen().map(|()| true),
            _ => Ok(false),
        }
    }
}

fn write_lines(
    inbox: &Receiver<Message>,
    mut out: Out,
    lost: &AtomicU64,
    of_lost: impl Fn(u64) -> String,
) {
    for message in inbox {
        match message {
            Message::Line(line) => {
                // A log that cannot be written has nobody to tell.
                let _ = out.writer().write_all(&line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(out.writer(), "{}", of_lost(lost));
                }
            }
            Message::Flush(done) => {
                let _ = out.writer().flush();
                let _ = done.send(());
            }
            Message::Reopen(done) => {
                let _ = done.send(out.reopen());
            }
            Message::Restore(done) => {
                let _ = done.send(out.restore());
            }
        }
    }
}
