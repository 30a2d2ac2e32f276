//! `coven logs`: the stored output of a session. Without a session it is the daemon's log: [`super::args`].

use std::collections::VecDeque;
use std::io::{self, IsTerminal};

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::follow::{Output, each_event, output_of, show_truncation};
use super::output::{Out, TerminalText, visible};
use super::session::SessionRef;
use super::table::stamp;
use super::time::parse_moment;
use super::{CliError, ExitResult, logs_prune};
use crate::api::routes::{self, Endpoint};
use crate::api::{Event, EventKind, EventsQuery, Stream, Timestamp};
use crate::http::client::Client;
use crate::settings::durations;

/// Show a session's stored output: its stdout on stdout, its stderr on stderr.
#[derive(FromArgs, ArgsInfo, Default)]
#[argh(subcommand, name = "logs", help_triggers("-h", "--help"))]
#[argh(
    note = "Times are RFC 3339 (2026-05-09T06:43:00Z), or so long ago: 15m, 2h, 1d.\n\
            A terminal is sent colours, tabs and newlines of the output; other control characters are made visible.\n\
            Without a session, or with an option of coven daemon logs, it shows the daemon's log."
)]
pub(super) struct Args {
    #[argh(switch, short = 'f')]
    /// go on as output comes, until the session ends or Ctrl-C
    follow: bool,
    /// only the last lines, this many
    #[argh(option, short = 'n', arg_name = "n")]
    tail: Option<usize>,
    /// only output from then on
    #[argh(option, from_str_fn(parse_moment), arg_name = "time")]
    since: Option<Timestamp>,
    /// begin each line with its time
    #[argh(switch, short = 't')]
    timestamps: bool,
    /// only this stream: stdout or stderr
    #[argh(option)]
    stream: Option<Stream>,
    /// only what was written after the session's end, by processes that it has left behind
    #[argh(switch)]
    late: bool,
    /// a preview, line by line, with what happened and without escape sequences: the newest 900 kB
    #[argh(switch)]
    readable: bool,
    /// as JSON, one object per line
    #[argh(switch)]
    json: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest
    #[argh(positional)]
    id: Option<SessionRef>,
    #[argh(subcommand)]
    verb: Option<Verb>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Verb {
    Prune(logs_prune::Args),
}

pub(super) fn run(args: &Args) -> ExitResult {
    if let Some(Verb::Prune(args)) = &args.verb {
        return logs_prune::run(args);
    }
    let Some(id) = &args.id else {
        return Err(CliError::usage("logs: of which session?"));
    };
    if args.readable && (args.follow || args.late || args.stream.is_some()) {
        let message = "--readable goes with --tail, --since, --timestamps and --json only";
        return Err(CliError::usage(message));
    }
    let (mut client, id) = id.connect()?;
    match args.readable {
        true => show_preview(args, &mut client, &id),
        false => show_output(args, &mut client, &id),
    }
}

fn show_preview(args: &Args, client: &mut Client, id: &str) -> ExitResult {
    let mut lines = client.call(routes::PreviewLog.of(id))?;
    lines.retain(|line| args.since.is_none_or(|since| line.ts >= since));
    let skipped = args.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut out = Out::new();
    for line in &lines[skipped..] {
        if args.json {
            out.json(line)?;
            continue;
        }
        let time = match args.timestamps {
            true => format!("{}  ", stamp(line.ts, io::stdout().is_terminal())),
            false => String::new(),
        };
        let (level, message) = (line.level.as_str(), visible(&line.message));
        out.line(format!("{time}{level:<5}  {message}").trim_end())?;
    }
    Ok(0)
}

fn show_output(args: &Args, client: &mut Client, id: &str) -> ExitResult {
    let mut screen = OutputScreen::new(args);
    let mut after = 0;
    if let Some(lines) = args.tail {
        let (last, chunks) = tail(args, client, id, lines)?;
        for chunk in chunks {
            screen.show(&chunk)?;
        }
        after = last;
    }
    if args.follow {
        client.allow_wait(durations::FOLLOW_WAIT)?;
    }
    if args.follow || args.tail.is_none() {
        let query = EventsQuery {
            after_seq: Some(after),
            wait_ms: args
                .follow
                .then_some(durations::FOLLOW_WAIT.as_millis() as u64),
            ..EventsQuery::default()
        };
        for event in each_event(client, id, query) {
            let event = event?;
            match args.chunk(&event)? {
                Some(chunk) => screen.show(&chunk)?,
                None if event.kind == EventKind::OutputTruncated => show_truncation(&event)?,
                None => {}
            }
        }
    }
    screen.finish()?;
    if screen.is_empty && io::stderr().is_terminal() {
        remark(&format!(
            "no output is stored that is as asked for; to see how it is: coven show {id}"
        ));
    }
    Ok(0)
}

/// Returns the last `lines` lines of output, and the seq of the newest event. Reads ever larger ranges before the
/// newest event, since a session can be large.
fn tail(
    args: &Args,
    client: &mut Client,
    id: &str,
    lines: usize,
) -> Result<(u64, VecDeque<Chunk>), CliError> {
    let last = client.call(routes::ShowSession.of(id))?.last_seq;
    let mut reach = if lines == 0 { 0 } else { 200 };
    loop {
        let after = last.saturating_sub(reach);
        let mut kept = Kept {
            lines,
            chunks: VecDeque::new(),
            newlines: 0,
        };
        let query = EventsQuery {
            after_seq: Some(after),
            ..EventsQuery::default()
        };
        for event in each_event(client, id, query) {
            let event = event?;
            if event.seq > last {
                break;
            }
            if let Some(chunk) = args.chunk(&event)? {
                kept.push(chunk);
            }
        }
        if after == 0 || reach == 0 || kept.is_full() {
            return Ok((last, kept.cut()));
        }
        reach *= 8;
    }
}

/// The last `lines` lines of both streams, made safe for a terminal.
pub(super) fn last_lines(client: &mut Client, id: &str, lines: usize) -> Result<String, CliError> {
    let (_, chunks) = tail(&Args::default(), client, id, lines)?;
    let mut terminal = TerminalText::default();
    let shown = chunks
        .iter()
        .map(|chunk| terminal.take(&chunk.output.bytes));
    let shown = shown.collect::<String>() + &terminal.rest();
    let reset = if shown.contains('\u{1b}') {
        "\u{1b}[m"
    } else {
        ""
    };
    Ok(shown.trim_end().to_owned() + reset)
}

/// The requested output of one event.
struct Chunk {
    output: Output,
    at: Timestamp,
    /// The event, for `--json`.
    event: Option<Event>,
}

impl Chunk {
    fn newlines(&self) -> usize {
        self.output.bytes.iter().filter(|&&b| b == b'\n').count()
    }
}

impl Args {
    fn chunk(&self, event: &Event) -> Result<Option<Chunk>, CliError> {
        let is_early = self.since.is_some_and(|since| event.created_at < since);
        if event.kind != EventKind::Output || is_early {
            return Ok(None);
        }
        let output = output_of(event)?;
        let is_wanted = self.stream.is_none_or(|stream| output.stream == stream);
        Ok(
            (is_wanted && (output.is_late || !self.late)).then(|| Chunk {
                output,
                at: event.created_at,
                event: self.json.then(|| event.clone()),
            }),
        )
    }
}

/// The newest chunks: at least the last lines.
struct Kept {
    lines: usize,
    chunks: VecDeque<Chunk>,
    newlines: usize,
}

impl Kept {
    fn push(&mut self, chunk: Chunk) {
        self.newlines += chunk.newlines();
        self.chunks.push_back(chunk);
        while let Some(first) = self.chunks.front()
            && self.newlines - first.newlines() > self.lines
        {
            self.newlines -= first.newlines();
            self.chunks.pop_front();
        }
    }

    /// True if no requested line begins before these chunks.
    fn is_full(&self) -> bool {
        self.newlines > self.lines
    }

    /// The chunks, without the bytes before the last lines.
    fn cut(mut self) -> VecDeque<Chunk> {
        let ends_line = |chunk: &Chunk| chunk.output.bytes.ends_with(b"\n");
        let kept = self.lines + usize::from(self.chunks.back().is_some_and(ends_line));
        let mut above = (self.newlines + 1).saturating_sub(kept);
        for chunk in &mut self.chunks {
            let bytes = &mut chunk.output.bytes;
            let ends = bytes.iter().enumerate().filter(|&(_, &b)| b == b'\n');
            let ends: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
            let here = above.min(ends.len());
            above -= here;
            match here {
                0 => break,
                here if above == 0 => drop(bytes.drain(..ends[here - 1])),
                _ => bytes.clear(),
            }
        }
        self.chunks
    }
}

/// Shows output on stdout and stderr; escapes control characters where the stream is a terminal.
struct OutputScreen {
    out: Out,
    /// Nothing was shown.
    is_empty: bool,
    timestamps: bool,
    /// Filters of stdout and stderr, which hold an incomplete character; `None` if the stream is no terminal.
    terminals: [Option<TerminalText>; 2],
    /// True if the next byte of stdout (stderr) begins a line.
    begins_line: [bool; 2],
}

impl OutputScreen {
    fn new(args: &Args) -> Self {
        let is_terminal = [io::stdout().is_terminal(), io::stderr().is_terminal()];
        Self {
            out: Out::new(),
            is_empty: true,
            timestamps: args.timestamps,
            terminals: is_terminal.map(|is| is.then(TerminalText::default)),
            begins_line: [true; 2],
        }
    }

    fn show(&mut self, chunk: &Chunk) -> Result<(), CliError> {
        self.is_empty = false;
        if let Some(event) = &chunk.event {
            return Ok(self.out.json(event)?);
        }
        let (stream, bytes) = (chunk.output.stream, &chunk.output.bytes);
        let at = stream as usize;
        let harmless = self.terminals[at]
            .as_mut()
            .map(|terminal| terminal.take(bytes));
        let bytes = harmless.as_deref().map_or(bytes.as_slice(), str::as_bytes);
        if !self.timestamps {
            return Ok(self.out.of_harness(stream, bytes)?);
        }
        let mut stamped = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            if std::mem::replace(&mut self.begins_line[at], line.ends_with(b"\n")) {
                let time = stamp(chunk.at, self.terminals[at].is_some());
                stamped.extend_from_slice(format!("{time}  ").as_bytes());
            }
            stamped.extend_from_slice(line);
        }
        Ok(self.out.of_harness(stream, &stamped)?)
    }

    /// Shows the bytes that the filters hold.
    fn finish(&mut self) -> Result<(), CliError> {
        for stream in Stream::ALL {
            if let Some(terminal) = self.terminals[stream as usize].take() {
                self.out.of_harness(stream, terminal.rest().as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_cut_out_of_the_chunks_that_hold_them() {
        let last = |lines, chunks: &[&str]| {
            let (chunks, texts) = (VecDeque::new(), chunks);
            let mut kept = Kept {
                lines,
                chunks,
                newlines: 0,
            };
            for text in texts {
                let bytes = text.as_bytes().to_vec();
                let output = Output {
                    stream: Stream::Stdout,
                    bytes,
                    is_late: false,
                };
                let at = Timestamp::from_millis(0);
                kept.push(Chunk {
                    output,
                    at,
                    event: None,
                });
            }
            let chunks = kept.cut().into_iter();
            let bytes: Vec<u8> = chunks.flat_map(|chunk| chunk.output.bytes).collect();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(last(2, &["a\nb\nc\n"]), "b\nc\n");
        assert_eq!(last(2, &["a\nb\nc"]), "b\nc");
        assert_eq!(last(1, &["a\nb", "c", "d\n"]), "bcd\n");
        assert_eq!(last(2, &["a\n", "b\n", "c\nd"]), "c\nd");
        assert_eq!(last(3, &["a", "\nb\n"]), "a\nb\n");
        assert_eq!(last(1, &["a\n", "\n"]), "\n");
        assert_eq!(last(5, &[]), "");
    }
}
