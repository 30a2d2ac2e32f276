//! A home of a test's own: the binary in it, its daemon, its harnesses, and the end of all of them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{
    Ran, environ_has, is_alive, is_root, kill, pids, reset_signals_of_children, wait_until_gone,
};

/// A home, and the daemon in it, if one was started.
pub struct Coven {
    root: PathBuf,
    env: Vec<(String, String)>,
}

impl Coven {
    /// A fresh home, without a daemon, in which the grace period is one second. Its path is short: a socket's can only have
    /// 107 bytes.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        reset_signals_of_children();
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

    /// Ends the daemon as a crash does, and gives the pid that it had.
    pub fn crash(&self) -> i32 {
        let pid = self.daemon_pid();
        assert!(kill(pid, libc::SIGKILL));
        wait_until_gone(pid);
        pid
    }

    /// The daemon's pid, from health.
    pub fn daemon_pid(&self) -> i32 {
        self.get("/api/v1/health").json()["daemon"]["pid"]
            .as_i64()
            .unwrap() as i32
    }

    /// A directory of the test's own, outside the home; sessions run in it.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// A file that a session wrote in its directory.
    pub fn work_file(&self, name: &str) -> String {
        std::fs::read_to_string(self.work().join(name)).unwrap()
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

    /// Starts the binary with pipes on its three streams, and does not wait for it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
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

    /// Makes `script` (of `sh`) a program on the daemon's `PATH`, without a manifest that names it.
    pub fn program(&self, name: &str, script: &str) {
        let program = self.root.join("bin").join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes `script` (of `sh`) a harness, with a program in the test's `PATH` and a manifest in its home; a running daemon
    /// learns of it. Its prompt is the last argument: `"$2"`, behind `--`.
    pub fn harness(&self, id: &str, script: &str) {
        self.harness_with(id, script, json!({}));
    }

    /// As [`Coven::harness`], with other keys of the manifest.
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

    /// The living processes whose working directory is the test's own, whatever else they have shed.
    pub fn processes_at_work(&self) -> Vec<i32> {
        let work = self.work();
        let is_there =
            |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == work);
        let all = pids().into_iter();
        all.filter(|pid| is_there(pid) && is_alive(*pid)).collect()
    }

    /// The processes of sessions of this home: they have both marks in their environment.
    pub fn session_processes(&self, id: &str) -> Vec<i32> {
        let mark = format!("COVEN_SESSION_ID={id}");
        let all = self.processes().into_iter();
        all.filter(|pid| environ_has(*pid, mark.as_bytes()) && is_alive(*pid))
            .collect()
    }

    /// The database's file; `suffix` is that of one beside it.
    pub fn database_file(&self, suffix: &str) -> PathBuf {
        self.home().join(format!("coven.sqlite3{suffix}"))
    }

    /// The database, opened by `sqlite3`'s own code path of rusqlite, to read.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.home().join("coven.sqlite3")).unwrap()
    }

    /// Gives the database the schema version of another coven, which lets no older one use it.
    pub fn set_schema(&self, version: i64) {
        let database = self.database();
        database
            .pragma_update(None, "user_version", version)
            .unwrap();
        let oldest = "UPDATE meta SET value = ?1 WHERE name = 'oldest_user'";
        database.execute(oldest, [version.to_string()]).unwrap();
    }
}

impl Drop for Coven {
    fn drop(&mut self) {
        // Whatever was started has the home in its environment, the daemon and its harnesses alike.
        while [self.processes(), self.processes_at_work()]
            .concat()
            .into_iter()
            .filter(|pid| kill(*pid, libc::SIGKILL))
            .count()
            > 0
        {}
        let _ = fs::set_permissions(self.home(), fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Coven {
    /// A fresh home with a running daemon that has one variable more.
    pub fn start_with_env(name: &str, value: &str) -> Self {
        let coven = Self::new().env(name, value);
        coven.start_daemon();
        coven
    }

    /// Directory of the test's own programs, first on the daemon's `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }
}

impl Coven {
    /// Starts the daemon after `prelude` as a user that nobody else is: RLIMIT_NPROC counts all that a user runs, and
    /// root is not held to it. `false`, having said so, where this process is not root.
    pub fn start_as_nobody_else(&self, prelude: &str) -> bool {
        use std::os::unix::process::CommandExt;
        static NEXT: AtomicU32 = AtomicU32::new(54_321);
        if !is_root() {
            println!("skipped: only root can be a user that nobody else is");
            return false;
        }
        let user = NEXT.fetch_add(1, Ordering::Relaxed);
        let program = self.root.join("coven");
        fs::copy(env!("CARGO_BIN_EXE_coven"), &program).unwrap();
        let manifests = fs::read_dir(self.home().join("adapters")).unwrap();
        let manifests = manifests.map(|entry| entry.unwrap().path());
        let dirs = ["", "work", "bin", "home", "home/adapters"];
        for path in dirs
            .map(|dir| self.root.join(dir))
            .into_iter()
            .chain(manifests)
        {
            std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
        }
        let usual = self.command(["daemon", "start"]);
        let mut start = Command::new("sh");
        start
            .args(["-c", &format!("{prelude}\nexec \"$0\" daemon start")])
            .arg(&program)
            .env_clear()
            .envs(
                usual
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.work())
            .uid(user)
            .gid(user);
        let ran = Ran::of(start.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        true
    }
}
