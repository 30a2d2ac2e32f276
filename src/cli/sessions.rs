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
    /// as JSON, a record a line
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let home = super::home()?;
    let mut client = connect(&home)?;
    let mut out = Out::new();
    let mut rows = Vec::new();
    each_session(&mut client, args.all, |session| {
        if args.json {
            out.json(&session)?;
        } else {
            rows.push(row(&session));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if !args.json {
        out.table(&["ID", "STATUS", "HARNESS", "CREATED", "TITLE"], &rows)?;
    }
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

fn row(session: &SessionRecord) -> Vec<String> {
    let id = session.id.to_string();
    let archived = if session.archived_at.is_some() {
        " (archived)"
    } else {
        ""
    };
    // Seconds are enough for eyes.
    let created = session.created_at.to_string().replace('T', " ")[..19].to_owned();
    vec![
        id[..8].to_owned(),
        format!("{}{archived}", session.status),
        visible(&session.harness),
        created,
        shortened(&session.title, 60),
    ]
}
