//! How an enum of words is declared: each variant with its word and its doc, once.
//!
//! Pure; it knows nothing of what a word stands for. [`words!`] gives such an enum `ALL`, `as_str`, `parse`, `Display`,
//! `FromStr` and serde; [`Word`] holds a word that may come from another release.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Declares an enum whose variants are words of the wire, the store, the log or the CLI.
///
/// The word is a literal, so that no rule of spelling stands between the declaration and a search for the word.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every variant, in the order of the declaration.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The variant's word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The variant of `word`; `None` for a word that is not declared.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            /// What the word must be, as `must be private, workspace or shared`.
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                Self::parse(word).ok_or_else(|| $crate::api::must_be(&Self::ALL.map(Self::as_str)))
            }
        }
    };
}
pub(crate) use words;

/// `must be a, b or c`.
pub(crate) fn must_be(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => {
            format!("must be {} or {last}", first.join(", "))
        }
        _ => format!("must be {}", words.concat()),
    }
}

/// A word from another process or another release: one of `T`, or one that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// A word of `T`.
    Known(T),
    /// Any other text, as it came.
    Other(String),
}

impl<T: Copy> Word<T> {
    /// The variant; `None` where this build does not know the word.
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
    /// `text` as one of `T` where it is one.
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
