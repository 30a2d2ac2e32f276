//! Checks of the harnesses as the daemon and this shell find them, and of rejected manifests and patterns.
//!
//! The daemon's environment decides, and differs from the shell's under a service manager: both are shown.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::check::{ADAPTER, Check, Verdict, fail, pass, warn};
use crate::adapters::{Adapter, Problem, Registry, environment, find_on_path, problem};
use crate::api::{AdapterSource, AdapterStatus, Timestamp, Word};
use crate::cli::observation::Observation;
use crate::observe::{Message, message};
use crate::redact::Redactor;
use crate::sys;

/// One check for each adapter that the daemon or this shell knows.
pub(super) fn each(seen: &Observation) -> Vec<Check> {
    let here = seen.registry();
    let known: &[AdapterStatus] = match &seen.capabilities {
        Some(capabilities) => &capabilities.adapters,
        None => &[],
    };
    let beside = known
        .iter()
        .map(|adapter| (&adapter.id, beside(adapter, here, seen)));
    let is_known = |id| known.iter().any(|other| other.id == id);
    let only_here = here
        .adapters
        .iter()
        .filter(|adapter| !is_known(adapter.id.as_str()));
    let alone = only_here.map(|adapter| (&adapter.id, alone(adapter, here, seen)));
    let all = beside.chain(alone);
    all.map(|(id, verdict)| verdict.of(message!("{}{}", ADAPTER, Message::name(id))))
        .collect()
}

/// The verdict on an adapter that the daemon knows: its executable on both sides.
fn beside(adapter: &AdapterStatus, here: &Registry, seen: &Observation) -> Verdict {
    let name = &adapter.executable;
    let there = adapter.path.as_deref().map(Path::new);
    // For a built-in adapter the shell's registry has the path; other names are looked up.
    let found = match here.get(&adapter.id) {
        Some(own) if own.executable == *name => own.resolve(shell_path().as_deref()),
        _ => find_on_path(name, shell_path().as_deref()),
    };
    let get = || get_hint(&adapter.install_hint, &adapter.login_hint, here);
    let is_own = adapter.id == "hello";
    if let Some(problem) = problem_there(adapter, seen).filter(|_| !is_own) {
        let message = message!(
            "the daemon finds a program that cannot be started: {}",
            problem
        );
        let is_fine_here = found.is_some_and(|found| problem_here(&found).is_none());
        let hint = match is_fine_here {
            true => path_hint(
                "PATH=… as this shell has it".into(),
                "coven daemon restart (ends live sessions) from this shell gives the daemon this shell's PATH",
                seen,
            ),
            false => mend(name, get()),
        };
        return warn(message, hint);
    }
    match (there, found) {
        (Some(there), _) if is_own && there.exists() => pass(message!("built in: {}", there)),
        (Some(there), _) if is_own => {
            let message = message!("built in, but {} is gone", there);
            let hint = message!("{}, with a coven that is there", seen.service().restart());
            fail(message, hint)
        }
        (Some(there), Some(found)) if there == found || sys::is_same_file(there, &found) => {
            pass(message!("daemon and shell: {}", there))
        }
        (Some(there), found) => {
            let found = found.map_or("not found".into(), |path| Message::from(&path));
            let message = message!("daemon: {}; shell: {}", there, found);
            let hint = "sessions run the daemon's; coven daemon restart (ends live sessions) from this shell gives it this shell's PATH";
            let change = "PATH=… as this shell has it";
            warn(message, path_hint(change.into(), hint, seen))
        }
        (None, Some(found)) => {
            let dir = found.parent().unwrap_or(&found);
            let message = message!("daemon: not found; shell: {}", &found);
            let hint = "coven daemon restart (ends live sessions) from this shell, so that the daemon has its PATH";
            let change = message!("PATH=… with {} in it", dir);
            warn(message, path_hint(change, hint, seen))
        }
        (None, None) => nowhere(name, "neither the daemon nor this shell finds", get()),
    }
}

/// The verdict on an adapter that only this shell knows: no daemon answers, or the daemon lacks its manifest.
fn alone(adapter: &Adapter, here: &Registry, seen: &Observation) -> Verdict {
    if seen.capabilities.is_some() {
        let source = match &adapter.source {
            Word::Known(source) => Message::from(source.as_str()),
            Word::Other(manifest) => Path::new(manifest).into(),
        };
        let message = message!("known from {}, but not to the daemon", source);
        return warn(message, reload(seen));
    }
    let (path, name) = (shell_path(), &adapter.executable);
    let get = || get_hint(&adapter.install_hint, &adapter.login_hint, here);
    let problem = adapter.problem(path.as_deref());
    match (problem, adapter.resolve(path.as_deref())) {
        (Some(problem), _) => {
            let why = problem.message();
            warn(
                message!("this shell finds a program that cannot be started: {}", why),
                mend(name, get()),
            )
        }
        (None, Some(found)) => pass(message!("shell: {}", &found)),
        (None, None) => nowhere(name, "this shell does not find", get()),
    }
}

fn shell_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// Why `file` cannot be started from this shell.
fn problem_here(file: &Path) -> Option<Problem> {
    problem(file, shell_path().as_deref())
}

/// Why the daemon cannot start its executable: the shell's own finding if it is the same, otherwise the daemon's text.
fn problem_there(adapter: &AdapterStatus, seen: &Observation) -> Option<Message> {
    let said = adapter.problem.as_ref()?;
    let path = seen.process().and_then(|process| process.path.as_deref());
    let path = path.map(OsStr::new);
    let found = find_on_path(&adapter.executable, path).and_then(|found| problem(&found, path));
    let found = found.map(|problem| problem.message());
    let same = found.filter(|found| found.to_string() == *said);
    Some(same.unwrap_or_else(|| Message::foreign(said)))
}

/// Advice to install a harness and log in; the texts come from coven or from a manifest.
fn get_hint(install: &str, login: &str, here: &Registry) -> Option<Message> {
    let adapters = || here.adapters.iter();
    let is_ours = |text: &str| {
        let mut bundled = adapters().filter(|own| own.source == AdapterSource::Bundled);
        bundled.any(|own| own.install_hint == text || own.login_hint == text)
    };
    let word = |text: &str| (!text.is_empty()).then(|| Message::word(text, is_ours));
    match (word(install), word(login)) {
        (Some(install), Some(login)) => Some(message!("{}. {}", install, login)),
        (install, login) => install.or(login),
    }
}

/// Advice to repair an executable that cannot be started.
fn mend(name: &str, install_hint: Option<Message>) -> Message {
    match install_hint {
        None => message!("repair it, or reinstall {}", Message::name(name)),
        Some(hint) => message!("repair it. {}", hint),
    }
}

/// The verdict on a harness that is not installed: a warning, since the user may not need it.
fn nowhere(name: &str, who: &'static str, install_hint: Option<Message>) -> Verdict {
    let install = || message!("install {}, if you use it", Message::name(name));
    let hint = install_hint.unwrap_or_else(install);
    warn(message!("{} {}", who, Message::name(name)), hint)
}

/// The command that makes the daemon read the manifests again.
fn reload(seen: &Observation) -> Message {
    match seen.pid() {
        Some(pid) => message!(
            "kill -HUP {}, and the daemon reads its manifests again",
            pid
        ),
        None => "the next start reads it again".into(),
    }
}

/// Advice to change the daemon's `PATH`. The file `env` takes precedence over the inherited `PATH`, and a service
/// manager's daemon inherits none from a shell.
fn path_hint(change: Message, by_hand: &'static str, seen: &Observation) -> Message {
    let file = seen.home.env_file();
    let (variables, _) = environment::read_own(&file);
    match seen.health() {
        Some(health) if variables.get("PATH").is_some() || !seen.service().is_by_hand() => {
            let reload = seen.service().reload(health.daemon.pid);
            message!("{}, written to {}; then {}", change, &file, reload)
        }
        _ => by_hand.into(),
    }
}

pub(super) fn path(seen: &Observation) -> Option<Verdict> {
    let Some(process) = seen.process() else {
        let hint = message!("{}, if it is an older one", seen.service().restart());
        let is_running = seen.health().is_some();
        return is_running.then(|| warn("the daemon does not say which PATH it has", hint));
    };
    let split = |path: &OsStr| std::env::split_paths(path).collect::<Vec<PathBuf>>();
    let Some(daemon) = process.path.as_deref() else {
        let by_hand = "coven daemon restart (ends live sessions), from a shell that has one";
        let hint = path_hint("PATH=…".into(), by_hand, seen);
        return Some(warn("the daemon has no PATH: it finds no harness", hint));
    };
    let (daemon, shell) = (
        split(OsStr::new(daemon)),
        split(&shell_path().unwrap_or_default()),
    );
    let only = |these: &[PathBuf], those: &[PathBuf]| {
        let only = these.iter().filter(|dir| !those.contains(dir));
        let only: Vec<Message> = only.map(Message::from).collect();
        (!only.is_empty()).then(|| Message::join(only, ":"))
    };
    let message = match (only(&daemon, &shell), only(&shell, &daemon)) {
        (None, None) => message!("the daemon's is this shell's, {} directories", daemon.len()),
        (Some(there), None) => message!("only the daemon's has {}", there),
        (None, Some(here)) => message!("only this shell's has {}", here),
        (Some(there), Some(here)) => {
            message!(
                "only the daemon's has {}; only this shell's has {}",
                there,
                here
            )
        }
    };
    // If the difference matters, the adapter's own check warns.
    Some(pass(message))
}

pub(super) fn manifests(seen: &Observation) -> Option<Verdict> {
    let here = seen.registry();
    // The manifests that the daemon rejected, and those that it would reject now.
    let mut refused = match &seen.capabilities {
        Some(capabilities) => capabilities.refused_manifests.clone(),
        None => Vec::new(),
    };
    for other in &here.refused {
        if !refused.iter().any(|one| one.source == other.source) {
            refused.push(other.clone());
        }
    }
    if refused.is_empty() {
        let others = here.adapters.iter();
        let count = others
            .filter(|adapter| adapter.source != AdapterSource::Bundled)
            .count();
        return Some(pass(message!(
            "none refused; {} adapters come from some",
            count
        )));
    }
    let each = refused.iter().map(|refused| {
        message!(
            "{}: {}",
            Path::new(&refused.source),
            Message::foreign(&refused.reason)
        )
    });
    let message = message!("refused: {}", Message::join(each, "; "));
    Some(fail(message, message!("repair it; {}", reload(seen))))
}

pub(super) fn redaction(seen: &Observation) -> Option<Verdict> {
    let file = seen.home.redact_file();
    let (_, bad) = Redactor::load(&file);
    if !bad.is_empty() {
        let each = bad.iter().map(|bad| match bad.line {
            // Line 0 is the file itself.
            0 => Message::foreign(&bad.reason),
            // The first lines of a syntax error draw the pattern.
            line => {
                let reason = bad.reason.lines().last().unwrap_or_default();
                message!(
                    "line {}: {}",
                    line,
                    Message::foreign(reason.trim_start_matches("error: "))
                )
            }
        });
        let message = message!("not in force in {}: {}", &file, Message::join(each, "; "));
        return Some(fail(message, then_reload("mend the pattern", seen)));
    }
    if seen.process().is_some_and(|process| !process.redact) {
        let message = "COVEN_REDACT=off: secrets are stored as they come";
        let restart = seen.service().restart();
        return Some(warn(message, message!("unset COVEN_REDACT; {}", restart)));
    }
    let read_at = seen.process().and_then(|process| process.patterns_read_at);
    let read_at = read_at.or(seen.health().map(|health| health.daemon.started_at));
    Some(
        unread(&file, read_at, seen).unwrap_or_else(|| match file.exists() {
            true => pass(message!("every pattern of {} can be used", &file)),
            false => pass("on, with the built-in patterns"),
        }),
    )
}

/// `mend`, followed by the reload of a running daemon.
pub(super) fn then_reload(mend: &'static str, seen: &Observation) -> Message {
    match seen.health() {
        Some(health) => message!(
            "{}, then {}",
            mend,
            seen.service().reload(health.daemon.pid)
        ),
        None => mend.into(),
    }
}

/// The verdict on `file` if it has changed since the daemon read it.
pub(super) fn unread(
    file: &Path,
    read_at: Option<Timestamp>,
    seen: &Observation,
) -> Option<Verdict> {
    let changed = file.metadata().and_then(|meta| meta.modified()).ok()?;
    let since = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let pid = seen.health()?.daemon.pid;
    let is_newer = i64::try_from(since.as_millis()).ok()? > read_at?.as_millis();
    let message = message!("{} has changed since the daemon read it", file);
    is_newer.then(|| warn(message, seen.service().reload(pid)))
}
