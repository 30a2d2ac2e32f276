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

/// True if `name`, as `module::name`, is a test of the crate or of `tests/coven`.
fn is_test(name: &str) -> bool {
    let (module, test) = name.rsplit_once("::").unwrap();
    let path = module.replace("::", "/");
    ["src", "tests/coven"].iter().any(|dir| {
        let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
        let texts = files.map(|file| fs::read_to_string(checkout(dir).join(file)));
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text.contains(&format!("fn {test}()")))
    })
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
        assert!(is_test(name), "{name}");
    }
}

#[test]
fn each_fault_of_the_manual_has_tests_that_exist_and_no_other_has() {
    let page = fs::read_to_string(checkout("src/cli/help/faults.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let faults = rows.map(|row| row.split(" | ").next().unwrap());
    let faults = faults.filter(|fault| !["fault", "---"].contains(fault));
    let list = fs::read_to_string(checkout("tests/coven/main.rs")).unwrap();
    let mut tested: Vec<(&str, usize)> = Vec::new();
    for line in list.lines() {
        if let Some(fault) = line.strip_prefix("//! * ") {
            tested.push((fault, 0));
        } else if let Some(name) = line.strip_prefix("//!   ") {
            assert!(is_test(name.trim_matches('`')), "{name}");
            tested.last_mut().unwrap().1 += 1;
        }
    }
    assert!(tested.iter().all(|(_, count)| *count > 0), "{tested:?}");
    let tested: Vec<&str> = tested.into_iter().map(|(fault, _)| fault).collect();
    assert_eq!(tested, faults.collect::<Vec<_>>());
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_benchmark() {
    let readme = fs::read_to_string(checkout("README.md")).unwrap();
    let figures = fs::read_to_string(checkout("scripts/bench/FIGURES.md")).unwrap();
    let (_, table) = readme.split_once("| what | measured |").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in rows {
        assert!(figures.lines().any(|line| line == row), "{row}");
    }
}
