//! Other people's programs, which a machine may lack.

use std::path::{Path, PathBuf};
use std::process::Command;

/// True if all of these programs exist; otherwise prints which is missing, and that the test is skipped.
pub fn has_tools(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |name: &&&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing = names.iter().find(|name| !is_here(name));
    if let Some(name) = missing {
        eprintln!("skipped: {name} is not installed");
    }
    missing.is_none()
}

/// A file of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program that must succeed without a complaint; gives its stdout.
#[track_caller]
pub fn tool(command: &mut Command) -> String {
    let ran = super::Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    ran.out
}
