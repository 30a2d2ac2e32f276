//! The kernel's OOM killer ends a harness: who waits for the session is told, and the daemon goes on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::*;

const MIB: usize = 1024 * 1024;

/// A control group with a limit on memory, of a test's own. To be made before the home whose processes are in it.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// `None`, having said so, where none can be made.
    fn new(name: &str, bytes: usize) -> Option<Self> {
        let (root, limit, swap) = match Path::new("/sys/fs/cgroup/memory").exists() {
            true => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
            ),
            false => ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
        };
        let group = Self(Path::new(root).join(format!("coven-{}-{name}", std::process::id())));
        let made = fs::create_dir(&group.0);
        let limited = made.and_then(|()| fs::write(group.0.join(limit), bytes.to_string()));
        if let Err(err) = limited {
            println!("skipped: no control group for memory can be made: {err}");
            return None;
        }
        // It can be missing: swap then takes what there is no memory for, if there is any.
        let _ = fs::write(
            group.0.join(swap),
            if swap.contains("memsw") {
                bytes.to_string()
            } else {
                "0".into()
            },
        );
        Some(group)
    }

    fn procs(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }

    fn start_daemon(&self, coven: &Coven) {
        let prelude = format!("echo $$ >'{}'", self.procs());
        let mut start = coven.command_after(&prelude, &["daemon", "start"]);
        let ran = Ran::of(start.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        eventually("the group is empty", || {
            fs::remove_dir(&self.0).is_ok() || !self.0.exists()
        });
    }
}

fn exit_of(coven: &Coven, id: &str) -> Value {
    let events = coven.events_to_end(id);
    payload(events.iter().find(|event| event["kind"] == "exit").unwrap())
}

#[test]
fn a_harness_that_the_kernel_kills_for_memory_is_said_to_be() {
    let Some(group) = MemoryGroup::new("a", 100 * MIB) else {
        return;
    };
    let coven = Coven::new();
    coven.harness("greedy", "exec tail /dev/zero");
    coven.harness("wrapper", "tail /dev/zero");
    coven.harness("quiet", "exec sleep 1000");
    group.start_daemon(&coven);
    let daemon = coven.daemon_pid();
    let bystander = coven.launch("quiet", "x");
    let said = "killed by the kernel for memory";
    let ran = coven.cli(["run", "greedy", "x"]);
    assert!(
        ran.code == 137 && ran.err.contains(&format!(" was {said}")),
        "{ran:?}"
    );
    let id = coven.sessions()[0]["id"].as_str().unwrap().to_owned();
    let record = coven.session(&id);
    assert_eq!(
        (
            &record["status"],
            &record["ended_by"],
            &record["signal"],
            &record["oom_killed"]
        ),
        (&json!("failed"), &json!("signal"), &json!(9), &json!(true))
    );
    assert_eq!(exit_of(&coven, &id)["oomKilled"], true);
    for (verb, code) in [("attach", 137), ("wait", 137), ("show", 0)] {
        let ran = coven.cli([verb, &id]);
        assert!(
            ran.code == code && (ran.err + &ran.out).contains(said),
            "{verb}"
        );
    }
    eventually("it is in the log", || {
        coven
            .cli(["logs", "--session", &id])
            .out
            .contains("oom_killed=true")
    });
    // A shell that waits for it passes it on as an exit code.
    let ran = coven.cli(["run", "wrapper", "x"]);
    assert!(
        ran.code == 137 && ran.err.contains(&format!("had a process {said}")),
        "{ran:?}"
    );
    // The same signal of somebody else's, and a kill that was asked for, are no such ends.
    let session = coven.session(&bystander);
    assert!(kill(session["pid"].as_i64().unwrap() as i32, libc::SIGKILL));
    let ran = coven.cli(["wait", &bystander]);
    assert!(
        ran.code == 137 && ran.err.contains("was ended by signal 9"),
        "{ran:?}"
    );
    assert_eq!(coven.session(&bystander)["oom_killed"], false);
    assert_eq!(exit_of(&coven, &bystander).get("oomKilled"), None);
    assert_eq!(coven.daemon_pid(), daemon);
}

#[test]
fn a_harness_that_has_moved_to_a_group_of_its_own_is_told_of_too() {
    let Some(group) = MemoryGroup::new("b", 50 * MIB) else {
        return;
    };
    let coven = Coven::start();
    let script = format!(
        "echo $$ >'{}' && echo moved; read line; exec tail /dev/zero",
        group.procs()
    );
    coven.harness_with("moving", &script, json!({ "stdin": "open" }));
    for _ in 0..2 {
        let id = coven.launch("moving", "x");
        coven.wait_for_output(&id, "moved");
        assert_eq!(coven.input(&id, "go\n").status, 202);
        let record = coven.ended(&id);
        assert_eq!(
            (&record["signal"], &record["oom_killed"]),
            (&json!(9), &json!(true))
        );
    }
}

#[test]
fn a_harness_keeps_the_score_that_it_gives_itself() {
    let coven = Coven::start();
    // To lower it takes a privilege, which even root may not have.
    for score in ["900", "-200"] {
        let script = format!(
            "(echo {score} >/proc/$$/oom_score_adj) && echo set; echo ready; exec sleep 1000"
        );
        coven.harness("picky", &script);
        let id = coven.launch("picky", "x");
        coven.wait_for_output(&id, "ready");
        let is_set = output(&coven.events(&id), "stdout").starts_with(b"set");
        let file = format!("/proc/{}/oom_score_adj", coven.session(&id)["pid"]);
        let now = fs::read_to_string(file).unwrap();
        assert_eq!(now.trim() == score, is_set, "{now}");
        assert!(is_set || score == "-200");
    }
}

#[test]
fn a_harness_that_the_kernel_kills_for_memory_behind_an_upgrade_is_said_to_be() {
    let Some(group) = MemoryGroup::new("u", 100 * MIB) else {
        return;
    };
    let coven = Coven::new();
    let waits = "while [ ! -e go ]; do sleep 0.02; done; exec tail /dev/zero";
    coven.harness("greedy", waits);
    group.start_daemon(&coven);
    let id = coven.launch("greedy", "x");
    coven.upgraded_to(&coven.program_of_version("9.9.9"));
    fs::write(coven.work().join("go"), "").unwrap();
    assert_eq!(coven.ended(&id)["oom_killed"], true);
    assert_eq!(exit_of(&coven, &id)["oomKilled"], true);
}
