//! What every verb prints for programs.

use serde_json::{Value, json};

use crate::support::*;

/// How a verb prints JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Document,
    /// An object a line.
    Lines,
}
use Form::{Document, Lines};

/// The verbs without `--json`. The help of each says why.
const WITHOUT: [&str; 7] = [
    "chat",
    "completions",
    "daemon serve",
    "export",
    "help",
    "input",
    "metrics",
];

/// The verbs that the completions offer; one with verbs below it only by those, unless it does something by itself.
fn verbs(coven: &Coven) -> Vec<String> {
    let below = |line: &[&str]| -> Vec<String> {
        let offered = coven.cli([&["__complete"], line, &[""]].concat()).out;
        let offered = offered.lines().filter_map(|line| line.split_once('\t'));
        let verbs = offered.filter(|(_, about)| about.ends_with('.') || about.contains(": "));
        verbs.map(|(verb, _)| verb.to_owned()).collect()
    };
    let mut all = below(&[]);
    for group in ["daemon", "adapters", "logs"] {
        let verbs = below(&[group]).into_iter();
        all.extend(verbs.map(|verb| format!("{group} {verb}")));
    }
    all.retain(|verb| verb != "daemon");
    all.sort_unstable();
    all
}

fn parsed(form: Form, text: &str) -> Vec<Value> {
    let parse =
        |text: &str| serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"));
    match form {
        Document => vec![parse(text)],
        Lines => text.lines().map(parse).collect(),
    }
}

/// Command lines by their verb, in an order in which each can be run, and how each answers.
fn cases<'a>(ended: &'a str, live: &'a str) -> Vec<(&'a str, Vec<&'a str>, Form)> {
    vec![
        ("sessions", vec!["--all"], Document),
        ("show", vec![live], Document),
        ("show", vec![ended, live], Document),
        ("events", vec![live], Lines),
        ("events", vec![ended], Lines),
        ("attach", vec![ended], Lines),
        ("logs", vec![live], Lines),
        ("logs", vec!["--readable", ended], Lines),
        ("wait", vec![ended], Lines),
        ("wait", vec!["--any", ended, live], Lines),
        ("stats", vec![], Document),
        ("run", vec!["hello", "hi"], Lines),
        ("run", vec!["-d", "hello", "hi"], Document),
        ("rerun", vec![ended], Lines),
        ("rename", vec![live, "another"], Document),
        ("label", vec![live, "+a"], Document),
        ("archive", vec![ended], Lines),
        ("summon", vec![ended], Lines),
        ("kill", vec!["-s", "WINCH", live], Lines),
        ("kill", vec![live], Lines),
        ("sacrifice", vec!["--yes", ended, live], Lines),
        ("prune", vec!["--status", "completed", "--dry-run"], Lines),
        ("prune", vec!["--status", "completed", "--yes"], Lines),
        ("adapters", vec![], Document),
        ("adapters show", vec!["hello"], Document),
        ("doctor", vec![], Document),
        ("diagnostics", vec![], Document),
        ("version", vec![], Document),
        ("logs prune", vec![], Document),
        ("vacuum", vec![], Document),
        ("backup", vec!["copy"], Document),
        ("daemon logs", vec![], Lines),
        ("daemon status", vec![], Document),
        ("daemon upgrade", vec!["--check"], Document),
        ("daemon start", vec![], Document),
        ("daemon restart", vec!["--yes"], Document),
        ("daemon stop", vec!["--yes"], Document),
        ("daemon stop", vec![], Document),
        ("restore", vec!["copy"], Document),
    ]
}

#[test]
fn every_verb_prints_json_as_its_help_says_or_says_why_it_does_not() {
    let coven = Coven::start();
    coven.harness("waits", "echo up; exec sleep 1000");
    let ended = coven.launch("hello", "first light");
    coven.ended(&ended);
    let live = coven.launch("waits", "x");
    coven.wait_for_output(&live, "up");
    let help = |verb: &str| {
        let mut args: Vec<&str> = verb.split(' ').collect();
        args.push("--help");
        let help = coven.cli(args).out;
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let cases = cases(&ended, &live);
    for (verb, args, form) in &cases {
        let mut line: Vec<&str> = verb.split(' ').collect();
        line.extend(args);
        line.push("--json");
        let ran = coven.cli(&line);
        assert!(ran.code <= 1, "{line:?}: {ran:?}");
        let values = parsed(*form, &ran.out);
        assert!(!values.is_empty(), "{line:?}: {ran:?}");
        assert!(
            values
                .iter()
                .all(|value| value.is_object() || *form == Document)
        );
        let said = match form {
            Document => "as one JSON document",
            Lines => "as JSON, one object per line",
        };
        assert!(help(verb).contains(said), "{verb}: {}", help(verb));
    }
    for verb in WITHOUT {
        assert!(help(verb).contains("There is no --json: "), "{verb}");
    }
    let mut tried: Vec<String> = cases.iter().map(|(verb, ..)| (*verb).to_owned()).collect();
    tried.extend(WITHOUT.map(str::to_owned));
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried, verbs(&coven));
}

#[test]
fn every_verb_prints_its_result_as_json_for_programs() {
    let coven = Coven::start();
    let started = coven.cli(["daemon", "start", "--json"]).json();
    let expected = json!({
        "result": "already_running", "pid": coven.daemon_pid(), "socket": coven.socket(),
    });
    assert_eq!(started, expected);
    let ids = ["a", "b"].map(|title| coven.launch("hello", title));
    ids.iter().for_each(|id| drop(coven.ended(id)));
    let lines = |args: &[&str]| {
        let ran = coven.cli([args, &["--json", &ids[0], &ids[1]]].concat());
        parsed(Lines, &ran.out)
    };
    assert_eq!(lines(&["wait"]), ids.each_ref().map(|id| coven.session(id)));
    assert_eq!(
        lines(&["archive"]),
        ids.each_ref().map(|id| coven.session(id))
    );
    let labelled = coven.cli(["label", &ids[0], "+x", "--json"]).json();
    assert_eq!(
        (&labelled, &labelled["labels"]),
        (&coven.session(&ids[0]), &json!(["x"]))
    );
    let deleted = ids
        .each_ref()
        .map(|id| json!({ "id": id, "deleted": true }));
    assert_eq!(lines(&["sacrifice", "--yes"]), deleted);
    let stopped = coven.cli(["daemon", "stop", "--json"]).json();
    assert_eq!(
        (&stopped["result"], &stopped["clean"]),
        (&json!("stopped"), &json!(true))
    );
    let stopped = coven.cli(["daemon", "stop", "--json"]).json();
    assert_eq!(stopped, json!({ "result": "not_running" }));
}
