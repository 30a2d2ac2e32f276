//! The checkout's files, for tests that compare the code with them.

use std::fs;
use std::path::{Path, PathBuf};

/// Path of a file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Calls `visit` for every text file below `path`.
pub(crate) fn each_file(path: &Path, visit: &mut impl FnMut(&Path, &str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            each_file(&entry.unwrap().path(), visit);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        visit(path, &text);
    }
}
