//! systemd's journal as the log: prefixes for lines written to it, and entries read through journalctl(1).
//!
//! Lines are written on the log thread, entries read in the CLI's process. It knows journalctl's options and JSON, but
//! no units: the caller provides the matches.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use log::Level;
use serde_json::Value;

use super::record::LogRecord;
use crate::api::Timestamp;
use crate::sys;

/// Size of one read of journalctl's output, in bytes.
const READ: usize = 64 * 1024;

/// True if stderr is the journal stream that systemd named to this process or an ancestor. An inherited variable can
/// belong to another stderr (systemd.exec(5), `JOURNAL_STREAM`).
pub fn is_stderr() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    sys::metadata_of(&io::stderr()).is_ok_and(|meta| {
        let (device, inode) = sys::file_id(&meta);
        named == format!("{device}:{inode}")
    })
}

/// Namespace of stderr's journal; `None` for the default journal.
pub fn namespace_of_stderr() -> Option<String> {
    let stderr = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let journald = UnixStream::from(stderr).peer_addr().ok()?;
    // The path is `/run/systemd/journal.NAMESPACE/stdout` (systemd-journald.service(8)).
    let dir = journald.as_pathname()?.parent()?.file_name()?.to_str()?;
    dir.strip_prefix("journal.").map(str::to_owned)
}

/// Priority prefix of a line, which the journal removes and stores with the entry (sd-daemon(3)).
pub fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Level of an entry by its syslog(3) priority.
fn level(priority: &str) -> Level {
    match priority {
        "0" | "1" | "2" | "3" => Level::Error,
        "4" => Level::Warn,
        "7" => Level::Debug,
        // A line without prefix has the unit's default priority, usually 6.
        _ => Level::Info,
    }
}

/// Order and end of reading.
#[derive(Debug, Clone, Copy)]
pub enum ReadOrder<'a> {
    OldestFirst,
    NewestFirst,
    /// From after the entry with this cursor, or from the oldest, and on as entries arrive.
    Following(Option<&'a str>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub record: LogRecord,
    /// Its position in the journal.
    pub cursor: String,
}

impl Entry {
    /// Parses a line of `journalctl --output=json` (systemd.journal-fields(7)); `None` if it is no entry.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(line).ok()?;
        let micros: i64 = fields["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
        let at = Timestamp::from_millis(micros / 1000);
        let (text, priority) = (text(&fields["MESSAGE"]), fields["PRIORITY"].as_str());
        // `SyslogLevelPrefix=no` keeps the prefix in the text (systemd.exec(5)).
        let prefixed = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (priority, text) = match prefixed {
            Some((digit, rest)) if matches!(digit.as_bytes(), [b'0'..=b'7']) => (digit, rest),
            _ => (priority.unwrap_or_default(), text.as_str()),
        };
        Some(Self {
            record: LogRecord::of_entry(at, level(priority), text),
            cursor: fields["__CURSOR"].as_str()?.to_owned(),
        })
    }
}

/// A field's text: a string, an array of bytes if it is not printable, and an array of these if the field occurs twice.
fn text(field: &Value) -> String {
    match field {
        Value::String(text) => text.clone(),
        Value::Array(bytes) if bytes.iter().all(Value::is_u64) => {
            let bytes = bytes
                .iter()
                .filter_map(Value::as_u64)
                .map(|byte| byte as u8);
            String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
        }
        Value::Array(several) => text(&several[0]),
        _ => String::new(),
    }
}

/// A running journalctl; dropping it kills it.
pub struct Journal {
    child: Child,
    stdout: ChildStdout,
    /// Its stderr, read by a thread: neither stream may block the other.
    said: Option<JoinHandle<String>>,
    /// The start of an incomplete line.
    line: Vec<u8>,
}

impl Journal {
    /// Starts journalctl for the entries that meet `matches` (journalctl(1)) and are not older than `since`.
    ///
    /// # Errors
    /// journalctl does not exist, or cannot be started.
    pub fn open(
        matches: &[String],
        order: ReadOrder<'_>,
        since: Option<Timestamp>,
    ) -> io::Result<Self> {
        let mut command = Command::new("journalctl");
        // Without `--all` journalctl omits fields of 4 KiB and more.
        command.args(["-o", "json", "--all", "--quiet", "--no-pager"]);
        command.arg("--output-fields=MESSAGE,PRIORITY");
        match order {
            ReadOrder::OldestFirst => {}
            ReadOrder::NewestFirst => drop(command.arg("--reverse")),
            ReadOrder::Following(cursor) => {
                command.args(["--follow", "--no-tail"]);
                command.args(cursor.map(|cursor| format!("--after-cursor={cursor}")));
            }
        }
        let seconds = since
            .map(|since| since.as_millis() / 1000)
            .filter(|&seconds| seconds > 0);
        command.args(seconds.map(|seconds| format!("--since=@{seconds}")));
        command
            .args(matches)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(mut stderr)) = (stdout, stderr) else {
            unreachable!("both are pipes")
        };
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            // On a read error the text read so far is used.
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self {
            child,
            stdout,
            said: Some(said),
            line: Vec::new(),
        })
    }

    /// Waits for output and returns its entries; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Vec<Entry>>> {
        let start = self.line.len();
        self.line.resize(start + READ, 0);
        let length = self.stdout.read(&mut self.line[start..])?;
        self.line.truncate(start + length);
        if length == 0 {
            return Ok(None);
        }
        let end = self
            .line
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.line.drain(..end).collect();
        let entries = lines.split(|&byte| byte == b'\n').filter_map(Entry::parse);
        Ok(Some(entries.collect()))
    }

    /// Waits for its exit. If it failed, returns its stderr as one line.
    pub fn finish(&mut self) -> io::Result<Option<String>> {
        let status = self.child.wait()?;
        let said = self.said.take().map(JoinHandle::join);
        let said = said.and_then(Result::ok).unwrap_or_default();
        Ok((!status.success()).then(|| match said.trim() {
            "" => format!("journalctl has ended with {status}"),
            said => said.lines().collect::<Vec<_>>().join("; "),
        }))
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // The kill fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: &str, message: &str) -> LogRecord {
        let line = format!(
            r#"{{"__REALTIME_TIMESTAMP":"1778308980007999","PRIORITY":"{priority}","MESSAGE":{message},"__CURSOR":"s=1;i=2"}}"#
        );
        let entry = Entry::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(entry.cursor, "s=1;i=2");
        entry.record
    }

    #[test]
    fn an_entry_is_the_record_that_a_file_would_have() {
        let line = "2026-05-09T06:43:00.007Z WARN event=x pid=7 reason=\"a b\"";
        let expected = LogRecord::parse(line).unwrap();
        for message in [
            r#""WARN event=x pid=7 reason=\"a b\"""#,
            r#""<4>WARN event=x pid=7 reason=\"a b\"""#,
            r#""{\"level\":\"WARN\",\"event\":\"x\",\"pid\":7,\"reason\":\"a b\"}""#,
            // The journal's line has a time of its own.
            r#""2026-05-09T06:43:00.007Z WARN event=x pid=7 reason=\"a b\"""#,
            r#"["WARN event=x pid=7 reason=\"a b\"","another"]"#,
            r#"[87,65,82,78,32,101,118,101,110,116,61,120,32,112,105,100,61,55,32,114,101,97,115,111,110,61,34,97,32,98,34]"#,
        ] {
            assert_eq!(record("6", message), expected, "{message}");
        }
    }

    #[test]
    fn a_line_that_is_no_record_has_the_time_and_level_of_its_entry() {
        for (priority, message, shown) in [
            (
                "3",
                r#""thread panicked""#,
                r#"ERROR msg="thread panicked""#,
            ),
            ("0", r#""down""#, "ERROR msg=down"),
            ("4", r#""x=1""#, r#"WARN msg="x=1""#),
            ("5", r#""Started coven.""#, r#"INFO msg="Started coven.""#),
            ("7", r#""{}""#, "DEBUG msg={}"),
            ("", r#""{\"level\":7}""#, r#"INFO msg="{\"level\":7}""#),
            ("6", "[98,255]", "INFO msg=b\u{fffd}"),
            ("6", "null", r#"INFO msg="""#),
            ("6", "[]", r#"INFO msg="""#),
            ("6", r#""<3>down""#, "ERROR msg=down"),
            ("6", r#""<8>down""#, "INFO msg=<8>down"),
        ] {
            let shown = format!("2026-05-09T06:43:00.007Z {shown}");
            assert_eq!(record(priority, message).to_string(), shown, "{message}");
        }
        for line in ["", "{}", "-- No entries --", r#"{"MESSAGE":"x"}"#] {
            assert_eq!(Entry::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_priority_of_a_line_gives_its_level_back() {
        for at in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
            assert_eq!(level(prefix(at).trim_matches(['<', '>'])), at);
        }
    }
}
