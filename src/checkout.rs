//! The files of the checkout, for the tests that hold the code against them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where `path` of the checkout is.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Calls `visit` with every file below `path` that is text.
pub(crate) fn each_file(path: &Path, visit: &mut impl FnMut(&Path, &str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            each_file(&entry.unwrap().path(), visit);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        visit(path, &text);
    }
}
