//! `coven kill`: ends sessions.

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::output::{Out, visible};
use super::sacrifice::records;
use super::session::{SessionRef, connect_with_care, for_each};
use super::sessions::live_sessions;
use super::{CliError, ExitResult, consent};
use crate::api::routes::{self, Endpoint};
use crate::api::{ErrorDetail, KillRequest, KillSignal, LeftBehind, SessionRecord};
use crate::http::client::{Client, ClientError};

/// End sessions, and processes that an ended one left running: SIGTERM, and SIGKILL after the grace.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "kill", help_triggers("-h", "--help"))]
#[argh(
    note = "--all asks at a terminal, and needs --yes elsewhere. Titles and --last are taken only where it can ask."
)]
pub(super) struct Args {
    /// all that are live
    #[argh(switch)]
    all: bool,
    /// TERM (the default) or KILL, which end a session; INT, HUP, USR1, USR2, STOP, CONT or WINCH, which are only sent
    #[argh(option, short = 's', from_str_fn(parse_signal))]
    #[argh(default = "KillSignal::default()")]
    signal: KillSignal,
    /// do not ask
    #[argh(switch, short = 'y')]
    yes: bool,
    /// as JSON, one object per line: the record of each
    #[argh(switch)]
    json: bool,
    /// the sessions: ids, unique beginnings of them, whole titles, or --last for the newest
    #[argh(positional)]
    ids: Vec<SessionRef>,
}

/// A signal by its name, with or without `SIG`, or by its number: `KILL`, `sigkill`, `9`.
pub(super) fn parse_signal(text: &str) -> Result<KillSignal, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = text.parse::<i32>().ok();
    let numbered = KillSignal::ALL
        .into_iter()
        .find(|signal| number == Some(signal.number()));
    numbered.map_or_else(|| name.parse(), Ok)
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, ids, may_go_on) = match (args.all, args.ids.is_empty()) {
        (true, false) => return Err(CliError::usage("kill: --all, or sessions")),
        (true, true) => {
            let mut client = super::target()?.connect()?;
            let live = client.call(routes::Health.request())?.sessions.live;
            let live = live_sessions(&mut client, live)?;
            if live.is_empty() {
                remark("no session is live");
            }
            let may_go_on = args.yes || consent::ask_about(&ends(&live), &live)?;
            let ids = live.iter().map(|session| session.id.to_string());
            (client, ids.collect(), may_go_on)
        }
        (false, _) => {
            let (mut client, ids, is_loose) = connect_with_care(&args.ids, "kill: which session?")?;
            let sessions = match is_loose {
                true => records(&mut client, &ids)?,
                false => Vec::new(),
            };
            let may_go_on = consent::ask_about(&ends(&sessions), &sessions)?;
            (client, ids, may_go_on)
        }
    };
    if !may_go_on {
        return Ok(1);
    }
    for_each(ids, |id| {
        let said = kill(&mut client, id, args)?;
        let record = client.call(routes::ShowSession.of(id))?;
        let said = said.unwrap_or_else(|| match record.status.is_final() {
            true => record.status.to_string(),
            false => "asked to end; it takes its time".into(),
        });
        Ok(Out::new().line_or_json(args.json, &format!("{id} {said}"), &record)?)
    })
}

fn ends(sessions: &[SessionRecord]) -> String {
    format!("ends {}", consent::counted(sessions.len()))
}

/// Ends or signals the session. Returns the result, unless its record has it.
fn kill(client: &mut Client, id: &str, args: &Args) -> Result<Option<String>, CliError> {
    let signal = args.signal;
    let request = KillRequest {
        signal,
        ..KillRequest::default()
    };
    match client.call(routes::Kill.of(id).body(&request)) {
        Ok(_) => Ok((!signal.ends()).then(|| format!("was sent {signal}"))),
        Err(ClientError::Api { error, .. })
            if signal.ends()
                && let Some(left) = left_behind(&error) =>
        {
            sweep(client, id, &left, args.json).map(Some)
        }
        Err(err) => Err(err.into()),
    }
}

/// The processes that an ended session left running; `None` if there are none.
fn left_behind(error: &ErrorDetail) -> Option<LeftBehind> {
    let left = error.details.as_ref()?.get("leftBehind")?;
    let left: LeftBehind = serde_json::from_value(left.clone()).ok()?;
    (!left.0.is_empty()).then_some(left)
}

fn sweep(client: &mut Client, id: &str, left: &LeftBehind, json: bool) -> Result<String, CliError> {
    if !json {
        let left = visible(&left.to_string());
        Out::new().line(&format!("{id} has ended; it has left behind: {left}"))?;
    }
    let request = KillRequest {
        sweep: true,
        ..KillRequest::default()
    };
    let answer = client.call(routes::Kill.of(id).body(&request))?;
    Ok(format!("processes ended: {}", answer.swept.unwrap_or(0)))
}
