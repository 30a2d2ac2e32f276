//! Other names of verbs, which existing scripts call. Help, completions and man page have the verbs' own names only.
//!
//! Pure: it puts words in the place of others, before anything reads them.

use super::CliError;

/// What is typed, and what that is here. Applied in this order, each once.
const ALIASES: &[(&str, &str)] = &[
    ("session", "sessions"),
    ("adapter", "adapters"),
    ("sessions show", "show"),
    ("sessions log", "log"),
    ("sessions events", "events"),
    ("sessions search", LATER),
    ("adapters list", "adapters"),
    ("adapters doctor", "doctor --adapters"),
    ("status", "daemon status"),
];

/// A verb that there will be.
const LATER: &str = "search";

/// `args` by the verbs' own names.
///
/// # Errors
/// The verb comes in a later version.
pub(super) fn resolved(mut args: Vec<String>) -> Result<Vec<String>, CliError> {
    for (alias, verb) in ALIASES {
        let words: Vec<&str> = alias.split(' ').collect();
        if args.len() >= words.len() && words.iter().zip(&args).all(|(word, arg)| word == arg) {
            args.splice(..words.len(), verb.split(' ').map(str::to_owned));
        }
    }
    match args.first() {
        Some(verb) if verb == LATER => Err(CliError::usage("search: not in this version")),
        _ => Ok(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar::{unknown_word, verbs};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn an_alias_is_the_verb() {
        for (line, expected) in [
            ("session", "sessions"),
            ("session --json", "sessions --json"),
            ("sessions show 0196 --json", "show 0196 --json"),
            ("session log 0196", "log 0196"),
            ("session events 0196", "events 0196"),
            ("adapter", "adapters"),
            ("adapter list --json", "adapters --json"),
            ("adapters list", "adapters"),
            ("adapter doctor codex", "doctor --adapters codex"),
            ("status --json", "daemon status --json"),
            ("run hello session show", "run hello session show"),
            ("sessions --json", "sessions --json"),
        ] {
            assert_eq!(resolved(words(line)).unwrap(), words(expected));
        }
    }

    #[test]
    fn an_alias_stands_for_words_that_are_known_and_is_no_verb_itself() {
        for (alias, verb) in ALIASES.iter().filter(|(_, verb)| *verb != LATER) {
            let verb = verb.split(' ').collect::<Vec<_>>();
            assert_eq!(unknown_word(&verb), None);
            assert!(!verbs().iter().any(|(path, _)| path == alias), "{alias}");
        }
    }

    #[test]
    fn what_comes_later_says_so() {
        for line in [
            "search x",
            "sessions search x",
            "session search",
            "search --help",
        ] {
            let err = resolved(words(line)).unwrap_err();
            assert_eq!(
                (err.to_string().as_str(), err.exit_code("")),
                ("search: not in this version", 2)
            );
        }
    }
}
