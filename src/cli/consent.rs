//! What a stop of the daemon ends: its live sessions are named, and a person at a terminal is asked before it.

use std::io::{self, IsTerminal, Write};

use super::output::{shortened, visible};
use super::sessions::live_sessions;
use super::{CliError, Home};
use crate::api::{Code, SessionRecord};
use crate::daemon::control::{self, Status};
use crate::http::client::Client;
use crate::settings::durations;

/// The most sessions that are named.
const NAMED_MAX: usize = 20;

/// Names the sessions that end with the daemon, on stderr, or says that they are not known. If `yes` is not given, and stdin
/// and stderr are terminals, asks whether to go on. A daemon that does not answer is no reason not to stop it.
///
/// # Errors
/// The answer was another than yes.
pub(super) fn ask(home: &Home, yes: bool) -> Result<(), CliError> {
    let mut err = io::stderr().lock();
    match live(home) {
        Ok(live) if live.is_empty() => return Ok(()),
        Ok(live) => name(&live, &mut err)?,
        Err(reason) => {
            let reason = visible(&reason);
            writeln!(
                err,
                "coven: this ends the live sessions; which these are is not known: {reason}"
            )?;
        }
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

fn name(live: &[SessionRecord], err: &mut impl Write) -> io::Result<()> {
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
    Ok(())
}

/// The sessions that end with the daemon: none where a stop ends no process.
///
/// # Errors
/// Why they are not known.
fn live(home: &Home) -> Result<Vec<SessionRecord>, String> {
    // To connect would be to start it.
    if control::is_awaited(home) {
        return Ok(Vec::new());
    }
    let connected = Client::connect_within(&home.socket(), durations::HEALTH);
    let (mut client, health) = match connected {
        Ok(connected) => connected,
        Err(err) => {
            return match control::status(home) {
                Status::Stopped { .. }
                | Status::Failed(_)
                | Status::Stale { pid: None, .. }
                | Status::Forwarded(_)
                | Status::Unknown { .. } => Ok(Vec::new()),
                Status::Running(_)
                | Status::Busy { .. }
                | Status::Stale { pid: Some(_), .. }
                | Status::Unsupported { .. } => Err(err.to_string()),
            };
        }
    };
    live_sessions(&mut client, health.sessions.live).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use crate::api::ENDS_SESSIONS;
    use crate::checkout::{checkout, each_file};

    /// The commands that end a daemon, as a text gives them.
    const COMMANDS: [&str; 14] = [
        "coven daemon stop",
        "coven daemon restart",
        "\" daemon stop",
        "\" daemon restart",
        "systemctl stop",
        "systemctl restart",
        "--user stop",
        "--user restart",
        "} stop {",
        "} restart {",
        "disable --now",
        "launchctl bootout",
        "launchctl kickstart -k",
        "kill -9 {",
    ];

    #[test]
    fn no_hint_advises_an_end_of_the_daemon_without_the_warning() {
        let mut hints = 0;
        for place in ["src", "scripts", "README.md"] {
            each_file(&checkout(place), &mut |path, text| {
                let text = text.split("#[cfg(test)]").next().unwrap();
                for line in text.lines().map(str::trim_start) {
                    let is_advice = match place {
                        "src" => !line.starts_with("//"),
                        // The other lines run a command.
                        "scripts" => ["say ", "echo ", "die "]
                            .iter()
                            .any(|word| line.contains(word)),
                        _ => true,
                    };
                    let ends = COMMANDS
                        .iter()
                        .filter_map(|command| line.split_once(command));
                    for (_, rest) in ends.filter(|_| is_advice) {
                        hints += 1;
                        let is_warned = [ENDS_SESSIONS, "{ENDS_SESSIONS}"]
                            .iter()
                            .any(|warning| rest.contains(warning));
                        assert!(is_warned, "{}: {line}", path.display());
                    }
                }
            });
        }
        assert!(hints > 14, "{hints}");
    }
}
