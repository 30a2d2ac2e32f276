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

/// The map names tests by `module::name`: both must be right, or a reader searches in vain.
#[test]
fn each_invariant_of_the_map_names_tests_that_exist() {
    let map = fs::read_to_string(checkout("src/lib.rs")).unwrap();
    let (_, invariants) = map.split_once("//! # Invariants").unwrap();
    let names: Vec<&str> = invariants
        .split('`')
        .filter(|word| word.contains("::") && word.matches('_').count() > 2)
        .collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let path = module.replace("::", "/");
        let is_there = ["src", "tests/coven"].iter().any(|dir| {
            let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
            let texts = files.map(|file| fs::read_to_string(checkout(dir).join(file)));
            let mut texts = texts.into_iter().flatten();
            texts.any(|text| text.contains(&format!("fn {test}()")))
        });
        assert!(is_there, "{name}");
    }
}
