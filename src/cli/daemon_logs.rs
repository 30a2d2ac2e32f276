//! `coven daemon logs`: shows the daemon's log from its rotated files or systemd's journal, filtered. Works without a
//! daemon.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use log::Level;
use serde_json::json;

use super::daemon::remark;
use super::journal::UnitLog;
use super::output::{Out, visible};
use super::time::parse_moment;
use super::{CliError, ExitResult};
use crate::api::{Code, Timestamp};
use crate::daemon::LogPlace;
use crate::observe::journal::{Journal, ReadOrder};
use crate::observe::{LogFiles, LogRecord, visible_json};
use crate::sys::{self, Interest, LogWatch};

/// Show the daemon's log, oldest line first. It works without a daemon.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "logs", help_triggers("-h", "--help"))]
#[argh(note = "Times are RFC 3339 (2026-05-09T06:43:00Z), or so long ago: 15m, 2h, 1d.")]
pub(super) struct Args {
    #[argh(switch, short = 'f')]
    /// follow new lines until Ctrl-C
    follow: bool,
    /// only the last lines, this many
    #[argh(option, short = 'n', arg_name = "n")]
    lines: Option<usize>,
    /// as JSON, one object per line
    #[argh(switch)]
    json: bool,
    /// only lines about this session: its id, or a beginning of it
    #[argh(option, arg_name = "id")]
    session: Option<String>,
    /// only lines about this process
    #[argh(option)]
    pid: Option<u32>,
    /// only lines with this structured error code
    #[argh(option)]
    code: Option<String>,
    /// only lines of this event
    #[argh(option)]
    event: Option<String>,
    /// only lines of this level or worse: error, warn, info, debug, trace
    #[argh(option, from_str_fn(parse_level))]
    level: Option<Level>,
    /// only lines from this time on
    #[argh(option, from_str_fn(parse_moment), arg_name = "time")]
    since: Option<Timestamp>,
    /// only lines until this time
    #[argh(option, from_str_fn(parse_moment), arg_name = "time")]
    until: Option<Timestamp>,
    /// it was asked for as `coven logs`
    #[argh(switch, hidden_help)]
    by_logs: bool,
}

pub(super) fn run(args: &Args) -> ExitResult {
    if args.by_logs && io::stderr().is_terminal() {
        remark(
            "this is the daemon's log (coven daemon logs); coven logs ID shows a session's output",
        );
    }
    let home = super::home()?;
    if args.follow && args.until.is_some() {
        return Err(CliError::usage(
            "--follow goes on from now, and --until is over: one of them",
        ));
    }
    let file = match LogPlace::of(&home) {
        LogPlace::Journal { unit, namespace } => {
            return show_journal(args, &UnitLog::new(&home, unit, namespace.as_deref()));
        }
        LogPlace::File(file) => file,
        LogPlace::Stderr(place) => {
            let place = format!("the newest daemon logs to {place}");
            let file = home.log_file();
            if !file.exists() {
                let next = "the log of who has started it, as docker logs; or let its stderr lead to a file, which coven daemon logs reads";
                return Err(CliError::failed(Code::LogNotFound, place, Some(next)));
            }
            remark(&format!("{place}; this is an older daemon's log"));
            file
        }
    };
    show_files(args, file)
}

/// Shows the log at `path` and its rotated files.
fn show_files(args: &Args, path: PathBuf) -> ExitResult {
    let failed = cannot_read(&path);
    // Created before the first read: it then reports all later writes.
    let watch = args
        .follow
        .then(|| LogWatch::new(path.parent().unwrap_or(&path)))
        .transpose()
        .map_err(&failed)?;
    let mut files = LogFiles::new(path.clone());
    let mut screen = LogScreen::new(args);
    show_new(&mut files, &mut screen, &failed)?;
    if files.current().is_none() && watch.is_none() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    if watch.is_none()
        && let Some(line) = files.rest()
    {
        screen.take(&line)?;
    }
    screen.catch_up()?;
    match watch {
        Some(watch) => follow(&watch, &mut files, &mut screen, &failed),
        None => Ok(screen.finish()),
    }
}

/// Shows a unit's log in the journal.
fn show_journal(args: &Args, log: &UnitLog) -> ExitResult {
    let mut screen = LogScreen::new(args);
    let newest = read_journal(args, log, &mut screen)?;
    let missing = match newest {
        None => log.why_empty(args.since)?,
        Some(_) => None,
    };
    match missing {
        Some(missing) if !args.follow => Err(missing),
        None if !args.follow => Ok(screen.finish()),
        missing => {
            if let Some(missing) = missing {
                remark(&missing.to_string());
            }
            let journal = log.open(ReadOrder::Following(newest.as_deref()), args.since)?;
            follow_journal(journal, log, &mut screen)
        }
    }
}

/// Shows the existing entries; returns the newest one's cursor. `--lines` reads from the newest entry on: a journal can
/// be large.
fn read_journal(
    args: &Args,
    log: &UnitLog,
    screen: &mut LogScreen<'_>,
) -> Result<Option<String>, CliError> {
    let mut newest = None;
    match args.lines {
        None => {
            for entry in log.entries(ReadOrder::OldestFirst, args.since)? {
                let entry = entry?;
                newest = Some(entry.cursor);
                screen.show_record(&entry.record)?;
            }
        }
        Some(lines) => {
            let mut kept = VecDeque::new();
            for entry in log.entries(ReadOrder::NewestFirst, args.since)? {
                let entry = entry?;
                newest.get_or_insert(entry.cursor);
                if kept.len() < lines
                    && let Some(line) = args.shown(&entry.record)
                {
                    kept.push_front(line);
                }
                if kept.len() >= lines {
                    break;
                }
            }
            screen.kept = Some(kept);
            screen.catch_up()?;
        }
    }
    Ok(newest)
}

/// Waits for journal entries and shows them, until the output's reader closes it.
fn follow_journal(mut journal: Journal, log: &UnitLog, screen: &mut LogScreen<'_>) -> ExitResult {
    let stdout = io::stdout();
    loop {
        let mut interests = [Interest::readable(&journal), Interest::hangup(&stdout)];
        sys::poll(&mut interests, None)?;
        if interests[1].is_ready() {
            return Ok(0);
        }
        let Some(entries) = journal.read()? else {
            let said = journal.finish()?.unwrap_or("journalctl has ended".into());
            return Err(log.cannot_read(&said));
        };
        for entry in entries {
            screen.show_record(&entry.record)?;
        }
    }
}

/// The log's levels as words.
pub(super) fn levels() -> Vec<String> {
    let levels = Level::iter();
    levels.map(|level| level.as_str().to_lowercase()).collect()
}

/// The log crate's own message does not list the levels.
fn parse_level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a level: {}", levels().join(", ")))
}

/// Shows the lines that are new since the last call.
fn show_new(
    files: &mut LogFiles,
    screen: &mut LogScreen<'_>,
    failed: impl Fn(io::Error) -> CliError,
) -> Result<(), CliError> {
    while let Some(line) = files.next_line().map_err(&failed)? {
        screen.take(&line)?;
    }
    Ok(())
}

/// Waits for changes in the log's directory and shows new lines, until the output's reader closes it.
fn follow(
    watch: &LogWatch,
    files: &mut LogFiles,
    screen: &mut LogScreen<'_>,
    failed: impl Fn(io::Error) -> CliError,
) -> ExitResult {
    let stdout = io::stdout();
    loop {
        if let Some(file) = files.current() {
            watch.watch_file(file)?;
        }
        // Read again before the wait: a newly watched file may have grown before.
        show_new(files, screen, &failed)?;
        let mut interests = [Interest::readable(watch), Interest::hangup(&stdout)];
        sys::poll(&mut interests, None)?;
        if interests[1].is_ready() {
            return Ok(0);
        }
        watch.clear();
        show_new(files, screen, &failed)?;
    }
}

fn cannot_read(log: &Path) -> impl Fn(io::Error) -> CliError {
    move |err| match err.kind() {
        io::ErrorKind::NotFound => CliError::new(
            Code::LogNotFound,
            format!("there is no log {}", log.display()),
        ),
        _ => CliError::new(
            Code::IoError,
            format!("{} cannot be read: {err}", log.display()),
        ),
    }
}

/// Destination of log lines. `--lines` keeps only the last lines until all existing ones are read.
struct LogScreen<'a> {
    args: &'a Args,
    out: Out,
    kept: Option<VecDeque<String>>,
    has_shown: bool,
}

impl<'a> LogScreen<'a> {
    fn new(args: &'a Args) -> Self {
        Self {
            args,
            out: Out::new(),
            kept: args.lines.map(|_| VecDeque::new()),
            has_shown: false,
        }
    }

    fn take(&mut self, line: &str) -> Result<(), CliError> {
        let Some(shown) = self.args.shown_line(line) else {
            return Ok(());
        };
        match (&mut self.kept, self.args.lines) {
            (Some(kept), Some(lines)) => {
                kept.push_back(shown);
                if kept.len() > lines {
                    kept.pop_front();
                }
                Ok(())
            }
            _ => self.show(&shown),
        }
    }

    fn show_record(&mut self, record: &LogRecord) -> Result<(), CliError> {
        let shown = self.args.shown(record);
        shown.map_or(Ok(()), |line| self.show(&line))
    }

    fn show(&mut self, line: &str) -> Result<(), CliError> {
        self.has_shown = true;
        Ok(self.out.line(line)?)
    }

    fn catch_up(&mut self) -> Result<(), CliError> {
        for line in self.kept.take().into_iter().flatten() {
            self.show(&line)?;
        }
        Ok(())
    }

    /// The exit code, after all lines have been shown.
    fn finish(&self) -> u8 {
        if self.args.is_filtered() && !self.has_shown && self.args.lines != Some(0) {
            remark("no line of the log is as asked for");
        }
        0
    }
}

impl Args {
    /// `line` as it is printed, if the filters select it.
    fn shown_line(&self, line: &str) -> Option<String> {
        let Some(record) = LogRecord::parse(line) else {
            // An unparsable line is shown only without filters.
            return (!self.is_filtered()).then(|| match self.json {
                true => visible_json(json!({ "line": line }).to_string()),
                false => visible(line),
            });
        };
        self.shown(&record)
    }

    fn shown(&self, record: &LogRecord) -> Option<String> {
        self.wants(record).then(|| match self.json {
            true => visible_json(record.to_json().to_string()),
            false => visible(&record.to_string()),
        })
    }

    fn is_filtered(&self) -> bool {
        let words = [&self.session, &self.code, &self.event];
        words.iter().any(|word| word.is_some())
            || self.pid.is_some()
            || self.level.is_some()
            || self.since.is_some()
            || self.until.is_some()
    }

    fn wants(&self, record: &LogRecord) -> bool {
        let is = |wanted: &Option<String>, name| {
            wanted
                .as_ref()
                .is_none_or(|wanted| record.text(name) == *wanted)
        };
        is(&self.code, "code")
            && is(&self.event, "event")
            && is(&self.pid.map(|pid| pid.to_string()), "pid")
            && self
                .session
                .as_ref()
                .is_none_or(|id| record.text("session").starts_with(id))
            && self.level.is_none_or(|level| record.level <= level)
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}
