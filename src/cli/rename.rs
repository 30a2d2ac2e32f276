//! `coven rename`: changes a session's title.

use argh::{ArgsInfo, FromArgs};

use super::session::SessionRef;
use super::{ExitResult, say_answer};
use crate::api::EditRequest;
use crate::api::routes::{self, Endpoint};

/// Give a session another title.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "rename", help_triggers("-h", "--help"))]
pub(super) struct Args {
    /// as one JSON document: the record
    #[argh(switch)]
    json: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest
    #[argh(positional)]
    id: SessionRef,
    /// the title
    #[argh(positional)]
    title: String,
}

pub(super) fn run(args: &Args) -> ExitResult {
    edit(
        &args.id,
        &EditRequest {
            title: Some(args.title.clone()),
            ..EditRequest::default()
        },
        "renamed",
        args.json,
    )
}

/// Changes a session's record, and prints the result.
pub(super) fn edit(
    session: &SessionRef,
    request: &EditRequest,
    done: &str,
    json: bool,
) -> ExitResult {
    let (mut client, id) = session.connect()?;
    let record = client.call(routes::Edit.of(&id).body(request))?;
    say_answer(json, &record, &format!("{id} {done}"))
}
