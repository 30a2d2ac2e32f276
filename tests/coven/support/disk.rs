//! A store that cannot be written, and a daemon that has to live with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use super::{Coven, Ran, eventually_some, wait_for_line, wait_until_gone};

/// A daemon whose files cannot grow past `kib`: what a full disk is, without filling one (setrlimit(2),
/// RLIMIT_FSIZE).
fn spawn_with_file_limit(coven: &Coven, kib: u32) -> Child {
    let serve = coven.command(["daemon", "serve"]);
    let mut limited = Command::new("sh");
    limited
        .args([
            "-c",
            &format!("ulimit -S -f {kib}; exec \"$0\" daemon serve"),
        ])
        .arg(serve.get_program())
        .env_clear()
        .envs(
            serve
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stderr(Stdio::piped());
    limited.spawn().unwrap()
}

/// The same, once it serves.
pub fn serve_with_file_limit(coven: &Coven, kib: u32) -> Child {
    let mut child = spawn_with_file_limit(coven, kib);
    wait_for_line(&mut child, "contract_served");
    child
}

/// The same, with all that it says from then on.
pub fn listen_with_file_limit(coven: &Coven, kib: u32) -> Serving {
    Serving::from_line(spawn_with_file_limit(coven, kib), "contract_served")
}

pub fn lift_file_limit(pid: u32) {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: prlimit reads the struct, which outlives the call.
    let result = unsafe {
        libc::prlimit(
            pid as i32,
            libc::RLIMIT_FSIZE,
            &unlimited,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Health once its writer is in `state`. Launch attempts drive it there: each is a write that is tried.
pub fn health_until(coven: &Coven, mut is_wanted: impl FnMut(&Value) -> bool) -> Value {
    eventually_some("the wanted health", || {
        let health = coven.get("/api/v1/health").json();
        is_wanted(&health).then_some(health)
    })
}

/// Health once the writer has failed and its queue is full: what harnesses write stays in their pipes.
pub fn health_when_held_back(coven: &Coven) -> Value {
    let mut unchanged = (0, 0);
    health_until(coven, |health| {
        let writer = &health["eventWriter"];
        let bytes = |name: &str| writer[name].as_u64().unwrap();
        let queued = bytes("queuedBytes");
        let (before, times) = unchanged;
        unchanged = (queued, if queued == before { times + 1 } else { 0 });
        // A read of 64 KiB, each byte of which can take six, does not fit.
        let is_full = queued + 6 * 64 * 1024 > bytes("capacityBytes");
        writer["state"] == "failed" && is_full && times > 200
    })
}

/// A daemon in the foreground, and all that it says.
pub struct Serving {
    child: Child,
    err: JoinHandle<String>,
}

impl Serving {
    /// Reads what `child` says, beginning with the line that holds `text`.
    pub fn from_line(mut child: Child, text: &str) -> Self {
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains(text));
        assert!(found.is_some(), "it has never said {text:?}");
        let err = std::thread::spawn(move || {
            let lines: Vec<String> = lines.map_while(Result::ok).collect();
            lines.join("\n")
        });
        Self { child, err }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for its end.
    pub fn finish(self) -> Ran {
        wait_until_gone(self.pid());
        let mut ran = Ran::of(self.child.wait_with_output().unwrap());
        ran.err = self.err.join().unwrap();
        ran
    }
}

/// `None`, having said so.
fn skipped() -> Option<SmallDisk> {
    println!("skipped: no file system can be mounted here");
    None
}

/// A small file system of a home's own, until it is dropped.
pub struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    /// Puts the home of `coven` on a disk of `mib` MiB. `None`, having said so, where only root may.
    pub fn under(coven: &Coven, mib: usize) -> Option<Self> {
        let disk = Self { path: coven.home() };
        disk.mount("", &format!("mode=0700,size={mib}m"))
            .then(|| disk.made_ready())
            .or_else(skipped)
    }

    /// The same, of a file system with a journal, in a file.
    pub fn with_journal_under(coven: &Coven, mib: u64) -> Option<Self> {
        let disk = Self { path: coven.home() };
        let image = coven.work().join("disk");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(mib << 20)
            .unwrap();
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            let output = command.args(args).arg(&image).output();
            output.is_ok_and(|output| output.status.success())
        };
        (run("mkfs.ext4", &["-q"]) && disk.mount_image(&image))
            .then(|| disk.made_ready())
            .or_else(skipped)
    }

    fn made_ready(self) -> Self {
        let adapters = self.path.join("adapters");
        std::fs::create_dir(&adapters).unwrap();
        for dir in [&adapters, &self.path] {
            let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(dir, only_ours).unwrap();
        }
        self
    }

    fn mount_image(&self, image: &Path) -> bool {
        let mut mount = Command::new("mount");
        let output = mount
            .args(["-o", "loop"])
            .arg(image)
            .arg(&self.path)
            .output();
        output.is_ok_and(|output| output.status.success())
    }

    /// Has the kernel give up on it, as it does on a disk with errors: whatever is open, it is read-only at once
    /// (ext4(5), `abort`).
    pub fn abort(&self) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", "remount,abort"]).arg(&self.path).status();
        assert!(status.unwrap().success());
    }

    /// Makes it as large as that.
    pub fn resize(&self, mib: usize) {
        assert!(self.mount("remount,", &format!("size={mib}m")));
    }

    fn mount(&self, how: &str, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("{how}{options}"), "tmpfs"]);
        let output = mount.arg(&self.path).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: after a failure there are still processes in it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
