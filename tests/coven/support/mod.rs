//! Helpers of all tests: a home of its own, the real binary, harnesses made of shell scripts, and a plain HTTP
//! client that shares no code with the daemon.
//!
//! Dropping a [`Coven`] ends everything that was started in its home, and removes it: also when the test fails.

mod disk;
mod events;
mod home;
mod http;
mod manager;
mod model;
mod process;
mod random;
mod rows;
mod secrets;
mod sessions;
mod shim;
mod tools;
mod upgrade;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub use disk::*;
pub use events::*;
pub use home::*;
pub use http::*;
pub use manager::*;
pub use model::*;
pub use process::*;
pub use random::*;
pub use rows::*;
pub use secrets::*;
pub use sessions::*;
pub use shim::*;
pub use tools::*;
pub use upgrade::*;

/// No single wait of a test takes longer: what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition that nothing reports.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually_some(what, || is_so().then_some(()));
}

/// Tries until `attempt` gives something. For conditions that nothing can be told of.
#[track_caller]
pub fn eventually_some<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    // Half of what anything may take, so that what ends a minute later by itself does not count.
    let deadline = Instant::now() + PATIENCE / 2;
    while Instant::now() < deadline {
        if let Some(found) = attempt() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("never: {what}");
}

/// A file's permission bits.
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
