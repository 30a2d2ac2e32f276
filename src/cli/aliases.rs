//! Aliases of verbs, for users of other tools and for existing scripts. Completions and the man page list only the
//! verbs' own names.
//!
//! Pure: it replaces words before they are parsed.

use super::CliError;
use super::args::normalize;
use super::grammar::{Position, WordKind};
use super::help::Topic;
use crate::api::Code;

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

/// Words of other tools that are no aliases, with what does the same here. Only suggestions name them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("a", "attach"),
    ("add", "run"),
    ("clean", "prune"),
    ("exec", "run"),
    ("follow", "logs -f"),
    ("info", "daemon status"),
    ("kill-session", "kill"),
    ("new", "run"),
    ("pause", "kill -s STOP"),
    ("unpause", "kill -s CONT"),
    ("-f", "--yes"),
    ("-v", "--version"),
    ("--filter", "--status"),
    ("--force", "--yes"),
];

/// A verb of a later version.
const LATER: &str = "search";

/// Pairs of alias and verb, for help and suggestions.
pub(super) fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let aliases = ALIASES.iter().copied();
    aliases.filter(|(_, verb)| *verb != LATER)
}

/// What does here what `word` does in another tool.
pub(super) fn meant(word: &str) -> Option<&'static str> {
    let known = ELSEWHERE.iter().find(|(known, _)| *known == word);
    known.map(|(_, verb)| *verb)
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
    rows.push(("status ID".to_owned(), "show ID".to_owned()));
    rows
}

/// Replaces aliases in `args`.
///
/// # Errors
/// The verb belongs to a later version.
pub(super) fn resolved(args: Vec<String>) -> Result<Vec<String>, CliError> {
    let mut args = help_word_last(args);
    match args.as_slice() {
        // As of a unit's state: with its last lines.
        [verb, id, ..] if verb == "status" && !id.starts_with('-') => args[0] = "show".to_owned(),
        [verb] if BARE.contains(&verb.as_str()) => return Err(without_operand(verb)),
        _ => {}
    }
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

/// Verbs for sessions that users of service managers type for the daemon.
const BARE: [&str; 2] = ["start", "stop"];

fn without_operand(verb: &str) -> CliError {
    let message =
        format!("{verb} is for sessions, and needs one; for the daemon it is daemon {verb}");
    CliError::failed(Code::Usage, message, Some(&format!("coven daemon {verb}")))
}

/// Turns `coven help run` into `coven run --help`, and `coven daemon help` likewise; later words are unchanged. A page of
/// the manual wins over a verb of its name.
fn help_word_last(mut args: Vec<String>) -> Vec<String> {
    let is_verb = |word: &String| {
        let is_alias = || aliases().any(|(alias, _)| alias.split(' ').next() == Some(word));
        Position::start().take(word) == WordKind::Verb || is_alias()
    };
    match args.as_mut_slice() {
        [first, verb, ..] if first == "help" && Topic::named(verb).is_none() && is_verb(verb) => {
            args.remove(0);
            args.push("--help".into());
        }
        [verb, last] if last == "help" => {
            let mut place = Position::start();
            if place.take(verb) == WordKind::Verb && !place.command.commands.is_empty() {
                *last = "--help".into();
            }
        }
        _ => {}
    }
    args
}

/// The equivalent `daemon logs` command of a `logs` without a session and without options of its own.
fn as_daemon_logs(args: &[String]) -> Option<Vec<String>> {
    let options = args.strip_prefix(&["logs".to_owned()])?;
    let words = [&["daemon", "logs", "--by-logs"].map(str::to_owned), options].concat();
    let words = normalize(words, |_| false);
    let mut place = Position::start();
    let fits = words.iter().all(|word| {
        let what = place.take(word);
        matches!(what, WordKind::Verb | WordKind::Option | WordKind::Value)
            && word != "--help"
            && word != "-h"
    });
    fits.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar::{unknown_word, verbs};
    use crate::rows::{rows, words};

    /// Each row has what is typed, and what it stands for.
    fn check(table: &str) {
        for (line, expected) in rows(table) {
            assert_eq!(resolved(words(line)).unwrap(), words(expected));
        }
    }

    #[test]
    fn an_alias_is_the_verb() {
        check(
            "session                 -> sessions
             session --json          -> sessions --json
             sessions show 0196 --json -> show 0196 --json
             session log 0196        -> logs -t --readable 0196
             ps --all                -> sessions --all
             rm --yes 0196           -> sacrifice --yes 0196
             tail -n 3 0196          -> logs -f -n 3 0196
             log --json 0196         -> logs -t --readable --json 0196
             session events 0196     -> events 0196
             adapter                 -> adapters
             adapter list --json     -> adapters --json
             adapters list           -> adapters
             adapter doctor codex    -> doctor --adapters codex
             status --json           -> daemon status --json
             status 0196 --json      -> show 0196 --json
             help run                -> run --help
             help ps                 -> sessions --help
             help daemon stop        -> daemon stop --help
             daemon help             -> daemon --help
             help                    -> help
             help doctor             -> help doctor
             help nonsense           -> help nonsense
             run hello help          -> run hello help
             show help               -> show help
             run hello session show  -> run hello session show
             sessions --json         -> sessions --json",
        );
    }

    #[test]
    fn logs_without_a_session_is_the_daemons_log() {
        check(
            "logs                         -> daemon logs --by-logs
             logs -n 3 --session x --json -> daemon logs --by-logs -n 3 --session x --json
             logs --pid=7 -f              -> daemon logs --by-logs --pid 7 -f
             logs --tail 5                -> daemon logs --by-logs --lines 5
             logs --level                 -> daemon logs --by-logs --level",
        );
        for line in [
            "logs 0196",
            "logs -f 0196",
            "logs 0196 --json",
            "logs prune",
            "logs prune --dry-run",
            "logs --help",
            "logs -h",
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
    fn a_word_of_another_tool_is_no_verb_and_what_it_means_is_one() {
        for (word, meant) in ELSEWHERE {
            let is_verb = verbs().iter().any(|(path, _)| path == word);
            assert!(
                !is_verb && aliases().all(|(alias, _)| alias != *word),
                "{word}"
            );
            if !word.starts_with('-') {
                let words: Vec<&str> = meant.split(' ').collect();
                assert_eq!(unknown_word(&words), None, "{meant}");
            }
        }
    }

    #[test]
    fn a_verb_for_sessions_without_one_names_that_of_the_daemon() {
        for verb in BARE {
            let err = resolved(words(verb)).unwrap_err();
            assert!(err.to_string().contains(&format!("daemon {verb}")), "{err}");
            assert_eq!(err.exit_code(""), 2);
        }
        assert!(resolved(words("stop 0196")).is_ok());
    }

    #[test]
    fn late_output_says_that_it_is_late() {
        for line in [
            "search x",
            "sessions search x",
            "session search",
            "search --help",
        ] {
            let err = resolved(words(line)).unwrap_err();
            assert_eq!(err.to_string(), "search: not in this version");
            assert_eq!(err.exit_code(""), 2);
        }
    }
}
