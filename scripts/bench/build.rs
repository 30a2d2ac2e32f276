//! Time of a clean release build, as a new user runs it. Skipped with `--quick`.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::report::{Reach, Report};

pub fn measure(report: &mut Report) {
    if report.is_quick {
        return;
    }
    let dir = format!("/tmp/cvb{}-build", std::process::id());
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--target-dir", &dir]);
    let begun = Instant::now();
    let built = command.stderr(Stdio::null()).status().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let _ = std::fs::remove_dir_all(dir);
    assert!(built.success(), "cargo build fails");
    report.add_alone("clean build", "s", took, Reach::AtMost(120.0));
}
