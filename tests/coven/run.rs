//! `coven run`: what it shows, what it exits with, and what it makes of its arguments.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::*;

#[test]
fn a_run_on_a_fresh_home_starts_the_daemon_and_shows_the_harness() {
    let coven = Coven::new();
    let ran = coven.cli(["run", "hello", "first light"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("hello: you said: first light\n"),
        "{ran:?}"
    );
    assert_eq!(ran.err, "");
    assert_eq!(coven.cli(["daemon", "status"]).code, 0);
    let ran = coven.cli(["run", "hello", "fail"]);
    assert_eq!(ran.code, 3);
}

#[test]
fn hello_writes_each_line_at_once_and_to_stderr_only_when_asked() {
    let coven = Coven::start();
    let ran = coven.cli(["run", "hello", "two\nlines"]);
    let expected =
        "hello: reading the prompt\nhello: thinking\nhello: you said: two\nlines\nhello: done\n";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (expected, ""));
    let ran = coven.cli(["run", "hello", "stderr"]);
    assert_eq!(ran.err, "hello: a note on stderr\n");
    assert!(ran.out.ends_with("hello: you said: stderr\nhello: done\n"));
    // A reader that takes one message at a time sees one line in each.
    let (reader, writer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let writer = std::os::fd::OwnedFd::from(writer);
    let mut hello = coven.command(["__hello", "--", "x"]);
    assert!(hello.stdout(writer).status().unwrap().success());
    let mut message = [0; 100];
    for line in ["reading the prompt", "thinking", "you said: x", "done"] {
        let length = reader.recv(&mut message).unwrap();
        let expected = format!("hello: {line}\n");
        assert_eq!(String::from_utf8_lossy(&message[..length]), expected);
    }
}

#[test]
fn stdout_and_stderr_come_out_byte_for_byte() {
    let coven = Coven::start();
    coven.harness(
        "bytes",
        r"printf 'a\000\377\303\251\303'; printf 'e\200\n' >&2; exit 7",
    );
    let out = coven.command(["run", "bytes", "x"]).output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    assert_eq!(out.stdout, b"a\0\xff\xc3\xa9\xc3");
    assert_eq!(out.stderr, b"e\x80\n");
}

#[test]
fn every_byte_of_a_random_megabyte_comes_out() {
    let coven = Coven::start();
    coven.harness("random", "head -c 1000000 /dev/urandom | tee random");
    let out = coven.command(["run", "random", "x"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stdout == fs::read(coven.work().join("random")).unwrap());
}

#[test]
fn output_is_shown_as_it_comes() {
    let coven = Coven::start();
    coven.harness(
        "slow",
        "printf first; until [ -e go ]; do sleep 0.02; done; echo second",
    );
    let mut run = coven.spawn(["run", "slow", "x"]);
    read_until(run.stdout.as_mut().unwrap(), "first");
    fs::write(coven.work().join("go"), "").unwrap();
    let ran = finish(run);
    assert_eq!((ran.code, ran.out.as_str()), (0, "second\n"));
}

#[test]
fn a_run_exits_as_its_harness_does() {
    let coven = Coven::start();
    coven.harness("exits", "exit \"$2\"");
    for code in [0, 1, 2, 3, 42, 255] {
        assert_eq!(coven.cli(["run", "exits", &code.to_string()]).code, code);
    }
    coven.harness("dies", "kill -\"$2\" $$");
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        assert_eq!(coven.cli(["run", "dies", signal]).code, code);
    }
}

/// The only session there is.
fn session(coven: &Coven) -> Value {
    let all = coven.get("/api/v1/sessions").json();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    all[0].clone()
}

#[test]
fn ctrl_c_kills_the_session_and_shows_its_last_words() {
    let coven = Coven::start();
    let words = "trap 'echo last words; trap - TERM; kill $$' TERM; sleep 1000 & echo ready; wait";
    coven.harness("speaker", words);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut run = coven.spawn(["run", "speaker", "x"]);
        read_until(run.stdout.as_mut().unwrap(), "ready\n");
        let record = session(&coven);
        let id = record["id"].as_str().unwrap();
        kill(run.id() as i32, signal);
        let ran = finish(run);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (128 + signal, "last words\n"),
            "{ran:?}"
        );
        assert_eq!(coven.session(id)["status"], "killed");
        eventually("all are gone", || coven.session_processes(id).is_empty());
        assert_eq!(coven.delete(&format!("/api/v1/sessions/{id}")).status, 200);
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_the_session() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "600000");
    coven.start_daemon();
    coven.harness("deaf", "trap '' TERM; echo ready; exec sleep 1000");
    let mut run = coven.spawn(["run", "deaf", "x"]);
    read_until(run.stdout.as_mut().unwrap(), "ready\n");
    let record = session(&coven);
    let id = record["id"].as_str().unwrap();
    kill(run.id() as i32, libc::SIGINT);
    coven.events_until(id, |event| event["kind"] == "kill");
    kill(run.id() as i32, libc::SIGINT);
    assert_eq!(finish(run).code, 130);
    assert_eq!(coven.session(id)["status"], "running");
}

#[test]
fn ctrl_c_ends_a_run_whose_daemon_does_not_answer() {
    let coven = Coven::start();
    let daemon = coven.daemon_pid();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        stop(daemon);
        let run = coven.spawn(["run", "hello", "x"]);
        let pid = run.id() as i32;
        eventually("it is connected", || has_socket(pid));
        assert!(kill(pid, signal));
        let ran = finish(run);
        assert_eq!((ran.code, ran.out.as_str()), (128 + signal, ""), "{ran:?}");
        assert!(kill(daemon, libc::SIGCONT));
    }
    assert_eq!(coven.sessions(), [] as [Value; 0]);
}

#[test]
fn a_signal_while_the_launch_is_unanswered_still_sends_the_kill() {
    let well = Coven::start();
    let record = well.post("/api/v1/sessions", &well.launch_body("hello", "x"));
    let id = record.json()["id"].as_str().unwrap().to_owned();
    let [health, capabilities] =
        ["health", "capabilities"].map(|path| well.get(&format!("/api/v1/{path}")).text());
    let kill_path = format!("POST /api/v1/sessions/{id}/kill");
    let show = format!("GET /api/v1/sessions/{id}");
    for (args, signals) in [
        (&["run", "hello", "x"][..], 1),
        (&["run", "hello", "x"], 2),
        (&["run", "--detach", "hello", "x"], 1),
        (&["run", "--detach", "hello", "x"], 2),
    ] {
        // A daemon that takes the launch, and answers it when the signals have been sent.
        let coven = Coven::new();
        let listener = UnixListener::bind(coven.socket()).unwrap();
        let run = coven.spawn(args);
        let pid = run.id() as i32;
        let (mut client, _) = listener.accept().unwrap();
        answer_next(&mut client, "GET /api/v1/health", &health);
        answer_next(&mut client, "GET /api/v1/capabilities", &capabilities);
        answer_next(&mut client, "GET /api/v1/health", &health);
        let launch = read_until(&mut client, "\r\n\r\n");
        assert!(launch.starts_with("POST "), "{launch}");
        assert!(kill(pid, libc::SIGINT));
        eventually("the first has been taken", || {
            !is_pending(pid, libc::SIGINT)
        });
        if signals == 2 {
            assert!(kill(pid, libc::SIGTERM));
        }
        answer(&mut client, &record.text());
        let (mut killer, _) = listener.accept().unwrap();
        answer_next(&mut killer, "GET /api/v1/health", &health);
        answer_next(&mut killer, &kill_path, r#"{"ok":true,"accepted":true}"#);
        let mut running = record.json();
        running["status"] = "running".into();
        answer_next(&mut killer, &show, &running.to_string());
        // Nobody answers any more.
        drop((client, listener));
        let ran = finish(run);
        assert_eq!(ran.code, 130, "{ran:?}");
        let said = [format!("coven kill {id}"), id.clone()];
        assert!(
            said.iter()
                .any(|said| (ran.err.clone() + &ran.out).contains(said)),
            "{ran:?}"
        );
    }
}

#[test]
fn a_detached_run_either_ends_its_session_on_a_signal_or_leaves_it_and_says_so() {
    let coven = Coven::start();
    coven.harness("sleeper", "exec sleep 1000");
    for round in 0..12 {
        let run = coven.spawn(["run", "--detach", "sleeper", "x"]);
        let pid = run.id() as i32;
        // The launch is on its way to the disk, or its answer to the command.
        eventually("it runs", || live(&coven) == 1);
        for signal in &[libc::SIGTERM, libc::SIGINT][round % 2..] {
            kill(pid, *signal);
        }
        let ran = finish(run);
        let id = ran.out.trim();
        match ran.code {
            0 => {
                assert_eq!(coven.session(id)["status"], "running");
                assert_eq!(coven.kill_session(id).status, 202);
            }
            130 | 143 => {}
            _ => panic!("{ran:?}"),
        }
        eventually("no session is live", || live(&coven) == 0);
    }
}

/// Reads the next request's head, sees that it begins so, and answers it with `body`.
fn answer_next(client: &mut UnixStream, request: &str, body: &str) {
    let head = read_until(client, "\r\n\r\n");
    assert!(head.starts_with(request), "{head}");
    answer(client, body);
}

fn answer(client: &mut UnixStream, body: &str) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let length = body.len();
    write!(client, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
}

#[test]
fn two_signals_at_once_kill_the_session() {
    let coven = Coven::start();
    coven.harness("sleeper", "exec sleep 1000");
    for (first, second) in [
        (libc::SIGTERM, libc::SIGTERM),
        (libc::SIGINT, libc::SIGINT),
        (libc::SIGTERM, libc::SIGINT),
        (libc::SIGINT, libc::SIGTERM),
    ] {
        let run = coven.spawn(["run", "sleeper", "x"]);
        let pid = run.id() as i32;
        eventually("it runs", || live(&coven) == 1);
        kill(pid, first);
        kill(pid, second);
        let ran = finish(run);
        assert!([128 + first, 128 + second].contains(&ran.code), "{ran:?}");
        eventually("no session is live", || live(&coven) == 0);
    }
}

/// Number of live sessions.
fn live(coven: &Coven) -> u64 {
    let health = coven.get("/api/v1/health").json();
    health["sessions"]["live"].as_u64().unwrap()
}

#[test]
fn a_hangup_leaves_the_session_running() {
    let coven = Coven::start();
    coven.harness("sleeper", "echo ready; exec sleep 1000");
    let mut run = coven.spawn(["run", "sleeper", "x"]);
    read_until(run.stdout.as_mut().unwrap(), "ready\n");
    kill(run.id() as i32, libc::SIGHUP);
    let ended = std::os::unix::process::ExitStatusExt::signal(&run.wait().unwrap());
    assert_eq!(ended, Some(libc::SIGHUP));
    assert_eq!(session(&coven)["status"], "running");
}

/// True if a signal is pending for the process (proc(5)).
fn is_pending(pid: i32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let sets = ["SigPnd:", "ShdPnd:"];
    let mut pending = status
        .lines()
        .filter_map(|line| sets.iter().find_map(|name| line.strip_prefix(name)));
    pending.any(|set| u64::from_str_radix(set.trim(), 16).unwrap() & 1 << (signal - 1) != 0)
}

/// True if the process has a socket open.
fn has_socket(pid: i32) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    fds.flatten()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|target| target.to_string_lossy().starts_with("socket:"))
}

#[test]
fn a_timeout_kills_the_session() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let ran = coven.cli(["run", "--timeout", "1s", "quiet", "x"]);
    assert_eq!(ran.code, 124, "{ran:?}");
    let said = " was ended by its time limit of 1 s\n";
    assert!(ran.err.ends_with(said), "{ran:?}");
    let record = session(&coven);
    assert_eq!(
        (&record["status"], &record["ended_by"]),
        (&"killed".into(), &"timeout".into())
    );
}

#[test]
fn the_exit_code_says_what_ended_the_session_whatever_the_harness_returns() {
    let coven = Coven::new().env("COVEN_KILL_GRACE_MS", "100");
    coven.start_daemon();
    coven.harness(
        "polite",
        "trap 'exit 0' TERM; echo ready; sleep 1000 & wait",
    );
    coven.harness(
        "deaf",
        "trap '' TERM; echo ready; while :; do sleep 1000; done",
    );
    coven.harness("own", "exit 77");
    coven.harness("crash", "kill -SEGV $$");
    let waited = |id: &str| (coven.cli(["wait", id]).code, coven.cli(["attach", id]).code);
    let ready = |harness: &str| {
        let id = coven.launch(harness, "x");
        coven.wait_for_output(&id, "ready");
        id
    };
    for (harness, code) in [("polite", 143), ("deaf", 137)] {
        let id = ready(harness);
        coven.kill_session(&id);
        assert_eq!(waited(&id), (code, code), "{harness}");
        assert_eq!(coven.session(&id)["ended_by"], "kill");
    }
    for (harness, code, ended_by) in [("own", 77, "exit"), ("crash", 139, "signal")] {
        let id = coven.launch(harness, "x");
        assert_eq!(waited(&id), (code, code), "{harness}");
        assert_eq!(coven.session(&id)["ended_by"], ended_by);
    }
    let fields = serde_json::json!({ "timeoutMs": 300 });
    for harness in ["polite", "deaf"] {
        let id = coven.try_launch(harness, "x", fields.clone()).id();
        assert_eq!(waited(&id), (124, 124), "{harness}");
        let preview = coven.cli(["log", &id]).out;
        assert!(preview.contains("(timeout)"), "{preview}");
    }
    let id = ready("polite");
    let waiting = coven.spawn(["wait", &id]);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(finish(waiting).code, 143);
    coven.start_daemon();
    assert_eq!(waited(&id), (143, 143));
    assert_eq!(coven.session(&id)["ended_by"], "daemon_stop");
}

#[test]
fn a_wait_that_is_given_up_says_that_the_session_still_runs() {
    let coven = Coven::start();
    coven.harness("busy", "while :; do echo x; sleep 0.01; done");
    coven.harness("quiet", "sleep 1000");
    for harness in ["quiet", "busy"] {
        let id = coven.launch(harness, "x");
        let ran = coven.cli(["wait", "--timeout", "1s", &id]);
        assert_eq!(ran.code, 124, "{ran:?}");
        assert!(ran.err.contains("is still running"), "{ran:?}");
        assert_eq!(coven.session(&id)["status"], "running");
    }
    let id = coven.launch("hello", "x");
    assert_eq!(coven.cli(["wait", "--timeout=1m", &id]).code, 0);
}

#[test]
fn a_session_that_is_killed_is_no_success_though_its_harness_exits_with_0() {
    let coven = Coven::start();
    coven.harness(
        "polite",
        "trap 'exit 0' TERM; echo ready; sleep 1000 & wait",
    );
    let ran = coven.cli(["run", "--timeout", "1s", "polite", "x"]);
    assert_eq!(ran.code, 124, "{ran:?}");
    let id = session(&coven)["id"].as_str().unwrap().to_owned();
    assert_eq!(coven.cli(["wait", &id]).code, 124);
    let id = coven.launch("polite", "x");
    coven.wait_for_output(&id, "ready");
    coven.kill_session(&id);
    assert_eq!(coven.cli(["wait", &id]).code, 143);
    assert_eq!(coven.session(&id)["ended_by"], "kill");
    let id = coven.run("hello", "x")["id"].as_str().unwrap().to_owned();
    assert_eq!(coven.session(&id)["ended_by"], "exit");
}

#[test]
fn a_detached_run_prints_the_id_and_leaves_the_session_to_itself() {
    let coven = Coven::new();
    coven.harness("slow", "until [ -e go ]; do sleep 0.02; done; exit 6");
    let ran = coven.cli(["run", "--detach", "slow", "x"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let id = ran.out.trim_end();
    assert_eq!(coven.session(id)["status"], "running");
    fs::write(coven.work().join("go"), "").unwrap();
    assert_eq!(coven.cli(["wait", id]).code, 6);
    let record = coven.cli(["run", "--detach", "--json", "slow", "x"]).json();
    assert_eq!(record["harness"], "slow");
    assert_eq!(coven.cli(["wait", record["id"].as_str().unwrap()]).code, 6);
}

#[test]
fn a_run_as_json_prints_every_event() {
    let coven = Coven::start();
    let ran = coven.cli(["run", "--json", "hello", "fail"]);
    assert_eq!((ran.code, ran.err.as_str()), (3, ""));
    let events: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let record = session(&coven);
    assert_eq!(events, coven.events_to_end(record["id"].as_str().unwrap()));
}

/// The prompt that a harness gets, with these arguments and this stdin.
fn prompt_of(coven: &Coven, args: &[&str], input: &str) -> String {
    let args = [&["run"], args].concat();
    let ran = coven.cli_with_input(&args, input.as_bytes());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

#[test]
fn the_words_that_are_no_options_are_the_prompt() {
    let coven = Coven::start();
    coven.harness("say", "[ \"$1\" = -- ] && [ $# = 2 ] && printf %s \"$2\"");
    let any = "line\nline\ttab $(id) `id` 'é' 🦀 \\";
    let cases: [(&[&str], &str); 13] = [
        (&["two", "words"], "two words"),
        (&["two words"], "two words"),
        (&["--", "--json"], "--json"),
        (&["help"], "help"),
        (&["--", "--help"], "--help"),
        (&["--help me"], "--help me"),
        (&["--", "-x", "--cwd", "/none"], "-x --cwd /none"),
        (&["--", "--title=x", "--a=b"], "--title=x --a=b"),
        (&["--", "--", "x"], "-- x"),
        (&["-", "x"], "- x"),
        (&["x", "--"], "x"),
        (&[any], any),
        (&["  spaces  "], "  spaces  "),
    ];
    for (words, expected) in cases {
        let args = [&["say"], words].concat();
        assert_eq!(prompt_of(&coven, &args, ""), expected);
    }
}

#[test]
fn a_prompt_comes_from_stdin_or_a_file_as_it_is() {
    let coven = Coven::start();
    coven.harness("say", "printf %s \"$2\"");
    let text = "--first\n\n  second é\n\n";
    assert_eq!(prompt_of(&coven, &["say", "-"], text), text);
    let appended = format!("review this\n\n{text}");
    for words in [&["review this", "-"][..], &["review", "this", "-"]] {
        let args = [&["say"], words].concat();
        assert_eq!(prompt_of(&coven, &args, text), appended);
    }
    fs::write(coven.work().join("prompt"), text).unwrap();
    assert_eq!(prompt_of(&coven, &["--file", "prompt", "say"], ""), text);
    assert_eq!(prompt_of(&coven, &["--file=prompt", "say"], ""), text);
    assert_eq!(prompt_of(&coven, &["--file", "-", "say"], text), text);
    // As Notepad begins a file.
    fs::write(coven.work().join("prompt"), format!("\u{feff}{text}")).unwrap();
    assert_eq!(prompt_of(&coven, &["--file", "prompt", "say"], ""), text);
}

#[test]
fn a_prompt_that_cannot_be_is_refused_and_launches_nothing() {
    let coven = Coven::start();
    fs::write(coven.work().join("nul"), "a\0b").unwrap();
    fs::write(coven.work().join("latin1"), b"caf\xe9").unwrap();
    fs::write(coven.work().join("empty"), "").unwrap();
    fs::write(coven.work().join("long"), "x".repeat(131_072)).unwrap();
    for file in ["nul", "latin1", "empty", "long", "missing", "."] {
        let ran = coven.cli(["run", "--file", file, "hello"]);
        assert!([125, 2].contains(&ran.code), "{file}: {ran:?}");
        assert!(ran.err.starts_with("coven: "), "{file}: {ran:?}");
    }
    assert_eq!(coven.cli(["run", "hello", ""]).code, 125);
    assert_eq!(coven.get("/api/v1/sessions").json(), serde_json::json!([]));
}

#[test]
fn the_longest_prompt_that_an_argument_can_hold_arrives() {
    let coven = Coven::start();
    coven.harness("count", "printf %s \"$2\" | wc -c");
    let ran = coven.cli_with_input(["run", "count", "-"], &[b'x'; 131_071]);
    assert_eq!(ran.out.trim(), "131071", "{}", ran.err);
}

#[test]
fn options_stand_before_the_harness_in_either_form() {
    let coven = Coven::start();
    let work = coven.work();
    fs::create_dir_all(work.join("sub")).unwrap();
    coven.harness_with("models", "exit 0", json!({ "model_flag": "--model" }));
    for args in [
        &["--title=a = b", "--model=m", "--cwd=sub", "--root=."][..],
        &[
            "--title", "a = b", "--model", "m", "--cwd", "sub", "--root", ".",
        ],
    ] {
        let args = [&["run", "--detach", "--json"], args, &["models", "x"]].concat();
        let record = coven.cli(args).json();
        assert_eq!(record["title"], "a = b");
        assert_eq!(record["model"], "m");
        assert_eq!(record["project_root"], work.to_str().unwrap());
        assert_eq!(record["cwd"], work.join("sub").to_str().unwrap());
    }
}

/// Root and working directory of a run from `dir`.
fn directories(coven: &Coven, dir: &str, options: &[&str]) -> (Value, Value) {
    let args = [&["run", "--detach", "--json"], options, &["hello", "x"]].concat();
    let mut command = coven.command(args);
    let ran = Ran::of(
        command
            .current_dir(coven.work().join(dir))
            .output()
            .unwrap(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = ran.json();
    (record["project_root"].clone(), record["cwd"].clone())
}

#[test]
fn the_project_root_is_where_git_is_or_the_working_directory() {
    let coven = Coven::start();
    let at = |dir: &str| Value::from(coven.work().join(dir).to_str().unwrap());
    for dir in [
        "repo/.git",
        "repo/sub/deep",
        "repo/inner/.git",
        "plain/sub",
        "worktree/sub",
    ] {
        fs::create_dir_all(coven.work().join(dir)).unwrap();
    }
    // A worktree has a file of that name.
    fs::write(coven.work().join("worktree/.git"), "gitdir: x").unwrap();
    let cases: [(&str, &[&str], &str, &str); 9] = [
        ("repo/sub/deep", &[], "repo", "repo/sub/deep"),
        ("repo", &[], "repo", "repo"),
        ("worktree/sub", &[], "worktree", "worktree/sub"),
        ("plain/sub", &[], "plain/sub", "plain/sub"),
        ("plain", &["--cwd", "../repo/sub"], "repo", "repo/sub"),
        ("plain/sub", &["--root", ".."], "plain", "plain/sub"),
        ("repo/inner", &["--cwd", ".."], "repo", "repo"),
        ("repo/sub", &["--root", "."], "repo/sub", "repo/sub"),
        ("plain", &["--root", "../repo"], "repo", "repo"),
    ];
    for (dir, options, root, cwd) in cases {
        assert_eq!(
            directories(&coven, dir, options),
            (at(root), at(cwd)),
            "{dir} {options:?}"
        );
    }
}

#[test]
fn a_harness_runs_in_its_working_directory() {
    let coven = Coven::start();
    coven.harness("where", "pwd");
    fs::create_dir(coven.work().join("sub")).unwrap();
    let ran = coven.cli(["run", "--root", ".", "--cwd", "sub", "where", "x"]);
    assert_eq!(ran.out, format!("{}\n", coven.work().join("sub").display()));
}

#[test]
fn a_reader_that_goes_away_leaves_the_session_running() {
    let coven = Coven::start();
    coven.harness(
        "patient",
        "echo first; until [ -e go ]; do sleep 0.02; done; echo second; echo third; exit 5",
    );
    // The shell's own pipe: no other child of this process can have its end open.
    let ran = coven.shell(
        "{ \"$0\" run patient x; echo \"code $?\" >&2; } | { head -n 1; exec <&-; touch go; }",
    );
    assert_eq!(ran.out, "first\n");
    assert!(ran.err.contains("the session runs on"), "{ran:?}");
    assert!(ran.err.ends_with("code 0\n"), "{ran:?}");
    let record = session(&coven);
    let id = record["id"].as_str().unwrap();
    assert_eq!(coven.cli(["wait", id]).code, 5);
    assert_eq!(
        output(&coven.events_to_end(id), "stdout"),
        b"first\nsecond\nthird\n"
    );
}

#[test]
fn a_prompt_that_cannot_be_read_is_said_with_its_source() {
    let coven = Coven::start();
    let work = coven.work();
    fs::write(work.join("empty"), "").unwrap();
    fs::write(work.join("blank"), "\u{feff}\r\n ").unwrap();
    fs::write(work.join("latin1"), b"caf\xe9").unwrap();
    fs::create_dir(work.join("dir")).unwrap();
    let (none, bad) = (
        "there is no prompt in stdin",
        "stdin is not UTF-8: its byte",
    );
    for (typed, input, said) in [
        ("hello -", &b""[..], none.to_owned()),
        ("hello -", b" \n", none.to_owned()),
        ("hello -", b"caf\xe9", format!("{bad} 4")),
        ("hello x -", b"\xff", format!("{bad} 1")),
        ("--file=- hello", b"", none.to_owned()),
        (
            "--file=empty hello",
            b"",
            "there is no prompt in empty".into(),
        ),
        (
            "--file=blank hello",
            b"",
            "there is no prompt in blank".into(),
        ),
        (
            "--file=latin1 hello",
            b"",
            "latin1 is not UTF-8: its byte 4".into(),
        ),
        ("--file=dir hello", b"", "dir: Is a directory".into()),
        ("--file=none hello", b"", "none: No such file".into()),
    ] {
        let ran = coven.cli_with_input(words(&format!("run {typed}")), input);
        assert_eq!(ran.code, 125, "{ran:?}");
        assert!(ran.err.contains(&said), "{typed}: {ran:?}");
    }
    assert_eq!(coven.get("/api/v1/sessions").json(), json!([]));
}

#[test]
fn stdin_that_nobody_reads_is_said_and_never_waited_for() {
    let coven = Coven::start();
    let note = "stdin is not read; end the prompt with - to append it";
    let ran = coven.cli_with_input(["run", "hello", "x"], b"piped");
    assert_eq!((ran.code, ran.err.matches(note).count()), (0, 1), "{ran:?}");
    fs::write(coven.work().join("file"), "piped").unwrap();
    let with = |stdin: Stdio| {
        let out = coven.command(["run", "hello", "x"]).stdin(stdin).output();
        String::from_utf8(out.unwrap().stderr).unwrap()
    };
    let open = |name: &str| Stdio::from(fs::File::open(name).unwrap());
    let file = coven.work().join("file");
    assert!(with(open(file.to_str().unwrap())).contains(note));
    fs::write(&file, "").unwrap();
    for quiet in [
        open(file.to_str().unwrap()),
        open("/dev/null"),
        open("/dev/zero"),
    ] {
        let said = with(quiet);
        assert!(!said.contains("stdin"), "{said}");
    }
    // Empty and closed; and open without anything in it, which would never end.
    let ran = coven.cli_with_input(["run", "hello", "x"], b"");
    assert!(!ran.err.contains("stdin"), "{ran:?}");
    let mut run = coven.spawn(["run", "hello", "x"]);
    let held = run.stdin.take();
    let ran = finish(run);
    assert_eq!((ran.code, ran.err.contains("stdin")), (0, false), "{ran:?}");
    drop(held);
    let ran = coven.cli_with_input(["run", "hello", "x", "-"], b"");
    assert!(
        ran.err.contains("stdin is empty: nothing is appended"),
        "{ran:?}"
    );
    let closed = coven
        .command_after("exec <&-", &["run", "hello", "x"])
        .output()
        .unwrap();
    assert_eq!(closed.status.code(), Some(0), "{closed:?}");
}
