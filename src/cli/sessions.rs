//! `coven sessions`: the list.

use std::ops::ControlFlow;

use argh::{ArgsInfo, FromArgs};

use super::follow::connect;
use super::output::{Out, shortened, visible};
use super::{CliError, Outcome};
use crate::api::routes::{self, Endpoint};
use crate::api::{SessionRecord, SessionsQuery};
use crate::http::client::Client;

/// List sessions, newest first.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sessions", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// also the archived ones
    #[argh(switch)]
    all: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
    /// with whole ids, for scripts
    #[argh(switch)]
    plain: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let home = super::home()?;
    let mut client = connect(&home)?;
    let mut out = Out::new();
    if args.json {
        return print_document(&mut client, args.all, &mut out);
    }
    let mut rows = Vec::new();
    each_session(&mut client, args.all, |session| {
        rows.push(row(&session, args.plain));
        Ok(ControlFlow::Continue(()))
    })?;
    out.table(&["ID", "STATUS", "HARNESS", "CREATED", "TITLE"], &rows)?;
    Ok(0)
}

/// `{"sessions":[…]}`, with a record a line: as many as there are, and no more than a page in memory.
fn print_document(client: &mut Client, with_archived: bool, out: &mut Out) -> Outcome {
    let mut before: &[u8] = b"";
    out.line(r#"{"sessions":["#)?;
    each_session(client, with_archived, |session| {
        out.bytes(std::mem::replace(&mut before, b","))?;
        out.json(&session)?;
        Ok(ControlFlow::Continue(()))
    })?;
    out.line("]}")?;
    Ok(0)
}

/// Calls `visit` with each session, newest first, until it has seen enough.
pub(super) fn each_session(
    client: &mut Client,
    with_archived: bool,
    mut visit: impl FnMut(SessionRecord) -> Result<ControlFlow<()>, CliError>,
) -> Result<(), CliError> {
    let mut query = SessionsQuery {
        limit: Some(1000),
        include_archived: Some(with_archived),
        ..SessionsQuery::default()
    };
    loop {
        let page = client.call(routes::ListSessions.request().query(&query))?;
        for session in page.sessions {
            if visit(session)?.is_break() {
                return Ok(());
            }
        }
        if page.next_cursor.is_none() {
            return Ok(());
        }
        query.cursor = page.next_cursor;
    }
}

/// The daemon's `count` live sessions. They are among the newest: not all that have ever been are read to find them.
pub(super) fn live_sessions(
    client: &mut Client,
    count: u64,
) -> Result<Vec<SessionRecord>, CliError> {
    let mut live = Vec::new();
    if count == 0 {
        return Ok(live);
    }
    each_session(client, true, |session| {
        if !session.status.is_final() && !session.external {
            live.push(session);
        }
        Ok(match live.len() as u64 >= count {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    Ok(live)
}

fn row(session: &SessionRecord, is_plain: bool) -> Vec<String> {
    let mut id = visible(&session.id.to_string());
    if !is_plain && session.id.is_uuid() {
        id.truncate(8);
    }
    let archived = if session.archived_at.is_some() {
        " (archived)"
    } else {
        ""
    };
    // Seconds are enough for eyes.
    let created = session.created_at.to_string().replace('T', " ")[..19].to_owned();
    vec![
        id,
        format!("{}{archived}", session.status),
        visible(&session.harness),
        created,
        shortened(&session.title, 60),
    ]
}
