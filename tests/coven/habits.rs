//! What users of kill, docker, systemctl, tmux and pueue type by habit: it works, or the error names what does.

use crate::support::*;

#[test]
fn kill_takes_its_signal_in_each_form_of_kill_and_docker() {
    let coven = Coven::start();
    coven.harness(
        "slow",
        "trap 'echo sized' WINCH; echo begun; while :; do sleep 0.1; done",
    );
    for form in ["-9", "-KILL", "-sigkill", "-s9", "--signal=SIGKILL"] {
        let id = coven.launch("slow", "x");
        coven.wait_for_output(&id, "begun");
        let ran = coven.cli(["kill", "-s", "winch", &id]);
        assert!(ran.out.contains("was sent WINCH"), "{ran:?}");
        let ran = coven.cli(["kill", form, &id]);
        assert_eq!(ran.code, 0, "{form}: {ran:?}");
        let record = coven.ended(&id);
        assert_eq!(record["signal"], 9, "{form}: {record}");
    }
    let ran = coven.cli(["kill", "-5", "0196"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("unknown option '-5'"), "{ran:?}");
}

#[test]
fn the_status_of_a_session_is_its_record_and_start_and_stop_alone_name_the_daemons() {
    let coven = Coven::start();
    let id = coven.launch("hello", "hi");
    coven.ended(&id);
    let ran = coven.cli(["status", &id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("hello: you said: hi"), "{ran:?}");
    let ran = coven.cli(["status", &id, "--json"]);
    assert_eq!(ran.json()["id"], id);
    assert!(coven.cli(["status"]).out.contains("running"));
    for verb in ["start", "stop"] {
        let ran = coven.cli([verb]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let next = format!("  try: coven daemon {verb}");
        assert!(ran.err.contains(&next), "{ran:?}");
    }
}

#[test]
fn each_other_name_of_a_verb_does_what_the_verb_does() {
    let coven = Coven::start();
    let ran = coven.cli(["start", "-q", "hello", "hi"]);
    assert!(ran.out.ends_with("hello: done\n"), "{ran:?}");
    let id = coven.sessions()[0]["id"].as_str().unwrap().to_owned();
    for (other, verb) in [
        ("ps -q", "sessions -q"),
        ("ls --json", "sessions --json"),
        ("list --format id,end", "sessions --format id,end"),
        ("inspect --last --json", "show --last --json"),
        ("top --json", "stats --json"),
        ("tail -n 1 --last", "logs -f -n 1 --last"),
    ] {
        let [other, verb] = [other, verb].map(|line| coven.cli(line.split(' ')));
        assert_eq!((other.code, other.out), (verb.code, verb.out));
    }
    assert!(coven.cli(["status"]).out.contains("running"));
    coven.harness("slow", "exec sleep 600");
    let slow = coven.cli(["run", "-d", "slow", "x"]).out.trim().to_owned();
    assert_eq!(coven.cli(["stop", &slow]).out, format!("{slow} killed\n"));
    for (verb, id) in [("rm", id), ("delete", slow)] {
        let ran = coven.cli([verb, "-y", &id]);
        assert_eq!(ran.out, format!("{id} deleted\n"), "{ran:?}");
    }
    assert!(coven.sessions().is_empty());
}

#[test]
fn a_usage_error_says_what_is_missing_or_wrong() {
    let coven = Coven::new();
    for (typed, said) in rows(
        "attach            -> missing: id (usage)
         sessions --format -> no value for option '--format' (usage)
         run --title       -> no value for option '--title' (usage)
         stats x           -> unexpected argument: x (usage)
         daemon            -> a command is missing, one of: start stop
         ps --status x     -> option '--status' with value 'x': must be created
         completions x     -> argument 'shell' with value 'x': must be bash",
    ) {
        let ran = coven.cli(typed.split(' '));
        assert_eq!(ran.code, 2, "{typed}: {ran:?}");
        assert!(ran.err.starts_with(&format!("coven: {said}")), "{ran:?}");
    }
}

#[test]
fn a_word_of_another_tool_is_answered_with_the_verb_that_does_it() {
    let coven = Coven::new();
    for (typed, meant) in [
        (&["add", "hello"][..], "run"),
        (&["a"], "attach"),
        (&["clean"], "prune"),
        (&["follow", "0196"], "logs -f"),
        (&["restart", "0196"], "rerun"),
        (&["restart"], "daemon restart"),
        (&["rm", "-f", "0196"], "--yes"),
        (&["ps", "--filter", "status=running"], "--status"),
        (&["-v"], "--version"),
    ] {
        let ran = coven.cli(typed);
        assert_eq!(ran.code, 2, "{typed:?}: {ran:?}");
        let hint = format!("; did you mean '{meant}'?");
        assert!(ran.err.contains(&hint), "{typed:?}: {ran:?}");
    }
}

#[test]
fn sessions_are_chosen_by_several_statuses_and_by_times_as_the_table_shows_them() {
    let coven = Coven::start();
    let [completed, failed] = ["hi", "fail"].map(|prompt| coven.launch("hello", prompt));
    for id in [&completed, &failed] {
        coven.ended(id);
    }
    let ids = |args: &[&str]| {
        let mut command = coven.command([&["ps", "-q"], args].concat());
        let ran = Ran::of(command.env("TZ", "Asia/Kathmandu").output().unwrap());
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let both = vec![failed.clone(), completed.clone()];
    assert_eq!(ids(&["--status", "completed,failed"]), both);
    assert_eq!(ids(&["--status=failed,killed"]), [failed]);
    let mut command = coven.command(["ps", "--status", "completed"]);
    let shown = Ran::of(command.env("TZ", "Asia/Kathmandu").output().unwrap()).out;
    let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(ids(&["--since", &row[3..5].join(" ")]), both, "{shown}");
    for since in ["1h30m", "90min", "3 min ago", "1 min 40 s"] {
        assert_eq!(ids(&["--since", since]), both, "{since}");
    }
    let ran = coven.cli(["ps", "--since", "yesterday"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_narrow_terminal_is_shown_fewer_columns_and_no_line_is_wrapped() {
    if !has_tools(&["script"]) {
        return;
    }
    let coven = Coven::start();
    coven.run(
        "hello",
        "a prompt that is longer than all of the narrow ones",
    );
    for columns in [40, 50, 60, 70, 80] {
        let script =
            format!("script -qec \"stty cols {columns}; NO_COLOR=1 $0 sessions\" /dev/null");
        let shown = coven.shell(&script).out.replace('\r', "");
        assert!(
            shown.contains("completed") && shown.contains("a prompt"),
            "{shown}"
        );
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns), "{columns}: {shown}");
    }
}
