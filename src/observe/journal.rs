//! systemd's journal as a log: what a line is written with for it, and its entries, read through journalctl(1).
//!
//! Written on the log's thread, read in the CLI's process. It knows journalctl's options and JSON, and not what a unit is:
//! who asks gives the fields that entries are matched by.

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

/// What is read of journalctl's output at once, in bytes.
const READ: usize = 64 * 1024;

/// Whether stderr is a stream of the journal's: the one that systemd has named to this process, or to one before it. Who has
/// inherited the variable can have another stderr (systemd.exec(5), `JOURNAL_STREAM`).
pub fn is_stderr() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    sys::metadata_of(&io::stderr()).is_ok_and(|meta| {
        let (device, inode) = sys::file_id(&meta);
        named == format!("{device}:{inode}")
    })
}

/// The namespace of the journal that stderr is a stream of; `None` for the journal of most units, which has none.
pub fn namespace_of_stderr() -> Option<String> {
    let stderr = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let journald = UnixStream::from(stderr).peer_addr().ok()?;
    // `/run/systemd/journal.NAMESPACE/stdout` (systemd-journald.service(8)).
    let dir = journald.as_pathname()?.parent()?.file_name()?.to_str()?;
    dir.strip_prefix("journal.").map(str::to_owned)
}

/// What a line begins with for the journal, which takes it off and keeps it as the entry's priority (sd-daemon(3)).
pub fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// The level of an entry by its priority, of syslog(3).
fn level(priority: &str) -> Level {
    match priority {
        "0" | "1" | "2" | "3" => Level::Error,
        "4" => Level::Warn,
        "7" => Level::Debug,
        // A line without a prefix has the unit's, by default 6.
        _ => Level::Info,
    }
}

/// In which order entries are read, and where that ends.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// From the oldest to the newest.
    OldestFirst,
    /// From the newest to the oldest.
    NewestFirst,
    /// From behind the entry with this cursor, or from the oldest, and on as they come.
    Following(Option<&'a str>),
}

/// An entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it says.
    pub record: LogRecord,
    /// Its place in the journal.
    pub cursor: String,
}

impl Entry {
    /// From a line of `journalctl --output=json` (systemd.journal-fields(7)); `None` for a line that is no entry.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(line).ok()?;
        let micros: i64 = fields["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
        let at = Timestamp::from_millis(micros / 1000);
        let (text, priority) = (text(&fields["MESSAGE"]), fields["PRIORITY"].as_str());
        // It is still there with `SyslogLevelPrefix=no` (systemd.exec(5)).
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

/// A field's text: a string, an array of bytes if it does not print, and an array of these if the entry has it twice.
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

/// A journalctl that runs. Dropped, it is ended.
pub struct Journal {
    child: Child,
    stdout: ChildStdout,
    /// What it says on stderr, read beside its output, so that neither holds it.
    said: Option<JoinHandle<String>>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl Journal {
    /// Asks for the entries that `matches` (journalctl(1)) and are not older than `since`.
    ///
    /// # Errors
    /// There is no journalctl, or it cannot be started.
    pub fn open(
        matches: &[String],
        order: Order<'_>,
        since: Option<Timestamp>,
    ) -> io::Result<Self> {
        let mut command = Command::new("journalctl");
        // Fields of 4 KiB and more have a value only with `--all`.
        command.args(["-o", "json", "--all", "--quiet", "--no-pager"]);
        command.arg("--output-fields=MESSAGE,PRIORITY");
        match order {
            Order::OldestFirst => {}
            Order::NewestFirst => drop(command.arg("--reverse")),
            Order::Following(cursor) => {
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
            // What has come until then is all that there is to say.
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

    /// The entries that come next, once some output is there; `None` at the end.
    ///
    /// # Errors
    /// What read(2) reports.
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

    /// Waits for its end. Gives what it has said if it has failed, on one line.
    ///
    /// # Errors
    /// What wait(2) reports.
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
        // A kill that fails finds it gone.
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
            // With a time of its own, which is the line's.
            r#""2026-05-09T06:43:00.007Z WARN event=x pid=7 reason=\"a b\"""#,
            r#"["WARN event=x pid=7 reason=\"a b\"","another"]"#,
            r#"[87,65,82,78,32,101,118,101,110,116,61,120,32,112,105,100,61,55,32,114,101,97,115,111,110,61,34,97,32,98,34]"#,
        ] {
            assert_eq!(record("6", message), expected, "{message}");
        }
    }

    #[test]
    fn what_is_no_record_has_the_time_and_level_of_its_entry() {
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
