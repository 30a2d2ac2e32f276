//! The bundled adapters: a manifest embedded in the program, parsed like any other.

use std::path::Path;

use super::{Adapter, manifest};

/// Hidden verb under which this executable is the `hello` harness.
pub const HELLO_VERB: &str = "__hello";

/// Id of the harness that is this executable itself.
const HELLO: &str = "hello";

pub(super) fn adapters(own_executable: &Path) -> Vec<Adapter> {
    let adapters = manifest::parse(include_str!("bundled.json"));
    // Cannot fail: a test parses it.
    let mut adapters = adapters.expect("the bundled adapters are a manifest");
    for adapter in adapters.iter_mut().filter(|adapter| adapter.id == HELLO) {
        adapter.own_executable = Some(own_executable.to_owned());
    }
    adapters
}

/// The bundled adapters as their manifest declares them, for descriptions.
pub fn built_in() -> Vec<Adapter> {
    adapters(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::environment::is_filtered;

    #[test]
    fn the_names_that_an_agent_is_passed_are_not_filtered() {
        for adapter in adapters(Path::new("/usr/bin/coven")) {
            for name in &adapter.pass_env {
                assert!(!is_filtered(name.0.as_ref()), "{}", name.0);
            }
        }
    }

    #[test]
    fn every_agent_can_be_given_each_permission_and_says_how_to_log_in() {
        for adapter in adapters(Path::new("/usr/bin/coven")) {
            let is_hello = adapter.id == HELLO;
            assert_eq!(adapter.permissions().count(), if is_hello { 0 } else { 3 });
            assert_eq!(adapter.login_hint.is_empty(), is_hello, "{}", adapter.id);
            assert_eq!(adapter.own_executable.is_some(), is_hello);
        }
    }

    #[test]
    fn the_readme_has_each_agent_with_what_its_hints_say() {
        let readme = include_str!("../../README.md");
        for adapter in built_in().iter().filter(|adapter| adapter.id != HELLO) {
            let begin = format!("| `{}` |", adapter.id);
            let row = readme.lines().find(|line| line.starts_with(&begin));
            let row = row.unwrap_or_else(|| panic!("{} is missing", adapter.id));
            let hints = format!("{} {}", adapter.install_hint, adapter.login_hint);
            for code in row[begin.len()..].split('`').skip(1).step_by(2) {
                assert!(hints.contains(code), "{code} is not in {hints}");
            }
        }
    }

    #[test]
    fn the_manual_names_what_sets_a_permission_as_the_manifest_does() {
        let page = include_str!("../cli/help/harness.md");
        let manifest = include_str!("bundled.json");
        let (_, table) = page.split_once("| harness | `read-only` |").unwrap();
        for row in table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with("| "))
        {
            let words = row.split('`').skip(1).step_by(2);
            for word in words.flat_map(|code| code.split(' ')) {
                assert!(manifest.contains(&format!("\"{word}\"")), "{word}");
            }
        }
    }
}
