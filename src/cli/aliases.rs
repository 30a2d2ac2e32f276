//! Aliases of verbs, for users of other tools and for existing scripts. Completions and the man page list only the
//! verbs' own names.
//!
//! Pure: it replaces words before they are parsed.

use super::CliError;
use super::args::normalize;
use super::grammar::{Place, Word};

/// Typed words and their replacements, applied once each in this order.
const ALIASES: &[(&str, &str)] = &[
    ("ps", "sessions"),
    ("ls", "sessions"),
    ("list", "sessions"),
    ("session", "sessions"),
    ("sessions show", "show"),
    ("sessions log", "logs -t --readable"),
    ("sessions events", "events"),
    ("sessions search", LATER),
    ("inspect", "show"),
    ("top", "stats"),
    ("rm", "sacrifice"),
    ("delete", "sacrifice"),
    ("stop", "kill"),
    ("start", "run"),
    ("tail", "logs -f"),
    ("log", "logs -t --readable"),
    ("adapter", "adapters"),
    ("adapters list", "adapters"),
    ("adapters doctor", "doctor --adapters"),
    ("status", "daemon status"),
];

/// A verb of a later version.
const LATER: &str = "search";

/// Pairs of alias and verb, for help and suggestions.
pub(super) fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let aliases = ALIASES.iter().copied();
    aliases.filter(|(_, verb)| *verb != LATER)
}

/// Rows of the help: the aliases of each verb.
pub(super) fn table() -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for (alias, verb) in aliases() {
        match rows.iter_mut().find(|(_, known)| known == verb) {
            Some((aliases, _)) => *aliases += &format!(", {alias}"),
            None => rows.push((alias.to_owned(), verb.to_owned())),
        }
    }
    rows
}

/// Replaces aliases in `args`.
///
/// # Errors
/// The verb belongs to a later version.
pub(super) fn resolved(mut args: Vec<String>) -> Result<Vec<String>, CliError> {
    for (alias, verb) in ALIASES {
        let words: Vec<&str> = alias.split(' ').collect();
        if args.len() >= words.len() && words.iter().zip(&args).all(|(word, arg)| word == arg) {
            args.splice(..words.len(), verb.split(' ').map(str::to_owned));
        }
    }
    if let Some(of_daemon) = as_daemon_logs(&args) {
        return Ok(of_daemon);
    }
    match args.first() {
        Some(verb) if verb == LATER => Err(CliError::usage("search: not in this version")),
        _ => Ok(args),
    }
}

/// The equivalent `daemon logs` command of a `logs` without a session and without options of its own.
fn as_daemon_logs(args: &[String]) -> Option<Vec<String>> {
    let options = args.strip_prefix(&["logs".to_owned()])?;
    let words = [&["daemon", "logs", "--by-logs"].map(str::to_owned), options].concat();
    let words = normalize(words, |_| false);
    let mut place = Place::start();
    let fits = words.iter().all(|word| {
        let what = place.take(word);
        matches!(what, Word::Verb | Word::Option | Word::Value) && word != "--help" && word != "-h"
    });
    fits.then_some(words)
}

#[cfg(test)]
mod tests {
    use argh::ArgsInfo;

    use super::*;
    use crate::cli::Cli;
    use crate::cli::grammar::{unknown_word, verbs};
    use crate::cli::help::{Part, parts};

    const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn an_alias_is_the_verb() {
        for (line, expected) in [
            ("session", "sessions"),
            ("session --json", "sessions --json"),
            ("sessions show 0196 --json", "show 0196 --json"),
            ("session log 0196", "logs -t --readable 0196"),
            ("ps --all", "sessions --all"),
            ("rm --yes 0196", "sacrifice --yes 0196"),
            ("tail -n 3 0196", "logs -f -n 3 0196"),
            ("log --json 0196", "logs -t --readable --json 0196"),
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
    fn logs_without_a_session_is_the_daemons_log() {
        for (line, expected) in [
            ("logs", "daemon logs --by-logs"),
            (
                "logs -n 3 --session x --json",
                "daemon logs --by-logs -n 3 --session x --json",
            ),
            ("logs --pid=7 -f", "daemon logs --by-logs --pid 7 -f"),
            ("logs --tail 5", "daemon logs --by-logs --lines 5"),
            ("logs --level", "daemon logs --by-logs --level"),
        ] {
            assert_eq!(resolved(words(line)).unwrap(), words(expected));
        }
        for line in [
            "logs 0196",
            "logs -f 0196",
            "logs 0196 --json",
            "logs prune",
            "logs prune --dry-run",
            "logs --help",
            "logs -h",
            "logs help",
            "logs --late",
            "logs --session x 0196",
        ] {
            assert_eq!(resolved(words(line)).unwrap(), words(line));
        }
    }

    #[test]
    fn an_alias_stands_for_words_that_are_known_and_is_no_verb_itself() {
        for (alias, verb) in aliases() {
            let verb = resolved(words(verb)).unwrap();
            let verb: Vec<&str> = verb.iter().map(String::as_str).collect();
            assert_eq!(unknown_word(&verb), None);
            assert!(!verbs().iter().any(|(path, _)| path == alias), "{alias}");
        }
    }

    #[test]
    fn the_readme_has_the_other_names_and_what_shows_what_as_the_help_does() {
        let shows = parts(Cli::get_args_info().notes[1]).into_iter();
        let shows = shows.filter_map(|part| match part {
            Part::Row(name, about) => Some((format!("`{}`", name.replace("ID", "<id>")), about)),
            Part::Paragraph(_) => None,
        });
        let aliases = table().into_iter();
        let aliases = aliases.map(|(names, verb)| {
            (
                format!("`{}`", names.replace(", ", "`, `")),
                format!("`{verb}`"),
            )
        });
        let rows: Vec<_> = shows.chain(aliases).collect();
        assert!(rows.len() > 10, "{rows:?}");
        for (name, about) in rows {
            let row = format!("| {name} | {about} |");
            assert!(README.contains(&row), "{row}");
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
