//! What every test needs: a home of its own, the real binary, harnesses made of shell scripts, and a plain HTTP
//! client that shares no code with the daemon.
//!
//! Dropping a [`Coven`] ends everything that was started in its home, and removes it: also when the test fails.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No single wait of a test takes longer: what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Prometheus' text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A home, and the daemon in it, if one was started.
pub struct Coven {
    root: PathBuf,
    env: Vec<(String, String)>,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Coven {
    /// A fresh home, without a daemon. Its path is short: a socket's can only have 107 bytes.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(format!("/tmp/cv{}-{number}", std::process::id()));
        for dir in ["", "bin", "work"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        fs::create_dir_all(root.join("home/adapters")).unwrap();
        for dir in ["home", "home/adapters"] {
            fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self {
            root,
            env: vec![("COVEN_KILL_GRACE_MS".into(), "1000".into())],
        }
    }

    /// A fresh home with a running daemon.
    pub fn start() -> Self {
        let coven = Self::new();
        coven.start_daemon();
        coven
    }

    /// Adds a variable to the environment of the daemon and the CLI.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn start_daemon(&self) {
        let ran = self.cli(["daemon", "start"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// A directory of the test's own, outside the home; sessions run in it.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn socket(&self) -> PathBuf {
        self.home().join("coven.sock")
    }

    /// The binary with `args`, in the home's environment, and nothing of this process's `COVEN_*`.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coven"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COVEN") {
                command.env_remove(name);
            }
        }
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            self.root.join("bin").display()
        );
        command
            .args(args)
            .current_dir(self.work())
            .env("COVEN_HOME", self.home())
            .env("PATH", path)
            .stdin(Stdio::null())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary to its end.
    pub fn cli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs the binary to its end, with `input` on its stdin.
    pub fn cli_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Ran {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A child that does not read its stdin is no failure of the test's.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Makes `script` (of `sh`) a harness. Its prompt is the last argument: `"$2"`, behind `--`.
    pub fn harness(&self, id: &str, script: &str) {
        self.harness_with(id, script, json!({}));
    }

    /// As [`Coven::harness`], with other keys of the manifest. A running daemon learns of it.
    pub fn harness_with(&self, id: &str, script: &str, keys: Value) {
        let program = self.root.join("bin").join(id);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut adapter = json!({ "id": id, "label": id, "executable": id });
        for (key, value) in keys.as_object().unwrap() {
            adapter[key] = value.clone();
        }
        let manifest = self.home().join("adapters").join(format!("{id}.json"));
        fs::write(&manifest, json!({ "adapters": [adapter] }).to_string()).unwrap();
        fs::set_permissions(&manifest, fs::Permissions::from_mode(0o600)).unwrap();
        if UnixStream::connect(self.socket()).is_ok() {
            let body = json!({ "action": "coven.capabilities.refresh" });
            assert_eq!(self.post("/api/v1/actions", &body).status, 200);
        }
    }

    /// The body of a launch in the test's own directory.
    pub fn launch_body(&self, harness: &str, prompt: &str) -> Value {
        json!({ "projectRoot": self.work(), "harness": harness, "prompt": prompt })
    }

    /// Launches a session, and gives its id.
    pub fn launch(&self, harness: &str, prompt: &str) -> String {
        let answer = self.post("/api/v1/sessions", &self.launch_body(harness, prompt));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[], body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], b"")
    }

    /// One request on a connection of its own.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// A connection to the daemon, whose reads do not hang for ever.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `bytes`, and reads one answer to the end of the connection.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The daemon may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer)
    }

    /// A session's record.
    pub fn session(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/sessions/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until the session has ended, and gives all of its events. Long polls: no clock.
    pub fn events_to_end(&self, id: &str) -> Vec<Value> {
        self.events_until(id, |event| {
            let status = payload(event)["status"].as_str().unwrap_or("").to_owned();
            event["kind"] == "status" && !["created", "running"].contains(&status.as_str())
        })
    }

    /// Waits for the first event that `is_wanted`, and gives all events up to its page's end.
    pub fn events_until(&self, id: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events
                .last()
                .map_or(0, |event| event["seq"].as_u64().unwrap());
            let path = format!("/api/v1/events?sessionId={id}&afterSeq={after}&waitMs=30000");
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            let new = page["events"].as_array().unwrap().clone();
            let found = new.iter().any(&is_wanted);
            assert!(
                !new.is_empty() || found,
                "nothing happened in {id} after {after}: {events:?}"
            );
            events.extend(new);
            if found {
                return events;
            }
        }
    }

    /// Waits until the session's output on `stream` holds `text`.
    pub fn wait_for_output(&self, id: &str, text: &str) {
        let seen = std::cell::RefCell::new(String::new());
        self.events_until(id, |event| {
            if event["kind"] == "output" {
                seen.borrow_mut()
                    .push_str(payload(event)["data"].as_str().unwrap());
            }
            seen.borrow().contains(text)
        });
    }

    /// The daemon's pid, from health.
    pub fn daemon_pid(&self) -> i32 {
        self.get("/api/v1/health").json()["daemon"]["pid"]
            .as_i64()
            .unwrap() as i32
    }

    /// The processes that have this home, or one of `COVEN_SESSION_ID`, in their environment.
    pub fn processes(&self) -> Vec<i32> {
        let mark = [
            b"COVEN_HOME=".as_slice(),
            self.home().as_os_str().as_encoded_bytes(),
        ]
        .concat();
        pids()
            .into_iter()
            .filter(|pid| environ_has(*pid, &mark))
            .collect()
    }

    /// The database, opened by `sqlite3`'s own code path of rusqlite, to read.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.home().join("coven.sqlite3")).unwrap()
    }
}

impl Drop for Coven {
    fn drop(&mut self) {
        // Whatever was started has the home in its environment, the daemon and its harnesses alike.
        while self
            .processes()
            .into_iter()
            .filter(|pid| kill(*pid, libc::SIGKILL))
            .count()
            > 0
        {}
        let _ = fs::set_permissions(self.home(), fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Self {
            code,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

impl Answer {
    /// Parses an answer as the strictest client does: a length, no chunks, and nothing behind the body.
    pub fn parse(bytes: &[u8]) -> Self {
        let (answer, rest) = Self::parse_first(bytes);
        assert!(
            rest.is_empty(),
            "bytes behind the framed body: {:?}",
            String::from_utf8_lossy(rest)
        );
        answer
    }

    /// The first answer of several, and what is behind it.
    pub fn parse_first(bytes: &[u8]) -> (Self, &[u8]) {
        let text = || String::from_utf8_lossy(bytes);
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {:?}", text()));
        let head = str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                line.split_once(": ")
                    .unwrap_or_else(|| panic!("header {line:?}"))
            })
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
        };
        assert_eq!(answer.header("transfer-encoding"), None, "{head}");
        // The second is the metrics' own; their tests ask for it where it belongs.
        let types = ["application/json", METRICS_TYPE];
        assert!(
            answer
                .header("content-type")
                .is_some_and(|is| types.contains(&is)),
            "{head}"
        );
        assert!(answer.header("x-request-id").is_some(), "{head}");
        let length: usize = answer
            .header("content-length")
            .expect("a length")
            .parse()
            .unwrap();
        let body = &bytes[end + 4..];
        assert!(
            body.len() >= length,
            "{} of {length} bytes: {head}",
            body.len()
        );
        answer.body = body[..length].to_vec();
        (answer, &body[length..])
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }

    /// Status and code of an error.
    pub fn error(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error"]["code"]
                .as_str()
                .unwrap_or("none")
                .to_owned(),
        )
    }

    /// The error's details.
    pub fn details(&self) -> Value {
        self.json()["error"]["details"].clone()
    }
}

/// An event's payload.
pub fn payload(event: &Value) -> Value {
    serde_json::from_str(event["payload_json"].as_str().unwrap()).unwrap()
}

/// The bytes that a harness wrote to `stream`, put together from its events.
pub fn output(events: &[Value], stream: &str) -> Vec<u8> {
    use base64::Engine;
    let mut bytes = Vec::new();
    for payload in events
        .iter()
        .filter(|event| event["kind"] == "output")
        .map(payload)
    {
        if payload["stream"] != stream {
            continue;
        }
        match payload["base64"].as_str() {
            Some(encoded) => bytes.extend(
                base64::engine::general_purpose::STANDARD
                    .decode(encoded)
                    .unwrap(),
            ),
            None => bytes.extend_from_slice(payload["data"].as_str().unwrap().as_bytes()),
        }
    }
    bytes
}

/// The kinds of `events`, in order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

/// Every process there is.
pub fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether the environment that `pid` was started with holds `variable` (`NAME=value`).
pub fn environ_has(pid: i32, variable: &[u8]) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|&b| b == 0).any(|entry| entry == variable)
}

/// Whether `pid` is there, and more than a zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(") ")
        .is_some_and(|at| !stat[at + 2..].starts_with(['Z', 'X']))
}

/// Sends a signal; whether there was a process to take it.
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Waits until `pid` has ended.
pub fn wait_until_gone(pid: i32) {
    // A pidfd of a process that is nobody's child here becomes readable at its end.
    // SAFETY: pidfd_open and poll take integers and a live array; the descriptor is closed once.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        if fd < 0 {
            return;
        }
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let ready = libc::poll(&mut poll, 1, PATIENCE.as_millis() as i32);
        libc::close(fd);
        assert_eq!(ready, 1, "process {pid} does not end");
    }
}

/// A file's permission bits.
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Reads a child's stderr until a line holds `text`; what it says later is read and forgotten.
pub fn wait_for_line(child: &mut std::process::Child, text: &str) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains(text) => break,
            Some(Ok(line)) => seen.push(line),
            other => panic!("{other:?} after {seen:#?}"),
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
}

impl Coven {
    /// Starts the binary with pipes on its three streams, and does not wait for it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs a line of `sh` in the home's environment, with the binary as `$0`.
    pub fn shell(&self, script: &str) -> Ran {
        let coven = self.command([] as [&str; 0]);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).arg(coven.get_program());
        for (name, value) in coven.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(self.work()).stdin(Stdio::null());
        Ran::of(shell.output().unwrap())
    }

    /// Waits for the session's end, and gives its record.
    pub fn ended(&self, id: &str) -> Value {
        self.events_to_end(id);
        self.session(id)
    }

    /// Ends the daemon as a crash does, and gives the pid that it had.
    pub fn crash(&self) -> i32 {
        let pid = self.daemon_pid();
        assert!(kill(pid, libc::SIGKILL));
        wait_until_gone(pid);
        pid
    }

    /// The processes of sessions of this home: they have both marks in their environment.
    pub fn session_processes(&self, id: &str) -> Vec<i32> {
        let mark = format!("COVEN_SESSION_ID={id}");
        let all = self.processes().into_iter();
        all.filter(|pid| environ_has(*pid, mark.as_bytes()) && is_alive(*pid))
            .collect()
    }
}

/// Waits for the end of a child, and gives what it said.
pub fn finish(child: Child) -> Ran {
    wait_until_gone(child.id() as i32);
    Ran::of(child.wait_with_output().unwrap())
}

/// Reads `from` until what was read ends with `text`, and gives all of it.
pub fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(text.as_bytes()) {
        let n = from.read(&mut byte).unwrap();
        let so_far = String::from_utf8_lossy(&bytes);
        assert_eq!(n, 1, "no {text:?} in all there was: {so_far:?}");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits for a condition that nothing reports.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually_some(what, || is_so().then_some(()));
}

/// The letter of a process's state (proc(5)).
pub fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(") ")? + 2..].chars().next()
}

impl Coven {
    /// Makes `script` (of `sh`) a program on the daemon's `PATH`, without a manifest that names it.
    pub fn program(&self, name: &str, script: &str) {
        let program = self.root.join("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The binary with `args`, started by a shell that has run `prelude` (`umask`, `ulimit`) before.
    pub fn command_after(&self, prelude: &str, args: &[&str]) -> Command {
        let inner = self.command(args);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{prelude}\nexec \"$@\""))
            .arg("sh")
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(self.work())
            .stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// A launch with other fields besides the usual ones, whatever comes of it.
    pub fn try_launch(&self, harness: &str, prompt: &str, fields: Value) -> Answer {
        let body = merged(self.launch_body(harness, prompt), fields);
        self.post("/api/v1/sessions", &body)
    }

    /// A launch with an `Idempotency-Key`.
    pub fn launch_keyed(&self, key: &str, body: &Value) -> Answer {
        let headers = [("Idempotency-Key", key)];
        let body = body.to_string();
        self.request("POST", "/api/v1/sessions", &headers, body.as_bytes())
    }

    /// Launches a session and waits for its end; gives its record.
    pub fn run(&self, harness: &str, prompt: &str) -> Value {
        let id = self.launch(harness, prompt);
        self.ended(&id)
    }

    /// What a harness has put on record, from the first page to the last, without waiting.
    pub fn events(&self, id: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map_or(0, |e| e["seq"].as_u64().unwrap());
            let page = self.events_after(id, after).json();
            events.extend(page["events"].as_array().unwrap().clone());
            if page["hasMore"] == false {
                return events;
            }
        }
    }

    /// One page.
    pub fn events_after(&self, id: &str, seq: u64) -> Answer {
        let path = format!("/api/v1/events?sessionId={id}&afterSeq={seq}");
        let answer = self.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    pub fn input(&self, id: &str, data: &str) -> Answer {
        self.post_to(id, "input", &json!({ "data": data }))
    }

    pub fn kill_session(&self, id: &str) -> Answer {
        self.post_to(id, "kill", &json!({}))
    }

    /// `POST /api/v1/sessions/:id/:verb`
    pub fn post_to(&self, id: &str, verb: &str, body: &Value) -> Answer {
        self.post(&format!("/api/v1/sessions/{id}/{verb}"), body)
    }

    /// Registers a session that nobody runs, with other fields besides the usual ones.
    pub fn register(&self, id: &str, fields: Value) -> Answer {
        let body = json!({ "id": id, "projectRoot": "/somewhere", "harness": "other" });
        self.post("/api/v1/sessions/external", &merged(body, fields))
    }

    /// The sessions of the plain list.
    pub fn sessions(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/sessions");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().as_array().unwrap().clone()
    }
}

impl Answer {
    /// Asserts an error's status and code; gives its details.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.error(), (status, code.to_owned()), "{}", self.text());
        let message = self.json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{message}");
        self.details()
    }

    /// The `id` of the record that this is.
    #[track_caller]
    pub fn id(&self) -> String {
        let id = self.json()["id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no record: {}", self.text()))
    }
}

/// `fields` on top of `body`.
pub fn merged(mut body: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// A session id that no daemon makes up.
pub fn external_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Tries until `attempt` gives something. For conditions that nothing can be told of.
#[track_caller]
pub fn eventually_some<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    // Half of what anything may take, so that what ends a minute later by itself does not count.
    let deadline = Instant::now() + PATIENCE / 2;
    while Instant::now() < deadline {
        if let Some(found) = attempt() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("never: {what}");
}

/// The last status that `events` tell of, and every kind but output, in order, as `kind` or `status:word`.
pub fn milestones(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .filter(|event| event["kind"] != "output")
        .map(|event| match event["kind"].as_str().unwrap() {
            "status" => format!("status:{}", payload(event)["status"].as_str().unwrap()),
            kind => kind.to_owned(),
        })
        .collect()
}

/// Asserts that `events` are all of a session's: seq from 1, without a gap, each with its id.
#[track_caller]
pub fn assert_gapless(id: &str, events: &[Value]) {
    for (event, seq) in events.iter().zip(1u64..) {
        assert_eq!(event["seq"], seq);
        assert_eq!(event["session_id"], id);
        assert!(event["id"].as_str().unwrap().ends_with(&seq.to_string()));
    }
}

/// Reads one answer, and leaves the connection open.
pub fn read_answer(reader: &mut BufReader<UnixStream>) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let n = reader.read_until(b'\n', &mut bytes).unwrap();
        assert!(n > 0, "closed: {:?}", String::from_utf8_lossy(&bytes));
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let (_, length) = head.split_once("content-length: ").expect("a length");
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let at = bytes.len();
    bytes.resize(at + length, 0);
    reader.read_exact(&mut bytes[at..]).unwrap();
    Answer::parse(&bytes)
}

/// Everything that comes until the daemon closes.
pub fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What an `exit` event says of how the harness ended, without what it cost.
pub fn ending(exit: &Value) -> Value {
    let fields = ["status", "exitCode", "signal"];
    let kept = fields.map(|name| (name.to_owned(), exit[name].clone()));
    Value::Object(kept.into_iter().collect())
}
