//! systemd: its units, asked and ordered about through systemctl, and which of them a process is in.
//!
//! Runs in the CLI's process, but for what the daemon reads about itself at its start. A manager that hangs, or is not there,
//! is no failure: each question has a deadline. It does not know what a daemon does.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::tool::{Say, run_tool, tool_output};
use super::unit::{Supervisor, Unit};
use crate::daemon::Home;
use crate::settings::{self, durations};
use crate::sys::{self, ControlGroup};

/// The name that our own unit has.
pub const UNIT: &str = "coven.service";

/// The one that starts it with its first client.
const SOCKET_UNIT: &str = "coven.socket";

/// The exit code with which a daemon asks systemd not to start it again: sysexits(3), `EX_NOINPUT`. It is in
/// `RestartPreventExitStatus=` of the units in `scripts/service`.
pub const STAY_DOWN: u8 = 66;

/// The unit in whose control group this process is, whoever has started it: what it writes to the journal is that unit's.
pub(in crate::daemon) fn own_unit() -> Option<Unit> {
    unit_of_cgroup(&own_cgroup())
}

pub(super) fn own_cgroup() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// Whether systemd has started this process, in whatever unit.
pub fn is_systemds() -> bool {
    is_meant(std::env::var("SYSTEMD_EXEC_PID").ok(), std::process::id())
}

/// Whether systemd, which names the process that it means in `SYSTEMD_EXEC_PID` (systemd.exec(5)), means `pid`.
pub(super) fn is_meant(exec_pid: Option<String>, pid: u32) -> bool {
    exec_pid.is_some_and(|meant| meant.parse() == Ok(pid))
}

/// The service unit whose control group a process is in (systemd puts each unit into one of its own, which children
/// cannot leave): the innermost unit of its path. A login's or a terminal's is a scope: nobody starts what is in one
/// again.
pub(super) fn unit_of_cgroup(cgroup: &str) -> Option<Unit> {
    // One line a hierarchy (cgroups(7)): `0::<path>` in version 2, systemd's own by its name in version 1.
    let paths = cgroup.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        ["", "name=systemd"].contains(&controllers).then_some(path)
    });
    paths.filter_map(unit_of_path).next()
}

fn unit_of_path(path: &str) -> Option<Unit> {
    let is_unit = |name: &&str| name.ends_with(".service") || name.ends_with(".scope");
    let name = path.split('/').rev().find(is_unit)?;
    // `user@1000.service` is a user's manager: what is in it, and in no unit of its own, nobody looks after.
    let is_service = name.ends_with(".service") && !name.starts_with("user@");
    is_service.then(|| Unit {
        name: name.to_owned(),
        is_user: path.split('/').any(|part| part.starts_with("user@")),
    })
}

/// The processes and threads that the control groups of `pid` allow, the narrowest of them; `None` for no bound.
pub fn tasks_max(pid: i32) -> Option<u64> {
    let group = ControlGroup::of(pid.unsigned_abs(), "pids")?;
    let bounds = group
        .directories()
        .filter_map(|group| std::fs::read_to_string(group.join("pids.max")).ok());
    // No bound is `max`.
    bounds.filter_map(|bound| bound.trim().parse().ok()).min()
}

/// What systemd says of a unit. Empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// What that is, closer: `running`, `dead`, `auto-restart`, …
    pub sub: String,
    /// Whether it is started at boot or login: `enabled`, `disabled`, …
    pub enabled: String,
    /// Its process.
    pub main_pid: Option<i32>,
    /// The file that it runs.
    pub executable: String,
    /// The home that its `COVEN_HOME` or `HOME` makes, if it sets one.
    pub home: Option<PathBuf>,
    /// How it ended the last time: `success`, `exit-code`, `timeout`, `watchdog`, …
    pub result: String,
    /// What starts it when it is needed: a socket's unit.
    pub triggered_by: String,
    /// What its process has said of itself last, `STATUS=` (sd_notify(3)).
    pub status: String,
}

impl UnitState {
    /// Its last start or run has failed: it stays down, or waits to be started again.
    pub fn has_failed(&self) -> bool {
        self.active == "failed" || self.sub == "auto-restart"
    }
}

/// The unit that runs the process `pid`, which `runs` says of it, if one does; else one by our name.
pub fn find_unit(runs: Option<&Supervisor>, pid: Option<i32>) -> Option<(Unit, UnitState)> {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    if let Some(Supervisor::Systemd(unit)) = runs
        && let Some(state) = unit_state(unit, deadline)
        // What a job of cron's has started is in its unit, and not run by it.
        && (state.main_pid == pid || unit.name == UNIT)
    {
        return Some((unit.clone(), state));
    }
    our_units().find_map(|unit| {
        let state = unit_state(&unit, deadline)?;
        Some((unit, state))
    })
}

/// The unit by our name that serves `home` with this binary, and what systemd says of it.
pub fn unit_of_home(home: &Path) -> Option<(Unit, UnitState)> {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    let own = std::env::current_exe().ok()?;
    our_units().find_map(|unit| {
        let state = unit_state(&unit, deadline)?;
        // A user's unit has the user's own; whose a system's is, is not known here.
        let default = || Home::default_path().filter(|_| unit.is_user);
        let serves = state.home.clone().or_else(default)?;
        let is_it = (serves == home || sys::is_same_file(&serves, home))
            && sys::is_same_file(Path::new(&state.executable), &own);
        is_it.then_some((unit, state))
    })
}

/// Whether the process `pid` is a service manager. Such a one is who listens on a socket that it has handed over: the kernel
/// keeps who called listen(2).
pub fn is_manager(pid: i32) -> bool {
    sys::command_name(pid).is_some_and(|name| name == "systemd")
}

/// Whether systemd waits on `socket` for the first client of our unit.
pub fn listens(socket: &Path) -> bool {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    let listen = format!("Listen={} (Stream)", socket.display());
    our_units().any(|unit| {
        let mut args = vec!["show", SOCKET_UNIT, "--property=SubState,Listen"];
        args.extend(unit.is_user.then_some("--user"));
        let shown = tool_output("systemctl", &args, deadline).unwrap_or_default();
        // It is `running` while the daemon is.
        let has = |wanted: &str| shown.lines().any(|line| line == wanted);
        has("SubState=listening") && has(&listen)
    })
}

fn our_units() -> impl Iterator<Item = Unit> {
    [true, false].into_iter().map(|is_user| Unit {
        name: UNIT.into(),
        is_user,
    })
}

/// Has systemd do `words` (`start`, `stop`, `restart`, with options) with `unit`, and gives what systemctl remarks on it.
///
/// # Errors
/// What systemctl says, which may not be there, not be allowed to, or not be done before `deadline`.
pub fn systemctl(unit: &Unit, words: &[&str], deadline: Instant) -> Result<String, String> {
    let mut args = vec!["--no-ask-password"];
    args.extend(unit.is_user.then_some("--user"));
    args.extend(words);
    args.push(&unit.name);
    let Some((succeeded, said)) = run_tool("systemctl", &args, Say::Stderr, deadline) else {
        return Err("systemctl is not there, or does not answer in time".into());
    };
    if succeeded {
        let words: Vec<&str> = said.split_whitespace().collect();
        return Ok(words.join(" "));
    }
    // What follows is where to read more.
    let reason = said.lines().next().unwrap_or_default();
    Err(reason.trim_end_matches('.').to_owned())
}

/// Asks systemd for `unit`; `None` if it is not there, or systemd does not answer before `deadline`.
pub fn unit_state(unit: &Unit, deadline: Instant) -> Option<UnitState> {
    let mut args = vec!["show", &unit.name];
    if unit.is_user {
        args.insert(0, "--user");
    }
    args.push(
        "--property=LoadState,ActiveState,SubState,UnitFileState,MainPID,ExecStart,Environment,Result,TriggeredBy,StatusText",
    );
    parse_unit_state(&tool_output("systemctl", &args, deadline)?)
}

/// Whether the units of `uid` live on when that user has logged out; `None` if logind does not say before `deadline`.
pub fn lingers(uid: u32, deadline: Instant) -> Option<bool> {
    let uid = uid.to_string();
    let shown = tool_output(
        "loginctl",
        &["show-user", &uid, "--property=Linger"],
        deadline,
    )?;
    Some(shown.trim() == "Linger=yes")
}

fn parse_unit_state(shown: &str) -> Option<UnitState> {
    let value = |name: &str| {
        let mut lines = shown.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    if value("LoadState")? == "not-found" {
        return None;
    }
    let text = |name| value(name).unwrap_or_default().to_owned();
    // `{ path=/usr/bin/coven ; argv[]=… ; … }`
    let path = value("ExecStart").and_then(|exec| exec.split_once("path="));
    let path = path.and_then(|(_, rest)| rest.split(" ;").next());
    // Assignments with a space between; one that holds a space is quoted as a whole.
    let all = format!(" {}", value("Environment").unwrap_or_default());
    let variable = |name: &str| {
        let quoted = all.split_once(&format!(" \"{name}="));
        let plain = || Some((all.split_once(&format!(" {name}="))?.1, ' '));
        let (text, end) = quoted.map(|(_, text)| (text, '"')).or_else(plain)?;
        text.split(end).next().map(PathBuf::from)
    };
    let home = variable(settings::HOME.name).or_else(|| Some(variable("HOME")?.join(".coven")));
    Some(UnitState {
        active: text("ActiveState"),
        sub: text("SubState"),
        enabled: text("UnitFileState"),
        main_pid: value("MainPID").and_then(|pid| pid.parse().ok().filter(|&pid| pid > 0)),
        executable: path.unwrap_or_default().to_owned(),
        home,
        result: text("Result"),
        triggered_by: text("TriggeredBy"),
        status: text("StatusText"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, is_user: bool) -> Option<Unit> {
        let name = name.to_owned();
        Some(Unit { name, is_user })
    }

    #[test]
    fn the_units_do_not_start_a_daemon_again_that_is_to_stay_down() {
        let line = format!("\nRestartPreventExitStatus={STAY_DOWN}\n");
        for unit in [
            include_str!("../../../scripts/service/coven.service"),
            include_str!("../../../scripts/service/coven-system.service"),
        ] {
            assert!(unit.contains(&line), "{unit}");
        }
    }

    #[test]
    fn the_unit_is_the_innermost_of_the_control_group() {
        let of = |path: &str| unit_of_cgroup(&format!("0::{path}\n"));
        assert_eq!(
            of("/system.slice/coven.service"),
            unit("coven.service", false)
        );
        let user = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(
            of(&format!("{user}/app.slice/coven.service")),
            unit("coven.service", true)
        );
        assert_eq!(
            of("/system.slice/coven.service/payload"),
            unit("coven.service", false)
        );
        for by_hand in [
            "/",
            "/user.slice/user-1000.slice/session-3.scope",
            &format!("{user}/app.slice/app-terminal.slice/vte-spawn-1.scope"),
            user,
            "/docker/0123456789",
        ] {
            assert_eq!(of(by_hand), None, "{by_hand}");
        }
        let v1 = "9:name=systemd:/system.slice/coven.service\n8:pids:/x.service\n0::/\n";
        assert_eq!(unit_of_cgroup(v1), unit("coven.service", false));
    }

    #[test]
    fn what_systemctl_shows_is_read() {
        let shown = "ExecStart={ path=/usr/bin/coven ; argv[]=/usr/bin/coven daemon serve ; ignore_errors=no }\n\
                     Environment=A=b COVEN_HOME=/srv/coven PATH=/usr/bin\nLoadState=loaded\nActiveState=active\n\
                     SubState=running\nUnitFileState=enabled\nMainPID=4242\nTriggeredBy=coven.socket\nStatusText=failed: a=b\n";
        let state = parse_unit_state(shown).unwrap();
        assert_eq!(
            state,
            UnitState {
                active: "active".into(),
                sub: "running".into(),
                enabled: "enabled".into(),
                main_pid: Some(4242),
                executable: "/usr/bin/coven".into(),
                home: Some("/srv/coven".into()),
                result: String::new(),
                triggered_by: "coven.socket".into(),
                status: "failed: a=b".into(),
            }
        );
        let quoted = shown.replace("COVEN_HOME=/srv/coven", "\"COVEN_HOME=/srv/my coven\"");
        assert_eq!(
            parse_unit_state(&quoted).unwrap().home,
            Some("/srv/my coven".into())
        );
        let server = shown.replace("COVEN_HOME=/srv/coven", "HOME=/var/lib/coven");
        assert_eq!(
            parse_unit_state(&server).unwrap().home,
            Some("/var/lib/coven/.coven".into())
        );
        assert_eq!(parse_unit_state("LoadState=not-found\nMainPID=0\n"), None);
        assert_eq!(parse_unit_state(""), None);
    }
}
