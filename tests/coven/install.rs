//! `scripts/install`: a machine's files, without touching this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::*;

/// A home directory of somebody's, with a `systemctl` that only writes down what it is told.
struct Machine {
    coven: Coven,
    home: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Self {
        let coven = Coven::new();
        let home = coven.work().join(name);
        fs::create_dir(&home).unwrap();
        coven.program("systemctl", "echo \"$@\" >> \"$HOME/systemctl\"");
        coven.program("loginctl", "echo Linger=yes");
        Self { coven, home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(checkout("scripts/install"));
        command
            .args(args)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", self.path())
            .current_dir(self.coven.work());
        command
    }

    fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.coven.bin().display())
    }

    #[track_caller]
    fn install(&self, more: &[&str]) -> String {
        let args = [&["--binary", env!("CARGO_BIN_EXE_coven")], more].concat();
        tool(&mut self.command(&args))
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.home.join(".config/systemd/user").join(name)
    }

    fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, into),
                    false => into.push(path),
                }
            }
        }
        let mut files = Vec::new();
        walk(&self.home, &mut files);
        files.retain(|file| !file.ends_with("systemctl"));
        files.sort();
        files
    }
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let machine = Machine::new("alice");
    let first = machine.install(&[]);
    assert!(!first.contains("unchanged"), "{first}");
    let files = machine.files();
    assert_eq!(files.len(), 15, "{files:?}");
    let second = machine.install(&[]);
    assert!(!second.contains("installed"), "{second}");
    assert_eq!(second.matches("unchanged").count(), 15, "{second}");
    assert_eq!(machine.files(), files);
    let ran = tool(Command::new(machine.home.join(".local/bin/coven")).arg("version"));
    assert!(ran.starts_with("coven "), "{ran}");
    let page = fs::read_to_string(machine.home.join(".local/share/man/man1/coven.1")).unwrap();
    assert_eq!(page, machine.coven.cli(["help", "coven.1", "--man"]).out);
}

#[test]
fn a_dry_run_writes_nothing_and_names_what_it_would() {
    let machine = Machine::new("alice");
    let said = machine.install(&["--dry-run", "--enable"]);
    assert_eq!(said.matches("would have installed").count(), 15, "{said}");
    assert_eq!(said.matches("installed").count(), 15, "{said}");
    assert!(machine.files().is_empty());
}

#[test]
fn an_uninstalled_program_is_gone_and_the_home_is_kept() {
    let machine = Machine::new("alice");
    machine.install(&[]);
    let said = tool(&mut machine.command(&["--uninstall"]));
    assert!(said.contains("kept"), "{said}");
    assert_eq!(machine.files(), [machine.home.join(".coven/env")]);
}

#[test]
fn enable_starts_the_unit() {
    let machine = Machine::new("alice");
    // It does not run yet.
    let script = "echo \"$@\" >> \"$HOME/systemctl\"; case \"$*\" in *is-active*) exit 3;; esac";
    machine.coven.program("systemctl", script);
    machine.install(&["--enable"]);
    let told = fs::read_to_string(machine.home.join("systemctl")).unwrap();
    assert!(told.contains("--user daemon-reload\n"), "{told}");
    assert!(
        told.ends_with("--user enable --now coven.service\n"),
        "{told}"
    );
}

#[test]
fn the_path_of_the_shell_is_recorded_and_other_lines_are_kept() {
    let machine = Machine::new("alice");
    machine.install(&[]);
    let env = machine.home.join(".coven/env");
    assert_eq!(mode(&env), 0o600);
    assert_eq!(mode(&machine.home.join(".coven")), 0o700);
    let recorded = fs::read_to_string(&env).unwrap();
    let line = format!("PATH=\"{}\"\n", machine.path());
    assert!(recorded.ends_with(&line), "{recorded}");

    fs::write(
        &env,
        format!("OPENAI_BASE_URL=x\n{recorded}COVEN_LOG=debug\n"),
    )
    .unwrap();
    let args = ["--binary", env!("CARGO_BIN_EXE_coven")];
    let path = format!("relative:/opt/agents::{}", machine.path());
    tool(machine.command(&args).env("PATH", path));
    let again = fs::read_to_string(&env).unwrap();
    assert!(
        again.contains("OPENAI_BASE_URL=x\nCOVEN_LOG=debug\n"),
        "{again}"
    );
    let line = format!("PATH=\"/opt/agents:{}\"\n", machine.path());
    assert!(again.ends_with(&line), "{again}");
    assert_eq!(again.matches("PATH=").count(), 1, "{again}");

    fs::write(&env, "PATH=/mine\n").unwrap();
    machine.install(&[]);
    assert_eq!(fs::read_to_string(&env).unwrap(), "PATH=/mine\n");
}

#[test]
fn a_customised_home_is_in_the_unit() {
    let machine = Machine::new("alice");
    let home = machine.coven.work().join("elsewhere");
    let args = ["--binary", env!("CARGO_BIN_EXE_coven")];
    tool(machine.command(&args).env("COVEN_HOME", &home));
    let unit = fs::read_to_string(machine.unit("coven.service")).unwrap();
    let line = format!("Environment=\"COVEN_HOME={}\"\n", home.display());
    assert!(unit.contains(&line), "{unit}");
    assert!(home.join("env").is_file());
}

#[test]
fn systemd_reads_the_units_also_of_a_home_with_spaces_and_percent_signs() {
    if !has_tools(&["systemd-analyze"]) {
        return;
    }
    for name in ["alice", "al ice 100%n"] {
        let machine = Machine::new(name);
        machine.install(&[]);
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--user", "--man=no"])
            .env("XDG_RUNTIME_DIR", machine.coven.work())
            .args([machine.unit("coven.service"), machine.unit("coven.socket")]);
        assert_eq!(tool(&mut verify), "");
    }
}

#[test]
fn a_path_that_a_unit_cannot_name_is_refused() {
    for name in ["a$b", "a\"b", "a\\b"] {
        let machine = Machine::new(name);
        let args = ["--binary", env!("CARGO_BIN_EXE_coven")];
        let ran = Ran::of(machine.command(&args).output().unwrap());
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("cannot name"), "{ran:?}");
        assert!(machine.files().is_empty());
    }
}

#[test]
fn launchd_gets_a_property_list_with_everything_escaped() {
    if !has_tools(&["python3"]) {
        return;
    }
    let machine = Machine::new("a&b <c>");
    machine.coven.program("uname", "echo Darwin");
    machine.install(&[]);
    let list = machine
        .home
        .join("Library/LaunchAgents/dev.coven.daemon.plist");
    let script =
        "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let said = tool(Command::new("python3").args(["-c", script]).arg(&list));
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    let home = machine.home.to_str().unwrap();
    assert_eq!(
        found["ProgramArguments"],
        serde_json::json!([format!("{home}/.local/bin/coven"), "daemon", "serve"])
    );
    assert_eq!(found["EnvironmentVariables"]["PATH"], machine.path());
    let coven_home = format!("{home}/.coven");
    assert_eq!(found["EnvironmentVariables"]["COVEN_HOME"], coven_home);
    assert_eq!(found["KeepAlive"]["SuccessfulExit"], false);
    assert_eq!(found["RunAtLoad"], true);
}

#[test]
fn shellcheck_has_nothing_against_the_scripts() {
    if has_tools(&["shellcheck"]) {
        let scripts = [
            "install",
            "package",
            "service/preinst",
            "service/postinst",
            "service/prerm",
            "service/postrm",
        ];
        let scripts = scripts.map(|name| checkout("scripts").join(name));
        assert_eq!(tool(Command::new("shellcheck").args(scripts)), "");
    }
}
