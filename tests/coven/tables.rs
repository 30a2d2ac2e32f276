//! What people see of the daemon, its harnesses and its checks: in a terminal, and in a pipe.

use crate::support::*;

/// What `verb` prints in a terminal of so many columns.
fn in_terminal(coven: &Coven, columns: u32, variables: &str, verb: &str) -> String {
    let line = format!("script -qec \"stty cols {columns}; {variables} $0 {verb}\" /dev/null");
    coven.shell(&line).out.replace('\r', "")
}

/// `text` without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    first
        + &parts
            .map(|part| part.split_once('m').unwrap().1)
            .collect::<String>()
}

#[test]
fn tables_fit_the_terminal_and_are_coloured_there_alone() {
    if !has_tools(&["script", "stty"]) {
        return;
    }
    let coven = Coven::start();
    coven.harness("scribe", "echo");
    std::fs::remove_file(coven.bin().join("scribe")).unwrap();
    let verbs = [
        ("daemon status", Some("\x1b[32mrunning\x1b[m")),
        ("doctor", Some("\x1b[33mwarn\x1b[m")),
        ("adapters", None),
        ("adapters show codex", None),
    ];
    for (verb, coloured) in verbs {
        let narrow = in_terminal(&coven, 80, "TERM=xterm", verb);
        for line in plain(&narrow).lines() {
            // A command is not wrapped, and a path not cut: they are copied in one piece.
            let is_one_piece = line.trim_start().starts_with("try: ")
                || line.split_whitespace().any(|word| word.len() > 30);
            let fits = line.chars().count() <= 80 || is_one_piece;
            assert!(fits, "{line}\n{narrow}");
        }
        let coloured = coloured.is_none_or(|coloured| narrow.contains(coloured));
        assert!(coloured, "{narrow}");
        let wide = in_terminal(&coven, 200, "TERM=xterm", verb);
        assert!(wide.lines().count() <= narrow.lines().count(), "{wide}");
        assert!(!in_terminal(&coven, 80, "NO_COLOR=1", verb).contains('\x1b'));
        let args: Vec<&str> = verb.split(' ').collect();
        let piped = coven.cli(&args).out;
        assert!(!piped.contains('\x1b'), "{piped}");
        assert!(piped.lines().count() <= wide.lines().count(), "{piped}");
    }
    let always = coven.cli(["daemon", "status", "--color", "always"]).out;
    assert!(
        always.contains("state          \x1b[32mrunning\x1b[m\n"),
        "{always}"
    );
    let never = in_terminal(&coven, 80, "TERM=xterm", "doctor --color never");
    assert!(
        !never.contains('\x1b') && never.starts_with("pass  home "),
        "{never}"
    );
}

#[test]
fn a_failed_start_is_told_by_the_users_clock_and_programs_get_utc() {
    let coven = Coven::new().env("COVEN_MAX_SESSIONS", "many");
    assert_eq!(coven.cli(["daemon", "start"]).code, 1);
    let status = coven.cli(["daemon", "status", "--json"]).json();
    let utc = status["failedAt"].as_str().unwrap();
    assert!(utc.ends_with('Z'), "{status}");
    let utc = utc[..19].replace('T', " ");
    for (zone, is_utc) in [("UTC", true), ("XXX-05:17", false)] {
        for verb in ["daemon status", "doctor"] {
            let ran = coven.shell(&format!("TZ={zone} $0 {verb}"));
            assert_eq!(ran.out.contains(&utc), is_utc, "{zone} {verb}: {ran:?}");
            assert!(ran.out.contains(" ago)"), "{ran:?}");
        }
    }
}

#[test]
fn an_empty_list_says_so_and_names_the_command() {
    let coven = Coven::start();
    coven.harness("silent", "exit 0");
    let id = coven.launch("silent", "x");
    coven.ended(&id);
    let piped = coven.cli(["logs", &id]);
    assert_eq!((piped.out.as_str(), piped.err.as_str()), ("", ""));
    if has_tools(&["script"]) {
        let shown = in_terminal(&coven, 80, "", &format!("logs {id}"));
        assert!(shown.contains(&format!("coven show {id}")), "{shown}");
    }
}

#[test]
fn the_times_of_lines_are_local_at_a_terminal_and_utc_elsewhere() {
    if !has_tools(&["script", "stty"]) {
        return;
    }
    let coven = Coven::start();
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    let event = &coven.get(&format!("/sessions/{id}/events")).json()["events"][0];
    let utc = event["created_at"].as_str().unwrap();
    // Two hours east, without daylight saving time: the sign is that of POSIX.
    let hour = utc[11..13].parse::<u32>().unwrap();
    let local = format!(" {:02}{}", (hour + 2) % 24, &utc[13..19]);
    for verb in ["events", "logs -t", "log"] {
        let shown = in_terminal(&coven, 200, "TZ=EET-2", &format!("{verb} {id}"));
        assert!(shown.contains(&local), "{verb} lacks {local}:\n{shown}");
        assert!(!shown.contains("Z  "), "{verb}:\n{shown}");
        let args: Vec<&str> = verb.split(' ').chain([id.as_str()]).collect();
        let piped = coven.cli(args).out;
        assert!(piped.contains(&utc[..19]), "{verb}:\n{piped}");
    }
}

#[test]
fn a_harness_that_is_mistyped_is_answered_with_the_one_that_was_meant() {
    let coven = Coven::start();
    let ran = coven.cli(["sessions", "--harness", "helo"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.err.contains("; did you mean 'hello'?"), "{ran:?}");
    let ran = coven.cli(["sessions", "--harness", "codex"]);
    assert!(!ran.err.contains("did you mean"), "{ran:?}");
}
