//! Kinds of settings: their values, how they are parsed, and which values are public.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use log::LevelFilter;

/// A kind of setting.
pub trait SettingKind {
    /// Type of the parsed value.
    type Value
    where
        Self: Sized;

    /// Parses `text`, which is not empty; `None` if it is invalid.
    fn parse(&self, text: &OsStr) -> Option<Self::Value>
    where
        Self: Sized;

    /// Value of a variable that is unset or empty.
    fn default(&self) -> Self::Value
    where
        Self: Sized;

    /// The default, for people; empty without one.
    fn default_text(&self) -> String {
        String::new()
    }

    /// The valid values, for people.
    fn values(&self) -> String;

    /// True if `text` reveals nothing about the user, so that diagnostics may show it.
    fn is_public(&self, _text: &str) -> bool {
        false
    }
}

/// One path, with its default for people. The caller decides its meaning.
pub struct OnePath(pub &'static str);

impl SettingKind for OnePath {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &OsStr) -> Option<Self::Value> {
        Some(Some(text.into()))
    }

    fn default(&self) -> Self::Value {
        None
    }

    fn default_text(&self) -> String {
        self.0.into()
    }

    fn values(&self) -> String {
        "a path".into()
    }
}

/// A host, or several separated by commas.
pub struct HostNames;

impl SettingKind for HostNames {
    type Value = String;

    fn parse(&self, text: &OsStr) -> Option<String> {
        text.to_str().map(str::to_owned)
    }

    fn default(&self) -> String {
        String::new()
    }

    fn values(&self) -> String {
        "ssh://user@host, or a name of ~/.config/coven/hosts".into()
    }
}

/// Paths separated by `:`; relative ones are ignored.
pub struct Paths;

impl SettingKind for Paths {
    type Value = Vec<PathBuf>;

    fn parse(&self, text: &OsStr) -> Option<Self::Value> {
        let paths = std::env::split_paths(text);
        Some(paths.filter(|path| path.is_absolute()).collect())
    }

    fn default(&self) -> Self::Value {
        Vec::new()
    }

    fn values(&self) -> String {
        "absolute paths, separated by colons".into()
    }
}

/// A log filter in `env_logger`'s syntax. Words that are neither a level nor a module of this program are rejected:
/// `env_logger` would take a misspelt level for a module, and log nothing.
pub struct Filter(pub LevelFilter);

impl SettingKind for Filter {
    type Value = String;

    fn parse(&self, text: &OsStr) -> Option<String> {
        let text = text.to_str()?;
        let mut directives = text.split('/').next()?.split(',').map(str::trim);
        let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
        let is_valid = |directive: &str| match directive.split_once('=') {
            Some((_, level)) => is_level(level),
            None => {
                let is_ours = directive == "coven" || directive.starts_with("coven::");
                directive.is_empty() || is_level(directive) || is_ours
            }
        };
        directives.all(is_valid).then(|| text.into())
    }

    fn default(&self) -> String {
        self.default_text()
    }

    fn default_text(&self) -> String {
        self.0.as_str().to_lowercase()
    }

    fn values(&self) -> String {
        "off, error, warn, info, debug, trace, or env_logger's syntax".into()
    }

    fn is_public(&self, text: &str) -> bool {
        text.parse::<LevelFilter>().is_ok()
    }
}

/// One of several words; the first is the default.
pub struct Words<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy> SettingKind for Words<T> {
    type Value = T;

    fn parse(&self, text: &OsStr) -> Option<T> {
        let found = self.0.iter().find(|(word, _)| text == *word);
        found.map(|&(_, value)| value)
    }

    fn default(&self) -> T {
        self.0[0].1
    }

    fn default_text(&self) -> String {
        self.0[0].0.into()
    }

    fn values(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|&(word, _)| word).collect();
        words.join(", ")
    }

    fn is_public(&self, text: &str) -> bool {
        self.parse(text.as_ref()).is_some()
    }
}

pub struct Number {
    pub default: u64,
    pub min: u64,
    pub max: u64,
}

impl SettingKind for Number {
    type Value = u64;

    fn parse(&self, text: &OsStr) -> Option<u64> {
        let number = text.to_str()?.parse().ok()?;
        (self.min..=self.max).contains(&number).then_some(number)
    }

    fn default(&self) -> u64 {
        self.default
    }

    fn default_text(&self) -> String {
        Amount(self.default).to_string()
    }

    fn values(&self) -> String {
        match (self.min, self.max) {
            (0, u64::MAX) => "a number".into(),
            (min, u64::MAX) => format!("at least {min}"),
            (min, max) => format!("{min} to {max}"),
        }
    }

    /// Also an invalid number: it shows what is wrong.
    fn is_public(&self, text: &str) -> bool {
        text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// A number, or `off` for no limit.
pub struct Limit(pub Number);

impl SettingKind for Limit {
    type Value = Option<u64>;

    fn parse(&self, text: &OsStr) -> Option<Option<u64>> {
        match text == "off" {
            true => Some(None),
            false => self.0.parse(text).map(Some),
        }
    }

    fn default(&self) -> Option<u64> {
        Some(self.0.default())
    }

    fn default_text(&self) -> String {
        self.0.default_text()
    }

    fn values(&self) -> String {
        format!("{}, or off", self.0.values())
    }

    fn is_public(&self, text: &str) -> bool {
        text == "off" || self.0.is_public(text)
    }
}

/// A number for people: bytes in the largest unit that divides it.
struct Amount(u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20)] {
            if self.0 >> shift > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_within_its_bounds_only() {
        let limit = Limit(Number {
            default: 30,
            min: 2,
            max: 40,
        });
        for (text, value) in [
            ("2", Some(Some(2))),
            ("40", Some(Some(40))),
            ("off", Some(None)),
            ("1", None),
            ("41", None),
            ("-3", None),
            ("3.0", None),
            (" 3", None),
            ("of", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(limit.parse(text.as_ref()), value, "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_refused_and_a_module_of_ours_is_not() {
        let filter = Filter(LevelFilter::Info);
        for text in [
            "debug",
            "WARN",
            "coven=debug",
            "info,coven::store=trace",
            "off/x",
            "hyper=off,",
        ] {
            assert!(filter.parse(text.as_ref()).is_some(), "{text}");
        }
        for text in ["inof", "coven=of", "info,dbug", "1"] {
            assert!(filter.parse(text.as_ref()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_value_is_public_if_it_is_a_number_or_a_word_of_ours() {
        let number = Number {
            default: 1,
            min: 0,
            max: 9,
        };
        assert!(number.is_public("100") && Words(&[("on", 1)]).is_public("on"));
        for value in ["plan", "1e9", "off ", "-1", "123456789012345678901"] {
            assert!(!number.is_public(value), "{value}");
            assert!(!Words(&[("off", 1)]).is_public(value), "{value}");
            assert!(!Filter(LevelFilter::Info).is_public(value), "{value}");
        }
        assert!(!OnePath("").is_public("123") && !Paths.is_public("/"));
    }

    #[test]
    fn amounts_of_bytes_are_shown_in_their_unit() {
        for (amount, shown) in [
            (0, "0"),
            (30, "30"),
            (5000, "5000"),
            (4 << 30, "4 GiB"),
            (256 << 20, "256 MiB"),
        ] {
            assert_eq!(Amount(amount).to_string(), shown);
        }
    }
}
