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
}
