//! The daemon under a service manager: what it tells it, the socket that it is handed, and what it reads again.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::*;

fn number(lines: &[String], name: &str) -> u64 {
    let value = lines.iter().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("no {name} in {lines:?}"))
        .parse()
        .unwrap()
}

/// `daemon serve` as a manager starts it.
fn serve(coven: &Coven, env: &[(&str, &str)]) -> Child {
    let mut command = coven.command(["daemon", "serve"]);
    command.envs(env.iter().copied());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn monotonic_micros() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[test]
fn a_manager_is_told_when_it_serves_what_it_does_and_that_it_stops() {
    for is_abstract in [false, true] {
        let coven = Coven::new();
        coven.harness("waits", "exec sleep 1000");
        let (manager, name) = match is_abstract {
            false => Manager::on_path(&coven),
            true => Manager::abstract_one(&coven),
        };
        let child = serve(&coven, &[("NOTIFY_SOCKET", &name)]);
        let before = manager.until("READY=1");
        assert_eq!(before[0], ["STATUS=opening the store"]);
        assert!(number(&before[1], "EXTEND_TIMEOUT_USEC=") >= 10_000_000);
        let ready = before.last().unwrap();
        assert_eq!(ready[..], ["READY=1", "STATUS=0 live sessions"]);
        // Ready is ready: no connection is refused from then on.
        let id = coven.launch("waits", "x");
        manager.until("STATUS=1 live session");
        coven.launch("waits", "x");
        manager.until("STATUS=2 live sessions");
        coven.kill_session(&id);
        manager.until("STATUS=1 live session");
        let daemon = &coven.get("/api/v1/health").json()["daemon"];
        let within = daemon["stopWithinMs"].as_u64().unwrap() * 1000;
        kill(child.id() as i32, libc::SIGTERM);
        let stopping = manager.until("STOPPING=1");
        let stopping = stopping.last().unwrap();
        assert_eq!(number(stopping, "EXTEND_TIMEOUT_USEC="), within);
        assert_eq!(stopping[2], "STATUS=stopping, 1 live session");
        assert_eq!(finish(child).code, 0);
    }
}

#[test]
fn a_manager_that_cannot_be_told_is_warned_of_and_the_daemon_serves() {
    for name in ["/nonexistent/notify", "vsock:2:1234", "@", "/"] {
        let coven = Coven::new();
        let mut child = serve(
            &coven,
            &[("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "200000")],
        );
        let mut log = read_until(child.stderr.as_mut().unwrap(), "event=contract_served");
        if !log.contains("event=notify_failed") {
            // The thread that tells has its own pace.
            log += &read_until(child.stderr.as_mut().unwrap(), "event=notify_failed");
        }
        let id = coven.launch("hello", "hi");
        assert_eq!(coven.ended(&id)["status"], "completed");
        kill(child.id() as i32, libc::SIGTERM);
        assert_eq!(finish(child).code, 0);
    }
}

#[test]
fn no_harness_and_no_other_daemon_hears_what_the_manager_tells_this_one() {
    let coven = Coven::new();
    let inner = Coven::new();
    coven.harness("environment", "env");
    let start = format!(
        "COVEN_HOME={} {} daemon start",
        inner.home().display(),
        env!("CARGO_BIN_EXE_coven")
    );
    let (manager, name) = Manager::on_path(&coven);
    let variables = [
        ("NOTIFY_SOCKET", name.as_str()),
        ("WATCHDOG_USEC", "60000000"),
        ("LISTEN_PID", "1"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "x"),
        ("INVOCATION_ID", "0123456789abcdef"),
        ("SYSTEMD_EXEC_PID", "1"),
    ];
    let child = serve(&coven, &variables);
    manager.until("READY=1");
    let id = coven.launch("environment", "x");
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert!(out.contains("COVEN_SESSION_ID="), "{out}");
    for (variable, _) in variables {
        assert!(!out.contains(&format!("{variable}=")), "{out}");
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &start]).envs(variables);
    assert!(shell.output().unwrap().status.success());
    let environ = fs::read(format!("/proc/{}/environ", inner.daemon_pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("NOTIFY_SOCKET"));
    kill(child.id() as i32, libc::SIGTERM);
    assert_eq!(finish(child).code, 0);
}

/// The thread of `pid` by this name.
fn thread_of(pid: i32, name: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let task = tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).unwrap().trim() == name)
        .find_map(|task| task.file_name().to_str()?.parse().ok());
    task.unwrap_or_else(|| panic!("no thread {name}"))
}

/// Number of the thread's voluntary context switches (proc(5), `voluntary_ctxt_switches`).
fn wakes(pid: i32, name: &str) -> u64 {
    let tid = thread_of(pid, name);
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// A thread of the daemon's that does not get on, as one in a system call that never returns: held by ptrace(2), until
/// this is dropped. To be used and dropped by one thread.
struct HeldThread(i32);

impl HeldThread {
    /// The thread of `pid` by this name; `None` where ptrace(2) is not allowed.
    fn of(pid: i32, name: &str) -> Option<Self> {
        let tid = thread_of(pid, name);
        let null = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: these requests take no memory of this process.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, tid, null, null) != 0 {
                return None;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, tid, null, null), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(tid, &raw mut status, libc::__WALL), tid);
        }
        Some(Self(tid))
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        let null = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, null, null) };
    }
}

#[test]
fn the_watchdog_is_fed_only_while_the_state_thread_and_the_writer_get_on() {
    // The state thread is the main thread, which has the program's name.
    for (thread, named) in [("writer", "writer"), ("coven", "state")] {
        let coven = Coven::new();
        let (manager, name) = Manager::on_path(&coven);
        let mut child = serve(
            &coven,
            &[("NOTIFY_SOCKET", &name), ("WATCHDOG_USEC", "400000")],
        );
        manager.until("READY=1");
        manager.until("WATCHDOG=1");
        manager.until("WATCHDOG=1");
        let Some(held) = HeldThread::of(child.id() as i32, thread) else {
            eprintln!("skipped: ptrace is not allowed here");
            kill(child.id() as i32, libc::SIGTERM);
            finish(child);
            return;
        };
        let withheld = format!("event=watchdog_withheld code=internal_error thread={named}");
        read_until(child.stderr.as_mut().unwrap(), &withheld);
        manager.come();
        // It wakes twice a period.
        let wakes = || wakes(child.id() as i32, "watchdog");
        let enough = wakes() + 6;
        eventually("the watchdog has woken", || wakes() >= enough);
        assert_eq!(manager.come(), [[""; 0]; 0]);
        drop(held);
        manager.until("WATCHDOG=1");
        kill(child.id() as i32, libc::SIGTERM);
        assert_eq!(finish(child).code, 0);
    }
}

#[test]
fn the_watchdog_is_fed_while_the_writer_waits_for_the_disk() {
    let coven = Coven::new();
    let (manager, name) = Manager::on_path(&coven);
    let coven = coven
        .env("NOTIFY_SOCKET", name)
        .env("WATCHDOG_USEC", "400000");
    let child = serve_with_file_limit(&coven, 1024);
    coven.harness(
        "writes",
        "head -c 2000000 /dev/zero | tr '\\0' x; exec sleep 1000",
    );
    coven.launch("writes", "x");
    eventually("the store cannot be written", || {
        coven.get("/api/v1/health").json()["eventWriter"]["state"] == "failed"
    });
    // A writer that waits is alive.
    manager.come();
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    lift_file_limit(child.id());
    kill(child.id() as i32, libc::SIGTERM);
    assert_eq!(finish(child).code, 0);
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    let coven = Coven::new();
    let (manager, name) = Manager::on_path(&coven);
    let mut child = serve(
        &coven,
        &[
            ("NOTIFY_SOCKET", &name),
            ("WATCHDOG_USEC", "1"),
            ("WATCHDOG_PID", "1"),
        ],
    );
    let log = read_until(child.stderr.as_mut().unwrap(), "event=contract_served");
    assert!(!log.contains("watchdog_started"), "{log}");
    kill(child.id() as i32, libc::SIGTERM);
    let told = manager.until("STATUS=stopping, 0 live sessions");
    assert!(!told.concat().contains(&"WATCHDOG=1".to_owned()));
    assert!(!finish(child).err.contains("watchdog_started"));
}

#[test]
fn a_manager_is_told_of_a_stop_that_is_over_before_the_thread_that_tells_it_gets_on() {
    let coven = Coven::new();
    let (manager, name) = Manager::on_path(&coven);
    let child = serve(&coven, &[("NOTIFY_SOCKET", &name)]);
    manager.until("READY=1");
    let Some(held) = HeldThread::of(child.id() as i32, "notify") else {
        eprintln!("skipped: ptrace is not allowed here");
        kill(child.id() as i32, libc::SIGTERM);
        finish(child);
        return;
    };
    kill(child.id() as i32, libc::SIGTERM);
    eventually("the stop is over", || {
        !coven.home().join("daemon.json").exists()
    });
    drop(held);
    manager.until("STATUS=stopping, 0 live sessions");
    assert_eq!(finish(child).code, 0);
}

#[test]
fn a_manager_that_does_not_read_holds_no_stop_up() {
    let coven = Coven::new();
    let (manager, name) = Manager::on_path(&coven);
    let child = serve(&coven, &[("NOTIFY_SOCKET", &name)]);
    manager.until("READY=1");
    manager.fill(&name);
    kill(child.id() as i32, libc::SIGTERM);
    assert_eq!(finish(child).code, 0);
    let come = manager.come();
    assert!(come.iter().all(|message| message[..] == ["X_FULL=1"]));
}

#[test]
fn sighup_reads_patterns_and_manifests_again_and_opens_the_log_anew() {
    let coven = Coven::new();
    let (manager, name) = Manager::on_path(&coven);
    // In the background it has a log file; what `start` does not pass on, a manager does.
    let mut command = coven.command(["daemon", "serve", "--background"]);
    let mut child = command.env("NOTIFY_SOCKET", name).spawn().unwrap();
    manager.until("READY=1");
    coven.harness_with(
        "says",
        "echo before-1; read line; echo after-2 \"$line\"",
        json!({ "stdin": "open" }),
    );
    let id = coven.launch("says", "x");
    coven.wait_for_output(&id, "before-1\n");
    let log = coven.home().join("logs/daemon.log");
    let moved = coven.home().join("logs/moved");
    fs::rename(&log, &moved).unwrap();
    fs::write(coven.home().join("redact.txt"), "after-\\d\n").unwrap();
    let manifest = json!({ "adapters": [{ "id": "late", "label": "late", "executable": "late" }] });
    let file = coven.home().join("adapters/late.json");
    fs::write(&file, manifest.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let asked = monotonic_micros();
    kill(child.id() as i32, libc::SIGHUP);
    let reloading = manager.until("RELOADING=1");
    let at = number(reloading.last().unwrap(), "MONOTONIC_USEC=");
    assert!((asked..=monotonic_micros()).contains(&at));
    manager.until("READY=1");
    // Lines are written by a thread of their own.
    eventually("the new file has the log", || {
        fs::read_to_string(&log).unwrap().contains("event=reloaded")
    });
    assert!(!fs::read_to_string(&moved).unwrap().contains("reloaded"));
    let adapters = coven.get("/api/v1/capabilities").json()["adapters"].to_string();
    assert!(adapters.contains("\"late\""), "{adapters}");
    // The session that ran all the while, too.
    coven.input(&id, "after-3\n");
    let out = output(&coven.events_to_end(&id), "stdout");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "before-1\n[REDACTED:custom] [REDACTED:custom]\n"
    );
    let metrics = coven.cli(["metrics"]).out;
    assert!(
        metrics.contains("coven_redactions_total{kind=\"custom\"}"),
        "{metrics}"
    );
    kill(child.id() as i32, libc::SIGTERM);
    assert!(child.wait().unwrap().success());
}

/// `daemon serve` with `listener` as descriptor 3, as sd_listen_fds(3) has it.
pub fn activated(coven: &Coven, listener: &impl AsRawFd, count: &str) -> Command {
    let fd = listener.as_raw_fd();
    // LISTEN_PID is the pid after exec: a shell that execs knows it.
    let mut command = coven.command_after(
        &format!("export LISTEN_PID=$$ LISTEN_FDS={count}"),
        &["daemon", "serve"],
    );
    // SAFETY: dup2 and fcntl are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            let result = match fd {
                3 => libc::fcntl(3, libc::F_SETFD, 0),
                _ => libc::dup2(fd, 3),
            };
            match result {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    command
}

fn activate(coven: &Coven, listener: &impl AsRawFd, count: &str) -> Ran {
    Ran::of(activated(coven, listener, count).output().unwrap())
}

#[test]
fn a_managers_socket_that_is_removed_is_made_anew_until_the_daemon_goes() {
    let coven = Coven::new();
    let listener = UnixListener::bind(coven.socket()).unwrap();
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = activated(&coven, &listener, "1");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // It answers before it watches its home, and does not start where its own request fails.
    wait_for_line(&mut child, "event=contract_served");
    let pid = coven.daemon_pid();
    fs::remove_file(coven.socket()).unwrap();
    eventually("it is made anew", || coven.socket().exists());
    assert_eq!(coven.daemon_pid(), pid);
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(finish(child).code, 0);
    assert!(!coven.socket().exists(), "nobody answers on it");
}

#[test]
fn a_descriptor_that_is_not_the_homes_own_socket_is_refused_and_says_why() {
    let coven = Coven::new();
    let refused = |listener: &dyn AsRawFd, count: &str, why: &str| {
        let ran = activate(&coven, &listener.as_raw_fd(), count);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(why), "{why}: {ran:?}");
        assert!(ran.err.contains("(socket_refused)"), "{ran:?}");
        assert!(ran.err.contains("  try: "), "{ran:?}");
    };
    refused(
        &fs::File::open("/dev/null").unwrap(),
        "1",
        "cannot be served",
    );
    refused(&UnixDatagram::unbound().unwrap(), "1", "no stream socket");
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    refused(&stream, "1", "does not listen");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(&tcp, "1", "ListenStream=");
    let elsewhere = coven.work().join("other.sock");
    let other = UnixListener::bind(&elsewhere).unwrap();
    refused(&other, "1", elsewhere.to_str().unwrap());
    let listener = UnixListener::bind(coven.socket()).unwrap();
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o660)).unwrap();
    refused(&listener, "1", "SocketMode=0600");
    refused(&listener, "2", "2 sockets");
    // None of it is the daemon's to remove.
    assert!(coven.socket().exists());
}

#[test]
fn a_socket_that_a_manager_hands_over_is_served_and_stays_when_the_daemon_goes() {
    if Command::new("systemd-socket-activate")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: systemd-socket-activate is not installed");
        return;
    }
    let coven = Coven::new();
    coven.harness("descriptors", "ls /proc/$$/fd; env");
    let daemon = coven.command(["daemon", "serve"]);
    let mut activator = Command::new("systemd-socket-activate");
    activator.arg("-l").arg(coven.socket());
    for (name, value) in daemon.get_envs() {
        if let Some(value) = value {
            activator.arg("-E").arg(format!(
                "{}={}",
                name.to_str().unwrap(),
                value.to_str().unwrap()
            ));
        }
    }
    activator.arg(daemon.get_program()).args(daemon.get_args());
    // By which the test's end finds it, should it fail.
    activator
        .env("COVEN_HOME", coven.home())
        .stdout(Stdio::null());
    let mut child = activator.stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "Listening on");
    // What a unit's SocketMode=0600 does; the tool has no option for it.
    fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(coven.socket());
    // The first connection starts it, in the activator's process.
    let status = coven.cli(["daemon", "status", "--json"]).json();
    assert_eq!(status["state"], "running", "{status}");
    assert_eq!(coven.daemon_pid(), child.id() as i32);
    let id = coven.launch("descriptors", "x");
    let out = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert!(!out.contains("LISTEN_"), "{out}");
    let started = coven.cli(["daemon", "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    let stopped = coven.cli(["daemon", "stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(log.contains("event=daemon_stopped"), "{log}");
    assert_eq!(inode(coven.socket()), before);
}

#[test]
fn a_client_on_the_socket_of_a_unit_that_fails_is_told_why() {
    for verb in [&["run", "hello", "x"][..], &["sessions"]] {
        let coven = Coven::new();
        fs::write(coven.database_file(""), "no database at all").unwrap();
        let listener = UnixListener::bind(coven.socket()).unwrap();
        fs::set_permissions(coven.socket(), fs::Permissions::from_mode(0o600)).unwrap();
        let client = coven.spawn(verb);
        let mut waiting = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: poll reads and fills the one struct, which outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut waiting, 1, -1) }, 1);
        // As systemd does: it starts the unit, and after its last failure lets go of the socket and who waits on it.
        let served = activate(&coven, &listener, "1");
        assert_eq!(served.code, 1, "{served:?}");
        fs::remove_file(coven.socket()).unwrap();
        drop(listener);
        let ran = finish(client);
        let reason = "cannot be opened: file is not a database";
        assert!(ran.code != 0 && ran.err.contains(reason), "{ran:?}");
    }
}
