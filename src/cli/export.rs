//! `coven export`: writes records and events of sessions as JSON Lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::daemon::remark;
use super::follow::each_event;
use super::output::visible;
use super::session::{SessionRef, connect_to_all};
use super::text::{create_new, not_created};
use super::{CliError, ExitResult, say};
use crate::api::routes::{self, Endpoint};
use crate::api::{EventsQuery, Timestamp};
use crate::http::client::Client;
use crate::observe::visible_json;

/// Write sessions' records and events as JSON Lines, to stdout or a new file.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "export", help_triggers("-h", "--help"))]
#[argh(
    note = "There is no --json: the form is always JSON Lines. Of each session: a line with its record, as show --json has it; a line an event, as events --json has it; and a line
{\"summary\":{\"session_id\",\"events\",\"last_seq\",\"live\",\"exported_at\"}}. Without its summary a session is incomplete.

A live session is written up to the newest event of its record. The file has mode 0600, and its name when it is complete;
until then it is FILE.partial."
)]
pub(super) struct Args {
    /// write to this new file, for you alone to read, and print its name
    #[argh(option, short = 'o', arg_name = "file")]
    output: Option<PathBuf>,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, ids) = connect_to_all(&args.ids, "export: which session?")?;
    let Some(path) = &args.output else {
        write_all(&mut client, &ids, &mut io::stdout().lock())?;
        return Ok(0);
    };
    let draft = path.with_added_extension("partial");
    let mut file = create_new(&draft)?;
    let written = write_all(&mut client, &ids, &mut file).and_then(|()| name(&file, &draft, path));
    // Also after a failure.
    let _ = std::fs::remove_file(&draft);
    written?;
    say(&visible(&path.display().to_string()))
}

/// Syncs the draft, and links it to `path`. Unlike rename(2), link(2) replaces no file.
fn name(file: &File, draft: &Path, path: &Path) -> Result<(), CliError> {
    file.sync_all()?;
    std::fs::hard_link(draft, path).map_err(|err| not_created(path, &err))
}

fn write_all(client: &mut Client, ids: &[String], to: &mut dyn Write) -> Result<(), CliError> {
    let mut out = BufWriter::with_capacity(64 * 1024, to);
    for id in ids {
        write(client, id, &mut out)?;
    }
    Ok(out.flush()?)
}

fn write(client: &mut Client, id: &str, out: &mut dyn Write) -> Result<(), CliError> {
    let mut line = |json: Result<String, serde_json::Error>| {
        writeln!(out, "{}", visible_json(json.map_err(io::Error::from)?))
    };
    let record = client.call(routes::ShowSession.of(id))?;
    line(serde_json::to_string(&record))?;
    let (last_seq, live) = (record.last_seq, !record.status.is_final());
    let mut events = 0;
    for event in each_event(client, id, EventsQuery::default()) {
        let event = event?;
        if event.seq > last_seq {
            break;
        }
        events += 1;
        line(serde_json::to_string(&event))?;
    }
    let exported_at = Timestamp::now().to_string();
    let summary = json!({
        "session_id": id, "events": events, "last_seq": last_seq, "live": live, "exported_at": exported_at,
    });
    line(serde_json::to_string(&json!({ "summary": summary })))?;
    if live {
        remark(&format!("{id} is live: exported up to event {last_seq}"));
    }
    Ok(())
}
