//! The verbs that look at sessions and act on them.

use serde_json::{Value, json};

use crate::support::*;

/// A session of `hello` that has ended.
fn hello(coven: &Coven) -> String {
    let id = coven.launch("hello", "first light");
    coven.events_to_end(&id);
    id
}

/// Output of a verb that must succeed with an empty stderr.
fn out(coven: &Coven, args: &[&str]) -> String {
    let ran = coven.cli(args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn version_names_the_version_and_the_contract() {
    let coven = Coven::new();
    let expected = format!("coven {} (coven.daemon.v1)", env!("CARGO_PKG_VERSION"));
    for args in [&["version"][..], &["--version"], &["-V"]] {
        let said = out(&coven, args);
        assert!(
            said.starts_with(&expected) && said.lines().count() == 1,
            "{said}"
        );
    }
    let version = coven.cli(["version", "--json"]).json();
    assert_eq!(version["apiVersion"], "coven.daemon.v1");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        version["commit"].is_string() && version["buildDate"].is_string(),
        "{version}"
    );
}

#[test]
fn sessions_lists_the_newest_first_and_archived_ones_only_when_asked() {
    let coven = Coven::start();
    let (old, new) = (hello(&coven), hello(&coven));
    let table = out(&coven, &["sessions"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    for column in ["ID", "STATUS", "HARNESS", "CREATED", "TITLE"] {
        assert!(lines[0].contains(column), "{table}");
    }
    assert!(lines[1].starts_with(&new[..8]), "{table}");
    assert!(lines[2].starts_with(&old[..8]), "{table}");
    assert!(lines[1].contains("completed"), "{table}");
    assert!(lines[1].ends_with("first light"), "{table}");

    assert_eq!(out(&coven, &["archive", &old]), format!("{old} archived\n"));
    assert_eq!(out(&coven, &["sessions"]).lines().count(), 2);
    let all = out(&coven, &["sessions", "--all"]);
    assert_eq!(all.lines().count(), 3);
    assert!(all.contains("archived"), "{all}");
    let listed = |verb: &[&str]| -> Value { serde_json::from_str(&out(&coven, verb)).unwrap() };
    assert_eq!(
        listed(&["sessions", "--json"]),
        json!({ "sessions": [coven.session(&new)] })
    );
    assert_eq!(
        listed(&["session", "--json", "--all"]),
        json!({ "sessions": [coven.session(&new), coven.session(&old)] })
    );
    let plain = out(&coven, &["sessions", "--plain"]);
    assert!(plain.lines().nth(1).unwrap().starts_with(&new), "{plain}");

    assert_eq!(out(&coven, &["summon", &old]), format!("{old} summoned\n"));
    assert_eq!(out(&coven, &["sessions"]).lines().count(), 3);
}

#[test]
fn sessions_without_a_session_say_what_to_type() {
    let coven = Coven::start();
    for (args, said) in [
        (&["sessions"][..], "to start one: coven run hello"),
        (&["ps", "--status", "failed"], "no session is as asked for"),
    ] {
        let ran = coven.cli(args);
        assert_eq!((ran.code, ran.out.lines().count()), (0, 1));
        assert!(ran.err.contains(said), "{ran:?}");
    }
    let none: Value = serde_json::from_str(&out(&coven, &["sessions", "--json"])).unwrap();
    assert_eq!(none, json!({ "sessions": [] }));
}

#[test]
fn sessions_are_chosen_by_status_harness_label_age_and_number() {
    let coven = Coven::start();
    coven.harness("broken", "exit 3");
    let good = coven.launch("hello", "first light");
    let labelled = merged(
        coven.launch_body("broken", "x"),
        json!({ "labels": ["a", "b"] }),
    );
    let bad = coven.post("/api/v1/sessions", &labelled).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for id in [&good, &bad] {
        coven.ended(id);
    }
    for (args, ids) in [
        (&["-q"][..], vec![&bad, &good]),
        (&["-qn1"], vec![&bad]),
        (&["-q", "--status", "failed"], vec![&bad]),
        (
            &["-q", "--status=failed", "--status", "completed"],
            vec![&bad, &good],
        ),
        (&["-q", "--harness", "hello"], vec![&good]),
        (&["-q", "--label", "a", "--label", "b"], vec![&bad]),
        (&["-q", "--since", "1h", "-n", "1"], vec![&bad]),
    ] {
        let ids: String = ids.iter().map(|id| format!("{id}\n")).collect();
        assert_eq!(out(&coven, &[&["ps"], args].concat()), ids, "{args:?}");
        let json = coven.cli([&["ps", "--json"], args].concat()).json();
        assert_eq!(
            json["sessions"].as_array().unwrap().len(),
            ids.lines().count()
        );
    }
    let format = ["ls", "--format", "id,end,status,labels"];
    let lines = format!("{bad}\t3\tfailed\ta,b\n{good}\t0\tcompleted\t\n");
    assert_eq!(out(&coven, &format), lines);
    let ran = coven.cli(["ls", "--format", "id,nonsense"]);
    assert!(
        ran.code == 2 && ran.err.contains("each must be id"),
        "{ran:?}"
    );
    assert_eq!(coven.cli(["ps", "--watch"]).code, 2);
}

#[test]
fn a_table_fits_its_terminal_and_shows_the_newest() {
    if !has_tools(&["script"]) {
        return;
    }
    let coven = Coven::start();
    for number in 0..53 {
        coven.register(
            &external_id(number),
            json!({ "title": "修复🦀".repeat(30) }),
        );
    }
    coven.harness("broken", "exit 3");
    coven.ended(&coven.launch("broken", "x"));
    let at = |columns: u32, before: &str, args: &str| {
        let script =
            format!("script -qec \"stty cols {columns}; {before} $0 sessions {args}\" /dev/null");
        let ran = coven.shell(&script);
        ran.out.replace('\r', "")
    };
    let narrow = at(80, "TERM=xterm", "");
    let lines: Vec<&str> = narrow.lines().collect();
    assert_eq!(lines.len(), 1 + 50 + 1, "{narrow}");
    assert_eq!(lines[51], "4 more: -a");
    assert!(lines[1].contains("\x1b[31mfailed\x1b[m"), "{narrow}");
    assert!(
        lines[2].ends_with('…') && lines[2].contains(" ago "),
        "{narrow}"
    );
    // 修, 复 and 🦀 take two columns each.
    let wide = |line: &str| {
        line.chars()
            .map(|c| if c.is_ascii() || c == '…' { 1 } else { 2 })
            .sum::<usize>()
    };
    let colours = "\x1b[32m\x1b[m".len();
    assert!(
        lines[2..51]
            .iter()
            .all(|line| (79..=80).contains(&(wide(line) - colours))),
        "{narrow}"
    );
    assert!(!lines[0].contains("CREATED") && at(200, "", "").contains("CREATED"));
    assert!(!at(80, "NO_COLOR=1", "").contains('\x1b'));
    assert_eq!(at(80, "", "-a").lines().count(), 1 + 54);
    let coloured = out(&coven, &["sessions", "--color", "always"]);
    assert!(coloured.contains("\x1b[31mfailed"), "{coloured}");
}

#[test]
fn times_are_those_of_the_users_clock() {
    let coven = Coven::start();
    let id = hello(&coven);
    let created = coven.session(&id)["created_at"]
        .as_str()
        .unwrap()
        .replace('T', " ");
    let shown = |zone: &str| coven.shell(&format!("TZ={zone} $0 show {id}")).out;
    assert!(shown("UTC").contains(&created[..19]), "{created}");
    assert!(!shown("XXX-05:17").contains(&created[..19]));
}

#[test]
fn the_command_lines_of_existing_scripts_work() {
    let coven = Coven::start();
    let ran = coven.cli(["run", "hello", "first light", "--detach"]);
    let id = ran.out.trim();
    out(&coven, &["wait", id]);
    for (alias, verb) in [
        ("sessions show ID --json", "show --json ID"),
        ("session log ID", "log ID"),
        ("sessions events ID", "events ID"),
        ("adapter list --json", "adapters --json"),
    ] {
        let [said, expected] = [alias, verb].map(|line| {
            let line = line.replace("ID", id);
            out(&coven, &line.split(' ').collect::<Vec<_>>())
        });
        assert_eq!(said, expected, "{alias}");
    }
    let status: Value = serde_json::from_str(&out(&coven, &["status", "--json"])).unwrap();
    assert_eq!(
        (&status["ok"], &status["status"]),
        (&json!(true), &json!("running"))
    );
    assert_eq!(status["pid"], coven.daemon_pid());
    assert_eq!(status["started_at"], status["startedAt"]);
    let hello: Value =
        serde_json::from_str(&out(&coven, &["adapter", "doctor", "hello", "--json"])).unwrap();
    assert_eq!(
        (&hello["ok"], &hello["blocking"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(hello["checks"].as_array().unwrap().len(), 1);
    let gemini = coven.cli(["adapter", "doctor", "gemini"]);
    assert_eq!(gemini.code, 1, "{gemini:?}");
    for later in ["search x", "sessions search x --json"] {
        let ran = coven.cli(later.split(' '));
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("not in this version"), "{ran:?}");
    }
    if has_tools(&["script"]) {
        let ran = coven.shell("script -qec \"$0 run hello\" /dev/null");
        assert_eq!(ran.code, 2);
        assert!(ran.out.contains("not in this version"), "{ran:?}");
    }
    assert!(!out(&coven, &["--help"]).contains("search"));
    assert_eq!(out(&coven, &["archive", id]), format!("{id} archived\n"));
    assert_eq!(out(&coven, &["summon", id]), format!("{id} summoned\n"));
    assert_eq!(
        out(&coven, &["sacrifice", id, "--yes"]),
        format!("{id} deleted\n")
    );
}

#[test]
fn an_option_of_run_can_stand_behind_the_harness_and_behind_the_prompt() {
    let coven = Coven::start();
    for (line, code) in [
        ("run hello --title T -- --json", 0),
        ("run hello --json --title=T", 2),
    ] {
        let ran = coven.cli(line.split(' '));
        assert_eq!(ran.code, code, "{ran:?}");
    }
    assert!(out(&coven, &["sessions"]).contains("T"));
    let help = out(&coven, &["run", "hello", "--help"]);
    assert_eq!(help, out(&coven, &["run", "--help"]));
    for refused in ["run hello fix --json it", "run hello --jsno hi"] {
        let ran = coven.cli(refused.split(' '));
        assert_eq!(ran.code, 2);
        assert!(
            ran.err.contains("quote the prompt, or put -- before it"),
            "{ran:?}"
        );
    }
    assert_eq!(out(&coven, &["sessions"]).lines().count(), 2);
}

#[test]
fn a_session_gets_another_title_and_other_labels() {
    let coven = Coven::start();
    let ran = coven.cli(words(
        "run hello --detach --labels a,_b,,c --visibility shared -- hi",
    ));
    let id = ran.out.trim();
    let before = coven.session(id);
    assert_eq!(
        (&before["labels"], &before["visibility"]),
        (&json!(["a", "b", "c"]), &json!("shared"))
    );
    assert_eq!(
        out(&coven, &["rename", id, "another title"]),
        format!("{id} renamed\n")
    );
    assert_eq!(
        out(&coven, &["label", id, "-b", "+d", "+a"]),
        format!("{id} labelled\n")
    );
    let after = coven.session(id);
    assert_eq!(
        (&after["title"], &after["labels"]),
        (&json!("another title"), &json!(["a", "c", "d"]))
    );
    assert_eq!(coven.cli(["label", id, "x"]).code, 2);
    let patch = |id: &str, body: Value| {
        let path = format!("/api/v1/sessions/{id}");
        coven.request("PATCH", &path, &[], body.to_string().as_bytes())
    };
    let too_many: Vec<String> = (0..32).map(|n| n.to_string()).collect();
    for (body, field) in [
        (json!({ "title": " " }), "title"),
        (json!({ "title": 7 }), "title"),
        (json!({ "addLabels": [""] }), "addLabels"),
        (json!({ "addLabels": ["x".repeat(129)] }), "addLabels"),
        (json!({ "addLabels": too_many }), "addLabels"),
        (json!({ "removeLabels": "a" }), "removeLabels"),
    ] {
        let answer = patch(id, body.clone());
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["details"]["field"], field, "{body}");
    }
    assert_eq!(coven.session(id)["labels"], json!(["a", "c", "d"]));
    let answer = patch(&external_id(9), json!({ "title": "x" }));
    assert_eq!(answer.status, 404);
}

#[test]
fn a_run_beside_a_session_that_may_write_says_so() {
    let coven = Coven::start();
    coven.harness("writer", "exec sleep 600");
    let first = coven.cli(["run", "writer", "--detach", "--", "x"]);
    let id = first.out.trim();
    assert_eq!(first.err, "");
    let second = coven.cli(["run", "hello", "--", "hi"]);
    let said = format!("session {id} of writer runs in the same directory, and may write there");
    assert!(second.err.contains(&said), "{second:?}");
    assert_eq!(coven.cli(["run", "hello", "-q", "--", "hi"]).err, "");
    out(&coven, &["kill", id]);
    assert_eq!(coven.cli(["run", "hello", "--", "hi"]).err, "");
}

#[test]
fn show_prints_the_record() {
    let coven = Coven::start();
    let id = hello(&coven);
    let text = out(&coven, &["show", &id]);
    for part in [&id, "first light", "completed", "hello"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(
        coven.cli(["show", "--json", &id]).json(),
        coven.session(&id)
    );
}

#[test]
fn events_come_after_a_seq_and_up_to_a_limit() {
    let coven = Coven::start();
    let id = hello(&coven);
    let events = coven.events_to_end(&id);
    assert_eq!(json_lines(&out(&coven, &["events", "--json", &id])), events);
    let some = out(
        &coven,
        &["events", &id, "--json", "--after=2", "--limit", "3"],
    );
    assert_eq!(json_lines(&some), events[2..5]);
    assert_eq!(out(&coven, &["events", "--limit", "0", &id]), "");
    let text = out(&coven, &["events", &id]);
    assert_eq!(text.lines().count(), events.len());
    assert!(text.contains("hello: you said"), "{text}");
}

#[test]
fn events_of_more_than_one_page_come_all_the_same() {
    let coven = Coven::start();
    coven.harness_with("echo", "cat", json!({ "stdin": "open" }));
    let id = coven.launch("echo", "x");
    // 1200 events of input, and what is read back of them.
    let path = format!("/api/v1/sessions/{id}/input");
    for n in 0..1200 {
        let answer = coven.post(&path, &json!({ "data": format!("{n}\n") }));
        assert_eq!(answer.status, 202);
    }
    coven.wait_for_output(&id, "1199\n");
    assert_eq!(coven.cli(["kill", &id]).code, 0);
    let seqs: Vec<u64> = json_lines(&out(&coven, &["events", "--json", &id]))
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.len() > 1200);
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64));
    let limited = out(&coven, &["events", "--json", "--limit", "1100", &id]);
    assert_eq!(limited.lines().count(), 1100);
}

#[test]
fn wait_exits_with_the_first_code_that_is_not_0() {
    let coven = Coven::start();
    coven.harness("exits", "exit \"$2\"");
    coven.harness("dies", "kill -TERM $$");
    let [zero, five, seven] = ["0", "5", "7"].map(|code| coven.launch("exits", code));
    let term = coven.launch("dies", "x");
    let wait = |ids: &[&String]| {
        let ran = coven.cli(["wait"].into_iter().chain(ids.iter().map(|id| id.as_str())));
        assert_eq!(ran.out, "");
        // An exit code says all of an exit.
        let ended_by_signal = format!("coven: session {term} was ended by signal 15\n");
        let said = if ids.contains(&&term) {
            ended_by_signal
        } else {
            String::new()
        };
        assert_eq!(ran.err, said);
        ran.code
    };
    assert_eq!(wait(&[&zero]), 0);
    assert_eq!(wait(&[&five]), 5);
    assert_eq!(wait(&[&term]), 143);
    assert_eq!(wait(&[&zero, &seven, &five]), 7);
    // Also of one that could not be started, and has no code.
    coven.harness("broken", "");
    let program = coven.work().parent().unwrap().join("bin/broken");
    std::fs::write(program, "#!/no/such/interpreter\n").unwrap();
    let answer = coven.post("/api/v1/sessions", &coven.launch_body("broken", "x"));
    let broken = answer.details()["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(wait(&[&broken]), 125);
}

#[test]
fn wait_ends_when_the_session_does() {
    let coven = Coven::start();
    coven.harness_with("reader", "read line; exit 4", json!({ "stdin": "open" }));
    let id = coven.launch("reader", "x");
    let wait = coven.spawn(["wait", &id]);
    assert_eq!(out(&coven, &["input", &id, "go on"]), "");
    assert_eq!(finish(wait).code, 4);
}

#[test]
fn a_unique_prefix_will_do_for_an_id() {
    let coven = Coven::start();
    let id = hello(&coven);
    for prefix in [&id[..8], &id[..4], &id[..13], &id] {
        assert!(out(&coven, &["show", prefix]).contains(&id));
        assert_eq!(coven.cli(["wait", prefix]).code, 0);
    }
}

#[test]
fn an_ambiguous_prefix_is_an_error_that_names_two() {
    let coven = Coven::start();
    // Seventeen ids: two of them begin with the same hexadecimal digit.
    let ids: Vec<String> = (0..17).map(|_| coven.launch("hello", "x")).collect();
    let shared = |id: &&String| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1;
    let prefix = &ids.iter().find(shared).unwrap()[..1];
    let ran = coven.cli(["show", prefix]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("(ambiguous_id)\n  try: "), "{ran:?}");
    let named = ids.iter().filter(|id| ran.err.contains(id.as_str()));
    assert_eq!(named.count(), 2, "{ran:?}");
}

#[test]
fn input_reaches_the_harness_as_it_was_given() {
    let coven = Coven::start();
    coven.harness_with("echo", "exec cat", json!({ "stdin": "open" }));
    let id = coven.launch("echo", "x");
    out(&coven, &["input", &id, "one", "two"]);
    out(&coven, &["input", &id, "--json", "--a=b", "help", "-x"]);
    out(&coven, &["input", "-n", &id, "no newline|"]);
    let ran = coven.cli_with_input(["input", &id, "-"], "from\nstdin é".as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    coven.wait_for_output(&id, "stdin é");
    out(&coven, &["kill", &id]);
    let events = coven.events_to_end(&id);
    let echoed = String::from_utf8(output(&events, "stdout")).unwrap();
    let expected = "one two\n--json --a=b help -x\nno newline|from\nstdin é";
    assert_eq!(echoed, expected);
    let inputs = typed(&events);
    let recorded: String = inputs
        .iter()
        .map(|input| input["data"].as_str().unwrap())
        .collect();
    assert_eq!(recorded, expected);
}

#[test]
fn input_typed_right_after_a_launch_arrives() {
    let coven = Coven::start();
    coven.harness_with(
        "reader",
        "read -r line; echo \"got $line\"",
        json!({ "stdin": "open" }),
    );
    // The launcher has been told that it runs: whoever decides about input must know as much.
    for _ in 0..100 {
        let id = coven.launch("reader", "x");
        let path = format!("/api/v1/sessions/{id}/input");
        let answer = coven.post(&path, &json!({ "data": "early\n" }));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let events = coven.events_to_end(&id);
        assert_eq!(output(&events, "stdout"), b"got early\n");
        assert_eq!(kinds(&events)[2..4], ["status", "input"]);
    }
}

#[test]
fn kill_ends_several_sessions_and_says_so() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let (one, other) = (coven.launch("quiet", "x"), coven.launch("quiet", "x"));
    let said = out(&coven, &["kill", &one[..8], &other]);
    assert_eq!(said, format!("{one} killed\n{other} killed\n"));
    assert_eq!(coven.session(&one)["status"], "killed");
}

#[test]
fn a_session_that_cannot_be_killed_does_not_save_the_others() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let ended = [hello(&coven), hello(&coven)];
    let live = coven.launch("quiet", "x");
    let ran = coven.cli(["kill", &ended[0], &ended[1], &live]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.out, format!("{live} killed\n"));
    for id in &ended {
        assert!(ran.err.contains(id), "{ran:?}");
    }
    assert_eq!(ran.err.matches("(session_not_live)").count(), 2, "{ran:?}");
    assert_eq!(coven.session(&live)["status"], "killed");
}

#[test]
fn sacrifice_deletes_for_good_and_only_with_yes() {
    let coven = Coven::start();
    let id = hello(&coven);
    let ran = coven.cli(["sacrifice", &id]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("--yes"), "{ran:?}");
    assert_eq!(coven.session(&id)["id"], id.as_str());
    assert_eq!(
        out(&coven, &["sacrifice", "--yes", &id]),
        format!("{id} deleted\n")
    );
    assert_eq!(coven.get(&format!("/api/v1/sessions/{id}")).status, 404);
    assert_eq!(coven.cli(["sacrifice", "--yes", &id]).code, 1);
}

#[test]
fn adapters_shows_what_the_daemons_path_has() {
    let coven = Coven::start();
    coven.harness("mine", "true");
    let table = out(&coven, &["adapters"]);
    let line = |id: &str| {
        let mut lines = table.lines();
        lines.find(|line| line.starts_with(id)).unwrap().to_owned()
    };
    let program = coven.work().parent().unwrap().join("bin/mine");
    assert!(line("mine").contains(program.to_str().unwrap()), "{table}");
    assert!(line("hello").contains("bundled"), "{table}");
    assert!(line("gemini").contains("not found"), "{table}");
    let adapters = coven.cli(["adapters", "--json"]).json();
    let ids = adapters["adapters"].as_array().unwrap().iter();
    let mut mine = ids.filter(|adapter| adapter["id"] == "mine");
    assert_eq!(mine.next().unwrap()["available"], true);
}

#[test]
fn adapters_shows_the_manifest_that_was_refused_and_why() {
    let coven = Coven::new();
    let bad = coven.home().join("adapters/bad.json");
    std::fs::write(&bad, "{ not json").unwrap();
    assert_eq!(
        coven.shell("chmod 600 $COVEN_HOME/adapters/bad.json").code,
        0
    );
    coven.start_daemon();
    let table = out(&coven, &["adapters"]);
    assert!(
        table.contains(&format!("refused: {}", bad.display())),
        "{table}"
    );
    let adapters = coven.cli(["adapters", "--json"]).json();
    assert_eq!(adapters["refusedManifests"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_in_a_title_can_move_the_terminals_cursor() {
    let coven = Coven::start();
    let mut body = coven.launch_body("hello", "x");
    let title = "red \u{1b}[31m\u{7}\nsecond\u{202e}line\u{9b}2J";
    body["title"] = title.into();
    let answer = coven.post("/api/v1/sessions", &body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    coven.events_to_end(&id);
    for args in [&["sessions"][..], &["show", &id], &["events", &id]] {
        let text = out(&coven, args);
        let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_bad), "{text:?}");
    }
    let table = out(&coven, &["sessions"]);
    assert!(table.contains("red \\u{1b}[31m\\u{7}\\nsecond"), "{table}");
    assert_eq!(table.lines().count(), 2);
    // Programs get it as it is.
    assert_eq!(coven.cli(["show", "--json", &id]).json()["title"], title);
}

#[test]
fn a_session_is_named_by_its_id_its_beginning_its_title_or_as_the_last() {
    let coven = Coven::start();
    let first = hello(&coven);
    out(&coven, &["rename", &first, "fix the tests"]);
    let last = hello(&coven);
    let shown =
        |args: &[&str]| coven.cli([&["show", "--json"], args].concat()).json()["id"].clone();
    assert_eq!(shown(&["fix the tests"]), first.as_str());
    for args in [&["--last"][..], &["-l"], &[&last], &[&last[..8]]] {
        assert_eq!(shown(args), last.as_str(), "{args:?}");
    }
    // A beginning of an id comes before a title, and a title before what begins several ids.
    out(&coven, &["rename", &last, &first[..8]]);
    assert_eq!(shown(&[&first[..8]]), first.as_str());
    let ran = coven.cli(["log", "fix the test"]);
    assert!(ran.err.contains("did you mean 'fix the tests'?"), "{ran:?}");
    // Two digits of an id the wrong way round.
    let mut swapped: Vec<char> = first[..8].chars().collect();
    let at = (0..7).find(|&at| swapped[at] != swapped[at + 1]).unwrap();
    swapped.swap(at, at + 1);
    let ran = coven.cli(["show", &String::from_iter(swapped)]);
    let meant = format!("did you mean '{}'?", &first[..8]);
    assert!(ran.err.contains(&meant), "{ran:?}");
    out(&coven, &["rename", &last, "fix the tests"]);
    let ran = coven.cli(["wait", "fix the tests"]);
    assert!(ran.err.contains("(ambiguous_id)"), "{ran:?}");
    let both = coven.cli(["show", &first, "-l", "--json"]).json();
    assert_eq!(
        (&both[0]["id"], &both[1]["id"]),
        (&json!(first), &json!(last))
    );
    out(&coven, &["archive", "--last", &first]);
    let ran = coven.cli(["show", "--last"]);
    assert!(
        ran.err.contains("there is no session (session_not_found)"),
        "{ran:?}"
    );
}

#[test]
fn verbs_that_end_or_delete_sessions_take_no_title_where_they_cannot_ask() {
    let coven = Coven::start();
    let id = hello(&coven);
    for args in [
        ["sacrifice", "--yes", "--last"],
        ["sacrifice", "-y", "first light"],
        ["kill", "--yes", "-l"],
    ] {
        let ran = coven.cli(args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("at a terminal only"), "{ran:?}");
    }
    assert_eq!(coven.session(&id)["status"], "completed");
}

#[test]
fn kill_all_ends_all_that_live_and_needs_a_yes() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    let ids = ["a", "b"].map(|prompt| coven.launch("quiet", prompt));
    let ran = coven.cli(["kill", "--all"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.err.contains("this ends 2 sessions: say --yes"),
        "{ran:?}"
    );
    let said = out(&coven, &["kill", "--all", "--yes"]);
    for id in &ids {
        assert!(said.contains(&format!("{id} killed\n")), "{said}");
    }
    let none = coven.cli(["kill", "--all"]);
    let said = (none.code, none.out.as_str(), none.err.as_str());
    assert_eq!(said, (0, "", "coven: no session is live\n"));
}

#[test]
fn a_person_at_a_terminal_is_asked_before_a_deletion() {
    if !has_tools(&["script"]) {
        return;
    }
    let coven = Coven::start();
    let id = hello(&coven);
    let answer = |answer: &str| {
        coven.shell(&format!(
            "echo {answer} | script -qec \"$0 sacrifice -l\" /dev/null"
        ))
    };
    let ran = answer("n");
    assert!(
        ran.out.contains("this deletes 1 session for good:") && ran.out.contains("nothing is done"),
        "{ran:?}"
    );
    assert_eq!(
        (ran.code, coven.session(&id)["status"].as_str()),
        (1, Some("completed"))
    );
    let ran = answer("y");
    assert!(ran.out.contains(&format!("{id} deleted")), "{ran:?}");
}

#[test]
fn prune_deletes_what_has_ended_and_says_how_much() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    coven.harness("broken", "echo why; exit 3");
    let (good, live) = (hello(&coven), coven.launch("quiet", "x"));
    let bad = coven.launch("broken", "x");
    coven.ended(&bad);
    out(&coven, &["archive", &good]);
    for args in [
        &["prune"][..],
        &["prune", "--status", "running"],
        &["prune", "--status", "failed"],
    ] {
        let ran = coven.cli(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    }
    let told = "1 session, with 4 bytes of output\n";
    assert_eq!(
        out(&coven, &["prune", "--status=failed", "--dry-run"]),
        format!("would delete: {told}")
    );
    let said = out(&coven, &["prune", "--status", "failed", "--yes"]);
    assert_eq!(said, format!("{bad} deleted\ndeleted: {told}"));
    assert!(
        out(&coven, &["prune", "--older-than", "1h", "--yes"])
            .starts_with("would delete: 0 sessions")
    );
    assert!(out(&coven, &["prune", "--status", "completed", "-y"]).starts_with(&good));
    assert_eq!(out(&coven, &["sessions", "-aq"]), format!("{live}\n"));
}

#[test]
fn wait_for_any_ends_with_the_first_and_names_it() {
    let coven = Coven::start();
    coven.harness("quiet", "exec sleep 1000");
    coven.harness("broken", "exit 3");
    let live = coven.launch("quiet", "x");
    let bad = coven.launch("broken", "x");
    let ran = coven.cli(["wait", "--any", &live, &bad]);
    assert_eq!((ran.code, ran.out), (3, format!("{bad}\n")));
    let ran = coven.cli(["wait", "--any", "--timeout", "1", &live]);
    assert_eq!((ran.code, ran.out.as_str()), (124, ""));
}
