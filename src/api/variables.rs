//! Environment variables of launches, adapters and files.
//!
//! Plain data. It knows the rules for names and the total size; others decide who may set which variable.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Largest total size of a launch's variables, names and values, in bytes.
pub const VARIABLES_MAX: usize = 64 * 1024;

/// Prefix of the daemon's settings, which no launch or adapter can set for a session.
pub const SETTING_PREFIX: &str = "COVEN_";

/// Variables by name. `Debug` prints only names: a value can be a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets `name`, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Removes `name`; false if it was not set.
    pub fn unset(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks them as the variables of a session; the error continues a sentence that starts with `env`, and contains
    /// no value.
    ///
    /// # Errors
    /// A name that [`check_name`] rejects, a value with a NUL, or more than [`VARIABLES_MAX`] bytes.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in self.iter() {
            check_name(name)?;
            if value.contains('\0') {
                return Err(format!("holds a NUL byte in {name}"));
            }
        }
        let bytes: usize = self
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        match bytes > VARIABLES_MAX {
            true => Err(format!("is larger than {VARIABLES_MAX} bytes in all")),
            false => Ok(()),
        }
    }
}

/// True if every shell accepts `name`: letters, digits and `_`, with no digit first.
pub fn is_variable_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// Checks `name` as the name of a session's variable; the error continues a sentence that starts with `env`.
///
/// # Errors
/// `name` is no name, or a setting's.
pub fn check_name(name: &str) -> Result<(), String> {
    if !is_variable_name(name) {
        // Not shown: a key may have been entered as a name by mistake.
        return Err("has a name that is not letters, digits and _, or begins with a digit".into());
    }
    match name.starts_with(SETTING_PREFIX) {
        true => Err(format!(
            "has {name}: {SETTING_PREFIX} variables are the daemon's"
        )),
        false => Ok(()),
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        // `collect` would sort first, by a sort of its own for each type of pairs.
        let mut variables = BTreeMap::new();
        let pairs = pairs.into_iter();
        variables.extend(pairs.map(|(name, value)| (name.into(), value.into())));
        Self(variables)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Variables {
        [(name, value)].into_iter().collect()
    }

    #[test]
    fn names_are_a_shells_and_no_settings() {
        for good in ["A", "_", "a_1", "COVEN", "XCOVEN_", "coven_a"] {
            assert_eq!(one(good, "x").check(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1A",
            "A-B",
            "A B",
            "É",
            "A=B",
            "COVEN_",
            "COVEN_HOME",
            "COVEN_SESSION_ID",
            "A\0",
        ] {
            assert!(one(bad, "secret").check().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_bounded_in_all_and_never_in_what_is_said_of_them() {
        assert_eq!(one("A", &"x".repeat(VARIABLES_MAX - 1)).check(), Ok(()));
        for bad in [
            one("A", &"secret".repeat(VARIABLES_MAX)),
            one("A", "secret\0"),
        ] {
            let said = bad.check().unwrap_err();
            assert!(
                !said.contains("secret") && !format!("{bad:?}").contains("secret"),
                "{said}"
            );
        }
    }
}
