//! What a stop of the daemon ends: its live sessions are named, and a person at a terminal is asked before it.

use std::io::{self, IsTerminal, Write};

use super::output::{shortened, visible};
use super::{CliError, Home};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, SessionRecord, SessionsQuery};
use crate::daemon::control::{self, Status};
use crate::http::client::Client;
use crate::settings::durations;

/// The most sessions that are named.
const NAMED_MAX: usize = 20;

/// Names the sessions that end with the daemon, on stderr. If `yes` is not given, and stdin and stderr are terminals, asks
/// whether to go on. A daemon that does not answer is no reason not to stop it.
///
/// # Errors
/// The answer was another than yes.
pub(super) fn ask(home: &Home, yes: bool) -> Result<(), CliError> {
    let Some(live) = live(home).filter(|live| !live.is_empty()) else {
        return Ok(());
    };
    let mut err = io::stderr().lock();
    let plural = if live.len() == 1 { "" } else { "s" };
    writeln!(err, "coven: this ends {} live session{plural}:", live.len())?;
    for session in live.iter().take(NAMED_MAX) {
        let id = session.id.to_string();
        let (harness, title) = (visible(&session.harness), shortened(&session.title, 60));
        writeln!(err, "  {}  {harness}  {title}", &id[..8])?;
    }
    if live.len() > NAMED_MAX {
        writeln!(err, "  and {} more", live.len() - NAMED_MAX)?;
    }
    if yes || !io::stdin().is_terminal() || !err.is_terminal() {
        return Ok(());
    }
    write!(err, "Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::failed(
            Code::DaemonStopFailed,
            "the daemon goes on: the answer was not yes".to_owned(),
            Some("--yes, which does not ask"),
        )),
    }
}

/// The sessions that the daemon runs; `None` if it does not answer.
fn live(home: &Home) -> Option<Vec<SessionRecord>> {
    // First what the home says: where a service manager has the socket, a connection would start a daemon.
    let Status::Running(health) = control::status(home) else {
        return None;
    };
    let (mut client, _) = Client::connect_within(&home.socket(), durations::HEALTH).ok()?;
    let mut query = SessionsQuery {
        limit: Some(1000),
        include_archived: Some(true),
        ..SessionsQuery::default()
    };
    let mut live = Vec::new();
    // They are among the newest, and not all that have ever been have to be read to find them.
    while (live.len() as u64) < health.sessions.live {
        let page = client
            .call(routes::ListSessions.request().query(&query))
            .ok()?;
        let is_live = |session: &SessionRecord| !session.status.is_final() && !session.external;
        live.extend(page.sessions.into_iter().filter(is_live));
        if page.next_cursor.is_none() {
            break;
        }
        query.cursor = page.next_cursor;
    }
    Some(live)
}

#[cfg(test)]
mod tests {
    use crate::checkout::{checkout, each_file};

    #[test]
    fn no_hint_advises_an_end_of_the_daemon_without_the_warning() {
        let mut hints = 0;
        each_file(&checkout("src"), &mut |path, text| {
            for verb in ["restart", "stop"] {
                let advice = ["coven daemon", verb].join(" ");
                for (at, _) in text.match_indices(&advice) {
                    let line = text[..at].rsplit('\n').next().unwrap().trim_start();
                    let rest = &text[at + advice.len()..];
                    let is_warned = [" (ends live sessions)", "\"))", "{"]
                        .iter()
                        .any(|warning| rest.starts_with(warning));
                    hints += 1;
                    assert!(
                        line.starts_with("//") || is_warned,
                        "{}: {line}{advice}",
                        path.display()
                    );
                }
            }
        });
        assert!(hints > 10, "{hints}");
    }
}
