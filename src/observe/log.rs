//! The log: one record a line, UTC time, level, then its fields. Nothing from outside can forge a line.
//!
//! `log`'s macros and `env_logger`'s filter make the records; a thread of its own writes them, since a full pipe or
//! a dead disk behind the log must not hold the state thread.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use env_logger::{Builder, Target};
use log::LevelFilter;

use super::line::Format;
use super::rotate::RotatingFile;
use crate::redact::Redactor;
use crate::settings::durations;

/// Lines that may wait for the log's thread; more are counted, and the count is logged.
const LINES_MAX: usize = 1024;

/// The log's file is renamed when it would pass this many bytes.
const FILE_MAX: u64 = 10 * 1024 * 1024;

/// The variable that sets the level, in env_logger's syntax.
pub const LEVEL_VARIABLE: &str = "COVEN_LOG";

/// The variable that sets the lines' format: `text` or `json`.
pub const FORMAT_VARIABLE: &str = "COVEN_LOG_FORMAT";

/// Where the log goes.
#[derive(Debug)]
pub enum Destination {
    /// To the supervisor: journald or launchd picks it up.
    Stderr,
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
        let (done, reopened) = bounded(1);
        let _ = self
            .0
            .send_timeout(Message::Reopen(done), durations::LOG_ANSWER);
        let reopened = reopened.recv_timeout(durations::LOG_ANSWER);
        reopened.unwrap_or_else(|_| Err(io::Error::other("the log's thread is stuck")))
    }
}

impl Log {
    /// Installs the process's logger, which takes secrets out of its lines, and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread is to be had.
    pub fn start(
        destination: Destination,
        format: Format,
        redactor: Arc<Redactor>,
    ) -> io::Result<Self> {
        let (lines, inbox) = bounded(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let out = match destination {
            Destination::Stderr => Out::Stderr(io::stderr()),
            Destination::File(path) => Out::File(RotatingFile::open(path, FILE_MAX)?),
        };
        let counter = Arc::clone(&lost);
        let of_lost = {
            let redactor = Arc::clone(&redactor);
            move |lines| format.lost(lines, &redactor)
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&inbox, out, &counter, of_lost))?;
        let pipe = Pipe {
            lines: lines.clone(),
            lost,
        };
        Builder::new()
            .filter_level(LevelFilter::Info)
            .parse_env(LEVEL_VARIABLE)
            .format(move |out, record| writeln!(out, "{}", format.line(record, &redactor)))
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
        let message = panic.payload_as_str().unwrap_or("");
        log::error!(event = "panic", code = "internal_error", thread = thread.name().unwrap_or(""),
            at = place.as_str(), message = message; "");
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
        }
    }
}

/// A value as one word: quoted where it must be, and control characters always escaped, so that no value can
/// begin a line, end its quotes, or move a terminal's cursor.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| {
            !c.is_control()
                && !c.is_whitespace()
                && !is_invisible(c)
                && !matches!(c, '"' | '=' | '\\')
        };
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' ' => f.write_char(c)?,
                c if c.is_control() || c.is_whitespace() || is_invisible(c) => {
                    write!(f, "{}", c.escape_default())?
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// `json` with everything escaped that could move a terminal's cursor: JSON itself lets through what stands above
/// U+001F, C1 controls among it. Such characters stand in its strings only, but for the newlines between its lines.
pub fn visible_json(json: String) -> String {
    let is_unseen = |c: char| (c.is_control() && c != '\n') || is_invisible(c);
    if !json.chars().any(is_unseen) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unseen(c) {
            // All of them lie in the first plane: four digits.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change how others are shown: bidirectional controls, line separators (Unicode TR 36).
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_whatever_it_holds() {
        let quoted = |text| Quoted(text).to_string();
        assert_eq!(quoted("plain-word/1.2:3"), "plain-word/1.2:3");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("a=b"), "\"a=b\"");
        assert_eq!(quoted("say \"hi\"\\"), r#""say \"hi\"\\""#);
        assert_eq!(
            quoted("x\n2026 INFO event=forged"),
            r#""x\n2026 INFO event=forged""#
        );
        assert_eq!(
            quoted("\u{1b}[2J\u{9b}\u{202e}"),
            "\"\\u{1b}[2J\\u{9b}\\u{202e}\""
        );
        assert_eq!(quoted("a\u{202e}b"), "\"a\\u{202e}b\"");
        assert_eq!(quoted("é"), "é");
    }
}
