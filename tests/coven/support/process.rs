//! Processes: what they say, how they end, and what the kernel tells of them.

use std::fs;
use std::io::Read;
use std::process::{Child, Output};

use serde_json::Value;

use super::PATIENCE;

/// Output and exit status of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Self {
            code,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

/// Waits for the end of a child, and gives what it said.
pub fn finish(child: Child) -> Ran {
    wait_until_gone(child.id() as i32);
    Ran::of(child.wait_with_output().unwrap())
}

/// Reads a child's stderr until a line holds `text`; what it says later is read and forgotten.
pub fn wait_for_line(child: &mut std::process::Child, text: &str) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains(text) => break,
            Some(Ok(line)) => seen.push(line),
            other => panic!("{other:?} after {seen:#?}"),
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
}

/// Reads `from` until what was read ends with `text`, and gives all of it.
pub fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(text.as_bytes()) {
        let n = from.read(&mut byte).unwrap();
        let so_far = String::from_utf8_lossy(&bytes);
        assert_eq!(n, 1, "no {text:?} in all there was: {so_far:?}");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Every process there is.
pub fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// True if the initial environment of `pid` contains `variable` (`NAME=value`).
pub fn environ_has(pid: i32, variable: &[u8]) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|&b| b == 0).any(|entry| entry == variable)
}

/// True if `pid` exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    process_state(pid).is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// The letter of a process's state (proc(5)).
pub fn process_state(pid: i32) -> Option<char> {
    stat_behind_name(pid)?.chars().next()
}

/// The fields after the name in `/proc/PID/stat`: the name can contain any bytes.
fn stat_behind_name(pid: i32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Some(stat[stat.rfind(") ")? + 2..].to_owned())
}

/// The most memory that the process has ever had, in KiB (proc(5)).
pub fn peak_kib(pid: i32) -> u64 {
    status_kib(pid, "VmHWM:")
}

/// The memory that the process has now, in KiB.
pub fn resident_kib(pid: i32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let (kib, _) = value.unwrap().trim().split_once(' ').unwrap();
    kib.parse().unwrap()
}

/// The parent of `pid`.
pub fn parent_of(pid: i32) -> Option<i32> {
    stat_behind_name(pid)?.split(' ').nth(1)?.parse().ok()
}

/// Stops a process, and waits until none of its threads runs any more: the signal alone does not.
pub fn stop(pid: i32) {
    assert!(kill(pid, libc::SIGSTOP));
    super::eventually("it is stopped", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")));
        stats.all(|stat| stat.is_ok_and(|stat| stat.rsplit(") ").next().unwrap().starts_with('T')))
    });
}

/// Sends a signal; whether there was a process to take it.
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Lets SIGINT and SIGHUP end what the tests start, also where nohup(1) or a shell's `&` has them ignored: programs inherit
/// an ignored signal, but not a handler. This process ignores them as before.
pub fn reset_signals_of_children() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    extern "C" fn ignore(_signal: libc::c_int) {}
    ONCE.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGHUP] {
            // SAFETY: zero is a valid sigaction, both live through the calls, and the handler does nothing.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                assert_eq!(
                    libc::sigaction(signal, std::ptr::null(), &raw mut action),
                    0
                );
                if action.sa_sigaction == libc::SIG_IGN {
                    action.sa_sigaction = ignore as *const () as usize;
                    action.sa_flags = libc::SA_RESTART;
                    assert_eq!(
                        libc::sigaction(signal, &raw const action, std::ptr::null_mut()),
                        0
                    );
                }
            }
        }
    });
}

/// Waits until `pid` has ended.
pub fn wait_until_gone(pid: i32) {
    // A pidfd of a process that is nobody's child here becomes readable at its end.
    // SAFETY: pidfd_open and poll take integers and a live array; the descriptor is closed once.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        if fd < 0 {
            return;
        }
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let ready = libc::poll(&mut poll, 1, PATIENCE.as_millis() as i32);
        libc::close(fd);
        assert_eq!(ready, 1, "process {pid} does not end");
    }
}

/// Exit code of `verb` for a failure with code `exit`: verbs that return a session's exit code use 125.
pub fn exit_of(verb: &[&str], exit: i32) -> i32 {
    match ["run", "attach", "wait"].contains(&verb[0]) {
        true => 125,
        false => exit,
    }
}

/// A terminal: its master, on which a test types, and its other side, for a process's stdin.
pub fn terminal() -> (std::fs::File, std::process::Stdio) {
    use std::os::fd::{FromRawFd, OwnedFd};
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both integers outlive the call, and null stands for what is not asked for.
    let result = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) };
    assert_eq!(result, 0, "no terminal");
    // SAFETY: openpty has just opened both, and nobody else has them.
    let [master, slave] = [master, slave].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // No process that another test starts meanwhile may hold it.
    for fd in [&master, &slave] {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    (master.into(), slave.into())
}

/// True if the tests run as root, as some about other users must.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
