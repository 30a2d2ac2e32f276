//! Tells `api::BUILD` the git commit and the day. Only in a release build: in a debug build each commit would compile
//! the library and all tests again. And asks the linker for relocations in a bit map, where the system can load them.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["COVEN_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = std::env::var("COVEN_COMMIT")
        .ok()
        .filter(|commit| is_hex(commit));
    let found = given.or_else(|| {
        if is_release {
            packaged().or_else(commit)
        } else {
            None
        }
    });
    let mut commit = found.unwrap_or_else(|| "unknown".into());
    commit.truncate(12);
    println!("cargo:rustc-env=COVEN_BUILD_COMMIT={commit}");
    let date = if is_release { day() } else { "unknown".into() };
    println!("cargo:rustc-env=COVEN_BUILD_DATE={date}");
    // They take 160 kB less. A linker that does not know the option warns and goes on.
    if loads_relr() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the machine that builds can load `DT_RELR`: from glibc 2.36 on. The program needs the glibc that it was built
/// with in any case. Another machine is not asked.
fn loads_relr() -> bool {
    let is_native = std::env::var("HOST") == std::env::var("TARGET");
    let getconf = || Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = getconf()
        .ok()
        .filter(|output| is_native && output.status.success());
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let minor = text
        .as_deref()
        .and_then(|text| text.trim().strip_prefix("glibc 2."));
    minor
        .and_then(|minor| minor.parse().ok())
        .is_some_and(|minor: u32| minor >= 36)
}

fn is_hex(commit: &str) -> bool {
    commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit that `cargo package` has written down: such a build is in no checkout.
fn packaged() -> Option<String> {
    let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, behind) = info.split_once("\"sha1\": \"")?;
    Some(behind.split_once('"')?.0.to_owned()).filter(|commit| is_hex(commit))
}

/// The commit of the checkout that this directory is the top of: not of one that it happens to lie in.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // Cargo runs the script at every build when one of these is not there.
        let file = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The day in UTC (Howard Hinnant's `civil_from_days`).
fn day() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|epoch| epoch.parse::<u64>().ok());
    let elapsed = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs())
    };
    let days = given.unwrap_or_else(elapsed) / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
