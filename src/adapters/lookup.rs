//! Looks up a program name on a `PATH` as execvp(3) does, except that relative and empty entries are skipped: they
//! would mean another directory in each session.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first executable file `name` in the absolute directories of `path`.
pub fn find_on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    places(name, path?).find(|file| is_executable(file))
}

/// The first entry `name` in these directories of any type: perhaps a dangling link, or not executable.
pub(super) fn find_any_on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    places(name, path?).find(|file| file.symlink_metadata().is_ok())
}

fn places(name: &str, path: &OsStr) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(move |dir| dir.join(name))
}

fn is_executable(file: &Path) -> bool {
    // Any of the three bits: execve(2) decides which one applies to this user.
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_absolute_directories_only() {
        let find = |path: &str| find_on_path("sh", Some(OsStr::new(path)));
        assert_eq!(find("/nowhere:/bin"), Some("/bin/sh".into()));
        assert_eq!(find("::bin:."), None);
        assert_eq!(find_on_path("sh", None), None);
        assert_eq!(
            find_on_path("etc", Some(OsStr::new("/"))),
            None,
            "a directory is no program"
        );
    }
}
