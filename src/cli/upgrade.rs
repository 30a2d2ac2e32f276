//! `coven daemon upgrade`: replaces the program of the running daemon; its sessions go on.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::output::visible;
use super::progress::Progress;
use super::{CliError, ExitResult, Home, say_answer};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, UpgradeRequest, Upgraded};
use crate::http::client::{Client, ClientError};
use crate::settings::durations;

/// Replace the daemon's program while its sessions go on.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "upgrade", help_triggers("-h", "--help"))]
#[argh(
    note = "Without --binary it takes the file from which the daemon was started. The replaced program is kept in\n\
        COVEN_HOME as coven.previous. Instead of an upgrade: coven daemon restart (ends live sessions)."
)]
pub(super) struct Args {
    /// the new program
    #[argh(option, arg_name = "file")]
    binary: Option<PathBuf>,
    /// go back to the program that the last upgrade replaced
    #[argh(switch)]
    back: bool,
    /// only prove that the new program can take over
    #[argh(switch)]
    check: bool,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(home: &Home, args: &Args) -> ExitResult {
    let request = UpgradeRequest {
        binary: binary(home, args)?,
        check: args.check,
    };
    let mut client = Client::connect(&home.socket())?;
    let previous = home.previous_program();
    if args.back && previous.try_exists().is_ok_and(|exists| !exists) {
        let message = format!("no upgrade has left a program in {}", previous.display());
        return Err(CliError::failed(Code::UpgradeRefused, message, None));
    }
    // A migration copies the whole database beforehand.
    client.allow_wait(durations::CHORE)?;
    let progress = Progress::begin("upgrade", || None);
    let answer = client.call(routes::UpgradeDaemon.request().body(&request));
    drop(progress);
    let upgraded: Upgraded = answer.map_err(explained)?;
    say_answer(args.json, &upgraded, &line(&upgraded, args.check))
}

/// Absolute path of the program that is to take over; `None`: the daemon knows.
fn binary(home: &Home, args: &Args) -> Result<Option<String>, CliError> {
    let path = match (&args.binary, args.back) {
        (Some(_), true) => {
            return Err(CliError::usage(
                "--back names the program: without --binary",
            ));
        }
        (None, false) => return Ok(None),
        (Some(path), false) => {
            std::path::absolute(path).map_err(|err| CliError::usage(&err.to_string()))?
        }
        (None, true) => home.previous_program(),
    };
    let text = path.to_str().map(str::to_owned);
    let not_utf8 = || CliError::usage("the program's path is not UTF-8");
    text.ok_or_else(not_utf8).map(Some)
}

/// A daemon of 0.1.0 has no such route.
fn explained(err: ClientError) -> CliError {
    match &err {
        ClientError::Api { error, .. } if error.code == Code::NotFound => CliError::failed(
            Code::NotFound,
            "the daemon's program is too old to be upgraded in place",
            Code::UpgradeRefused.next(),
        ),
        _ => err.into(),
    }
}

fn line(upgraded: &Upgraded, is_check: bool) -> String {
    let (pid, took_ms) = (upgraded.pid, upgraded.took_ms);
    let (from, to) = (visible(&upgraded.from), visible(&upgraded.to));
    let live = match upgraded.sessions {
        0 => "no live session".to_owned(),
        1 => "1 live session".to_owned(),
        count => format!("{count} live sessions"),
    };
    match is_check {
        true => {
            format!("{to} can take over from {from} (pid {pid}), with {live}; nothing was changed")
        }
        false if upgraded.sessions == 0 => {
            format!("upgraded from {from} to {to} (pid {pid}) in {took_ms} ms, with {live}")
        }
        false => format!(
            "upgraded from {from} to {to} (pid {pid}): {live} went on, and waited {took_ms} ms"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_was_done_or_what_could_be() {
        let upgraded = Upgraded {
            ok: true,
            pid: 7,
            from: "0.1.0".into(),
            to: "0.2.0".into(),
            sessions: 1,
            took_ms: 41,
        };
        assert_eq!(
            line(&upgraded, false),
            "upgraded from 0.1.0 to 0.2.0 (pid 7): 1 live session went on, and waited 41 ms"
        );
        let idle = Upgraded {
            sessions: 0,
            ..upgraded
        };
        assert_eq!(
            line(&idle, false),
            "upgraded from 0.1.0 to 0.2.0 (pid 7) in 41 ms, with no live session"
        );
        assert_eq!(
            line(&idle, true),
            "0.2.0 can take over from 0.1.0 (pid 7), with no live session; nothing was changed"
        );
    }
}
