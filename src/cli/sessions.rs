//! `coven sessions`: the list.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::follow::connect;
use super::output::{Out, shortened, visible};
use crate::api::routes::{self, Endpoint};
use crate::api::{SessionRecord, SessionsQuery};

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
    let mut query = SessionsQuery {
        limit: Some(1000),
        include_archived: Some(args.all),
        ..SessionsQuery::default()
    };
    loop {
        let page = client.call(routes::ListSessions.request().query(&query))?;
        for session in &page.sessions {
            if args.json {
                out.json(session)?;
            } else {
                rows.push(row(session));
            }
        }
        if page.next_cursor.is_none() {
            break;
        }
        query.cursor = page.next_cursor;
    }
    if !args.json {
        out.table(&["ID", "STATUS", "HARNESS", "CREATED", "TITLE"], &rows)?;
    }
    Ok(0)
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
