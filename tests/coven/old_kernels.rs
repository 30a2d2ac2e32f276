//! Kernels, and sandboxes, without the system calls that are newer than Linux 4.18: nothing is lost but speed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::*;

/// The calls that the daemon or its CLI make, and that Linux 4.18 does not have.
const NEWER: [libc::c_long; 3] = [
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_close_range,
];

/// Lets each of `calls` fail with `errno` in `command` and all that it starts (seccomp(2)).
fn refuse_calls(command: &mut Command, calls: &[libc::c_long], errno: i32) {
    let op = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    // The number of the call is the first word of what a filter sees (seccomp_data).
    let mut filter = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for call in calls {
        filter.push(op(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            *call as u32,
        ));
        let refusal = libc::SECCOMP_RET_ERRNO | errno as u32;
        filter.push(op(libc::BPF_RET | libc::BPF_K, 0, refusal));
    }
    filter.push(op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: both calls take integers and a pointer to a live program, and are async-signal-safe.
        let is_installed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        };
        match is_installed {
            true => Ok(()),
            false => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only makes system calls on memory that was allocated before the fork.
    unsafe { command.pre_exec(install) };
}

/// Runs `args` in such a kernel.
fn cli(coven: &Coven, errno: i32, args: &[&str]) -> Ran {
    let mut command = coven.command(args);
    refuse_calls(&mut command, &NEWER, errno);
    Ran::of(command.output().unwrap())
}

#[test]
fn sessions_run_end_and_are_killed_without_descriptors_for_processes() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let coven = Coven::new();
        coven.harness("sleeper", "sleep 1000 & sleep 1000");
        let started = cli(&coven, errno, &["daemon", "start"]);
        assert_eq!(started.code, 0, "{started:?}");
        let ran = cli(&coven, errno, &["run", "hello", "an old kernel"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("you said: an old kernel"), "{ran:?}");
        let id = coven.launch("sleeper", "x");
        let killed = cli(&coven, errno, &["kill", &id]);
        assert!(killed.out.contains("killed"), "{killed:?}");
        assert!(coven.session_processes(&id).is_empty());
        coven.harness("leaves", "setsid sleep 1000 >/dev/null 2>&1 &");
        let id = coven.launch("leaves", "x");
        assert_eq!(coven.ended(&id)["left_behind"].as_array().unwrap().len(), 1);
        let swept = cli(&coven, errno, &["kill", &id]);
        assert!(swept.out.contains("processes ended: 1"), "{swept:?}");
        assert!(coven.session_processes(&id).is_empty());
        let id = coven.launch("sleeper", "x");
        let stopped = cli(&coven, errno, &["daemon", "stop"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        assert!(coven.session_processes(&id).is_empty());
        coven.start_daemon();
        assert_eq!(coven.session(&id)["status"], "killed");
    }
}

#[test]
fn processes_of_a_dead_daemon_are_ended_without_pidfds() {
    let coven = Coven::new();
    coven.harness("sleeper", "sleep 1000 & sleep 1000");
    coven.start_daemon();
    let id = coven.launch("sleeper", "x");
    coven.crash();
    assert!(!coven.session_processes(&id).is_empty());
    let started = cli(&coven, libc::ENOSYS, &["daemon", "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(coven.session(&id)["status"], "orphaned");
    assert!(coven.session_processes(&id).is_empty());
}

#[test]
fn a_launch_notices_that_the_database_is_gone_where_names_cannot_be_watched() {
    let coven = Coven::new();
    let mut start = coven.command(["daemon", "start"]);
    refuse_calls(&mut start, &[libc::SYS_inotify_init1], libc::EMFILE);
    let started = Ran::of(start.output().unwrap());
    assert_eq!(started.code, 0, "{started:?}");
    coven.ended(&coven.launch("hello", "x"));
    let said = coven.cli(["logs", "--event", "home_unwatched"]);
    assert!(said.out.contains("home_unwatched"), "{said:?}");
    std::fs::remove_file(coven.database_file("")).unwrap();
    let body = coven.launch_body("hello", "x");
    let refused = coven.post("/api/v1/sessions", &body);
    assert_eq!(refused.error(), (503, "store_unavailable".into()));
    std::fs::remove_file(coven.socket()).unwrap();
    let sessions = coven.cli(["sessions"]);
    assert_eq!(sessions.code, 0, "{sessions:?}");
    assert!(
        sessions.err.contains("the socket was missing"),
        "{sessions:?}"
    );
}
