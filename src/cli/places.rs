//! The directories of a launch: those of this shell, or for another host those that its daemon knows.
//!
//! Paths of another host are not looked at: its daemon checks them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::CliError;
use super::daemon::remark;
use super::target::Target;
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, LaunchRequest};
use crate::http::client::Client;
use crate::sys;

/// Stands for the home directory of another host's user.
const HOME: &str = "~";

/// The directories of a launch.
pub(super) struct Places {
    pub root: String,
    /// `None`: the root.
    pub cwd: Option<String>,
    pub add_dirs: Vec<String>,
}

impl Places {
    /// From the options `--cwd`, `--root` and `--add-dir`.
    pub(super) fn of(
        target: &Target,
        cwd: Option<&Path>,
        root: Option<&Path>,
        add_dirs: &[PathBuf],
    ) -> Result<Self, CliError> {
        for (option, path) in [("--cwd", cwd), ("--root", root)] {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                let message = format!("run: {option} names no directory");
                return Err(CliError::usage(&message));
            }
        }
        match target.host() {
            None => Self::here(cwd, root, add_dirs),
            Some(_) => Self::there(cwd, root, add_dirs),
        }
    }

    fn here(
        cwd: Option<&Path>,
        root: Option<&Path>,
        add_dirs: &[PathBuf],
    ) -> Result<Self, CliError> {
        let here = std::env::current_dir().map_err(|err| {
            let message = format!("the working directory of this shell is gone or closed: {err}");
            CliError::failed(Code::IoError, message, Some("cd to another directory"))
        })?;
        for (option, path) in [("--cwd", cwd), ("--root", root)] {
            let Some(path) = path else { continue };
            let wrong = |why: String| {
                let message = format!("{option} {}: {why}", path.display());
                CliError::new(Code::IoError, message)
            };
            let meta = std::fs::metadata(here.join(path)).map_err(|err| wrong(err.to_string()))?;
            if !meta.is_dir() {
                return Err(wrong("is not a directory".into()));
            }
        }
        // Canonical if the path exists: a path with `..` could hide whether it is inside the root.
        let canonical = |path: &Path| here.join(path).canonicalize().unwrap_or(here.join(path));
        let work = canonical(cwd.unwrap_or(&here));
        let root = match root {
            Some(root) => canonical(root),
            None => project_root(&work),
        };
        // With a root elsewhere and no directory given, the root itself is used.
        let work = (cwd.is_some() || work.starts_with(&root)).then_some(work);
        let add_dirs = add_dirs.iter().map(|dir| utf8(&here.join(dir)));
        Ok(Self {
            root: utf8(&root)?,
            cwd: work.as_deref().map(utf8).transpose()?,
            add_dirs: add_dirs.collect::<Result<_, _>>()?,
        })
    }

    /// The default is the home of the host's user; a relative `--cwd` is one below the root.
    fn there(
        cwd: Option<&Path>,
        root: Option<&Path>,
        add_dirs: &[PathBuf],
    ) -> Result<Self, CliError> {
        let is_whole = |path: &Path| path.is_absolute() || path.starts_with(HOME);
        let whole = |option: &str, path: &Path| match is_whole(path) {
            true => utf8(path),
            false => Err(CliError::usage(&format!(
                "run: {option} {}: for another host it must be absolute, or begin with ~/",
                path.display()
            ))),
        };
        let default = cwd.filter(|cwd| is_whole(cwd)).unwrap_or(Path::new(HOME));
        let add_dirs = add_dirs.iter().map(|dir| whole("--add-dir", dir));
        Ok(Self {
            root: whole("--root", root.unwrap_or(default))?,
            cwd: cwd.map(utf8).transpose()?,
            add_dirs: add_dirs.collect::<Result<_, _>>()?,
        })
    }
}

/// Replaces `~` in a request's paths by the home of the daemon's user.
pub(super) fn expand_home(
    client: &mut Client,
    request: &mut LaunchRequest,
) -> Result<(), CliError> {
    let paths = std::iter::once(&mut request.project_root)
        .chain(&mut request.cwd)
        .chain(&mut request.add_dirs);
    let paths: Vec<&mut String> = paths
        .filter(|path| Path::new(path.as_str()).starts_with(HOME))
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    let process = client.call(routes::Capabilities.request())?.process;
    let home = process.and_then(|process| process.home).ok_or_else(|| {
        let message = "run: the host's daemon does not tell its user's home: give --root";
        CliError::usage(message)
    })?;
    for path in paths {
        path.replace_range(..HOME.len(), &home);
    }
    Ok(())
}

/// The nearest directory upwards from `cwd` with a `.git` of this user's or root's; else `cwd`. Another user could
/// create one in `/tmp`, and so become the root of everything below.
fn project_root(cwd: &Path) -> PathBuf {
    let mut foreign = None;
    for dir in cwd.ancestors() {
        let git = dir.join(".git");
        match git.symlink_metadata().map(|meta| meta.uid()) {
            Ok(uid) if uid == sys::euid() || uid == 0 => return dir.to_owned(),
            Ok(uid) => {
                foreign.get_or_insert((git, uid));
            }
            Err(_) => {}
        }
    }
    if let Some((git, uid)) = foreign {
        let (git, cwd) = (git.display(), cwd.display());
        remark(&format!(
            "{git} belongs to another user (uid {uid}): the project root is {cwd}; --root sets another"
        ));
    }
    cwd.to_owned()
}

fn utf8(path: &Path) -> Result<String, CliError> {
    let not_utf8 = || CliError::usage(&format!("the path {} is not UTF-8", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(not_utf8)
}
