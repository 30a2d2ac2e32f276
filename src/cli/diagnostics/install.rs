//! Which system this is, and how coven came to it.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::anonymise::Anonymiser;
use super::report::Block;
use crate::settings::durations;
use crate::sys::{self, System, Within};

/// The longest name of a package that is shown, in bytes.
const PACKAGE_MAX: usize = 80;

/// What was found of the system and the binary.
pub(super) struct Install {
    system: System,
    /// What the distribution calls itself.
    distribution: Option<String>,
    executable: Option<PathBuf>,
    manager: String,
}

impl Install {
    /// Looks; where dpkg is asked, for as long as that takes.
    pub(super) fn look() -> Self {
        let executable = std::env::current_exe().ok();
        let real = executable
            .as_ref()
            .and_then(|path| path.canonicalize().ok());
        let manager = match real.as_deref().or(executable.as_deref()) {
            Some(path) => manager_of(path),
            None => "unknown".into(),
        };
        Self {
            system: sys::system(),
            distribution: distribution(),
            executable,
            manager,
        }
    }

    pub(super) fn os(&self, a: &Anonymiser) -> Block {
        let System {
            name,
            release,
            machine,
            ..
        } = &self.system;
        let distribution = self.distribution.as_deref().map(|name| a.any(name));
        Block::Facts(vec![
            ("system", name.as_str().into()),
            ("distribution", distribution.into()),
            ("kernel", release.as_str().into()),
            ("machine", machine.as_str().into()),
        ])
    }

    pub(super) fn block(&self, a: &Anonymiser) -> Block {
        let path = self
            .executable
            .as_ref()
            .map(|path| a.path(&path.display().to_string()));
        Block::Facts(vec![
            ("path", path.into()),
            ("packageManager", self.manager.as_str().into()),
        ])
    }
}

/// The name in os-release(5); macOS has none there.
fn distribution() -> Option<String> {
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let text = files
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok())?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Who put the binary where it is, as far as its path or dpkg's lists say.
fn manager_of(path: &Path) -> String {
    let has = |part: &str| {
        path.components()
            .any(|component| component.as_os_str() == part)
    };
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let is_cargos = cargo_home.is_some_and(|home| path.starts_with(home.join("bin")))
        || path.parent().is_some_and(|dir| dir.ends_with(".cargo/bin"));
    if path.starts_with("/nix/store") {
        "nix".into()
    } else if has("Cellar") || has(".linuxbrew") {
        "brew".into()
    } else if path.starts_with("/snap") {
        "snap".into()
    } else if is_cargos {
        "cargo install".into()
    } else if has("target") && (has("debug") || has("release")) {
        "none: cargo build".into()
    } else if let Some(package) = debian_package(path) {
        format!("dpkg: {package}")
    } else {
        "none: by hand".into()
    }
}

/// The Debian package that owns `path`; none where there is no dpkg.
fn debian_package(path: &Path) -> Option<String> {
    let program = Path::new("/usr/bin/dpkg-query");
    if !program.exists() {
        return None;
    }
    let argument = |text: &[u8]| CString::new(text).ok();
    let path = argument(path.as_os_str().as_encoded_bytes())?;
    let (output, child_stdout) = sys::pipe().ok()?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .ok()?;
    let pid = sys::spawn(
        &sys::Program {
            path: program,
            argv: vec![
                argument(b"dpkg-query")?,
                argument(b"-S")?,
                argument(b"--")?,
                path,
            ],
            env: vec![argument(b"LC_ALL=C")?, argument(b"PATH=/usr/bin:/bin")?],
            cwd: Path::new("/"),
            family: None,
        },
        &sys::Stdio {
            stdin: null.as_fd(),
            stdout: child_stdout.as_fd(),
            stderr: null.as_fd(),
        },
    )
    .ok()?;
    drop(child_stdout);
    let (pipe, mut output) = (File::from(output), Vec::new());
    let is_read = sys::set_nonblocking(&pipe).and_then(|()| {
        Within::new(&pipe, Instant::now() + durations::DPKG).read_to_end(&mut output)
    });
    // Over by itself, or not wanted any more.
    let _ = sys::kill_group(pid, libc::SIGKILL);
    let _ = sys::reap(pid);
    is_read.ok()?;
    // `coven: /usr/bin/coven`
    let output = String::from_utf8_lossy(&output);
    let (package, _) = output.split_once(": ")?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"+-.:".contains(&b);
    (package.len() <= PACKAGE_MAX && package.bytes().all(is_name)).then(|| package.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_who_put_it_there() {
        for (path, manager) in [
            ("/nix/store/abc-coven-0.1.0/bin/coven", "nix"),
            ("/opt/homebrew/Cellar/coven/0.1.0/bin/coven", "brew"),
            ("/home/linuxbrew/.linuxbrew/bin/coven", "brew"),
            ("/snap/coven/1/bin/coven", "snap"),
            ("/home/ada/.cargo/bin/coven", "cargo install"),
            ("/home/ada/coven/target/release/coven", "none: cargo build"),
            ("/srv/tools/coven", "none: by hand"),
        ] {
            assert_eq!(manager_of(Path::new(path)), manager, "{path}");
        }
    }

    #[test]
    fn a_file_of_a_package_says_which() {
        if !Path::new("/usr/bin/dpkg-query").exists() {
            println!("skipped: there is no dpkg-query");
            return;
        }
        let package = manager_of(Path::new("/usr/bin/dpkg-query"));
        assert_eq!(package, "dpkg: dpkg");
    }
}
