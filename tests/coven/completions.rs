//! Shell completion.

use std::fs;
use std::process::Command;

use crate::support::*;

fn words(coven: &Coven, line: &[&str]) -> Vec<String> {
    let ran = coven.cli([&["__complete"], line].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line:?}");
    let lines = ran.out.lines();
    lines
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

#[test]
fn sessions_and_harnesses_complete_and_nothing_starts_a_daemon() {
    let coven = Coven::new();
    assert!(words(&coven, &["show", ""]).is_empty());
    assert!(words(&coven, &["run", ""]).is_empty());
    assert_eq!(coven.cli(["daemon", "status"]).code, 3);

    coven.start_daemon();
    let id = coven.launch("hello", "first light");
    coven.events_to_end(&id);
    for line in [
        &["show", ""][..],
        &["sacrifice", "some", &id[..4]],
        &["logs", "--session", ""],
        &["rename", ""],
    ] {
        assert_eq!(words(&coven, line), [id.as_str()], "{line:?}");
    }
    assert!(words(&coven, &["summon", ""]).is_empty());
    coven.cli(["archive", &id]);
    assert_eq!(words(&coven, &["summon", ""]), [id.as_str()]);
    assert_eq!(words(&coven, &["run", "--detach", "hel"]), ["hello"]);
}

#[test]
fn a_verb_for_live_sessions_is_offered_live_ones_with_title_and_age() {
    let coven = Coven::start();
    coven.harness("waits", "echo up; exec sleep 1000");
    let ended = coven.launch("hello", "first light");
    coven.ended(&ended);
    let live = coven.launch("waits", "second light");
    coven.wait_for_output(&live, "up");
    for verb in ["attach", "input", "kill", "wait"] {
        assert_eq!(words(&coven, &[verb, ""]), [live.as_str()], "{verb}");
    }
    for verb in ["archive", "sacrifice"] {
        assert_eq!(words(&coven, &[verb, ""]), [ended.as_str()], "{verb}");
    }
    assert_eq!(words(&coven, &["show", ""]), [live.as_str(), &ended]);
    let offered = coven.cli(["__complete", "kill", ""]).out;
    let (_, about) = offered.split_once('\t').unwrap();
    assert!(about.starts_with("running waits, "), "{offered}");
    assert!(about.ends_with(" ago: second light\n"), "{offered}");
}

#[test]
fn a_daemon_that_hangs_does_not_hang_the_shell() {
    let coven = Coven::start();
    let pid = coven.daemon_pid();
    stop(pid);
    let offered = words(&coven, &["show", ""]);
    assert!(kill(pid, libc::SIGCONT));
    assert!(offered.is_empty(), "{offered:?}");
}

#[test]
fn each_shell_takes_its_script() {
    let coven = Coven::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = coven.cli(["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let script = coven.work().join(shell);
        fs::write(&script, ran.out).unwrap();
        if has_tools(&[shell]) {
            tool(Command::new(shell).arg("-n").arg(&script));
        }
    }
    assert_eq!(coven.cli(["completions", "tcsh"]).code, 2);
}

/// Runs `script` with the binary on the `PATH` as `coven`.
fn in_shell(coven: &Coven, shell: &str, script: &str) -> String {
    let link = coven.bin().join("coven");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coven"), link).unwrap();
    let inner = coven.command([] as [&str; 0]);
    let mut command = Command::new(shell);
    command.args(["-c", script]).current_dir(coven.work());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    tool(&mut command)
}

#[test]
fn bash_completes() {
    if !has_tools(&["bash"]) {
        return;
    }
    let coven = Coven::new();
    fs::create_dir(coven.work().join("a directory")).unwrap();
    fs::write(coven.work().join("b file"), "").unwrap();
    let script = r#"
        source <(coven completions bash)
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _coven; echo "${COMPREPLY[*]@Q}"; }
        try coven daemon sta
        try coven daemon logs --lev
        try coven run --cwd a
        try coven run --file b
        try coven run --file = b
    "#;
    let said = in_shell(&coven, "bash", script);
    let expected = "'start' 'status'\n'--level'\n'a directory'\n'b file'\n'b file'\n";
    assert_eq!(said, expected);
}

#[test]
fn fish_completes() {
    if has_tools(&["fish"]) {
        let coven = Coven::new();
        let script = "coven completions fish | source; complete -C 'coven daemon sta'";
        let said = in_shell(&coven, "fish", script);
        let words: Vec<&str> = said
            .lines()
            .map(|line| line.split('\t').next().unwrap())
            .collect();
        assert_eq!(words, ["start", "status"], "{said}");
    }
}
