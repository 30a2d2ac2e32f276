//! `coven dial-stdio`: passes stdin and stdout on to this user's daemon, for `coven -H` on another host.
//!
//! One thread for each direction. It knows nothing of what is said.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use super::daemon::remark;
use super::{CliError, ExitResult, run};
use crate::daemon::{Home, control};
use crate::http::client::Client;
use crate::settings::durations;
use crate::sys;

/// Name of the verb, which no help lists: programs call it.
pub(super) const VERB: &str = "dial-stdio";

/// Option that starts a daemon if none runs.
pub(super) const START: &str = "--start";

pub(super) fn run(options: &[String]) -> ExitResult {
    let start = match options {
        [] => false,
        [option] if option == START => true,
        _ => return Err(CliError::usage("dial-stdio takes --start only")),
    };
    sys::unblock_all();
    let home = Home::from_env()?;
    // Says why there is no daemon, which the socket alone does not tell.
    match start {
        true => drop(run::connect_or_start_here(&home)?),
        false => {
            control::revive(&home, &remark);
            drop(Client::connect(&home.socket())?);
        }
    }
    let daemon = sys::connect_within(&home.socket(), durations::CLIENT_ANSWER)?;
    daemon.set_write_timeout(None)?;
    let to_daemon = daemon.try_clone()?;
    // Ends with the process at the latest: stdin of a client that waits for events stays open.
    std::thread::spawn(move || {
        let passed = pass(io::stdin().lock(), &to_daemon);
        passed.and(to_daemon.shutdown(Shutdown::Write))
    });
    pass(&daemon, io::stdout().lock())?;
    Ok(0)
}

/// Passes on all that comes, as it comes, until its end.
fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut bytes = [0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&bytes[..count])?;
                to.flush()?;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}
