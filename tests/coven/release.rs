//! `scripts/release`, in a clone of this checkout.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::*;

/// The version that the tests release.
const VERSION: &str = "97.1.0";

/// A clone in which the script stands as it is here, and a program that says that it is the version.
struct Clone {
    coven: Coven,
    dir: PathBuf,
}

impl Clone {
    /// `None`, having said so, where this is no checkout of git's, or a tool is missing.
    fn new() -> Option<Self> {
        let root = checkout("");
        if !root.join(".git").exists() {
            println!("skipped: this is no checkout");
            return None;
        }
        if !has_tools(&["git", "dpkg-deb", "dpkg", "gzip", "sha256sum"]) {
            return None;
        }
        let coven = Coven::new();
        let dir = coven.work().join("clone");
        tool(
            Command::new("git")
                .args([
                    "-c",
                    "init.defaultBranch=main",
                    "-c",
                    "advice.detachedHead=false",
                ])
                .args(["clone", "-q"])
                .arg(&root)
                .arg(&dir),
        );
        let clone = Self { coven, dir };
        for name in ["release", "package"] {
            let script = format!("scripts/{name}");
            fs::copy(checkout(&script), clone.dir.join(&script)).unwrap();
        }
        let (head, entry) = ("## [Unreleased]\n", "\n### Added\n\n- An entry.\n");
        let changes = clone
            .file("CHANGELOG.md")
            .replacen(head, &[head, entry].concat(), 1);
        fs::write(clone.dir.join("CHANGELOG.md"), changes).unwrap();
        clone.git(&["add", "-A"]);
        clone.git(&[
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "the scripts as they are here",
        ]);
        let real = clone.coven.command([] as [&str; 0]);
        let script = format!(
            "case $1 in version) echo 'coven {VERSION} (test)' ;; *) exec {} \"$@\" ;; esac",
            real.get_program().display()
        );
        clone.coven.program("released", &script);
        Some(clone)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir);
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "Test");
            command.env(format!("{name}_EMAIL"), "test@localhost");
        }
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("SOURCE_DATE_EPOCH", "1778310000")
            .env("DPKG_DEB_COMPRESSOR_TYPE", "none");
        command
    }

    fn git(&self, args: &[&str]) -> String {
        tool(self.command("git").args(args)).trim().to_owned()
    }

    fn release(&self, args: &[&str]) -> Ran {
        Ran::of(self.command("scripts/release").args(args).output().unwrap())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap()
    }
}

#[test]
fn a_release_is_a_commit_a_tag_a_package_and_checksums() {
    let Some(clone) = Clone::new() else { return };
    let program = clone.coven.bin().join("released").display().to_string();
    let output = clone.coven.work().join("out");
    let options = ["--binary", &program, "--output", output.to_str().unwrap()];
    let ran = clone.release(&[&[VERSION], &options[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        clone.git(&["log", "-1", "--format=%s"]),
        format!("Release {VERSION}")
    );
    assert_eq!(clone.git(&["status", "--porcelain"]), "");
    let changed = clone.git(&["show", "--format=", "--numstat"]);
    let changed: Vec<&str> = changed.lines().collect();
    assert_eq!(
        changed,
        ["2\t0\tCHANGELOG.md", "1\t1\tCargo.lock", "1\t1\tCargo.toml"]
    );
    assert!(
        clone
            .file("Cargo.toml")
            .contains(&format!("\nversion = \"{VERSION}\"\n"))
    );
    let head = format!("## [Unreleased]\n\n## [{VERSION}] - 2026-05-09\n");
    assert!(clone.file("CHANGELOG.md").contains(&head));
    let text = clone.git(&["tag", "-l", "--format=%(contents)", &format!("v{VERSION}")]);
    assert!(
        text.starts_with(&format!("coven {VERSION}\n\n### Added\n\n- An entry.\n")),
        "{text}"
    );
    let sums = tool(
        Command::new("sha256sum")
            .args(["-c", "SHA256SUMS"])
            .current_dir(&output),
    );
    assert_eq!(sums.lines().count(), 2, "{sums}");
    // Locked: the two files have one version.
    let checked = clone
        .command("cargo")
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version=1",
        ])
        .output();
    assert!(checked.unwrap().status.success());
    let again = clone.release(&[&[VERSION], &options[..]].concat());
    assert!(again.err.contains("already"), "{again:?}");
}

#[test]
fn a_release_that_cannot_be_made_changes_nothing() {
    let Some(clone) = Clone::new() else { return };
    let (before, tags) = (clone.git(&["rev-parse", "HEAD"]), clone.git(&["tag", "-l"]));
    let ran = clone.release(&[VERSION, "--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains(&format!("would tag: v{VERSION}")),
        "{ran:?}"
    );
    let program = clone.coven.bin().join("coven-of-today");
    let real = clone.coven.command([] as [&str; 0]);
    std::os::unix::fs::symlink(real.get_program(), &program).unwrap();
    let wrong = clone.release(&[VERSION, "--binary", program.to_str().unwrap()]);
    assert!(wrong.err.contains("is not version"), "{wrong:?}");
    for args in [
        &["0.0.1"][..],
        &["1.0"],
        &["v1.0.0"],
        &[],
        &["1.0.0", "2.0.0"],
    ] {
        assert_ne!(clone.release(args).code, 0, "{args:?}");
    }
    assert_eq!(clone.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(clone.git(&["status", "--porcelain"]), "");
    assert_eq!(clone.git(&["tag", "-l"]), tags);
    fs::write(clone.dir.join("mine"), "work").unwrap();
    let dirty = clone.release(&[VERSION]);
    assert_eq!(
        (dirty.code, dirty.err.as_str()),
        (
            1,
            "release: the tree has changes: commit or remove them first\n"
        )
    );
    assert_eq!(clone.file("mine"), "work");
}
