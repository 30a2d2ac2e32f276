//! What sessions inherit from the daemon, what is kept from them, and what the home's file `env` gives them.

use super::adapters::since_epoch;
use super::check::Check;
use super::probe::Probe;
use crate::adapters::environment::{FILTERED, read_own};
use crate::daemon::Home;
use crate::observe::{Message, message};

const INHERITED: &str = "environment";
const FILE: &str = "environment.file";

pub(super) fn checks(home: &Home, probe: &Probe, checks: &mut Vec<Check>) {
    checks.extend(inherited(probe));
    checks.push(file(home, probe));
}

fn inherited(probe: &Probe) -> Option<Check> {
    let found = match probe.process()?.filtered.as_slice() {
        [] => "none of them".into(),
        names => Message::join(names.iter().map(Message::name), ", "),
    };
    let message = message!(
        "sessions do not inherit {}; the daemon was started with {}",
        Message::join(FILTERED.iter().map(|&name| name.into()), ", "),
        found
    );
    Some(Check::pass(INHERITED, message))
}

fn file(home: &Home, probe: &Probe) -> Check {
    let file = home.env_file();
    let (variables, ignored) = read_own(&file);
    let running = probe.health();
    let reload = running.map(|health| probe.service.reload(health.daemon.pid));
    if !ignored.is_empty() {
        let each = ignored.into_iter().map(|ignored| match ignored.line {
            // The file itself.
            0 => ignored.reason,
            line => message!("line {}: {}", line, ignored.reason),
        });
        let message = message!("ignored in {}: {}", &file, Message::join(each, "; "));
        let hint = match reload {
            Some(reload) => message!("mend it, then {}", reload),
            None => "mend it".into(),
        };
        return Check::warn(FILE, message, hint);
    }
    let Ok(changed) = file.metadata().and_then(|meta| meta.modified()) else {
        return Check::pass(FILE, message!("there is no {}", &file));
    };
    let read_at = probe.process().and_then(|process| process.env_read_at);
    if let (Some(read_at), Some(reload)) = (read_at, reload)
        && since_epoch(changed) > read_at.as_millis()
    {
        let message = message!("{} has changed since the daemon read it", &file);
        return Check::warn(FILE, message, reload);
    }
    let count = variables.iter().count();
    Check::pass(FILE, message!("{} sets {} variables", &file, count))
}
