//! The program that takes over: opened once, then checked and executed by the same descriptor.
//!
//! Runs on the connection thread of the upgrade. It knows no session.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::FORMAT;
use super::check::{Fitness, Refusal};
use crate::api::UpgradeRefusal::BinaryUnusable;
use crate::daemon::tool::{Say, run};
use crate::state::Successor;
use crate::sys;

/// A program that this user may execute and no other user can change.
#[derive(Debug)]
pub struct Program {
    file: File,
    path: PathBuf,
}

impl Program {
    /// Opens the program at `path`.
    ///
    /// # Errors
    /// `binary_unusable`: it is no regular file, belongs to another user than root or this one, can be written by
    /// others, or is not executable.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let unusable =
            |why: &str| Refusal::new(BinaryUnusable, format!("{}: {why}", path.display()));
        let file = sys::open_followed(path).map_err(|err| unusable(&err.to_string()))?;
        let meta = file.metadata().map_err(|err| unusable(&err.to_string()))?;
        match fault(&meta, sys::euid()) {
            Some(fault) => Err(unusable(fault)),
            None => Ok(Self {
                file,
                path: path.to_owned(),
            }),
        }
    }

    /// Runs the program in a process of its own, which tells whether it can take over from this daemon.
    ///
    /// # Errors
    /// `binary_unusable` if it does not start, does not answer within `patience`, or is another program; otherwise the
    /// refusal that it gives itself.
    pub fn check(&self, patience: Duration) -> Result<Fitness, Refusal> {
        let unusable =
            |why: &str| Refusal::new(BinaryUnusable, format!("{}: {why}", self.path.display()));
        let mut command = Command::new(self.executable());
        command
            .arg0(&self.path)
            .args(["daemon", "serve", "--check-handover", &FORMAT.to_string()]);
        let said = run(command, Say::Both, Instant::now() + patience)
            .map_err(|err| unusable(&format!("it does not start: {err}")))?;
        let Some(text) = said.text else {
            return Err(unusable(&format!(
                "it did not answer within {} s",
                patience.as_secs()
            )));
        };
        // The loader or the allocator may have written in front of it.
        let answer = text.lines().next_back().unwrap_or_default();
        let fitness: Fitness = match crate::api::from_json(answer) {
            Ok(fitness) if said.status.success() => fitness,
            _ => {
                let (status, said) = (said.status, first_line(&text));
                return Err(unusable(&format!(
                    "it is no coven that can take over ({status}): {said}"
                )));
            }
        };
        match fitness.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(fitness),
        }
    }

    /// The checked program, to be executed.
    pub(super) fn into_successor(self, fitness: Fitness) -> Successor {
        Successor {
            program: self.file.into(),
            path: self.path,
            version: fitness.version,
            migrates_to: fitness.migrates_to,
        }
    }

    /// Path by which the open file is executed. On Linux its name may lead to another file by now; macOS cannot execute
    /// a descriptor.
    fn executable(&self) -> PathBuf {
        sys::descriptor_path(&self.file).unwrap_or_else(|| self.path.clone())
    }
}

/// Path of the program that runs. The kernel marks that of a removed file (proc(5), `exe`): a new file may be there.
///
/// # Errors
/// The path cannot be read.
pub(in crate::daemon) fn own_path() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.into_os_string().into_vec();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec();
    Ok(OsString::from_vec(path).into())
}

/// Why the file with `meta` is no program that `user` can trust, if so.
fn fault(meta: &Metadata, user: u32) -> Option<&'static str> {
    fault_of(meta.is_file(), meta.uid(), meta.mode(), user)
}

fn fault_of(is_file: bool, owner: u32, mode: u32, user: u32) -> Option<&'static str> {
    match () {
        () if !is_file => Some("it is no regular file"),
        () if owner != 0 && owner != user => {
            Some("it belongs neither to root nor to the user of the daemon")
        }
        () if mode & 0o022 != 0 => Some("other users can write to it: chmod go-w"),
        () if mode & 0o111 == 0 => Some("it is not executable"),
        () => None,
    }
}

/// The first line that is not blank of what a program that is no coven says, bounded for a message.
fn first_line(text: &str) -> String {
    const MAX: usize = 200;
    // A panic begins with an empty one.
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("it says nothing")
        .chars()
        .take(MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_no_other_user_can_change_is_a_program() {
        for (is_file, owner, mode, is_usable) in [
            (true, 0, 0o755, true),
            (true, 1000, 0o700, true),
            (true, 1000, 0o555, true),
            (false, 0, 0o755, false),
            (true, 1001, 0o755, false),
            (true, 1000, 0o775, false),
            (true, 1000, 0o757, false),
            (true, 0, 0o722, false),
            (true, 0, 0o644, false),
        ] {
            let fault = fault_of(is_file, owner, mode, 1000);
            assert_eq!(fault.is_none(), is_usable, "{owner} {mode:o} {fault:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_coven_is_refused_before_anything_happens() {
        let refused = |path: &str| {
            let checked = Program::open(Path::new(path))
                .and_then(|program| program.check(Duration::from_secs(20)));
            checked.unwrap_err()
        };
        for path in [
            "/",
            "/dev/null",
            "/does/not/exist",
            "/etc/passwd",
            "/bin/true",
            "/bin/ls",
        ] {
            let refusal = refused(path);
            assert_eq!(refusal.reason, BinaryUnusable, "{path}");
            assert!(refusal.message.starts_with(path), "{}", refusal.message);
        }
    }
}
