//! systemd: queries and commands its units through systemctl, and finds the unit of a process.
//!
//! Runs in the CLI's process; the daemon reads its own unit at its start. Each call has a deadline: a manager that
//! hangs or is absent is no failure. It does not know what a daemon does.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::unit::{Supervisor, Unit};
use crate::daemon::Home;
use crate::daemon::tool::{Say, run_tool, tool_output};
use crate::settings::{self, durations};
use crate::sys::{self, ControlGroup};

/// Name of coven's unit.
pub const UNIT: &str = "coven.service";

/// The socket unit that starts it at the first connection.
const SOCKET_UNIT: &str = "coven.socket";

/// Exit code with which a daemon asks systemd not to restart it: sysexits(3), `EX_NOINPUT`. The units in
/// `scripts/service` list it in `RestartPreventExitStatus=`.
pub const STAY_DOWN: u8 = 66;

/// The unit of this process's control group: journald assigns its output to that unit.
pub(in crate::daemon) fn own_unit() -> Option<Unit> {
    unit_of_cgroup(&own_cgroup())
}

pub(super) fn own_cgroup() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// True if systemd started this process, in any unit.
pub fn is_systemds() -> bool {
    is_meant(std::env::var("SYSTEMD_EXEC_PID").ok(), std::process::id())
}

/// True if `SYSTEMD_EXEC_PID`, set by systemd for the process that it starts (systemd.exec(5)), is `pid`.
pub(super) fn is_meant(exec_pid: Option<String>, pid: u32) -> bool {
    exec_pid.is_some_and(|meant| meant.parse() == Ok(pid))
}

/// The innermost service unit in the path of a control group: systemd puts each unit into its own, which children
/// cannot leave. A login or a terminal is in a scope, which systemd does not restart.
pub(super) fn unit_of_cgroup(cgroup: &str) -> Option<Unit> {
    // One line for each hierarchy (cgroups(7)): `0::<path>` in version 2; in version 1 systemd's has its name.
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
    // `user@1000.service` is a user's manager: systemd does not supervise a process directly in it.
    let is_service = name.ends_with(".service") && !name.starts_with("user@");
    is_service.then(|| Unit {
        name: name.to_owned(),
        is_user: path.split('/').any(|part| part.starts_with("user@")),
    })
}

/// The lowest limit on processes and threads of `pid`'s control groups; `None` if unlimited.
pub fn tasks_max(pid: i32) -> Option<u64> {
    let group = ControlGroup::of(pid.unsigned_abs(), "pids")?;
    let bounds = group
        .directories()
        .filter_map(|group| std::fs::read_to_string(group.join("pids.max")).ok());
    // `max` means unlimited.
    bounds.filter_map(|bound| bound.trim().parse().ok()).min()
}

/// A unit's properties in systemctl's output; empty if unset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// The detailed state: `running`, `dead`, `auto-restart`, …
    pub sub: String,
    /// Whether it starts at boot or login: `enabled`, `disabled`, …
    pub enabled: String,
    pub main_pid: Option<i32>,
    /// Path of the executable.
    pub executable: String,
    /// The home by its `COVEN_HOME` or `HOME`, if it sets one.
    pub home: Option<PathBuf>,
    /// Result of its last run: `success`, `exit-code`, `timeout`, `watchdog`, …
    pub result: String,
    /// The socket unit that starts it.
    pub triggered_by: String,
    /// The last `STATUS=` of its process (sd_notify(3)).
    pub status: String,
}

impl UnitState {
    /// Its last start or run failed: it stays down, or waits for its restart.
    pub fn has_failed(&self) -> bool {
        self.active == "failed" || self.sub == "auto-restart"
    }
}

/// The unit in `runs` that runs the process `pid`, if any; else a unit of our name.
pub fn find_unit(runs: Option<&Supervisor>, pid: Option<i32>) -> Option<(Unit, UnitState)> {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    if let Some(Supervisor::Systemd(unit)) = runs
        && let Some(state) = unit_state(unit, deadline)
        // A process started by a cron job is in cron's unit, but the unit does not run it.
        && (state.main_pid == pid || unit.name == UNIT)
    {
        return Some((unit.clone(), state));
    }
    our_units().find_map(|unit| {
        let state = unit_state(&unit, deadline)?;
        Some((unit, state))
    })
}

/// The unit of our name that serves `home` with this executable, and its properties.
pub fn unit_of_home(home: &Path) -> Option<(Unit, UnitState)> {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    let own = std::env::current_exe().ok()?;
    our_units().find_map(|unit| {
        let state = unit_state(&unit, deadline)?;
        // A user unit's default home is the user's; a system unit's user is unknown here.
        let default = || Home::default_path().filter(|_| unit.is_user);
        let serves = state.home.clone().or_else(default)?;
        let is_it = (serves == home || sys::is_same_file(&serves, home))
            && sys::is_same_file(Path::new(&state.executable), &own);
        is_it.then_some((unit, state))
    })
}

/// True if the process `pid` is a service manager. It appears as the listener of a socket that it passed: the kernel
/// records the process that called listen(2).
pub fn is_manager(pid: i32) -> bool {
    sys::command_name(pid).is_some_and(|name| name == "systemd")
}

/// True if systemd waits on `socket` for the first client of coven's unit.
pub fn listens(socket: &Path) -> bool {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    let listen = format!("Listen={} (Stream)", socket.display());
    our_units().any(|unit| {
        let mut args = vec!["show", SOCKET_UNIT, "--property=SubState,Listen"];
        args.extend(unit.is_user.then_some("--user"));
        let shown = tool_output("systemctl", &args, deadline).unwrap_or_default();
        // The state is `running` while the daemon runs.
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

/// Runs systemctl with `words` (`start`, `stop`, `restart`, and options) for `unit`; returns its messages.
///
/// # Errors
/// systemctl's error: absent, not allowed, or not done before `deadline`.
pub fn systemctl(unit: &Unit, words: &[&str], deadline: Instant) -> Result<String, String> {
    let mut args = vec!["--no-ask-password"];
    args.extend(unit.is_user.then_some("--user"));
    args.extend(words);
    args.push(&unit.name);
    let Some((succeeded, said)) = run_tool("systemctl", &args, Say::Stderr, deadline) else {
        return Err("systemctl does not exist, or does not answer in time".into());
    };
    if succeeded {
        let words: Vec<&str> = said.split_whitespace().collect();
        return Ok(words.join(" "));
    }
    // The other lines tell where to read more.
    let reason = said.lines().next().unwrap_or_default();
    Err(reason.trim_end_matches('.').to_owned())
}

/// Queries `unit`; `None` if it does not exist, or if systemd does not answer before `deadline`.
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

/// True if units of `uid` survive the user's logout; `None` if logind does not answer before `deadline`.
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
    // Assignments are separated by spaces; one that contains a space is quoted as a whole.
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
    fn the_output_of_systemctl_show_is_read() {
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
