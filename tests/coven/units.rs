//! The CLI where systemd has a unit for the daemon: who starts and stops it. A `systemctl` of the test's own plays
//! systemd, and writes down what it is told.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::support::*;

/// A fake systemctl: the user's `coven.service`, with its state in the test's own directory. `$COVEN` and `$UNIT_HOME` are
/// set before it.
const SYSTEMCTL: &str = r#"
echo "$*" >>told
verb=
for word; do case $word in show | start | stop | restart | reset-failed) verb=$word ;; esac; done
pid() { cat pid 2>/dev/null || echo 0; }
is_alive() { [ "$(pid)" != 0 ] && kill -0 "$(pid)" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$(pid)/status"; }
begin() {
    is_alive && return
    [ ! -e limit-next ] || mv limit-next limit-hit
    [ ! -e limit-hit ] || { echo 'Job for coven.service failed because of the limit.' >&2; return 1; }
    rm -f code
    [ ! -e limit ] || ulimit -S -f 1024
    ( sh -c 'echo $$ >pid; exec "$COVEN" daemon serve' >/dev/null 2>>log; echo $? >code ) >/dev/null 2>&1 &
    until "$COVEN" daemon status >/dev/null 2>&1; do
        [ ! -e code ] || { echo "Job for coven.service failed because the control process exited with error code." >&2; return 1; }
        sleep 0.05
    done
}
finish() {
    [ -e pid ] || return 0
    is_alive && kill -TERM "$(pid)"
    until [ -e code ]; do sleep 0.05; done
}
show() {
    active=inactive
    [ "$(cat code 2>/dev/null || echo 0)" = 0 ] || { active=failed; echo Result=exit-code; }
    [ ! -e limit-hit ] || { active=failed; echo Result=start-limit-hit; }
    [ $active = failed ] || echo Result=success
    [ ! -e status ] || echo "StatusText=$(cat status)"
    is_alive && active=active && echo "MainPID=$(pid)"
    printf '%s\n' LoadState=loaded ActiveState=$active "ExecStart={ path=$COVEN ; }" "Environment=COVEN_HOME=$UNIT_HOME"
}
case "$*" in *--user*) ;; *) echo LoadState=not-found; exit 4 ;; esac
if [ $verb != show ] && [ -e denied ]; then echo 'Failed: Access denied' >&2; exit 4; fi
export COVEN_HOME="$UNIT_HOME" COVEN
job() { case $1 in start) begin ;; stop) finish ;; restart) finish; begin ;; reset-failed) rm limit-hit ;; esac; }
case "$*" in
    *show*) show ;;
    *--no-block*) : >pending; ( job $verb; rm pending ) >/dev/null 2>&1 & ;;
    *) while [ -e pending ]; do sleep 0.05; done; job $verb ;;
esac
"#;

/// A home with a unit.
fn with_unit(unit_home: impl Fn(&Coven) -> String) -> Coven {
    with_unit_in(Coven::new(), unit_home)
}

fn with_unit_in(coven: Coven, unit_home: impl Fn(&Coven) -> String) -> Coven {
    let set = format!(
        "cd {}; COVEN={} UNIT_HOME={}",
        coven.work().display(),
        env!("CARGO_BIN_EXE_coven"),
        unit_home(&coven)
    );
    coven.program("systemctl", &format!("{set}\n{SYSTEMCTL}"));
    coven
}

fn own_home(coven: &Coven) -> String {
    coven.home().display().to_string()
}

/// The commands given to systemctl, without queries.
fn told(coven: &Coven) -> Vec<String> {
    let told = fs::read_to_string(coven.work().join("told")).unwrap_or_default();
    let lines = told.lines().filter(|line| !line.contains("show"));
    lines
        .map(|line| line.replace("--no-ask-password --user ", ""))
        .collect()
}

/// The unit's process.
fn unit_pid(coven: &Coven) -> i32 {
    let pid = fs::read_to_string(coven.work().join("pid")).unwrap();
    pid.trim().parse().unwrap()
}

#[test]
fn the_daemon_of_a_unit_is_started_and_stopped_by_systemd() {
    let coven = with_unit(own_home);
    let started = coven.cli(["daemon", "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    let by = "started by systemd unit coven.service (user) (pid ";
    assert!(started.out.starts_with(by), "{started:?}");
    assert_eq!(coven.daemon_pid(), unit_pid(&coven));
    let again = coven.cli(["daemon", "start"]);
    assert!(again.out.starts_with("already running"), "{again:?}");
    let stopped = coven.cli(["daemon", "stop"]);
    let pid = unit_pid(&coven);
    let said = (stopped.code, stopped.out.as_str(), stopped.err.as_str());
    assert_eq!(said, (0, format!("stopped (pid {pid})\n").as_str(), ""));
    assert!(!is_alive(pid));
    let all = [
        "start coven.service",
        "--no-block stop coven.service",
        "stop coven.service",
    ];
    assert_eq!(told(&coven), all);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.out, "not running\n", "{stopped:?}");
    assert_eq!(told(&coven), all);
}

#[test]
fn a_run_has_systemd_start_the_daemon() {
    let coven = with_unit(own_home);
    let ran = coven.cli(["run", "hello", "hi"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.ends_with("hello: done\n"), "{ran:?}");
    assert_eq!(told(&coven), ["start coven.service"]);
    assert_eq!(coven.daemon_pid(), unit_pid(&coven));
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

#[test]
fn a_restart_of_a_units_daemon_is_systemds_and_sessions_keep_their_grace() {
    let coven = with_unit_in(Coven::new().env("COVEN_KILL_GRACE_MS", "600000"), own_home);
    coven.start_daemon();
    let before = unit_pid(&coven);
    // What it says when it is asked to end comes late.
    coven.harness(
        "slow",
        "trap 'sleep 1; echo last words; exit' TERM; echo ready; while :; do sleep 0.1; done",
    );
    let id = coven.launch("slow", "x");
    coven.wait_for_output(&id, "ready\n");
    let restarted = coven.cli(["daemon", "restart"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    assert!(restarted.err.ends_with("  slow  x\n"), "{restarted:?}");
    let by = "started by systemd unit coven.service (user) (pid ";
    assert!(restarted.out.starts_with(by), "{restarted:?}");
    assert_ne!(unit_pid(&coven), before);
    assert_eq!(coven.daemon_pid(), unit_pid(&coven));
    let said = output(&coven.events_to_end(&id), "stdout");
    assert_eq!(String::from_utf8(said).unwrap(), "ready\nlast words\n");
    let all = [
        "start coven.service",
        "--no-block restart coven.service",
        "start coven.service",
    ];
    assert_eq!(told(&coven), all);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
}

#[test]
fn a_stop_by_systemd_still_says_what_is_not_on_disk() {
    let coven = with_unit(own_home);
    fs::write(coven.work().join("limit"), "").unwrap();
    coven.start_daemon();
    coven.harness(
        "writes",
        "head -c 2000000 /dev/zero | tr '\\0' x; exec sleep 1000",
    );
    let id = coven.launch("writes", "x");
    health_until(&coven, |health| health["eventWriter"]["state"] == "failed");
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    assert!(stopped.err.contains("(store_unavailable)"), "{stopped:?}");
    assert!(stopped.err.contains(&id), "{stopped:?}");
    assert_eq!(told(&coven).last().unwrap(), "stop coven.service");
}

#[test]
fn a_units_daemon_that_ended_badly_without_a_word_is_told_of() {
    let coven = with_unit(own_home);
    coven.start_daemon();
    let pid = unit_pid(&coven);
    stop(pid);
    let stopping = coven.spawn(["daemon", "stop"]);
    eventually("systemd is told", || told(&coven).len() > 1);
    kill(pid, libc::SIGKILL);
    let stopped = finish(stopping);
    assert_eq!(stopped.code, 1, "{stopped:?}");
    let said = "coven.service (user) is failed (exit-code) (daemon_stop_failed)";
    assert!(stopped.err.contains(said), "{stopped:?}");
    let next = "  try: journalctl --user -u coven.service -n 20\n";
    assert!(stopped.err.ends_with(next), "{stopped:?}");
}

#[test]
fn a_stop_that_systemd_refuses_is_asked_of_the_daemon_and_a_restart_is_refused() {
    let coven = with_unit(own_home);
    coven.start_daemon();
    fs::write(coven.work().join("denied"), "").unwrap();
    let pid = coven.daemon_pid();
    let restarted = coven.cli(["daemon", "restart"]);
    assert_eq!(restarted.code, 1, "{restarted:?}");
    assert_eq!(
        restarted.err,
        "coven: the daemon is run by systemd unit coven.service (user), and cannot be restarted from here: \
         Failed: Access denied (daemon_supervised)\n  try: systemctl --user restart coven.service (ends live sessions)\n"
    );
    assert_eq!(coven.daemon_pid(), pid);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(stopped.out, format!("stopped (pid {pid})\n"));
    assert!(
        stopped
            .err
            .contains("Access denied; asking the daemon itself"),
        "{stopped:?}"
    );
    let started = coven.cli(["daemon", "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.out.starts_with("started (pid "), "{started:?}");
    assert!(
        started
            .err
            .contains("Access denied; starting the daemon by hand"),
        "{started:?}"
    );
    // Not the unit's: none of systemd's business.
    let before = told(&coven);
    assert_eq!(coven.cli(["daemon", "stop"]).err, "");
    assert_eq!(told(&coven), before);
}

#[test]
fn a_unit_that_fails_to_start_is_said_and_nothing_is_started_beside_it() {
    let coven = with_unit(own_home);
    fs::write(coven.database_file(""), "no database at all").unwrap();
    let started = coven.cli(["daemon", "start"]);
    assert_eq!(started.code, 1, "{started:?}");
    let reason = format!(
        "the store {} cannot be opened: ",
        coven.database_file("").display()
    );
    let said = format!("coven: coven.service (user) has not started: {reason}");
    assert!(started.err.starts_with(&said), "{started:?}");
    assert!(started.err.contains("  try: "), "{started:?}");
    let ran = coven.cli(["run", "hello", "hi"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.starts_with(&said), "{ran:?}");
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(status.code, 3, "{status:?}");
    assert_eq!(status.json()["state"], "failed");
    let shown = status.json()["reason"].as_str().unwrap().to_owned();
    assert!(shown.starts_with(&reason), "{status:?}");
    fs::remove_file(coven.database_file("")).unwrap();
    assert_eq!(coven.cli(["daemon", "start"]).code, 0);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(status.json()["state"], "stopped");
}

#[test]
fn a_unit_whose_daemon_leaves_no_record_is_said_by_what_systemd_has_of_it() {
    let coven = with_unit(own_home);
    fs::set_permissions(coven.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let started = coven.cli(["daemon", "start"]);
    assert_eq!(started.code, 1, "{started:?}");
    let said = "coven: coven.service (user) has not started: Job for coven.service failed";
    assert!(started.err.starts_with(said), "{started:?}");
    let next = "  try: journalctl --user -u coven.service -n 20\n";
    assert!(started.err.ends_with(next), "{started:?}");
    let reason = || coven.cli(["daemon", "status", "--json"]).json()["reason"].clone();
    assert_eq!(reason(), "coven.service (user) is failed (exit-code)");
    fs::write(coven.work().join("status"), "failed: it is open to others").unwrap();
    let started = coven.cli(["run", "hello", "hi"]);
    let said = "coven: coven.service (user) has not started: it is open to others (";
    assert!(started.err.starts_with(said), "{started:?}");
    assert_eq!(reason(), "it is open to others");
    // What it says while it lives is no reason.
    fs::write(coven.work().join("status"), "2 live sessions").unwrap();
    assert_eq!(reason(), "coven.service (user) is failed (exit-code)");
}

#[test]
fn a_unit_that_was_started_too_often_is_started_once_more_for_who_asks() {
    let coven = with_unit(own_home);
    // Refused before, and refused by this start.
    for (limit, verbs) in [
        ("limit-hit", &["reset-failed", "start"][..]),
        ("limit-next", &["start", "reset-failed", "start"]),
    ] {
        let _ = fs::remove_file(coven.work().join("told"));
        fs::write(coven.work().join(limit), "").unwrap();
        let started = coven.cli(["daemon", "start"]);
        assert_eq!((started.code, started.err.as_str()), (0, ""), "{started:?}");
        assert_eq!(coven.daemon_pid(), unit_pid(&coven));
        let all = verbs.iter().map(|verb| format!("{verb} coven.service"));
        assert_eq!(told(&coven), all.collect::<Vec<_>>());
        assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    }
}

#[test]
fn another_homes_unit_is_left_alone() {
    let coven = with_unit(|_| "/srv/another".into());
    let started = coven.cli(["daemon", "start"]);
    assert!(started.out.starts_with("started (pid "), "{started:?}");
    assert_eq!(coven.cli(["daemon", "restart"]).code, 0);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(told(&coven), [""; 0]);
}

#[test]
fn a_look_at_a_socket_that_waits_for_its_first_client_starts_nothing() {
    let coven = Coven::new();
    let socket = coven.socket().display().to_string();
    let show = format!(
        "case \"$*\" in *coven.socket*--user*) echo SubState=listening; echo 'Listen={socket} (Stream)';; esac"
    );
    coven.program("systemctl", &show);
    let listener = UnixListener::bind(coven.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let status = coven.cli(["daemon", "status", "--json"]);
    assert_eq!(status.code, 3, "{status:?}");
    let said = status.json();
    assert_eq!(said["state"], "stopped");
    assert_ne!(said["reason"], Value::Null);
    let shown = coven.cli(["daemon", "status"]);
    assert!(shown.out.contains("with the first client"), "{shown:?}");
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.out, "not running\n", "{stopped:?}");
    let report = coven.cli(["doctor"]);
    assert!(report.out.contains("with its first client"), "{report:?}");
    let accepted = listener.accept();
    assert!(
        matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock),
        "{accepted:?}"
    );
}
