//! `coven events`: lists a session's events.

use std::io::{self, IsTerminal};

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::follow::each_event;
use super::output::Out;
use super::session::SessionRef;
use super::table::{shortened, stamp};
use crate::api::{Event, EventsQuery};

/// List a session's events.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "events", help_triggers("-h", "--help"))]
#[argh(note = "Times are local at a terminal, and UTC elsewhere and in JSON.")]
pub(super) struct Args {
    /// only those after this seq
    #[argh(option, default = "0", arg_name = "seq")]
    after: u64,
    /// at most this many (default: all)
    #[argh(option, short = 'n', default = "usize::MAX", arg_name = "n")]
    limit: usize,
    /// as JSON, one object per line: the events
    #[argh(switch)]
    json: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, id) = args.id.connect()?;
    let query = EventsQuery {
        after_seq: Some(args.after),
        limit: Some(args.limit.min(1000) as u64),
        ..EventsQuery::default()
    };
    let mut out = Out::new();
    for event in each_event(&mut client, &id, query).take(args.limit) {
        print(&event?, args.json, &mut out)?;
    }
    Ok(0)
}

fn print(event: &Event, json: bool, out: &mut Out) -> io::Result<()> {
    if json {
        return out.json(event);
    }
    let payload = shortened(&event.payload_json, 100);
    let at = stamp(event.created_at, io::stdout().is_terminal());
    out.line(&format!(
        "{:>6}  {at}  {:<8}  {payload}",
        event.seq, event.kind
    ))
}
