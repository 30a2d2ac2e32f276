//! The upgrade in place: the daemon's program is replaced under its sessions and its clients.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::*;

impl Coven {
    /// A copy of the program that calls itself version `version`.
    fn program_of_version(&self, version: &str) -> PathBuf {
        let path = self.bin().join(format!("coven-{version}"));
        let built = env!("CARGO_BIN_EXE_coven");
        if fs::hard_link(built, &path).is_err() {
            fs::copy(built, &path).unwrap();
        }
        self.tell(&path, "version", version);
        path
    }

    /// Tells the program at `path` how it differs from the one that was built.
    fn tell(&self, path: &std::path::Path, what: &str, text: &str) {
        let mut file = path.as_os_str().to_owned();
        file.push(format!(".{what}"));
        fs::write(file, text).unwrap();
    }

    fn upgrade_to(&self, path: &std::path::Path) -> Answer {
        self.post("/api/v1/daemon/upgrade", &json!({ "binary": path }))
    }

    fn health(&self) -> Value {
        self.get("/api/v1/health").json()
    }
}

/// Reads one answer of a kept connection.
fn answer(stream: &mut impl Read) -> Answer {
    let head = read_until(stream, "\r\n\r\n");
    let (_, length) = head.split_once("Content-Length: ").unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Answer::parse(&[head.as_bytes(), &body].concat())
}

#[test]
fn a_session_and_a_kept_connection_go_on_in_the_new_program() {
    let coven = Coven::start();
    coven.harness(
        "writes",
        "echo before; read line; echo \"got $line\"; exit 7",
    );
    coven.harness_with(
        "writes",
        "echo before; read line; echo \"got $line\"; exit 7",
        json!({ "stdin": "open" }),
    );
    let id = coven.launch("writes", "x");
    eventually("it has written", || {
        output(&coven.events(&id), "stdout") == b"before\n"
    });
    let mut kept = coven.connect();
    kept.write_all(b"GET /api/v1/health HTTP/1.1\r\n\r\nGET /api/v1/heal")
        .unwrap();
    let before = answer(&mut kept).json();
    let upgraded = coven.upgrade_to(&coven.program_of_version("9.9.9"));
    assert_eq!(upgraded.status, 200, "{upgraded:?}");
    let told = upgraded.json();
    assert_eq!(told["pid"], before["daemon"]["pid"]);
    assert_eq!(
        (&told["from"], &told["to"]),
        (&before["covenVersion"], &json!("9.9.9"))
    );
    assert_eq!(told["sessions"], 1);
    kept.write_all(b"th HTTP/1.1\r\n\r\n").unwrap();
    let after = answer(&mut kept).json();
    assert_eq!(after["covenVersion"], "9.9.9");
    assert_eq!(after["daemon"]["startedAt"], before["daemon"]["startedAt"]);
    assert!(before["daemon"]["upgradedAt"].is_null() && after["daemon"]["upgradedAt"].is_string());
    let input = coven.post(
        &format!("/api/v1/sessions/{id}/input"),
        &json!({ "data": "on\n" }),
    );
    assert_eq!(input.status, 202, "{input:?}");
    let ended = coven.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["exit_code"]),
        (&json!("failed"), &json!(7))
    );
    assert_eq!(ended["stdout_bytes"], 14);
    let events = coven.events(&id);
    assert_gapless(&id, &events);
    assert_eq!(output(&events, "stdout"), b"before\ngot on\n");
    assert_eq!(coven.health()["sessions"]["live"], 0);
}
