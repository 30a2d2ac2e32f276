//! Operating system and installation of coven. Looked up on a thread of its own: dpkg can be slow.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::privacy::Privacy;
use super::shown::{Shown, object};
use crate::daemon::tool_output;
use crate::settings::durations;
use crate::sys::{self, System};

/// Longest package name that is shown, in bytes.
const PACKAGE_MAX: usize = 80;

/// System and executable.
pub(super) struct Install {
    system: System,
    distribution: Option<String>,
    executable: Option<PathBuf>,
    manager: String,
}

impl Install {
    pub(super) fn find() -> Self {
        let executable = std::env::current_exe().ok();
        let real = executable
            .as_ref()
            .map(|path| path.canonicalize().unwrap_or(path.clone()));
        Self {
            system: sys::system(),
            distribution: distribution(),
            manager: real.map_or("unknown".into(), |path| manager_of(&path)),
            executable,
        }
    }

    pub(super) fn os(&self, privacy: &Privacy) -> Shown {
        let name = |text: &String| privacy.name(text);
        object! {
            "system": name(&self.system.name),
            "distribution": self.distribution.as_ref().map(name),
            "kernel": name(&self.system.release),
            "machine": name(&self.system.machine),
        }
    }

    pub(super) fn show(&self, privacy: &Privacy) -> Shown {
        let path = self.executable.as_ref().map(|path| privacy.place(path));
        object! { "path": path, "packageManager": privacy.name(&self.manager) }
    }
}

/// The name in os-release(5); macOS has no such file.
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

/// The package manager that installed the executable, by its path or by dpkg's lists.
fn manager_of(path: &Path) -> String {
    let has = |part: &str| {
        path.components()
            .any(|component| component.as_os_str() == part)
    };
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let is_cargos = cargo_home.is_some_and(|home| path.starts_with(home.join("bin")))
        || path.parent().is_some_and(|dir| dir.ends_with(".cargo/bin"));
    let known = [
        ("nix", path.starts_with("/nix/store")),
        ("brew", has("Cellar") || has(".linuxbrew")),
        ("snap", path.starts_with("/snap")),
        ("cargo install", is_cargos),
        (
            "none: cargo build",
            has("target") && (has("debug") || has("release")),
        ),
    ];
    if let Some((manager, _)) = known.iter().find(|(_, is_it)| *is_it) {
        return (*manager).into();
    }
    debian_package(path).map_or("none: by hand".into(), |package| format!("dpkg: {package}"))
}

/// The Debian package that owns `path`; `None` without dpkg.
fn debian_package(path: &Path) -> Option<String> {
    let deadline = Instant::now() + durations::DPKG;
    let args = ["-S", "--", path.to_str()?];
    let output = tool_output("/usr/bin/dpkg-query", &args, deadline)?;
    // The output is `coven: /usr/bin/coven`.
    let (package, _) = output.split_once(": ")?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"+-.:".contains(&b);
    (package.len() <= PACKAGE_MAX && package.bytes().all(is_name)).then(|| package.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::rows;

    #[test]
    fn a_path_says_who_put_it_there() {
        for (path, manager) in rows(
            "/nix/store/abc-coven-0.1.0/bin/coven       -> nix
             /opt/homebrew/Cellar/coven/0.1.0/bin/coven -> brew
             /home/linuxbrew/.linuxbrew/bin/coven       -> brew
             /snap/coven/1/bin/coven                    -> snap
             /home/ada/.cargo/bin/coven                 -> cargo install
             /home/ada/coven/target/release/coven       -> none: cargo build
             /srv/tools/coven                           -> none: by hand
             /usr/bin/dpkg-query                        -> dpkg: dpkg",
        ) {
            // Without dpkg no package owns it.
            if !manager.starts_with("dpkg") || Path::new(path).exists() {
                assert_eq!(manager_of(Path::new(path)), manager, "{path}");
            }
        }
    }
}
