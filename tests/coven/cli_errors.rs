//! What the CLI says when something is wrong: the message, the code, the next command, the exit code.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::support::*;

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Every verb that needs a daemon.
const VERBS: [&[&str]; 12] = [
    &["sessions"],
    &["show", NOBODY],
    &["events", NOBODY],
    &["log", NOBODY],
    &["attach", NOBODY],
    &["wait", NOBODY],
    &["input", NOBODY, "x"],
    &["kill", NOBODY],
    &["archive", NOBODY],
    &["summon", NOBODY],
    &["sacrifice", "--yes", NOBODY],
    &["adapters"],
];

/// `coven: <message> (<code>)` and `  try: <command>` on stderr, and nothing on stdout.
fn assert_error(ran: &Ran, exit: i32, code: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].starts_with("coven: "), "{ran:?}");
    assert!(lines[0].ends_with(&format!(" ({code})")), "{ran:?}");
    assert!(lines[1].starts_with("  try: "), "{ran:?}");
}

#[test]
fn every_verb_that_needs_a_daemon_exits_3_without_one() {
    let coven = Coven::new();
    for verb in VERBS {
        let ran = coven.cli(verb);
        assert_error(&ran, exit_of(verb, 3), "daemon_not_running");
        assert!(ran.err.ends_with("  try: coven daemon start\n"), "{ran:?}");
    }
    // Nor is one started by it.
    assert_eq!(coven.cli(["daemon", "status"]).code, 3);
}

#[test]
fn every_verb_says_that_there_is_no_such_session() {
    let coven = Coven::start();
    for verb in VERBS.into_iter().filter(|verb| verb.contains(&NOBODY)) {
        assert_error(&coven.cli(verb), exit_of(verb, 1), "session_not_found");
        for id in ["0000", "nonsense", "../../etc", "x y", "é", "%41"] {
            let args: Vec<&str> = verb
                .iter()
                .map(|arg| if *arg == NOBODY { id } else { arg })
                .collect();
            assert_error(&coven.cli(args), exit_of(verb, 1), "session_not_found");
        }
    }
}

#[test]
fn errors_of_the_daemon_keep_their_code_and_name_what_to_try() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let live = coven.launch("quiet", "x");
    let ended = coven.launch("hello", "x");
    coven.events_to_end(&ended);
    let table = "
        kill ENDED                     -> session_not_live
        input ENDED x                  -> session_not_live
        input LIVE x                   -> input_not_accepted
        archive LIVE                   -> session_live
        sacrifice --yes LIVE           -> session_live
        run nonesuch x                 -> invalid_request
        run gemini x                   -> harness_not_found
        run --root /usr --cwd / hello x -> project_root_violation";
    for (typed, code) in rows(&table.replace("ENDED", &ended).replace("LIVE", &live)) {
        let args: Vec<&str> = typed.split(' ').collect();
        assert_error(&coven.cli(&args), exit_of(&args, 1), code);
    }
    let ran = coven.cli(["run", "nonesuch", "x"]);
    assert!(ran.err.ends_with("  try: coven adapters\n"), "{ran:?}");
}

/// A daemon of another contract, which answers everything with its health.
fn another_daemon(coven: &Coven, status: &str, body: &Value) {
    let _ = std::fs::remove_file(coven.socket());
    let listener = UnixListener::bind(coven.socket()).unwrap();
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn messages_name_what_is_wrong_and_where() {
    let coven = Coven::start();
    coven.harness("say", "printf %s \"$2\"");
    let copy = coven.work().join("copy");
    std::fs::write(&copy, "").unwrap();
    std::fs::write(coven.work().join("long"), "x".repeat(150_000)).unwrap();
    let copy = copy.to_str().unwrap();
    let long = "150000 bytes, and say takes it as one argument, which holds at most 131071: put the text into a file";
    let table = format!(
        "run --cwd /none/x say x  -> --cwd /none/x: No such file
         run --root /none/y say x -> --root /none/y: No such file
         run --file long say      -> {long}
         backup {copy}            -> {copy}
         backup /none/z           -> /none/z is in no directory"
    );
    for (typed, said) in rows(&table) {
        let args: Vec<&str> = typed.split(' ').collect();
        let ran = coven.cli(&args);
        assert_eq!(ran.code, exit_of(&args, 1), "{ran:?}");
        assert!(ran.err.contains(said), "{ran:?}");
    }
    let gone = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" run say x";
    let ran = coven.shell(gone);
    assert!(
        ran.err.contains("working directory of this shell is gone"),
        "{ran:?}"
    );
    let ran = coven.cli(["logs", "--session", "nosuch"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("no line of the log"), "{ran:?}");
    assert_eq!(coven.get("/api/v1/sessions").json(), json!([]));
}

/// Command lines with a mistyped value, and what is said of it: with the command that says more, where there is one.
const MISTYPED: &str = "
    run --cwd=file hello x     -> --cwd file: is not a directory
    run --root=file hello x    -> --root file: is not a directory
    run --root=none hello x    -> --root none: No such file
    run --cwd= hello x         -> --cwd names no directory | coven run --help
    run --env= hello x         -> --env has no name | coven run --help
    run --env==v hello x       -> --env has no name | coven run --help
    run --env-file=dir hello x -> --env-file dir: is a directory
    run hello _                -> prompt is blank | coven run --help
    events NOBODY --after=x    -> 'x': it must be a number, 0 or more | coven events --help
    events NOBODY --limit=-1   -> '-1': it must be a number | coven events --help
    events NOBODY --limit=     -> '': it must be a number | coven events --help
    logs --lines=1.5           -> '1.5': it must be a number | coven daemon logs --help
    logs --pid=99999999999     -> it is too large | coven daemon logs --help
    show ''                    -> the session's id is empty | coven show --help
    kill ''                    -> the session's id is empty | coven kill --help";

#[test]
fn a_mistyped_value_is_named_with_what_it_must_be() {
    let coven = Coven::start();
    let work = coven.work();
    std::fs::write(work.join("file"), "").unwrap();
    std::fs::create_dir(work.join("dir")).unwrap();
    for (typed, expected) in rows(&MISTYPED.replace("NOBODY", NOBODY)) {
        let ran = coven.cli(words(typed));
        assert!(ran.code != 0, "{typed}: {ran:?}");
        for said in expected.split(" | ") {
            assert!(ran.err.contains(said), "{typed}: {ran:?}");
        }
    }
    assert_eq!(coven.get("/api/v1/sessions").json(), json!([]));
}

#[test]
fn a_daemon_of_another_contract_is_named_as_such() {
    let healthy = json!({ "ok": true, "apiVersion": "coven.daemon.v2" });
    // It answers no path of ours.
    let refused = json!({ "error": { "code": "invalid_request", "message": "unsupported API version",
        "details": { "apiVersion": "v1", "supportedApiVersions": ["v2", "v3"] } } });
    for (status, body, found) in [
        ("200 OK", healthy, "coven.daemon.v2"),
        ("404 Not Found", refused, "API version v2, v3"),
    ] {
        let coven = Coven::new();
        another_daemon(&coven, status, &body);
        for verb in VERBS
            .into_iter()
            .chain([&["run", "hello", "x"][..], &["daemon", "start"]])
        {
            let ran = coven.cli(verb);
            assert_error(&ran, exit_of(verb, 1), "unsupported_api_version");
            let both = format!("speaks {found}, this coven speaks coven.daemon.v1");
            assert!(ran.err.contains(&both), "{ran:?}");
        }
        let ran = coven.cli(["daemon", "status"]);
        assert_eq!(ran.code, 1);
        assert!(ran.out.contains("unsupported_api_version"), "{ran:?}");
        let status = coven.cli(["daemon", "status", "--json"]).json();
        assert_eq!(status["state"], "unsupported");
        assert_eq!(status["apiVersion"], found);
        let checks = coven.cli(["doctor"]).out;
        let contract = checks.lines().find(|line| line.contains("  contract "));
        assert!(
            contract.is_some_and(|line| line.starts_with("fail") && line.contains(found)),
            "{checks}"
        );
    }
}

#[test]
fn something_that_is_no_daemon_at_all_is_an_error_and_no_panic() {
    let coven = Coven::new();
    let listener = UnixListener::bind(coven.socket()).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"220 smtp.example.org ready\r\n");
            let _ = client.read(&mut [0; 4096]);
        }
    });
    assert_error(&coven.cli(["sessions"]), 1, "daemon_unreachable");
}

#[test]
fn usage_errors_exit_2_and_say_what_is_wrong() {
    let coven = Coven::new();
    for (typed, said) in rows(
        "-> no verb
         nonsense                    -> nonsense
         --nonsense                  -> --nonsense
         daemon                      -> a command is missing
         daemon nonsense             -> nonsense
         daemon start extra          -> extra
         sessions --nonsense         -> --nonsense
         show                        -> session
         events a b                  -> b
         events --after x a          -> --after
         events --limit              -> --limit
         wait                        -> session
         kill                        -> session
         input a                     -> text
         run                         -> harness
         run hello                   -> prompt
         run --timeout soon hello x  -> soon
         run --timeout               -> --timeout
         run --nonsense hello x      -> --nonsense
         run --title                 -> --title
         run hello x --title         -> --title
         run --file f                -> harness
         run --file f hello x        -> --file",
    ) {
        let ran = coven.cli(words(typed));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{typed}: {ran:?}");
        let (message, next) = ran.err.split_once('\n').unwrap();
        assert!(
            message.starts_with("coven: ") && message.ends_with(" (usage)"),
            "{ran:?}"
        );
        assert!(message.contains(said), "{typed}: {ran:?}");
        assert!(next.starts_with("  try: coven"), "{typed}: {ran:?}");
    }
    assert_eq!(coven.cli(["daemon", "status"]).code, 3);
}

#[test]
fn a_mistyped_verb_or_option_is_answered_with_the_right_one() {
    let coven = Coven::new();
    for (typed, expected) in rows(
        "sesions             -> unknown command 'sesions'; did you mean 'sessions'? | coven --help
         statuss             -> unknown command 'statuss'; did you mean 'daemon status'? | coven --help
         logs prune --dryrun -> unknown option '--dryrun'; did you mean '--dry-run'? | coven logs prune --help
         nonsense            -> unknown command 'nonsense' | coven --help",
    ) {
        let ran = coven.cli(typed.split(' '));
        assert_error(&ran, 2, "usage");
        let (message, help) = expected.split_once(" | ").unwrap();
        let expected = format!("coven: {message} (usage)\n  try: {help}\n");
        assert_eq!(ran.err, expected, "{typed}");
    }
}

#[test]
fn a_mistyped_harness_is_answered_with_the_right_one() {
    let coven = Coven::start();
    coven.harness("scribe", "echo");
    for (typed, answer) in rows(
        r#"run helo hi         -> "helo"; did you mean 'hello'?
           run codx hi         -> "codx"; did you mean 'codex'?
           run scribble hi     -> "scribble"; did you mean 'scribe'?
           adapters show sribe -> "sribe"; did you mean 'scribe'?
           doctor cladue       -> "cladue"; did you mean 'claude'?"#,
    ) {
        let ran = coven.cli(typed.split(' '));
        let said =
            format!("coven: unknown harness {answer} (invalid_request)\n  try: coven adapters\n");
        assert_eq!(ran.err, said, "{typed}");
    }
    let ran = coven.cli(["run", "nonsense", "hi"]);
    assert!(!ran.err.contains("did you mean"), "{ran:?}");
    // Programs read it, too.
    let answer = coven.post("/api/v1/sessions", &coven.launch_body("helo", "x"));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("did you mean 'hello'?"), "{message}");
}

#[test]
fn a_mistyped_setting_is_named_at_the_start_of_the_daemon_and_in_its_log() {
    let coven = Coven::new().env("COVEN_REDCAT", "off");
    let file = coven.home().join("env");
    std::fs::write(
        &file,
        "COVEN_MAX_SESSION=3\nCOVEN_OF_CATS=9\nCOVEN_HOMES=/x\n",
    )
    .unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = coven.cli(["run", "hello", "hi"]);
    assert_eq!((ran.code, ran.out.contains("hi")), (0, true), "{ran:?}");
    let log = coven
        .cli(["daemon", "logs", "--event", "setting_misspelt"])
        .out;
    for (name, meant) in [
        ("COVEN_REDCAT", "COVEN_REDACT"),
        ("COVEN_MAX_SESSION", "COVEN_MAX_SESSIONS"),
        ("COVEN_HOMES", "COVEN_HOME"),
    ] {
        let said = format!("coven: {name} is no setting; did you mean {meant}?\n");
        assert!(ran.err.contains(&said), "{ran:?}");
        let logged = log
            .lines()
            .filter(|line| line.contains(&format!("name={name} ")));
        assert_eq!(logged.count(), 1, "{log}");
    }
    assert_eq!(log.lines().count(), 3, "{log}");
    // Nothing is said again, and sessions have the variables all the same.
    coven.harness("shows", "env");
    let ran = coven.cli(["run", "shows", "x"]);
    assert!(ran.out.contains("COVEN_MAX_SESSION=3\n"), "{ran:?}");
    assert!(!ran.err.contains("no setting"), "{ran:?}");
}

#[test]
fn an_argument_that_is_not_utf8_is_a_usage_error() {
    let coven = Coven::new();
    let bad = OsStr::from_bytes(b"a\xffb");
    for args in [["show", ""], ["run", "hello"]] {
        let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        args.retain(|arg| !arg.is_empty());
        args.push(bad);
        let ran = coven.cli(args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("not UTF-8"), "{ran:?}");
    }
}

#[test]
fn help_is_on_stdout_and_exits_0() {
    let coven = Coven::new();
    let listed = coven.cli(["__complete", ""]).out;
    let verbs = listed.lines().map(|line| line.split('\t').next().unwrap());
    let verbs: Vec<&str> = verbs.collect();
    let mut needed = VERBS.iter().map(|verb| verb[0]);
    assert!(
        needed.all(|verb| verb == "log" || verbs.contains(&verb)),
        "{listed}"
    );
    let all = [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["help", "run"],
        &["help", "daemon"],
        &["help", "daemon", "start"],
        &["daemon", "help"],
        &["daemon", "--help"],
        &["daemon", "start", "--help"],
    ];
    let of_verbs: Vec<[&str; 2]> = verbs.iter().map(|verb| [*verb, "--help"]).collect();
    for args in all.into_iter().chain(of_verbs.iter().map(|args| &args[..])) {
        let ran = coven.cli(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        assert!(ran.out.contains("Usage: coven"), "{args:?}: {ran:?}");
        assert!(!ran.out.contains("__hello"), "{args:?}: {ran:?}");
    }
    for args in [&["-h"][..], &["logs", "-h"]] {
        let ran = coven.cli(args);
        assert!(
            !ran.out.contains("Exit codes:") && !ran.out.contains("RFC 3339"),
            "{ran:?}"
        );
        assert!(ran.out.ends_with("\n\n--help says more.\n"), "{ran:?}");
    }
    let help = coven.cli(["--help"]).out;
    assert!(
        help.contains("\nExit codes:\n  0  success\n  1  failure;"),
        "{help}"
    );
    for verb in verbs {
        assert!(help.contains(&format!("  {verb} ")), "{verb}: {help}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let coven = Coven::start();
    coven.harness(
        "loud",
        "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo \"line $i\"; done",
    );
    let id = coven.launch("loud", "x");
    coven.events_to_end(&id);
    // More than a pipe holds, so that the writer meets the closed end.
    for verb in ["events --json", "attach", "attach --json"] {
        let script = format!("{{ \"$0\" {verb} {id}; echo \"code $?\" >&2; }} | head -c 1");
        let ran = coven.shell(&script);
        assert_eq!((ran.out.len(), ran.err.as_str()), (1, "code 0\n"), "{verb}");
    }
    for verb in [
        "sessions",
        "sessions --json",
        "show --json $id",
        "--help",
        "version",
    ] {
        let ran = coven.shell(&format!("id={id}; \"$0\" {verb} | true; \"$0\" {verb} >&-"));
        assert!(!ran.err.contains("panic"), "{verb}: {ran:?}");
    }
}
