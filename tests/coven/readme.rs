//! The README and the manual's pages: each command that they show is run as it stands, in a fresh home.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::*;

/// Most blocks that no test can run.
const UNTESTED_MAX: usize = 10;

/// Mark of a block that no test can run; the reason follows.
const NO_TEST: &str = "no-test: ";

/// Begin of the line that follows the output of a command: its exit code comes next.
const END: &str = "<exit> ";

/// A `console` block of a text.
struct Block {
    /// Where it stands, for people.
    place: String,
    /// What follows `console` in its first line.
    mark: String,
    /// Its commands, each with the lines of output that follow it.
    commands: Vec<(String, Vec<String>)>,
}

/// The `console` blocks of the file `path`.
fn blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(mark) = line.strip_prefix("```console") {
            let place = format!("{}:{}", path.display(), at + 1);
            let mark = mark.trim().to_owned();
            blocks.push(Block {
                place,
                mark,
                commands: Vec::new(),
            });
            is_inside = true;
        } else if line == "```" {
            is_inside = false;
        } else if is_inside {
            let commands = &mut blocks.last_mut().unwrap().commands;
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
                (None, Some((command, _))) if command.ends_with('\\') => {
                    *command += &format!("\n{line}")
                }
                (None, Some((_, output))) => output.push(line.to_owned()),
                (None, None) => panic!("{path:?}:{}: output without a command", at + 1),
            }
        }
    }
    blocks
}

/// The blocks of the README, and of each page of the manual.
fn texts() -> Vec<Vec<Block>> {
    let pages = fs::read_dir(checkout("src/cli/help")).unwrap();
    let mut pages: Vec<_> = pages.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(checkout("README.md"));
    pages.iter().map(|path| blocks(path)).collect()
}

/// `line` with ids, times, ages and process ids replaced by their kinds: they differ in each run.
fn masked(line: &str) -> String {
    let words: Vec<&str> = line.split_inclusive(' ').collect();
    let followers = words.iter().skip(1).map(|word| word.trim_end()).chain([""]);
    let words = words.iter().zip(followers).map(|(word, next)| {
        let bare = word.trim_end();
        let is_duration = ["ms", "s", "min"].contains(&next) && bare.parse::<u32>().is_ok();
        let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        let is_id = (bare.len() == 8 && is_hex(bare))
            || (bare.len() == 36 && is_hex(&bare.replace('-', "")));
        let is_time = |separator| {
            let parts: Vec<&str> = bare.split(separator).collect();
            parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
        };
        match () {
            () if is_id => word.replace(bare, "ID"),
            () if is_time('-') || is_time(':') => word.replace(bare, "TIME"),
            () if is_duration => word.replace(bare, "N"),
            () => (*word).to_owned(),
        }
    });
    words.collect::<String>().trim_end().to_owned()
}

/// The home of a user who has a project with changes, and agents.
fn user(coven: &Coven) -> std::path::PathBuf {
    let user = coven.work().join("user");
    let project = user.join("project");
    fs::create_dir_all(project.join(".git")).unwrap();
    fs::write(project.join("task.md"), "fix the tests").unwrap();
    let link = |target: &Path, link: &Path| std::os::unix::fs::symlink(target, link).unwrap();
    link(&coven.home(), &user.join(".coven"));
    link(
        Path::new(env!("CARGO_BIN_EXE_coven")),
        &coven.bin().join("coven"),
    );
    // They read their prompt, and print it.
    for agent in ["claude", "codex"] {
        coven.program(agent, "echo \"I will: $(cat)\"");
    }
    coven.program("git", "echo a change");
    user
}

/// Runs the tested blocks of one text in one fresh home, in their order, and compares what they print where it is shown.
fn check(blocks: &[Block]) {
    let coven = Coven::new();
    let user = user(&coven);
    for block in blocks.iter().filter(|block| block.mark.is_empty()) {
        let said = said(&coven, &user, block);
        let mut lines = said.lines();
        for (command, expected) in &block.commands {
            let place = format!("{}: {command}\n{said}", block.place);
            let mut shown: Vec<&str> = Vec::new();
            let code = loop {
                let line = lines.next().unwrap_or_else(|| panic!("no end of {place}"));
                match line.strip_prefix(END) {
                    Some(code) => break code,
                    None => shown.push(line),
                }
            };
            // Some output does not end with a newline.
            if shown.last() == Some(&"") {
                shown.pop();
            }
            assert_eq!(code, "0", "{place}");
            if !expected.is_empty() {
                let shown: Vec<String> = shown.into_iter().map(masked).collect();
                let expected: Vec<String> = expected.iter().map(|line| masked(line)).collect();
                assert_eq!(shown, expected, "{place}");
            }
        }
    }
}

/// What a block's commands print in one shell, with a line of its exit code after each.
fn said(coven: &Coven, user: &Path, block: &Block) -> String {
    let mut script = String::from("exec 2>&1\n");
    for (command, _) in &block.commands {
        script += &format!("{command}\nprintf '\\n{END}%s\\n' $?\n");
    }
    let environment = coven.command([""; 0]);
    let environment = environment.get_envs();
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).env_clear();
    shell.envs(environment.filter_map(|(name, value)| Some((name, value?))));
    shell
        .env("HOME", user)
        .current_dir(user)
        .stdin(Stdio::null());
    Ran::of(shell.output().unwrap()).out
}

#[test]
fn each_command_that_is_shown_does_what_is_shown() {
    if !has_tools(&["bash", "curl"]) {
        return;
    }
    let texts = texts();
    let tested = texts.iter().flatten().filter(|block| block.mark.is_empty());
    assert!(tested.count() > 5);
    for blocks in &texts {
        check(blocks);
    }
}

#[test]
fn a_block_without_a_test_says_why() {
    let texts = texts();
    let marks = texts
        .iter()
        .flatten()
        .filter(|block| !block.mark.is_empty());
    let marks: Vec<_> = marks.collect();
    assert!(marks.len() <= UNTESTED_MAX, "{}", marks.len());
    for block in marks {
        let reason = block.mark.strip_prefix(NO_TEST);
        assert!(
            reason.is_some_and(|reason| reason.len() > 10),
            "{}",
            block.place
        );
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(checkout("README.md")).unwrap();
    assert!(readme.lines().count() <= 200);
    for line in readme.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn ids_and_times_are_masked_and_nothing_else() {
    for (line, expected) in [
        (
            "40ff354f  failed  2026-11-23 22:02:43  fail",
            "ID  failed  TIME TIME  fail",
        ),
        ("40ff354f-0518-47d4-b0b3-bf928e0307b7", "ID"),
        ("0 s ago, 12 min", "N s ago, N min"),
        ("coven 0.1.0, 8 checks", "coven 0.1.0, 8 checks"),
    ] {
        assert_eq!(masked(line), expected);
    }
}
