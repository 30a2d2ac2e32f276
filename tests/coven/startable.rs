//! A harness that is found and cannot be started: which file it is, and why, in each place that people look at.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::support::*;

/// Puts a harness `bad` there whose file holds `content`.
fn put(coven: &Coven, content: &[u8], mode: u32) -> String {
    coven.harness("bad", "exit 0");
    let file = file_of(coven);
    fs::write(&file, content).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn adapter(coven: &Coven) -> Value {
    let capabilities = coven.get("/api/v1/capabilities").json();
    let mut adapters = capabilities["adapters"].as_array().unwrap().iter();
    adapters
        .find(|adapter| adapter["id"] == "bad")
        .unwrap()
        .clone()
}

/// Asserts that capabilities, `coven adapters` and doctor name the file and say `why`.
fn assert_said(coven: &Coven, file: &str, why: &str) {
    let adapter = adapter(coven);
    assert_eq!(adapter["available"], false, "{adapter}");
    let problem = adapter["problem"].as_str().unwrap();
    assert!(
        problem.starts_with(file) && problem.contains(why),
        "{why}: {problem}"
    );
    for args in [&["adapters"][..], &["doctor"]] {
        let ran = coven.cli(args);
        // A word for people holds no bare CR.
        let shown = problem.replace('\\', "\\\\");
        let is_said = ran.out.contains(problem) || ran.out.contains(&shown);
        assert!(is_said, "{problem}: {}", ran.out);
    }
}

fn file_of(coven: &Coven) -> String {
    coven.bin().join("bad").display().to_string()
}

/// Asserts that a launch, and `run`, fail with the file and `why`.
fn assert_launch_fails(coven: &Coven, file: &str, why: &str) {
    let answer = coven.try_launch("bad", "x", json!({}));
    let details = answer.assert_error(500, "launch_failed");
    let reason = details["reason"].as_str().unwrap();
    assert!(reason.starts_with(file) && reason.contains(why), "{reason}");
    let ran = coven.cli(["run", "bad", "x"]);
    assert!(ran.code == 125 && ran.err.contains(file), "{ran:?}");
}

/// A program's header for a processor that is not this one.
fn foreign() -> Vec<u8> {
    let mut head = fs::read("/proc/self/exe").unwrap();
    head.truncate(4096);
    head[18..20].copy_from_slice(&[22, 0]);
    head
}

#[test]
fn a_program_that_cannot_be_started_is_named_with_its_interpreter() {
    let coven = Coven::start();
    let other_formats = fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|dir| dir.count() > 2);
    let foreign = foreign();
    let cases: [(&[u8], &str); 12] = [
        (
            b"#!/opt/gone/node\n",
            "interpreter /opt/gone/node does not exist",
        ),
        (
            b"#! /opt/gone/python3 -u\n",
            "interpreter /opt/gone/python3 does not exist",
        ),
        (b"#!/bin/sh\r\necho\r\n", "\"/bin/sh\\r\""),
        (b"#!/bin/sh -e\r\n", "\"-e\\r\""),
        (b"#!/usr/bin/env sh\r\n", "\"sh\\r\""),
        (b"#!/usr/bin\n", "interpreter /usr/bin is not a file"),
        (
            b"#!/etc/passwd\n",
            "interpreter /etc/passwd is not executable",
        ),
        (b"#!\n", "names no interpreter"),
        (b"echo without a first line\n", "neither #! nor the header"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "neither #! nor the header"),
        (b"", "is empty"),
        (&foreign, "is a program for s390x"),
    ];
    for (content, why) in cases {
        if other_formats && !content.starts_with(b"#!") && !content.is_empty() {
            continue;
        }
        let file = put(&coven, content, 0o755);
        assert_said(&coven, &file, why);
        // The shell itself takes the CR of an argument.
        if content.starts_with(b"#!/bin/sh -e") {
            assert_ne!(coven.run("bad", "x")["exit_code"], 0);
            continue;
        }
        assert_launch_fails(&coven, &file, why);
    }
}

#[test]
fn a_program_that_env_is_told_to_find_is_looked_up_on_the_daemons_path() {
    let coven = Coven::start();
    for (line, name) in [
        ("#!/usr/bin/env coven-node\n", "coven-node"),
        ("#!/usr/bin/env -S coven-node --flag\n", "coven-node"),
    ] {
        let file = put(&coven, line.as_bytes(), 0o755);
        assert_said(
            &coven,
            &file,
            &format!("interpreter {name} is not on the PATH"),
        );
        assert_launch_fails(
            &coven,
            &file,
            &format!("interpreter {name} is not on the PATH"),
        );
    }
    // Where the session's own PATH has it, it is found.
    let elsewhere = coven.work().join("coven-node");
    fs::copy("/bin/true", elsewhere).unwrap();
    let path = format!("{}:/usr/bin:/bin", coven.work().display());
    let launched = coven.try_launch("bad", "x", json!({ "env": { "PATH": path } }));
    assert_eq!(coven.ended(&launched.id())["exit_code"], 0);
    // With it there, and in turn without what it needs.
    let node = coven.bin().join("coven-node");
    fs::write(&node, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755)).unwrap();
    let found = adapter(&coven);
    assert_eq!(
        (&found["available"], &found["problem"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(coven.run("bad", "x")["exit_code"], 0);
    // Without a first line the shell runs it.
    fs::write(&node, "exit 7\n").unwrap();
    assert_eq!(coven.run("bad", "x")["exit_code"], 7);
    fs::write(&node, "#!/opt/gone/sh\n").unwrap();
    assert_launch_fails(
        &coven,
        &file_of(&coven),
        "its interpreter /opt/gone/sh does not exist",
    );
    let problem = adapter(&coven)["problem"].as_str().unwrap().to_owned();
    assert!(
        problem.ends_with("/bin/coven-node: its interpreter /opt/gone/sh does not exist"),
        "{problem}"
    );
}

#[test]
fn a_file_of_that_name_that_is_not_executable_is_named_before_there_is_a_session() {
    let coven = Coven::start();
    let file = put(&coven, b"#!/bin/sh\n", 0o644);
    let cases: [(&dyn Fn(), &str); 3] = [
        (&|| {}, "is not executable (chmod +x)"),
        (
            &|| symlink("/opt/gone/bad", &file).unwrap(),
            "is a link to /opt/gone/bad, which does not exist",
        ),
        (&|| fs::create_dir(&file).unwrap(), "is not a file"),
    ];
    for (at, (make, why)) in cases.into_iter().enumerate() {
        if at > 0 {
            fs::remove_file(&file).unwrap();
        }
        make();
        assert_said(&coven, &file, why);
        let answer = coven.try_launch("bad", "x", json!({}));
        let details = answer.assert_error(422, "harness_not_found");
        let problem = details["problem"].as_str().unwrap();
        assert!(
            problem.starts_with(&file) && problem.contains(why),
            "{problem}"
        );
        let ran = coven.cli(["run", "bad", "x"]);
        assert!(
            ran.err.contains(problem) && ran.err.contains("try: coven doctor"),
            "{ran:?}"
        );
    }
    assert_eq!(coven.get("/api/v1/sessions").json(), json!([]));
}

#[test]
fn doctor_says_without_a_daemon_what_cannot_be_started() {
    let coven = Coven::new();
    let file = put(&coven, b"#!/opt/gone/node\n", 0o755);
    let ran = coven.cli(["doctor"]);
    let said = format!("{file}: its interpreter /opt/gone/node does not exist");
    assert!(ran.out.contains(&said), "{ran:?}");
}
