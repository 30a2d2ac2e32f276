//! Names the sessions that a command ends or deletes, and asks for confirmation on a terminal.

use std::io::{self, IsTerminal, Write};

use super::daemon::remark;
use super::output::visible;
use super::sessions::live_sessions;
use super::table::shortened;
use super::{CliError, Home};
use crate::api::{Code, SessionRecord};
use crate::daemon::status::{Status, is_awaited};
use crate::http::client::Client;
use crate::settings::durations;

/// Most sessions named.
const NAMED_MAX: usize = 20;

/// Names on stderr the sessions that end with the daemon. Asks for confirmation on a terminal unless `yes`. An
/// unresponsive daemon can be stopped without names.
///
/// # Errors
/// The user did not confirm.
pub(super) fn ask(home: &Home, yes: bool) -> Result<(), CliError> {
    let mut err = io::stderr().lock();
    match live(home) {
        Ok(live) if live.is_empty() => return Ok(()),
        Ok(live) => {
            let count = counted(live.len()).replace(" ", " live ");
            name(&format!("ends {count}"), &live, &mut err)?;
        }
        Err(reason) => {
            let reason = visible(&reason);
            writeln!(
                err,
                "coven: this ends the live sessions; which these are is not known: {reason}"
            )?;
        }
    }
    drop(err);
    if yes || !can_ask() || is_confirmed()? {
        return Ok(());
    }
    Err(CliError::failed(
        Code::DaemonStopFailed,
        "the daemon goes on: the answer was not yes".to_owned(),
        Some("--yes, which does not ask"),
    ))
}

/// True if stdin and stderr are terminals.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn is_confirmed() -> io::Result<bool> {
    let mut err = io::stderr().lock();
    write!(err, "Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Names `sessions` after the verb `what`, as in `ends 2 sessions`, and asks for confirmation. False if the user declines.
///
/// # Errors
/// There is no terminal to ask on.
pub(super) fn ask_about(what: &str, sessions: &[SessionRecord]) -> Result<bool, CliError> {
    if sessions.is_empty() {
        return Ok(true);
    }
    if !can_ask() {
        let message = format!("this {what}: say --yes");
        return Err(CliError::usage(&message));
    }
    name(what, sessions, &mut io::stderr().lock())?;
    let is_confirmed = is_confirmed()?;
    if !is_confirmed {
        remark("nothing is done: the answer was not yes");
    }
    Ok(is_confirmed)
}

/// `1 session`, `2 sessions`.
pub(super) fn counted(sessions: usize) -> String {
    format!("{sessions} session{}", if sessions == 1 { "" } else { "s" })
}

fn name(what: &str, sessions: &[SessionRecord], err: &mut impl Write) -> io::Result<()> {
    writeln!(err, "coven: this {what}:")?;
    for session in sessions.iter().take(NAMED_MAX) {
        let id = visible(&session.id.short());
        let (harness, title) = (visible(&session.harness), shortened(&session.title, 60));
        writeln!(err, "  {id}  {harness}  {title}")?;
    }
    if sessions.len() > NAMED_MAX {
        writeln!(err, "  and {} more", sessions.len() - NAMED_MAX)?;
    }
    Ok(())
}

/// The sessions that end with the daemon: none if the stop ends no process.
fn live(home: &Home) -> Result<Vec<SessionRecord>, String> {
    // A connection would start the daemon.
    if is_awaited(home) {
        return Ok(Vec::new());
    }
    let connected = Client::connect_within(&home.socket(), durations::HEALTH);
    let (mut client, health) = match connected {
        Ok(connected) => connected,
        Err(err) => {
            return match Status::of(home) {
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

    /// The commands that end a daemon, as texts spell them.
    #[rustfmt::skip]
    const COMMANDS: [&str; 14] = [
        "coven daemon stop", "coven daemon restart", "\" daemon stop", "\" daemon restart", "systemctl stop",
        "systemctl restart", "--user stop", "--user restart", "} stop {", "} restart {", "disable --now",
        "launchctl bootout", "launchctl kickstart -k", "kill -9 {",
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
                        // Other lines of scripts run a command.
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
