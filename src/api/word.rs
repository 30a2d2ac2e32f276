//! Declares enums of words: each variant once, with its word and its doc.
//!
//! Pure; it knows no word's meaning. [`words!`] gives such an enum `ALL`, `as_str`, `parse`, `Display`, `FromStr` and
//! serde. [`Word`] holds a word that may come from another release.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Declares enums whose variants are words of the wire, the store, the log or the CLI.
///
/// Each word is a literal, so that a search for the word finds its declaration.
macro_rules! words {
    ($(
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All variants, in declaration order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant of `word`; `None` if it is not declared.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::api::wire::Wire for $name {
            const SHAPE: &'static $crate::api::wire::Shape =
                &$crate::api::wire::Shape::Words(concat!($($word, " ",)+));
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            /// The rule, such as `must be private, workspace or shared`.
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                Self::parse(word).ok_or_else(|| $crate::api::must_be(&Self::ALL.map(Self::as_str)))
            }
        }
    )+};
}
pub(crate) use words;

/// The text `must be a, b or c`.
pub(crate) fn must_be(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => {
            format!("must be {} or {last}", first.join(", "))
        }
        _ => format!("must be {}", words.concat()),
    }
}

/// A word from another process or release: one of `T`, or unknown to this build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Word<T> {
    Known(T),
    /// Any other text, unchanged.
    Other(String),
}

impl<T: Copy> Word<T> {
    /// The variant; `None` if this build does not know the word.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

impl<T: Default> Default for Word<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(Self::read)
    }
}

impl<T: FromStr> Word<T> {
    /// Parses `text` as a word of `T`, or keeps it.
    pub fn read(text: String) -> Self {
        text.parse().map_or(Self::Other(text), Self::Known)
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(word) => word.fmt(f),
            Self::Other(text) => f.pad(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// For the tests.
        enum Size {
            /// The first.
            Small = "small",
            /// The second.
            VeryLarge = "very_large",
        }
    }

    #[test]
    fn a_word_reads_back_by_every_way_in_which_it_is_written() {
        for size in Size::ALL {
            let word = size.as_str();
            assert_eq!(Size::parse(word), Some(size));
            assert_eq!(size.to_string(), word);
            assert_eq!(word.parse(), Ok(size));
            assert_eq!(serde_json::to_value(size).unwrap(), word);
            assert_eq!(serde_json::from_value::<Size>(word.into()).unwrap(), size);
        }
        assert_eq!(format!("{:7}|", Size::Small), "small  |");
    }

    #[test]
    fn a_word_that_is_not_declared_is_refused_with_the_words_that_are() {
        for word in ["", "Small", "verylarge", "small "] {
            assert_eq!(Size::parse(word), None);
            assert_eq!(
                word.parse::<Size>(),
                Err("must be small or very_large".into())
            );
        }
        assert_eq!(must_be(&["a"]), "must be a");
        assert_eq!(must_be(&["a", "b", "c"]), "must be a, b or c");
    }

    #[test]
    fn a_word_of_another_release_stays_as_it_came() {
        for (json, known) in [("\"small\"", Some(Size::Small)), ("\"huge\"", None)] {
            let word: Word<Size> = serde_json::from_str(json).unwrap();
            assert_eq!(word.known(), known);
            assert_eq!(word, Word::read(word.to_string()));
            assert_eq!(serde_json::to_string(&word).unwrap(), json);
            assert_eq!(word == Size::Small, known.is_some());
        }
        assert!(serde_json::from_str::<Word<Size>>("7").is_err());
    }
}
