//! The harnesses, as the daemon finds them and as this shell does; the manifests and patterns that were refused.
//!
//! The daemon's environment is what counts, and under a service manager it is not the shell's: both are shown.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::check::{ADAPTER, Check};
use super::probe::Probe;
use crate::adapters::{
    Adapter, ManifestSources, Problem, Registry, environment, find_on_path, problem,
};
use crate::api::{AdapterSource, AdapterStatus, Word};
use crate::daemon::Home;
use crate::observe::{Message, message};
use crate::redact::Redactor;
use crate::sys;

const PATH: &str = "path";
const MANIFESTS: &str = "manifests";
const REDACTION: &str = "redaction";

pub(super) fn checks(home: &Home, probe: &Probe, checks: &mut Vec<Check>) {
    let own_executable = std::env::current_exe().unwrap_or_default();
    let sources = ManifestSources::from_env(home.adapters());
    let here = Registry::load(&own_executable, &sources);
    let path = shell_path();
    match probe.process() {
        Some(process) => {
            let daemons = process.path.as_deref();
            checks.push(path_check(daemons, path.as_deref(), home, probe));
        }
        None if probe.health().is_some() => {
            let message = "the daemon does not say which PATH it has";
            let hint = message!("{}, if it is an older one", probe.service.restart());
            checks.push(Check::warn(PATH, message, hint));
        }
        None => {}
    }
    checks.push(manifests(&here, probe));
    checks.push(redaction(home, probe));
    let known: &[AdapterStatus] = match &probe.capabilities {
        Some(capabilities) => &capabilities.adapters,
        None => &[],
    };
    checks.extend(
        known
            .iter()
            .map(|adapter| beside(adapter, &here, home, probe)),
    );
    let only_here = here.adapters().iter().filter(|adapter| {
        let mut known = known.iter();
        !known.any(|other| other.id == adapter.id)
    });
    checks.extend(only_here.map(|adapter| alone(adapter, &here, probe)));
}

/// An adapter that the daemon knows: where each side finds its executable.
fn beside(adapter: &AdapterStatus, here: &Registry, home: &Home, probe: &Probe) -> Check {
    let id = message!("{}{}", ADAPTER, Message::name(&adapter.id));
    let name = &adapter.executable;
    let there = adapter.path.as_deref().map(Path::new);
    // By its own registry the shell knows where a built-in one is; any other name it looks up.
    let found = match here.get(&adapter.id) {
        Some(own) if own.executable == *name => own.resolve(shell_path().as_deref()),
        _ => find_on_path(name, shell_path().as_deref()),
    };
    let is_own = adapter.id == "hello";
    if let Some(problem) = problem_there(adapter, probe).filter(|_| !is_own) {
        let message = message!("the daemon finds what cannot be started: {}", problem);
        let is_fine_here = found.is_some_and(|found| problem_here(&found).is_none());
        let hint = match is_fine_here {
            true => path_hint(
                "PATH=… as this shell has it".into(),
                "coven daemon restart (ends live sessions) from this shell gives the daemon this shell's PATH",
                home,
                probe,
            ),
            false => mend(
                name,
                get_hint(&adapter.install_hint, &adapter.login_hint, here),
            ),
        };
        return Check::warn(id, message, hint);
    }
    match (there, found) {
        (Some(there), _) if is_own && there.exists() => {
            Check::pass(id, message!("built in: {}", there))
        }
        (Some(there), _) if is_own => {
            let message = message!("built in, but {} is gone", there);
            let hint = message!("{}, with a coven that is there", probe.service.restart());
            Check::fail(id, message, hint)
        }
        (Some(there), Some(found)) if there == found || sys::is_same_file(there, &found) => {
            Check::pass(id, message!("daemon and shell: {}", there))
        }
        (Some(there), found) => {
            let found = found.map_or("not found".into(), |path| Message::from(&path));
            let message = message!("daemon: {}; shell: {}", there, found);
            let hint = "sessions run the daemon's; coven daemon restart (ends live sessions) from this shell gives it this shell's PATH";
            let change = "PATH=… as this shell has it";
            Check::warn(id, message, path_hint(change.into(), hint, home, probe))
        }
        (None, Some(found)) => {
            let dir = found.parent().unwrap_or(&found);
            let message = message!("daemon: not found; shell: {}", &found);
            let hint = "coven daemon restart (ends live sessions) from this shell, so that the daemon has its PATH";
            let change = message!("PATH=… with {} in it", dir);
            Check::warn(id, message, path_hint(change, hint, home, probe))
        }
        (None, None) => nowhere(
            id,
            name,
            "neither the daemon nor this shell finds",
            get_hint(&adapter.install_hint, &adapter.login_hint, here),
        ),
    }
}

/// An adapter that only this shell knows: no daemon answers, or its manifest is not the daemon's.
fn alone(adapter: &Adapter, here: &Registry, probe: &Probe) -> Check {
    let id = message!("{}{}", ADAPTER, Message::name(&adapter.id));
    if probe.capabilities.is_some() {
        let source = match &adapter.source {
            Word::Known(source) => Message::from(source.as_str()),
            Word::Other(manifest) => Path::new(manifest).into(),
        };
        let message = message!("known from {}, but not to the daemon", source);
        return Check::warn(id, message, reload(probe));
    }
    let path = shell_path();
    if let Some(problem) = adapter.problem(path.as_deref()) {
        let message = message!(
            "this shell finds what cannot be started: {}",
            problem.message()
        );
        let hint = mend(
            &adapter.executable,
            get_hint(&adapter.install_hint, &adapter.login_hint, here),
        );
        return Check::warn(id, message, hint);
    }
    match adapter.resolve(path.as_deref()) {
        Some(found) => Check::pass(id, message!("shell: {}", &found)),
        None => nowhere(
            id,
            &adapter.executable,
            "this shell does not find",
            get_hint(&adapter.install_hint, &adapter.login_hint, here),
        ),
    }
}

/// This shell's `PATH`.
fn shell_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// Why `file` cannot be started from this shell.
fn problem_here(file: &Path) -> Option<Problem> {
    problem(file, shell_path().as_deref())
}

/// Why the daemon cannot start what it finds, in its words, which are ours if the same comes out here.
fn problem_there(adapter: &AdapterStatus, probe: &Probe) -> Option<Message> {
    let said = adapter.problem.as_ref()?;
    let path = probe.process().and_then(|process| process.path.as_deref());
    let path = path.map(OsStr::new);
    let found = find_on_path(&adapter.executable, path).and_then(|found| problem(&found, path));
    let found = found.map(|problem| problem.message());
    let same = found.filter(|found| found.to_string() == *said);
    Some(same.unwrap_or_else(|| Message::foreign(said)))
}

/// How to get a harness, and how to log in to it: texts of ours, or a manifest's.
fn get_hint(install: &str, login: &str, here: &Registry) -> Option<Message> {
    let adapters = || here.adapters().iter();
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

/// What to do about one that is there and cannot be started.
fn mend(name: &str, install_hint: Option<Message>) -> Message {
    match install_hint {
        None => message!("mend it, or install {} anew", Message::name(name)),
        Some(hint) => message!("mend it. {}", hint),
    }
}

/// One that is not installed: who does not use it misses nothing.
fn nowhere(id: Message, name: &str, who: &'static str, install_hint: Option<Message>) -> Check {
    let install = || message!("install {}, if you use it", Message::name(name));
    let hint = install_hint.unwrap_or_else(install);
    Check::warn(id, message!("{} {}", who, Message::name(name)), hint)
}

/// How the daemon reads the manifests again.
fn reload(probe: &Probe) -> Message {
    match probe.pid() {
        Some(pid) => message!(
            "kill -HUP {}, and the daemon reads its manifests again",
            pid
        ),
        None => "the next start reads it again".into(),
    }
}

/// How to give the daemon another `PATH`. One that the file `env` sets goes before the one that the daemon is started with,
/// and a service manager's daemon has none of a shell.
fn path_hint(change: Message, by_hand: &'static str, home: &Home, probe: &Probe) -> Message {
    let file = home.env_file();
    let (variables, _) = environment::read_own(&file);
    match probe.health() {
        Some(health) if variables.get("PATH").is_some() || !probe.service.is_by_hand() => {
            let reload = probe.service.reload(health.daemon.pid);
            message!("{}, written to {}; then {}", change, &file, reload)
        }
        _ => by_hand.into(),
    }
}

fn path_check(daemon: Option<&str>, shell: Option<&OsStr>, home: &Home, probe: &Probe) -> Check {
    let split = |path: &OsStr| std::env::split_paths(path).collect::<Vec<PathBuf>>();
    let Some(daemon) = daemon else {
        let by_hand = "coven daemon restart (ends live sessions), from a shell that has one";
        let hint = path_hint("PATH=…".into(), by_hand, home, probe);
        return Check::warn(PATH, "the daemon has no PATH: it finds no harness", hint);
    };
    let (daemon, shell) = (split(OsStr::new(daemon)), split(shell.unwrap_or_default()));
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
    // Where that makes a difference, the adapter's own check warns.
    Check::pass(PATH, message)
}

fn manifests(here: &Registry, probe: &Probe) -> Check {
    // What the daemon refused, and what it would refuse if it read the files again.
    let mut refused = match &probe.capabilities {
        Some(capabilities) => capabilities.refused_manifests.clone(),
        None => Vec::new(),
    };
    for other in here.refused() {
        if !refused.iter().any(|one| one.source == other.source) {
            refused.push(other.clone());
        }
    }
    if refused.is_empty() {
        let others = here.adapters().iter();
        let count = others
            .filter(|adapter| adapter.source != AdapterSource::Bundled)
            .count();
        return Check::pass(
            MANIFESTS,
            message!("none refused; {} adapters come from some", count),
        );
    }
    let each = refused.iter().map(|refused| {
        message!(
            "{}: {}",
            Path::new(&refused.source),
            Message::foreign(&refused.reason)
        )
    });
    let message = message!("refused: {}", Message::join(each, "; "));
    Check::fail(MANIFESTS, message, message!("mend it; {}", reload(probe)))
}

fn redaction(home: &Home, probe: &Probe) -> Check {
    let file = home.redact_file();
    let (_, bad) = Redactor::load(&file);
    let reload = probe
        .health()
        .map(|health| probe.service.reload(health.daemon.pid));
    if !bad.is_empty() {
        let each = bad.iter().map(|bad| match bad.line {
            // The file itself.
            0 => Message::foreign(&bad.reason),
            // A syntax error draws the pattern first.
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
        let hint = match reload {
            Some(reload) => message!("mend the pattern, then {}", reload),
            None => "mend the pattern".into(),
        };
        return Check::fail(REDACTION, message, hint);
    }
    if probe.process().is_some_and(|process| !process.redact) {
        let message = "COVEN_REDACT=off: secrets are stored as they come";
        let restart = probe.service.restart();
        return Check::warn(
            REDACTION,
            message,
            message!("unset COVEN_REDACT; {}", restart),
        );
    }
    let changed = file.metadata().and_then(|meta| meta.modified());
    let read_at = probe.process().and_then(|process| process.patterns_read_at);
    let read_at = read_at.or(probe.health().map(|health| health.daemon.started_at));
    match (changed, read_at, reload) {
        (Ok(changed), Some(read_at), Some(reload))
            if since_epoch(changed) > read_at.as_millis() =>
        {
            let message = message!("{} has changed since the daemon read it", &file);
            Check::warn(REDACTION, message, reload)
        }
        (Ok(_), ..) => Check::pass(
            REDACTION,
            message!("every pattern of {} can be used", &file),
        ),
        (Err(_), ..) => Check::pass(REDACTION, "on, with the built-in patterns"),
    }
}

/// In milliseconds.
pub(super) fn since_epoch(time: std::time::SystemTime) -> i64 {
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
