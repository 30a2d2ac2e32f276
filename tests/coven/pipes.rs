//! Harnesses that exit, or give up, with what they have just written still in the pipe.

use std::fs;

use crate::support::*;

/// Bytes that such a harness writes at once.
const BYTES: usize = 1_000_000;

/// Programs that write [`BYTES`] bytes to the descriptor at their end, and what does not fit is lost with them.
fn programs(fd: usize) -> [(&'static str, String); 4] {
    let name = ["", "stdout", "stderr"][fd];
    [
        (
            "node",
            format!("exec node -e 'process.{name}.write(\"x\".repeat({BYTES})); process.exit(0)'"),
        ),
        (
            "python3",
            format!(
                "exec python3 -c 'import os; os.set_blocking({fd}, False); os.write({fd}, b\"x\" * {BYTES})'"
            ),
        ),
        (
            "perl",
            format!(
                "exec perl -e 'use Fcntl; open(my $to, \">&={fd}\"); fcntl($to, F_SETFL, O_NONBLOCK | O_WRONLY); \
                 syswrite($to, \"x\" x {BYTES}); exit 0'"
            ),
        ),
        (
            "dd",
            format!(
                "head -c {BYTES} /dev/zero | tr '\\0' x >all; exec dd if=all bs={BYTES} oflag=nonblock 2>/dev/null >&{fd}"
            ),
        ),
    ]
}

#[test]
fn output_written_at_the_exit_is_whole_while_the_daemon_is_stopped() {
    let coven = Coven::start();
    for (fd, stream) in [(1, "stdout"), (2, "stderr")] {
        for (program, script) in programs(fd) {
            if !has_tools(&[program]) || (program, fd) == ("dd", 2) {
                continue;
            }
            let go = coven.work().join("go");
            coven.harness(
                "gulps",
                &format!("until [ -e go ]; do sleep 0.02; done\n{script}"),
            );
            let id = coven.launch("gulps", "x");
            let pid = coven.session(&id)["pid"].as_i64().unwrap() as i32;
            // As long as the harness needs: nobody reads, whoever is slow.
            let daemon = coven.daemon_pid();
            stop(daemon);
            fs::write(&go, "").unwrap();
            eventually("it has exited", || process_state(pid) == Some('Z'));
            assert!(kill(daemon, libc::SIGCONT));
            let said = output(&coven.events_to_end(&id), stream);
            assert_eq!(said.len(), BYTES, "{program} on {stream}");
            assert!(said.iter().all(|&byte| byte == b'x'), "{program}");
            assert_eq!(coven.session(&id)["status"], "completed", "{program}");
            fs::remove_file(&go).unwrap();
        }
    }
}

#[test]
fn the_output_of_node_before_its_exit_is_whole() {
    if !has_tools(&["node"]) {
        return;
    }
    let coven = Coven::start();
    let (_, script) = &programs(1)[0];
    coven.harness("exits", script);
    for _ in 0..3 {
        let id = coven.launch("exits", "x");
        assert_eq!(output(&coven.events_to_end(&id), "stdout").len(), BYTES);
    }
}

#[test]
fn no_pipe_of_an_unprivileged_user_is_ever_smaller_than_the_default() {
    let coven = Coven::new();
    coven.harness("waits", "exec sleep 600");
    if !coven.start_as_nobody_else("ulimit -n 4096") {
        return;
    }
    let ids: Vec<String> = (0..70).map(|_| coven.launch("waits", "x")).collect();
    for id in &ids {
        let bytes = coven.session(id)["stdout_pipe_bytes"].as_u64().unwrap();
        assert!(bytes >= 65_536, "{bytes}");
    }
    let large = |id: &&String| coven.session(id)["stdout_pipe_bytes"] == 1_048_576;
    assert!(ids.iter().filter(large).count() > 0);
}

#[test]
fn the_session_that_has_been_quiet_longest_gives_its_large_pipe_to_a_new_one() {
    let limit = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
    // In pages of 4 KiB: half of it in pipes of 1 MiB.
    let most = limit.trim().parse::<usize>().unwrap() / 2 / 256;
    if !(2..=40).contains(&most) {
        println!("skipped: {most} large pipes are too few, or too many for a test");
        return;
    }
    let coven = Coven::start();
    coven.harness("waits", "exec sleep 600");
    let ids: Vec<String> = (0..most + 2).map(|_| coven.launch("waits", "x")).collect();
    let bytes = |id: &String| coven.session(id)["stdout_pipe_bytes"].as_u64().unwrap();
    let expected = |at: usize| if at < 2 { 65_536 } else { 1_048_576 };
    // Who gives its pipe back is told by the next commit.
    eventually("all is on record", || {
        ids.iter()
            .enumerate()
            .all(|(at, id)| bytes(id) == expected(at))
    });
    for (id, line) in [(&ids[0], "64 KiB only"), (&ids[2], "1 MiB")] {
        let shown = coven.cli(["show", id]).out;
        let pipe = shown.lines().find(|line| line.starts_with("stdout pipe"));
        assert!(pipe.unwrap().ends_with(line), "{shown}");
    }
    // What is small serves all the same.
    assert_eq!(coven.kill_session(&ids[0]).status, 202);
    assert_eq!(coven.run("hello", "x")["stdout_pipe_bytes"], 1_048_576);
}
