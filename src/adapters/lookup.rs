//! Looking a bare name up on a `PATH`, as execvp(3) would, but for one thing: entries that are relative or
//! empty are passed over, since they would mean another directory in each session.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first executable file called `name` in the absolute directories of `path`.
pub fn find_on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    places(name, path?).find(|file| is_executable(file))
}

/// The first of that name that is no such file: a link to nothing, or one that must not be executed.
pub(super) fn find_any_on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    places(name, path?).find(|file| file.symlink_metadata().is_ok())
}

fn places(name: &str, path: &OsStr) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(move |dir| dir.join(name))
}

fn is_executable(file: &Path) -> bool {
    // Any of the three bits: which of them is ours is for execve to say.
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
