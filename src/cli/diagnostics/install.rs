//! Which system this is, and how coven came to it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::report::Block;
use super::shown::Privacy;
use crate::daemon::service::tool_output;
use crate::settings::durations;
use crate::sys::{self, System};

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

    pub(super) fn os(&self, privacy: &Privacy) -> Block {
        let name = |text: &String| privacy.name(text);
        Block::Facts(vec![
            ("system", name(&self.system.name)),
            ("distribution", self.distribution.as_ref().map(name).into()),
            ("kernel", name(&self.system.release)),
            ("machine", name(&self.system.machine)),
        ])
    }

    pub(super) fn block(&self, privacy: &Privacy) -> Block {
        let path = self.executable.as_ref();
        Block::Facts(vec![
            ("path", path.map(|path| privacy.install(path)).into()),
            ("packageManager", privacy.name(&self.manager)),
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
    let deadline = Instant::now() + durations::DPKG;
    let output = tool_output(
        "/usr/bin/dpkg-query",
        &["-S", "--", path.to_str()?],
        deadline,
    )?;
    // `coven: /usr/bin/coven`
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
