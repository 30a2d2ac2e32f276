//! `coven sessions`: the list.

use argh::{ArgsInfo, FromArgs};

use super::Outcome;
use super::follow::connect;
use super::output::{Out, shortened, visible};
use crate::api::{SessionPage, SessionRecord};

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
    let mut cursor = String::new();
    loop {
        let path = format!("/sessions?limit=1000&includeArchived={}{cursor}", args.all);
        let page: SessionPage = client.get(&path)?;
        for session in &page.sessions {
            if args.json {
                out.json(session)?;
            } else {
                rows.push(row(session));
            }
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
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
