//! A daemon to measure: the release binary in its own home, harnesses that are this binary, and a minimal client.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use coven::api::{SessionRecord, SessionStatus};
use serde_json::{Value, json};

pub struct Lab {
    root: PathBuf,
    env: Vec<(&'static str, &'static str)>,
}

impl Lab {
    /// Creates a home and starts its daemon.
    pub fn start() -> Self {
        let lab = Self::new();
        lab.coven(&["daemon", "start"]);
        lab
    }

    /// Creates a home without a daemon.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(format!("/tmp/cvb{}-{number}", std::process::id()));
        for dir in ["bin", "work", "home/adapters"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for dir in ["home", "home/adapters"] {
            fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self {
            root,
            env: Vec::new(),
        }
    }

    /// Sets an additional environment variable of the daemon.
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// Registers `--floor NAME` of this binary as a harness of that name; its prompt is the last argument.
    pub fn harness(&self, name: &str) {
        let program = self.root.join("bin").join(name);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), program).unwrap();
        let adapter = json!({ "id": name, "label": name, "executable": name,
            "non_interactive_prompt_prefix_args": ["--floor", name] });
        let manifest = self.home().join("adapters").join(format!("{name}.json"));
        fs::write(&manifest, json!({ "adapters": [adapter] }).to_string()).unwrap();
        fs::set_permissions(&manifest, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub fn socket(&self) -> PathBuf {
        self.home().join("coven.sock")
    }

    pub fn database(&self) -> PathBuf {
        self.home().join("coven.sqlite3")
    }

    pub fn coven(&self, args: &[&str]) -> String {
        let path = format!("{}:/usr/bin:/bin", self.root.join("bin").display());
        let ran = Command::new(env!("CARGO_BIN_EXE_coven"))
            .args(args)
            .env("COVEN_HOME", self.home())
            .env("PATH", path)
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(ran.status.success(), "coven {args:?}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Pid of the daemon.
    pub fn pid(&self) -> u32 {
        let health: Value = serde_json::from_slice(self.client().get("/health")).unwrap();
        health["daemon"]["pid"].as_u64().unwrap() as u32
    }

    /// A field of the daemon's `/proc/PID/status`, in kB.
    pub fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// Launches a session, and returns its id.
    pub fn launch(&self, client: &mut Client, harness: &str, prompt: &str) -> String {
        let body = json!({ "projectRoot": self.work(), "harness": harness, "prompt": prompt });
        let answer = client.post("/sessions", &body);
        let record: Value = serde_json::from_slice(answer).unwrap();
        record["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{record}"))
            .to_owned()
    }

    /// Waits until a session has completed, by polling its record, and returns the record.
    pub fn wait_for_end(&self, client: &mut Client, id: &str) -> SessionRecord {
        loop {
            let record: SessionRecord =
                serde_json::from_slice(client.get(&format!("/sessions/{id}"))).unwrap();
            if record.status.is_final() {
                assert_eq!(record.status, SessionStatus::Completed, "{record:?}");
                return record;
            }
            let after = record.last_seq + 1_000_000;
            // No event has this seq, so the request returns at the session's end or after 20 ms.
            client.get(&format!(
                "/events?sessionId={id}&afterSeq={after}&waitMs=20"
            ));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.socket().exists() {
            self.coven(&["daemon", "stop"]);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// One connection. It relies on its own daemon's format: each response has a Content-Length; other headers are ignored.
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        Self {
            stream: UnixStream::connect(socket).unwrap(),
            buffer: vec![0; 2 << 20],
        }
    }

    pub fn get(&mut self, path: &str) -> &[u8] {
        self.ask(&format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
    }

    pub fn post(&mut self, path: &str, body: &Value) -> &[u8] {
        let body = body.to_string();
        let length = body.len();
        self.ask(&format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends a request, and returns the body of the response.
    pub fn ask(&mut self, request: &str) -> &[u8] {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut end = 0;
        let mut body = None;
        loop {
            let n = self.stream.read(&mut self.buffer[end..]).unwrap();
            let so_far = &self.buffer[..end.min(1000)];
            assert!(n > 0, "closed after {}", String::from_utf8_lossy(so_far));
            end += n;
            body = body.or_else(|| framed(&self.buffer[..end]));
            if let Some((head, length)) = body
                && end >= head + length
            {
                return &self.buffer[head..head + length];
            }
        }
    }
}

/// Offset of the end of the head, and length of the body.
fn framed(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    let (_, rest) = head.split_once("content-length: ").expect("a length");
    let length = rest.lines().next().unwrap().trim().parse().unwrap();
    Some((end + 4, length))
}
