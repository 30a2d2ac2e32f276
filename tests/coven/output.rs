//! Every byte that a harness prints comes back, in order: text whole, anything else exact.

use std::io::Read;
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::*;

const LIST_BYTES_MAX: usize = 900_000;
const OUTPUT_PAYLOAD_MAX: usize = 60_000;

/// The whole output of a harness that runs this script.
fn said(coven: &Coven, script: &str) -> Vec<Value> {
    coven.harness("says", script);
    let id = coven.launch("says", "x");
    coven.events_to_end(&id);
    let mut events = Vec::new();
    read_pages(coven, &id, |page| events.extend_from_slice(page));
    events
}

/// Reads a session that has ended page by page, and checks the bounds of each.
fn read_pages(coven: &Coven, id: &str, mut take: impl FnMut(&[Value])) {
    let mut last = 0;
    let mut length_before = None;
    loop {
        let answer = coven.events_after(id, last);
        let length = answer.body.len();
        assert!(length < LIST_BYTES_MAX, "{length}");
        let page = answer.json();
        let events = page["events"].as_array().unwrap();
        if let Some(before) = length_before {
            let next = events[0].to_string().len();
            assert!(
                before + next > LIST_BYTES_MAX - 200,
                "{next} would have fitted {before}"
            );
        }
        // A page of fewer events than it may have has ended for its length.
        length_before = (events.len() < 1000).then_some(length);
        for event in events {
            last += 1;
            assert_eq!(event["seq"], last, "no gap");
            let length = event["payload_json"].as_str().unwrap().len();
            let is_output = event["kind"] == "output";
            assert!(!is_output || length <= OUTPUT_PAYLOAD_MAX, "{length}");
        }
        take(events);
        if page["hasMore"] == false {
            return;
        }
    }
}

/// The payloads of the output events.
fn outputs(events: &[Value]) -> Vec<Value> {
    let outputs = events.iter().filter(|event| event["kind"] == "output");
    outputs.map(payload).collect()
}

/// Asserts that every output event is text, and nothing but text.
fn assert_text(events: &[Value]) {
    for output in outputs(events) {
        assert!(output.get("base64").is_none(), "{output}");
        assert!(
            !output["data"].as_str().unwrap().contains('\u{fffd}'),
            "{output}"
        );
    }
}

#[test]
fn an_output_event_never_has_more_than_60_000_bytes_of_payload() {
    let coven = Coven::start();
    // Plain text; what JSON makes twice and six times as long; characters of two to four bytes; bytes that are no text.
    for unit in [
        "x",
        "\\n",
        "\"",
        "\\0",
        "\\033[1m",
        "\\303\\251",
        "\\342\\202\\254",
        "\\360\\237\\246\\200",
        "\\377",
        "\\377\\0",
    ] {
        let script = format!(
            "printf '{unit}' >unit; i=0
            while [ $i -lt 15 ]; do cat unit unit >twice; mv twice unit; i=$((i + 1)); done
            cat unit unit unit unit; cat unit unit unit unit >&2"
        );
        // `said` checks each event.
        let events = said(&coven, &script);
        let unit = std::fs::read(coven.work().join("unit")).unwrap();
        for stream in ["stdout", "stderr"] {
            assert!(output(&events, stream) == unit.repeat(4), "{unit:?}");
        }
    }
}

#[test]
fn the_output_of_a_harness_is_told_apart_by_stream() {
    let coven = Coven::start();
    let events = said(&coven, "printf 'out\\n'; printf 'err\\n' >&2");
    let mut payloads: Vec<String> = outputs(&events).iter().map(Value::to_string).collect();
    payloads.sort();
    let expected = [
        json!({ "data": "err\n", "stream": "stderr" }).to_string(),
        json!({ "data": "out\n", "stream": "stdout" }).to_string(),
    ];
    assert_eq!(payloads, expected);
}

#[test]
fn a_character_in_two_writes_is_never_split() {
    let coven = Coven::start();
    // é, € and 🦀 in pieces, with the other stream in between.
    let script = r"printf 'a\303'; sleep 0.05; printf 'between' >&2; sleep 0.05; printf '\251b'
        printf '\342\202'; sleep 0.05; printf '\254'
        for byte in 360 237 246 200; do printf \\$byte; sleep 0.05; done
        printf '\303' >&2; sleep 0.05; printf '\251' >&2";
    let events = said(&coven, script);
    assert_text(&events);
    assert_eq!(output(&events, "stdout"), "aéb€🦀".as_bytes());
    assert_eq!(output(&events, "stderr"), "betweené".as_bytes());
}

#[test]
fn a_character_that_is_never_finished_is_still_there() {
    let coven = Coven::start();
    let events = said(&coven, r"printf 'a\342\202'; printf '\303' >&2");
    assert_eq!(output(&events, "stdout"), b"a\xe2\x82");
    assert_eq!(output(&events, "stderr"), b"\xc3");
}

#[test]
fn bytes_that_are_no_text_come_with_their_likeness() {
    let coven = Coven::start();
    // Not with a letter at its end: that could be the beginning of a token, and is held back for a moment.
    let events = said(&coven, r"printf 'a\377.'");
    let expected = json!({ "data": "a\u{fffd}.", "stream": "stdout", "base64": "Yf8u" });
    assert_eq!(outputs(&events), [expected]);
}

#[test]
fn binary_junk_is_exact() {
    let coven = Coven::start();
    let copy = coven.work().join("copy");
    let script = format!("head -c 1000000 /dev/urandom | tee '{}'", copy.display());
    let events = said(&coven, &script);
    let expected = std::fs::read(&copy).unwrap();
    assert_eq!(expected.len(), 1_000_000);
    let found = output(&events, "stdout");
    let same = found.iter().zip(&expected).take_while(|(a, b)| a == b);
    let at = same.count();
    let around = |bytes: &[u8]| {
        let near = &bytes[at.saturating_sub(40).min(bytes.len())..(at + 40).min(bytes.len())];
        String::from_utf8_lossy(near).into_owned()
    };
    assert!(
        found == expected,
        "at {at} of {}: {:?} and not {:?}",
        found.len(),
        around(&found),
        around(&expected)
    );
}

#[test]
fn text_with_junk_in_it_is_exact() {
    let coven = Coven::start();
    let copy = coven.work().join("copy");
    // Long runs of multi-byte text, a wrong byte now and then, at places that move through the reads.
    let script = r"i=0; while [ $i -lt 400 ]; do i=$((i+1))
            printf '%0*d€€€éé🦀' $((i * 7)) 0; [ $((i % 50)) = 0 ] && printf '\377'
        done | tee ";
    let events = said(&coven, &format!("{script} '{}'", copy.display()));
    assert!(output(&events, "stdout") == std::fs::read(&copy).unwrap());
}

#[test]
fn a_megabyte_without_a_newline_is_text() {
    let coven = Coven::start();
    let events = said(&coven, "head -c 1048576 /dev/zero | tr '\\0' x");
    assert_text(&events);
    assert!(output(&events, "stdout") == vec![b'x'; 1024 * 1024]);
}

#[test]
fn long_lines_of_wide_characters_are_text() {
    let coven = Coven::start();
    let script =
        "i=0; while [ $i -lt 14 ]; do i=$((i+1)); set -- \"$1$1\" ; done; printf a%s \"$1\"";
    let script = format!("set -- '€é🦀'\n{script}");
    let events = said(&coven, &script);
    assert_text(&events);
    let expected = format!("a{}", "€é🦀".repeat(1 << 14));
    assert!(output(&events, "stdout") == expected.as_bytes());
}

#[test]
fn nuls_are_text() {
    let coven = Coven::start();
    // In JSON each is six bytes, and twelve in a string of a string: the worst that text can do to a page.
    let events = said(&coven, "printf 'a\\000b'; head -c 1000000 /dev/zero");
    assert_text(&events);
    let expected = [b"a\0b".as_slice(), &vec![0; 1_000_000]].concat();
    assert!(output(&events, "stdout") == expected);
}

#[test]
fn characters_that_json_escapes_come_back_unchanged() {
    let coven = Coven::start();
    let line = "\"\\\u{1b}[31m\u{7f}\u{85}\u{2028}\u{feff}\t\r\n</script>";
    let file = coven.work().join("line");
    std::fs::write(&file, line.repeat(20_000)).unwrap();
    let events = said(&coven, &format!("cat '{}'", file.display()));
    assert_text(&events);
    assert!(output(&events, "stdout") == line.repeat(20_000).as_bytes());
}

#[test]
fn a_hundred_megabytes_at_full_speed_are_all_there() {
    let coven = Coven::start();
    // Numbers, so that no byte could be missing or out of its place unnoticed.
    let (from, to) = (1_000_000_000u64, 1_009_500_000u64);
    let length = (to - from + 1) * 11;
    assert!(length > 100_000_000);
    coven.harness("counts", &format!("exec seq {from} {to}"));
    let id = coven.launch("counts", "x");
    let mut same = Command::new("seq")
        .args([from.to_string(), to.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut expected = same.stdout.take().unwrap();
    let mut seen = 0;
    let mut after = 0;
    loop {
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=30000");
        let page = coven.get(&path).json();
        let events = page["events"].as_array().unwrap();
        for event in events {
            after += 1;
            assert_eq!(event["seq"], after, "no gap");
        }
        seen += compare(&output(events, "stdout"), &mut expected);
        if events.iter().any(|event| event["kind"] == "exit") {
            break;
        }
        assert!(!events.is_empty(), "{seen} of {length} bytes");
    }
    assert_eq!(seen, length);
    same.wait().unwrap();
    assert_eq!(coven.ended(&id)["status"], "completed");
    let writer = coven.get("/api/v1/health").json()["eventWriter"].clone();
    assert_eq!(
        (
            &writer["droppedOutputEvents"],
            &writer["droppedOutputBytes"]
        ),
        (&json!(0), &json!(0))
    );
}

/// Asserts that `got` is what comes next of `expected`; gives its length.
fn compare(got: &[u8], expected: &mut ChildStdout) -> u64 {
    let mut next = vec![0; got.len()];
    expected.read_exact(&mut next).unwrap();
    assert!(
        got == next,
        "{:?}",
        String::from_utf8_lossy(&got[..got.len().min(80)])
    );
    got.len() as u64
}

#[test]
fn sessions_that_talk_at_once_do_not_mix() {
    let coven = Coven::start();
    coven.harness("talks", "yes \"$2\" | head -c 500000");
    let ids: Vec<String> = (0..6)
        .map(|n| coven.launch("talks", &format!("session {n}")))
        .collect();
    for (n, id) in ids.iter().enumerate() {
        let events = coven.events_to_end(id);
        assert_gapless(id, &events);
        let line = format!("session {n}\n");
        let mut expected = line.repeat(500_000 / line.len() + 1);
        expected.truncate(500_000);
        assert!(
            output(&events, "stdout") == expected.as_bytes(),
            "session {n}"
        );
    }
}

#[test]
fn a_prompt_reaches_the_harness_as_it_is() {
    let coven = Coven::start();
    coven.harness("echoes", "printf %s \"$2\"");
    for prompt in [
        "-",
        "--",
        "-h",
        "--help",
        "--version=1",
        "two\nlines\n",
        "\ttab\r\n",
        " x ",
        "é€🦀\u{10ffff}",
        "$(id) `id` $HOME \\ \" ' ; & | > *",
        "\u{1}\u{1b}\u{7f}",
    ] {
        let id = coven.launch("echoes", prompt);
        let events = coven.events_to_end(&id);
        assert_eq!(output(&events, "stdout"), prompt.as_bytes(), "{prompt:?}");
        assert_eq!(coven.session(&id)["status"], "completed", "{prompt:?}");
    }
}

#[test]
fn the_longest_prompt_that_an_argument_holds_is_taken() {
    let coven = Coven::start();
    coven.harness("echoes", "printf %s \"$2\"");
    let prompt = "é".repeat(65_535) + "x";
    assert_eq!(prompt.len(), 131_071);
    let id = coven.launch("echoes", &prompt);
    assert!(output(&coven.events_to_end(&id), "stdout") == prompt.as_bytes());
}

#[test]
fn a_character_that_a_grandchild_could_have_finished_is_still_there() {
    let coven = Coven::start();
    // Its beginning is held back for the rest, and the end of the pipe never comes.
    let script = "printf 'abc\\303'; printf 'de\\342\\202' >&2; sleep 600 & exit 0";
    let events = said(&coven, script);
    for (stream, expected) in [("stdout", &b"abc\xc3"[..]), ("stderr", b"de\xe2\x82")] {
        assert_eq!(output(&events, stream), expected);
        let all = outputs(&events);
        let last = all.iter().rfind(|payload| payload["stream"] == stream);
        assert!(last.unwrap()["base64"].is_string(), "{last:?}");
    }
    let ended = &milestones(&events)[3..];
    assert_eq!(
        ended,
        ["exit", "status:completed"],
        "nothing comes behind the end"
    );
}

#[test]
fn the_rest_of_a_pipe_is_stored_however_rarely_the_daemon_is_run() {
    let coven = Coven::start();
    // The grandchild holds the pipe, so that only silence tells that all has come.
    let script = "until [ -e go ]; do sleep 0.02; done
yes 0123456789abcde | head -c 65536; sleep 600 & exit 0";
    coven.harness("leaves", script);
    let id = coven.launch("leaves", "x");
    let harness = coven.session(&id)["pid"].as_i64().unwrap() as i32;
    let daemon = coven.daemon_pid();
    stop(daemon);
    std::fs::write(coven.work().join("go"), "").unwrap();
    eventually("it has exited", || process_state(harness) == Some('Z'));
    // From stop to stop, longer than a pipe must be quiet; in between, some steps at a time.
    for _ in 0..30 {
        kill(daemon, libc::SIGCONT);
        kill(daemon, libc::SIGSTOP);
        let other = Command::new("sleep").arg("0.15").status();
        assert!(other.unwrap().success());
    }
    kill(daemon, libc::SIGCONT);
    let expected = b"0123456789abcde\n".repeat(65536 / 16);
    assert!(output(&coven.events_to_end(&id), "stdout") == expected);
}
