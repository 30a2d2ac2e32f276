//! The maintainer scripts of the Debian package, over stubs of the daemon, of systemd and of Debian's tools.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::*;

/// What the stub of the program does as `coven daemon upgrade`.
const UPGRADES: &str = "echo upgraded";
const REFUSES: &str =
    "echo 'coven: too old (not_found)' >&2; echo '  try: coven daemon restart' >&2; exit 1";

/// The command that ends sessions.
const RESTART: &str = "systemctl restart coven";

/// A machine on which the package is upgraded from a version with the unit `old`.
struct Machine(Coven);

impl Machine {
    fn new() -> Self {
        let machine = Self(Coven::new());
        fs::create_dir_all(machine.0.work().join("run/systemd/system")).unwrap();
        for name in ["getent", "install", "systemctl", "deb-systemd-helper"] {
            machine.stub(name, "exit 0");
        }
        machine.stub("deb-systemd-invoke", "echo invoked $*");
        // The only use without a program of ours makes the user's home.
        machine.stub("runuser", "shift 3; [ \"$1\" = sh ] || exec \"$@\"");
        machine.unit("old");
        machine
    }

    fn stub(&self, name: &str, text: &str) {
        let path = self.0.bin().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn unit(&self, text: &str) {
        fs::write(self.0.work().join("coven.service"), text).unwrap();
    }

    /// Runs one of the scripts, with its paths in this machine.
    fn script(&self, name: &str, args: &[&str]) -> String {
        let text = fs::read_to_string(checkout("scripts/service").join(name)).unwrap();
        let (bin, work) = (self.0.bin(), self.0.work());
        let (bin, work) = (bin.to_str().unwrap(), work.to_str().unwrap());
        let text = text
            .replace("/usr/bin/coven", &format!("{bin}/program"))
            .replace("/usr/lib/systemd/system/", &format!("{work}/"))
            .replace("/run/", &format!("{work}/run/"));
        let mut command = Command::new("sh");
        command.args(["-c", &text, name]).args(args);
        tool(command.env("PATH", format!("{bin}:/usr/bin:/bin")))
    }

    /// What the upgrade of the package says: to one with this unit, whose program does `upgrade` and finds these
    /// live sessions.
    fn upgraded(&self, unit: &str, upgrade: &str, live: &str) -> String {
        let verbs = format!("daemon) {upgrade} ;; sessions) echo {live} ;; esac");
        self.stub("program", &format!("case $1 in {verbs}"));
        self.script("preinst", &["upgrade", "0.1.0"]);
        self.unit(unit);
        self.script("postinst", &["configure", "0.1.0"])
    }
}

#[test]
fn a_changed_unit_is_named_while_sessions_run_and_used_at_once_without() {
    let machine = Machine::new();
    let said = machine.upgraded("old", UPGRADES, "a-session");
    assert!(
        !said.contains("unit") && !said.contains("invoked"),
        "{said}"
    );
    let said = machine.upgraded("new", UPGRADES, "a-session");
    assert!(
        said.contains("its unit has changed") && said.contains(RESTART),
        "{said}"
    );
    assert!(!said.contains("invoked"), "{said}");
    // Said once: the unit of the next package is the same.
    assert!(
        !machine
            .upgraded("new", UPGRADES, "a-session")
            .contains("unit")
    );
    let said = machine.upgraded("newer", UPGRADES, "");
    assert!(said.contains("invoked restart coven.service"), "{said}");
}

#[test]
fn a_daemon_that_cannot_be_upgraded_is_restarted_only_without_sessions() {
    let machine = Machine::new();
    let said = machine.upgraded("old", REFUSES, "a-session");
    assert!(said.contains("too old") && said.contains(RESTART), "{said}");
    assert!(
        !said.contains("try:") && !said.contains("invoked"),
        "{said}"
    );
    let said = machine.upgraded("old", REFUSES, "");
    assert!(
        said.contains("too old") && said.contains("invoked restart"),
        "{said}"
    );
}

#[test]
fn a_package_whose_program_does_not_start_asks_for_no_restart() {
    let machine = Machine::new();
    machine.stub("program", "exit 127");
    let said = machine.script("postinst", &["configure", "0.1.0"]);
    assert!(
        said.contains("does not start: the daemon goes on"),
        "{said}"
    );
    assert!(
        !said.contains(RESTART) && !said.contains("invoked"),
        "{said}"
    );
    assert!(!said.contains("each user can"), "{said}");
}
