//! The log where it is not in the home's file: in systemd's journal, or wherever a daemon's stderr leads. A `journalctl` of the
//! test's own plays systemd's, with entries that were recorded from a real one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::Value;

use crate::support::*;

/// Of a unit whose daemon was started, ran a session, refused a kill, and was killed; something else wrote a line that is not
/// UTF-8. `journalctl -o json --all --output-fields=MESSAGE,PRIORITY`.
const RECORDED: &str = include_str!("recorded/journal.json");

/// The expected output of `coven logs`.
const SHOWN: &str = r#"
2026-11-26T18:04:44.427Z INFO msg="Starting coven.service - coven, a session daemon for coding agents..."
2026-11-26T18:04:44.429Z INFO msg="bad � byte"
2026-11-26T18:04:44.440Z INFO event=store_opened path=/var/lib/coven/.coven/coven.sqlite3 sessions=0
2026-11-26T18:04:44.440Z INFO event=socket_bound socket=/var/lib/coven/.coven/coven.sock
2026-11-26T18:04:44.442Z INFO event=contract_served contract=coven.daemon.v1 expected=coven.daemon.v1 version=0.1.0 pid=122 socket=/var/lib/coven/.coven/coven.sock
2026-11-26T18:04:44.442Z INFO msg="Started coven.service - coven, a session daemon for coding agents."
2026-11-26T18:04:44.443Z INFO event=watchdog_started period_ms=30000
2026-11-26T18:04:44.455Z INFO event=session_started session=30d1118d-35e7-45fc-b008-4f2211c9e818 pid=141 harness=hello
2026-11-26T18:04:44.468Z INFO event=session_ended session=30d1118d-35e7-45fc-b008-4f2211c9e818 pid=141 status=completed exit=0
2026-11-26T18:04:44.494Z WARN event=session_not_live code=session_not_live request=7a-a route="POST /sessions/:id/kill" status=409 session=30d1118d-35e7-45fc-b008-4f2211c9e818 took_ms=3 reason="the session is not running: completed"
2026-11-26T18:04:44.502Z INFO msg="coven.service: Sent signal SIGKILL to main process 122 (coven) on client request."
2026-11-26T18:04:44.514Z WARN msg="coven.service: Main process exited, code=killed, status=9/KILL"
2026-11-26T18:04:44.514Z WARN msg="coven.service: Failed with result 'signal'."
"#;

/// `$WORK` is set before it.
const JOURNALCTL: &str = r#"
echo "$*" >>"$WORK/asked"
[ "$LC_ALL" = C ] || exit 9
if [ -e "$WORK/denied" ]; then echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1; fi
cursor=
for word; do case $word in --after-cursor=*) cursor=${word#*=} ;; esac; done
case "$*" in
    *--reverse*) exec tac "$WORK/journal" ;;
    *--follow*) sed "1,/$cursor/d" "$WORK/journal"; exec cat "$WORK/later" ;;
    *) exec cat "$WORK/journal" ;;
esac
"#;

/// A home without a log of its own, which a unit of the user's or of the system's serves, and the journal of that unit.
fn with_unit(is_user: bool) -> Coven {
    let coven = Coven::new();
    let show = format!(
        "case \"$*\" in *--user*) is_user=true ;; *) is_user=false ;; esac\n\
         [ $is_user = {is_user} ] || {{ echo LoadState=not-found; exit 4; }}\n\
         printf '%s\\n' LoadState=loaded ActiveState=failed 'ExecStart={{ path={} ; }}' Environment=COVEN_HOME={}",
        env!("CARGO_BIN_EXE_coven"),
        coven.home().display()
    );
    coven.program("systemctl", &show);
    with_journal(&coven);
    coven
}

fn with_journal(coven: &Coven) {
    let work = coven.work();
    coven.program(
        "journalctl",
        &format!("WORK={}\n{JOURNALCTL}", work.display()),
    );
    fs::write(work.join("journal"), RECORDED).unwrap();
}

/// The output of `logs` with `args`; stderr must be empty.
#[track_caller]
fn shown(coven: &Coven, args: &[&str]) -> Vec<String> {
    let ran = coven.cli([&["logs"], args].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    ran.out.lines().map(str::to_owned).collect()
}

/// The last arguments of journalctl.
fn asked(coven: &Coven) -> String {
    let asked = fs::read_to_string(coven.work().join("asked")).unwrap();
    asked.lines().last().unwrap().to_owned()
}

#[test]
fn the_log_of_a_unit_is_read_from_the_journal() {
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let users =
        format!("_SYSTEMD_USER_UNIT=coven.service _UID={uid} + USER_UNIT=coven.service _UID={uid}");
    let systems = "_SYSTEMD_UNIT=coven.service + UNIT=coven.service _PID=1";
    for (is_user, fields) in [(true, users.as_str()), (false, systems)] {
        let coven = with_unit(is_user);
        assert_eq!(shown(&coven, &[]).join("\n"), SHOWN.trim());
        let asked = asked(&coven);
        assert!(asked.starts_with("-o json --all "), "{asked}");
        assert!(
            asked.ends_with(&format!(" _TRANSPORT=stdout {fields}")),
            "{asked}"
        );
    }
}

#[test]
fn the_journal_is_filtered_as_a_file_is() {
    let coven = with_unit(false);
    let all: Vec<&str> = SHOWN.trim().lines().collect();
    for (args, lines) in [
        (&["--session", "30d1"][..], &all[7..10]),
        (&["--pid", "141"], &all[7..9]),
        (&["--event", "session_ended"], &all[8..9]),
        (&["--code", "session_not_live"], &all[9..10]),
        (&["--level", "warn", "--session", "30d1118d"], &all[9..10]),
        (&["--until", "2026-11-26T18:04:44.429Z"], &all[..2]),
        (&["--since", "2026-11-26T18:04:44.502Z"], &all[10..]),
        (&["--level", "warn", "-n", "2"], &all[11..]),
        (
            &["-n", "4", "--since", "2026-11-26T18:04:44.514Z"],
            &all[11..],
        ),
        (&["-n", "2", "--session", "30d1"], &all[8..10]),
        (&["-n", "99"], &all[..]),
        (&["-n", "0"], &[]),
    ] {
        assert_eq!(shown(&coven, args), lines, "{args:?}");
        let has_since = asked(&coven).contains(" --since=@1795716284 ");
        assert_eq!(has_since, args.contains(&"--since"), "{args:?}");
    }
    let none = coven.cli(["logs", "--code", "nonesuch"]);
    let said = "coven: no line of the log is as asked for\n";
    assert_eq!((none.code, none.err.as_str()), (0, said), "{none:?}");
    let json = shown(&coven, &["--json", "-n", "4"]);
    let json: Vec<Value> = json
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&json[0]["ts"], &json[0]["status"]),
        (&"2026-11-26T18:04:44.494Z".into(), &409.into())
    );
    assert_eq!(
        json[3]["msg"],
        "coven.service: Failed with result 'signal'."
    );
    assert_eq!(json[3]["level"], "WARN");
}

#[test]
fn follow_shows_what_the_journal_gets_and_ends_with_its_reader() {
    let coven = with_unit(true);
    let later = coven.work().join("later");
    assert_eq!(coven.shell(&format!("mkfifo {}", later.display())).code, 0);
    let mut child = coven.spawn(["logs", "--follow", "--lines", "1"]);
    let mut out = child.stdout.take().unwrap();
    let last = SHOWN.trim().lines().last().unwrap();
    assert_eq!(read_until(&mut out, "\n"), format!("{last}\n"));
    let mut journal = OpenOptions::new().write(true).open(&later).unwrap();
    let cursor =
        "i=2c8;b=9a0f368749af4450b30f32df2fe04ce9;m=364f996bf;t=66131c741816f;x=65b0457fdc2fa6d7";
    assert!(asked(&coven).contains(cursor), "{}", asked(&coven));
    let entry = |message: &str| {
        format!(
            r#"{{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1795716300000000","PRIORITY":"6","MESSAGE":"{message}"}}"#
        )
    };
    for round in 0..20 {
        // In two writes: half an entry is none.
        let line = format!("{}\n", entry(&format!("INFO event=tick round={round}")));
        let (half, rest) = line.split_at(40 + round);
        journal.write_all(half.as_bytes()).unwrap();
        journal.write_all(rest.as_bytes()).unwrap();
        let line = format!("2026-11-26T18:05:00.000Z INFO event=tick round={round}\n");
        assert_eq!(read_until(&mut out, "\n"), line);
    }
    drop(out);
    assert_eq!(finish(child).code, 0);
    eventually("journalctl has ended", || {
        coven.processes_at_work().is_empty()
    });
}

#[test]
fn follow_ends_with_journalctl_and_says_so() {
    let coven = with_unit(true);
    fs::write(coven.work().join("later"), "").unwrap();
    let ran = coven.cli(["logs", "--follow", "--lines", "0"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.err
            .contains("journalctl has ended (io_error)\n  try: sudo journalctl "),
        "{ran:?}"
    );
}

#[test]
fn a_journal_that_may_not_be_read_is_said_with_the_command() {
    let coven = with_unit(false);
    fs::write(coven.work().join("denied"), "").unwrap();
    for args in [&["logs"][..], &["logs", "-n", "3"], &["logs", "--follow"]] {
        let ran = coven.cli(args);
        let said = "coven: the log of coven.service (system) is in the journal, which cannot be read: \
                    No journal files were opened due to insufficient permissions (io_error)\n  \
                    try: sudo journalctl -u coven.service\n";
        assert_eq!((ran.code, ran.err.as_str()), (1, said), "{ran:?}");
    }
    let report = coven.cli(["diagnostics", "--json"]).json();
    let said = report["log"]["unavailable"].as_str().unwrap();
    assert!(said.contains("insufficient permissions"), "{said}");

    // What may not be read is passed over without a word, too.
    fs::remove_file(coven.work().join("denied")).unwrap();
    fs::write(coven.work().join("journal"), "").unwrap();
    for args in [&["logs"][..], &["logs", "--since", "1h"]] {
        let ran = coven.cli(args);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.err
                .contains("nothing of coven.service (system) (log_not_found)"),
            "{ran:?}"
        );
        assert!(
            ran.err
                .ends_with("  try: sudo journalctl -u coven.service\n"),
            "{ran:?}"
        );
    }

    let mut without = coven.command(["logs"]);
    fs::remove_file(coven.bin().join("journalctl")).unwrap();
    let ran = Ran::of(without.env("PATH", coven.bin()).output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err
            .contains("there is no journalctl on PATH (io_error)"),
        "{ran:?}"
    );
}

#[test]
fn a_report_has_the_end_of_the_journal_without_what_is_private() {
    let coven = with_unit(false);
    let report = coven.cli(["diagnostics", "--json"]).json();
    let records = report["log"].as_array().unwrap();
    let events: Vec<_> = records
        .iter()
        .map(|record| record["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "store_opened",
            "socket_bound",
            "contract_served",
            "watchdog_started",
            "session_started",
            "session_ended",
            "session_not_live"
        ]
    );
    assert_eq!(records[6]["status"], 409);
}

#[test]
fn the_newest_daemons_log_is_shown() {
    let coven = with_unit(true);
    assert_eq!(shown(&coven, &["-n", "0"]), [""; 0]);
    // In the background it logs to the file, whatever unit there is.
    let mut by_hand = coven.command(["daemon", "serve", "--background"]);
    let log = coven.home().join("logs/daemon.log");
    fs::DirBuilder::new()
        .mode(0o700)
        .create(coven.home().join("logs"))
        .unwrap();
    let stderr = File::create(&log).unwrap();
    let child = by_hand
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    eventually("it serves", || coven.cli(["daemon", "status"]).code == 0);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(finish(child).code, 0);
    assert!(shown(&coven, &["-n", "1"])[0].ends_with("event=daemon_stopped clean=true"));
    // One of a unit with another name has left word of it.
    let place = r#"{"journal":{"unit":{"name":"mine.service","isUser":false},"namespace":"own"}}"#;
    fs::write(coven.home().join("logs/place"), place).unwrap();
    assert_eq!(shown(&coven, &[]).join("\n"), SHOWN.trim());
    let fields = " --namespace=+own _TRANSPORT=stdout _SYSTEMD_UNIT=mine.service + ";
    assert!(asked(&coven).contains(fields), "{}", asked(&coven));
}

/// Starts a daemon in the foreground whose stderr is `stderr`, with these variables, and stops it.
fn serve_and_stop(coven: &Coven, stderr: impl Into<Stdio>, variables: &[(&str, &str)]) {
    let mut command = coven.command(["daemon", "serve"]);
    command.envs(variables.iter().copied()).stderr(stderr);
    let child = command.spawn().unwrap();
    drop(command);
    eventually("it serves", || coven.cli(["daemon", "status"]).code == 0);
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    assert_eq!(finish(child).code, 0);
}

/// A stream to write to, its device and inode, and where it is read.
fn stream(coven: &Coven, kind: &str) -> (OwnedFd, (u64, u64), Box<dyn Read>) {
    let (writer, reader): (OwnedFd, Box<dyn Read>) = match kind {
        "pipe" => {
            let (reader, writer) = std::io::pipe().unwrap();
            (writer.into(), Box::new(reader))
        }
        "socket" => {
            let (reader, writer) = UnixStream::pair().unwrap();
            (writer.into(), Box::new(reader))
        }
        _ => {
            let path = coven.work().join("stderr");
            let writer = File::create(&path).unwrap();
            (writer.into(), Box::new(File::open(path).unwrap()))
        }
    };
    let meta = File::from(writer.try_clone().unwrap()).metadata().unwrap();
    (writer, (meta.dev(), meta.ino()), reader)
}

#[test]
fn to_the_journal_a_daemon_writes_priorities_and_no_time() {
    let coven = Coven::new();
    for kind in ["pipe", "socket", "file"] {
        for (format, starts) in [
            ("text", "<6>INFO event="),
            ("json", r#"<6>{"level":"INFO","event":""#),
        ] {
            let (stderr, (device, inode), mut reader) = stream(&coven, kind);
            let variables = [
                ("JOURNAL_STREAM", format!("{device}:{inode}")),
                ("COVEN_LOG_FORMAT", format.into()),
            ];
            serve_and_stop(
                &coven,
                stderr,
                &variables
                    .each_ref()
                    .map(|(name, value)| (*name, value.as_str())),
            );
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            assert!(said.lines().count() > 3, "{said}");
            assert!(
                said.lines().all(|line| line.starts_with(starts)),
                "{kind}: {said}"
            );
        }
    }
}

#[test]
fn a_stream_that_is_not_the_named_one_has_the_time_of_each_line() {
    let coven = Coven::new();
    let named: [fn(u64, u64) -> String; 6] = [
        |device, inode| format!("{device}:{}", inode + 1),
        |device, inode| format!("{}:{inode}", device + 1),
        |device, inode| format!("+{device}:{inode}"),
        |device, inode| format!("{device}:0{inode}"),
        |device, inode| format!("{device}:{inode} "),
        |_, inode| inode.to_string(),
    ];
    for named in named {
        let (stderr, (device, inode), mut reader) = stream(&coven, "pipe");
        let named = named(device, inode);
        serve_and_stop(&coven, stderr, &[("JOURNAL_STREAM", &named)]);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let is_dated = |line: &str| line.starts_with("20") && line.contains("Z INFO event=");
        assert!(
            said.lines().all(is_dated) && !said.is_empty(),
            "{named}: {said}"
        );
    }
}

#[test]
fn a_start_that_fails_says_so_to_the_journal_as_an_error() {
    let coven = Coven::new().env("COVEN_MAX_SESSIONS", "0");
    let (stderr, (device, inode), mut reader) = stream(&coven, "pipe");
    let mut command = coven.command(["daemon", "serve"]);
    command.env("JOURNAL_STREAM", format!("{device}:{inode}"));
    assert_eq!(command.stderr(stderr).status().unwrap().code(), Some(1));
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("<3>coven: "), "{said}");
}

#[test]
fn a_log_on_stderr_is_read_from_a_file_and_named_where_it_is_none() {
    let coven = Coven::new();
    let (stderr, _, _) = stream(&coven, "file");
    serve_and_stop(&coven, stderr, &[]);
    let last = shown(&coven, &["-n", "1"]);
    assert!(
        last[0].ends_with("event=daemon_stopped clean=true"),
        "{last:?}"
    );
    for (kind, named) in [
        ("pipe", "a pipe"),
        ("socket", "a socket"),
        ("null", "/dev/null"),
    ] {
        let (stderr, _, _reader) = match kind {
            "null" => (
                File::create("/dev/null").unwrap().into(),
                (0, 0),
                Box::new(std::io::empty()) as Box<dyn Read>,
            ),
            _ => stream(&coven, kind),
        };
        serve_and_stop(&coven, stderr, &[]);
        let ran = coven.cli(["logs"]);
        let said = format!("coven: the newest daemon logs to its stderr, {named} (started by ");
        assert!(ran.err.starts_with(&said), "{ran:?}");
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        let report = coven.cli(["diagnostics", "--json"]).json();
        let said = report["log"]["unavailable"].as_str().unwrap();
        assert!(said.contains("logs to its stderr"), "{said}");
    }
    // With an older log, that is shown.
    fs::write(
        coven.home().join("logs/daemon.log"),
        "2026-05-09T06:43:00.000Z INFO event=older\n",
    )
    .unwrap();
    let ran = coven.cli(["logs"]);
    assert!(ran.out.ends_with(" event=older\n"), "{ran:?}");
    assert!(
        ran.err.ends_with("; this is an older daemon's log\n"),
        "{ran:?}"
    );
}
