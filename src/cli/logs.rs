//! `coven logs`: the daemon's log, over its rotated files, filtered. It needs no daemon.

use std::collections::VecDeque;
use std::io;

use argh::{ArgsInfo, FromArgs};
use log::Level;
use serde_json::json;

use super::daemon::remark;
use super::output::{Out, visible};
use super::time::parse_moment;
use super::{CliError, Home, Outcome, prune};
use crate::api::{Code, Timestamp};
use crate::daemon::supervisor;
use crate::observe::{LogFiles, LogRecord, visible_json};
use crate::sys::{self, Interest, LogWatch};

/// Show the daemon's log, oldest line first. It works without a daemon.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "logs",
    help_triggers("-h", "--help"),
    note = "Times are RFC 3339 (2026-05-09T06:43:00Z), or so long ago: 15m, 2h, 1d."
)]
pub(super) struct Args {
    #[argh(switch, short = 'f')]
    /// go on as lines come, until Ctrl-C
    follow: bool,
    /// only the last so many lines
    #[argh(option, short = 'n')]
    lines: Option<usize>,
    /// as JSON, an object a line
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
    /// only lines from then on
    #[argh(option, from_str_fn(parse_moment))]
    since: Option<Timestamp>,
    /// only lines until then
    #[argh(option, from_str_fn(parse_moment))]
    until: Option<Timestamp>,
    #[argh(subcommand)]
    verb: Option<Verb>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Prune(prune::Args),
}

pub(super) fn run(args: &Args) -> Outcome {
    if let Some(Verb::Prune(args)) = &args.verb {
        return prune::run(args);
    }
    let home = super::home()?;
    if args.follow && args.until.is_some() {
        return Err(CliError::usage(
            "--follow goes on from now, and --until is over: one of them",
        ));
    }
    let failed = cannot_read(&home);
    // Before the first read: what is written after that is reported.
    let watch = args
        .follow
        .then(|| LogWatch::new(&home.logs()))
        .transpose()
        .map_err(&failed)?;
    let mut files = LogFiles::new(home.log_file());
    let mut screen = Screen::new(args);
    read(&mut files, &mut screen).map_err(|err| err.explained(&failed))?;
    if files.current().is_none() && watch.is_none() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    if watch.is_none() {
        files.finish(|line| screen.take(line))?;
    }
    screen.catch_up()?;
    if watch.is_none() && args.is_filtered() && !screen.has_shown {
        remark("no line of the log is as asked for");
    }
    match watch {
        Some(watch) => follow(&watch, &mut files, &mut screen, &failed),
        None => Ok(0),
    }
}

/// What reading can fail with, until it is known what the user should be told.
enum ReadError {
    Log(io::Error),
    Output(CliError),
}

/// The log's levels, as they are written on a command line.
pub(super) fn levels() -> Vec<String> {
    let levels = Level::iter();
    levels.map(|level| level.as_str().to_lowercase()).collect()
}

/// The log crate's own message does not say which levels there are.
fn parse_level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a level: {}", levels().join(", ")))
}

impl From<io::Error> for ReadError {
    fn from(err: io::Error) -> Self {
        Self::Log(err)
    }
}

impl ReadError {
    fn explained(self, failed: impl Fn(io::Error) -> CliError) -> CliError {
        match self {
            Self::Log(err) => failed(err),
            Self::Output(err) => err,
        }
    }
}

fn read(files: &mut LogFiles, screen: &mut Screen<'_>) -> Result<(), ReadError> {
    files.read(|line| screen.take(line).map_err(ReadError::Output))
}

/// Blocks until something happens to the log's directory, and shows what came of it; ends when its reader does.
fn follow(
    watch: &LogWatch,
    files: &mut LogFiles,
    screen: &mut Screen<'_>,
    failed: impl Fn(io::Error) -> CliError,
) -> Outcome {
    let stdout = io::stdout();
    loop {
        if let Some(file) = files.current() {
            watch.watch_file(file)?;
        }
        // Once more, before the wait: a file that is watched only now may have grown before.
        read(files, screen).map_err(|err| err.explained(&failed))?;
        let mut interests = [Interest::readable(watch), Interest::hangup(&stdout)];
        sys::poll(&mut interests, None)?;
        if interests[1].is_ready() {
            return Ok(0);
        }
        watch.clear();
        read(files, screen).map_err(|err| err.explained(&failed))?;
    }
}

fn cannot_read(home: &Home) -> impl Fn(io::Error) -> CliError {
    let log = home.log_file();
    move |err| match err.kind() {
        io::ErrorKind::NotFound => {
            // Of a unit that serves this home, the command is known.
            let journal = supervisor::unit_of_home(home.path()).map(|(unit, _)| unit.journal());
            CliError::failed(
                Code::LogNotFound,
                format!(
                    "there is no log {}; a daemon that runs in the foreground logs to stderr",
                    log.display()
                ),
                journal.as_deref().or(Code::LogNotFound.next()),
            )
        }
        _ => CliError::new(
            Code::IoError,
            format!("{} cannot be read: {err}", log.display()),
        ),
    }
}

/// Where lines are shown. Until it has caught up, `--lines` keeps back all but the last.
struct Screen<'a> {
    args: &'a Args,
    out: Out,
    kept: Option<VecDeque<String>>,
    has_shown: bool,
}

impl<'a> Screen<'a> {
    fn new(args: &'a Args) -> Self {
        Self {
            args,
            out: Out::new(),
            kept: args.lines.map(|_| VecDeque::new()),
            has_shown: false,
        }
    }

    fn take(&mut self, line: &str) -> Result<(), CliError> {
        let Some(shown) = self.args.shown(line) else {
            return Ok(());
        };
        self.has_shown = true;
        match (&mut self.kept, self.args.lines) {
            (Some(kept), Some(lines)) => {
                kept.push_back(shown);
                if kept.len() > lines {
                    kept.pop_front();
                }
                Ok(())
            }
            _ => Ok(self.out.line(&shown)?),
        }
    }

    fn catch_up(&mut self) -> Result<(), CliError> {
        for line in self.kept.take().into_iter().flatten() {
            self.out.line(&line)?;
        }
        Ok(())
    }
}

impl Args {
    /// `line` as it is shown, if it is asked for.
    fn shown(&self, line: &str) -> Option<String> {
        let Some(record) = LogRecord::parse(line) else {
            // Nothing can be said of it: it is left out where anything is asked for in particular.
            return (!self.is_filtered()).then(|| match self.json {
                true => visible_json(json!({ "line": line }).to_string()),
                false => visible(line),
            });
        };
        self.wants(&record).then(|| match self.json {
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
