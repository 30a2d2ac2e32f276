//! The manual: its pages at a terminal, in a pipe and for man(1).

use std::fs;
use std::process::Command;

use crate::support::*;

/// What `coven help log` shows at a terminal of 80 columns and `rows`, with the pager `pager`.
fn at_terminal(coven: &Coven, rows: u32, pager: &str) -> String {
    let set = format!("stty cols 80 rows {rows}; export TERM=xterm PAGER='{pager}'");
    let shown = coven.shell(&format!("script -qec \"{set}; $0 help log\" /dev/null"));
    assert_eq!(shown.code, 0, "{shown:?}");
    shown.out.replace('\r', "")
}

#[test]
fn a_page_in_a_pipe_is_plain_text_of_80_columns() {
    let coven = Coven::new();
    for topic in ["api", "coven-api", "coven-api.7"] {
        let page = coven.cli(["help", topic]);
        assert_eq!((page.code, page.err.as_str()), (0, ""), "{topic}");
        assert!(
            page.out.starts_with("coven-api(7): the HTTP API"),
            "{}",
            page.out
        );
        assert!(
            page.out.contains("\n  DELETE /sessions/:id\n"),
            "{}",
            page.out
        );
        assert!(!page.out.contains('\x1b'), "{}", page.out);
    }
}

#[test]
fn help_lists_the_pages_and_an_unknown_one_is_guessed() {
    let coven = Coven::new();
    let help = coven.cli(["help"]).out;
    assert_eq!(help, coven.cli(["--help"]).out);
    let (_, pages) = help.split_once("\nPages of the manual").unwrap();
    assert!(pages.contains("\n  settings  settings, files"), "{pages}");
    for (typed, message) in [
        ("setings", "no help for 'setings'; did you mean 'settings'?"),
        ("sesions", "no help for 'sesions'; did you mean 'sessions'?"),
        ("qqqqqq", "no help for 'qqqqqq'"),
    ] {
        let ran = coven.cli(["help", typed]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert_eq!(
            ran.err,
            format!("coven: {message} (usage)\n  try: coven help\n")
        );
    }
}

#[test]
fn a_page_that_is_longer_than_the_screen_is_shown_by_the_pager() {
    if !has_tools(&["script", "stty"]) {
        return;
    }
    let coven = Coven::new();
    let shown = at_terminal(&coven, 24, "tr a-z A-Z");
    assert!(shown.contains("SESSION_STARTED"), "{shown}");
    let shown = at_terminal(&coven, 10_000, "tr a-z A-Z");
    assert!(shown.contains("session_started"), "{shown}");
    assert!(shown.contains("\x1b[1mDESCRIPTION\x1b[m\n"), "{shown}");
    // Without the pager the page is there all the same.
    let shown = at_terminal(&coven, 24, "no-such-pager-here");
    assert!(shown.contains("session_started"), "{shown}");
    // A pager that is left early is no failure.
    at_terminal(&coven, 24, "true");
}

#[test]
fn mandoc_has_nothing_against_the_man_pages() {
    if !has_tools(&["mandoc"]) {
        return;
    }
    let coven = Coven::new();
    let files = coven.cli(["help", "--man"]).out;
    assert_eq!(files.lines().count(), 8, "{files}");
    for name in files.lines() {
        let page = coven.cli(["help", name, "--man"]);
        assert_eq!((page.code, page.err.as_str()), (0, ""), "{name}");
        assert!(page.out.is_ascii(), "{name} is read in the C locale, too");
        let file = coven.work().join(name);
        fs::write(&file, page.out).unwrap();
        assert_eq!(
            tool(Command::new("mandoc").arg("-Tlint").arg(&file)),
            "",
            "{name}"
        );
    }
}
