//! What a stop of the daemon ends: its live sessions are named, and a person at a terminal is asked before it.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use super::output::{shortened, visible};
use super::sessions::each_session;
use super::{CliError, Home};
use crate::api::{Code, SessionRecord};
use crate::daemon::control;
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
    // To connect would be to start it.
    if control::is_awaited(home) {
        return None;
    }
    let (mut client, health) = Client::connect_within(&home.socket(), durations::HEALTH).ok()?;
    let mut live = Vec::new();
    let is_all = |found: usize| found as u64 >= health.sessions.live;
    if is_all(0) {
        return Some(live);
    }
    // They are among the newest, and not all that have ever been have to be read to find them.
    let found = each_session(&mut client, true, |session| {
        if !session.status.is_final() && !session.external {
            live.push(session);
        }
        Ok(match is_all(live.len()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    });
    found.is_ok().then_some(live)
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
