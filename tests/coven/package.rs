//! `scripts/package`: what is in the Debian package.

use std::fs;
use std::process::Command;

use crate::support::*;

/// Modes, owners and names of files in the package.
const FILES: [&str; 13] = [
    "-rwxr-xr-x root/root ./usr/bin/coven",
    "-rw-r--r-- root/root ./usr/lib/systemd/system/coven.service",
    "-rw-r--r-- root/root ./usr/lib/systemd/system/coven.socket",
    "-rw-r--r-- root/root ./usr/lib/systemd/user/coven.service",
    "-rw-r--r-- root/root ./usr/lib/systemd/user/coven.socket",
    "-rw-r--r-- root/root ./usr/share/bash-completion/completions/coven",
    "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_coven",
    "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/coven.fish",
    "-rw-r--r-- root/root ./usr/share/man/man1/coven.1.gz",
    "-rw-r--r-- root/root ./usr/share/man/man5/coven-settings.5.gz",
    "-rw-r--r-- root/root ./usr/share/man/man7/coven-api.7.gz",
    "-rw-r--r-- root/root ./usr/share/doc/coven/copyright",
    "-rw-r--r-- root/root ./usr/share/doc/coven/changelog.gz",
];

#[test]
fn the_package_has_what_a_server_needs_and_the_same_bytes_each_time() {
    if !has_tools(&["dpkg-deb", "dpkg", "gzip"]) {
        return;
    }
    let coven = Coven::new();
    let build = |name: &str| {
        let mut command = Command::new(checkout("scripts/package"));
        command
            .args(["--binary", env!("CARGO_BIN_EXE_coven"), "--output", name])
            .env("SOURCE_DATE_EPOCH", "1778310000")
            // A debug binary is large, and it is thrown away.
            .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
            .current_dir(coven.work());
        let said = tool(&mut command);
        coven
            .work()
            .join(said.trim().strip_prefix("built ").unwrap())
    };
    let deb = build("one");
    assert!(fs::read(&deb).unwrap() == fs::read(build("two")).unwrap());

    let listed = tool(Command::new("dpkg-deb").arg("-c").arg(&deb));
    for file in FILES {
        let is_there = listed.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            format!("{} {} {}", fields[0], fields[1], fields[5]) == file
        });
        assert!(is_there, "{file} is not in\n{listed}");
    }
    let version = tool(
        Command::new("dpkg-deb")
            .args(["-f"])
            .arg(&deb)
            .arg("Version"),
    );
    assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));

    let root = coven.work().join("root");
    tool(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root));
    for unit in [
        "system/coven.service",
        "system/coven.socket",
        "user/coven.service",
        "user/coven.socket",
    ] {
        let text = fs::read_to_string(root.join("usr/lib/systemd").join(unit)).unwrap();
        let is_open = text
            .lines()
            .any(|line| !line.starts_with('#') && line.contains('@'));
        assert!(!is_open, "{unit}:\n{text}");
    }
}
