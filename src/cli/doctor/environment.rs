//! What sessions inherit from the daemon, what is kept from them, and what the home's file `env` gives them.

use super::adapters::since_epoch;
use super::probe::Probe;
use crate::adapters::environment::{FILTERED, read_own};
use crate::api::Check;
use crate::daemon::Home;

const INHERITED: &str = "environment";
const FILE: &str = "environment.file";

pub(super) fn checks(home: &Home, probe: &Probe, checks: &mut Vec<Check>) {
    checks.extend(inherited(probe));
    checks.push(file(home, probe));
}

fn inherited(probe: &Probe) -> Option<Check> {
    let found = match probe.process()?.filtered.as_slice() {
        [] => "none of them".to_owned(),
        names => names.join(", "),
    };
    let message = format!(
        "sessions do not inherit {}; the daemon was started with {found}",
        FILTERED.join(", ")
    );
    Some(Check::pass(INHERITED, message))
}

fn file(home: &Home, probe: &Probe) -> Check {
    let file = home.env_file();
    let shown = file.display();
    let (variables, ignored) = read_own(&file);
    let running = probe.health();
    let reload = running.map(|health| probe.service.reload(health.daemon.pid));
    if !ignored.is_empty() {
        let each = ignored.iter().map(|ignored| match ignored.line {
            // The file itself.
            0 => ignored.reason.clone(),
            line => format!("line {line}: {}", ignored.reason),
        });
        let message = format!(
            "ignored in {shown}: {}",
            each.collect::<Vec<_>>().join("; ")
        );
        let hint = match reload {
            Some(reload) => format!("mend it, then {reload}"),
            None => "mend it".into(),
        };
        return Check::warn(FILE, message, hint);
    }
    let Ok(changed) = file.metadata().and_then(|meta| meta.modified()) else {
        return Check::pass(FILE, format!("there is no {shown}"));
    };
    let read_at = probe.process().and_then(|process| process.env_read_at);
    if let (Some(read_at), Some(reload)) = (read_at, reload)
        && since_epoch(changed) > read_at.as_millis()
    {
        let message = format!("{shown} has changed since the daemon read it");
        return Check::warn(FILE, message, reload);
    }
    let count = variables.iter().count();
    Check::pass(FILE, format!("{shown} sets {count} variables"))
}
