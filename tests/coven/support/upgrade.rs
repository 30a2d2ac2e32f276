//! Other programs to which a daemon is upgraded: copies of the binary that call themselves another version, or that fail.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Answer, Coven};

impl Coven {
    /// A copy of the program that calls itself version `version`.
    pub fn program_of_version(&self, version: &str) -> PathBuf {
        let path = self.bin().join(format!("coven-{version}"));
        let built = env!("CARGO_BIN_EXE_coven");
        if fs::hard_link(built, &path).is_err() {
            fs::copy(built, &path).unwrap();
        }
        tell(&path, "version", version);
        path
    }

    /// A copy of the program that fails at `place` in the way `how`.
    pub fn failing_program(&self, place: &str, how: &str) -> PathBuf {
        let path = self.program_of_version(&format!("{place}-{how}"));
        tell(&path, "fails", &format!("{place} {how}"));
        path
    }

    /// Asks the daemon to upgrade itself to the program at `path`.
    pub fn upgrade_to(&self, path: &Path) -> Answer {
        self.post("/api/v1/daemon/upgrade", &json!({ "binary": path }))
    }

    /// Upgrades the daemon, and gives the answer of the new program.
    #[track_caller]
    pub fn upgraded_to(&self, path: &Path) -> Value {
        let answer = self.upgrade_to(path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn health(&self) -> Value {
        self.get("/api/v1/health").json()
    }
}

/// Tells the program at `path` how it differs from the one that was built: a debug build reads the file beside it.
pub fn tell(path: &Path, what: &str, text: &str) {
    let mut file = path.as_os_str().to_owned();
    file.push(format!(".{what}"));
    fs::write(file, text).unwrap();
}

/// The program of a process.
pub fn program_of(pid: i32) -> PathBuf {
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let name = path.as_os_str().as_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}
