//! What a shell completes, and what the man page and the README say of the verbs.

use std::fs;
use std::process::Command;

use crate::support::*;

/// What a verb's help lists under `title`: the first words of its rows.
fn listed(coven: &Coven, verb: &[&str], title: &str) -> Vec<String> {
    let ran = coven.cli(verb.iter().chain(&["--help"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows = ran.out.lines().skip_while(|line| *line != title).skip(1);
    let rows = rows.take_while(|line| line.starts_with(' '));
    let rows = rows.filter(|line| !line.starts_with("    "));
    rows.map(|row| row.trim().split("  ").next().unwrap().to_owned())
        .collect()
}

/// All verbs, those below others too.
fn verbs(coven: &Coven) -> Vec<Vec<String>> {
    let mut verbs = Vec::new();
    for verb in listed(coven, &[], "Commands:") {
        for below in listed(coven, &[&verb], "Commands:") {
            verbs.push(vec![verb.clone(), below]);
        }
        verbs.push(vec![verb]);
    }
    assert!(verbs.len() > 20, "{verbs:?}");
    verbs
}

fn long_options(coven: &Coven, verb: &[String]) -> Vec<String> {
    let verb: Vec<&str> = verb.iter().map(String::as_str).collect();
    let options = listed(coven, &verb, "Options:");
    let long = options
        .iter()
        .map(|names| names.rsplit(", ").next().unwrap());
    long.filter(|name| *name != "--help")
        .map(str::to_owned)
        .collect()
}

fn words(coven: &Coven, line: &[&str]) -> Vec<String> {
    let ran = coven.cli([&["__complete"], line].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line:?}");
    let lines = ran.out.lines();
    lines
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_verb_and_every_option_completes() {
    let coven = Coven::new();
    for verb in verbs(&coven) {
        let (last, before) = verb.split_last().unwrap();
        let mut line: Vec<&str> = before.iter().map(String::as_str).collect();
        line.push(last);
        assert!(words(&coven, &line).contains(last), "{verb:?}");
        line.push("--");
        let offered = words(&coven, &line);
        for option in long_options(&coven, &verb) {
            assert!(offered.contains(&option), "{verb:?} {option}: {offered:?}");
        }
    }
}

#[test]
fn the_man_page_and_the_readme_have_every_verb_and_option() {
    let coven = Coven::new();
    let man = fs::read_to_string(checkout("scripts/coven.1")).unwrap();
    let readme = fs::read_to_string(checkout("README.md")).unwrap();
    let table: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != "| verb | does |")
        .take_while(|line| line.starts_with('|'))
        .collect();
    for verb in verbs(&coven) {
        let rows = table
            .iter()
            .filter(|row| verb.iter().all(|word| row.contains(word.as_str())));
        let rows: Vec<_> = rows.collect();
        assert!(!rows.is_empty(), "the README's table lacks {verb:?}");
        let options = long_options(&coven, &verb);
        for option in &options {
            let is_there = rows.iter().any(|row| row.contains(option.as_str()));
            assert!(is_there, "the README's row of {verb:?} lacks {option}");
        }
        if listed(&coven, &[&verb[0]], "Commands:").is_empty() || verb.len() > 1 {
            let head = format!(".It Cm {}", verb.join(" "));
            let mut lines = man.lines().skip_while(|line| {
                line.strip_prefix(&head)
                    .is_none_or(|rest| !rest.is_empty() && !rest.starts_with(' '))
            });
            assert!(lines.next().is_some(), "the man page lacks {verb:?}");
            let entry: String = lines
                .take_while(|line| !line.starts_with(".It Cm"))
                .map(|line| line.replace("\\-", "-") + "\n")
                .collect();
            for option in &options {
                let flag = format!("Fl {}", &option[1..]);
                assert!(
                    entry.contains(&flag),
                    "the man page lacks {verb:?} {option}"
                );
            }
        }
    }
    for entry in man.lines().filter_map(|line| line.strip_prefix(".It Cm ")) {
        let verb = entry.split(' ').next().unwrap().to_owned();
        assert!(
            verbs(&coven).contains(&vec![verb.clone()]),
            "the man page has {verb}, which is none"
        );
    }
}

#[test]
fn mandoc_has_nothing_against_the_man_page() {
    if has_tools(&["mandoc"]) {
        let man = checkout("scripts/coven.1");
        assert_eq!(tool(Command::new("mandoc").arg("-Tlint").arg(man)), "");
    }
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
        &["kill", "some", &id[..4]],
        &["logs", "--session", ""],
        &["input", ""],
    ] {
        assert_eq!(words(&coven, line), [id.as_str()], "{line:?}");
    }
    assert!(words(&coven, &["summon", ""]).is_empty());
    coven.cli(["archive", &id]);
    assert_eq!(words(&coven, &["summon", ""]), [id.as_str()]);
    assert_eq!(words(&coven, &["run", "--detach", "hel"]), ["hello"]);
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
        try coven logs --lev
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
