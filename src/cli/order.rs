//! Reorders the words of `coven run` for argh. Users put options before the harness, after it, or after the prompt;
//! argh accepts them only before its first argument.
//!
//! Pure: the verb's definition says which words are options, and which take a value.

use super::grammar::{Position, WordKind, unknown_word, value_of};

/// Advice for a word that could be an option or a part of the prompt.
const ADVICE: &str = "quote the prompt, or put -- before it";

/// Moves the options of a verb with a prompt before its harness, and inserts `--`. Other verbs are unchanged.
///
/// # Errors
/// The prompt is ambiguous: an option is between its words, or an unknown option follows the harness. Or an option
/// lacks its value.
pub(super) fn ordered(args: Vec<String>) -> Result<Vec<String>, String> {
    let mut place = Position::start();
    let (mut options, mut rest) = (Vec::new(), Vec::new());
    let mut behind_prompt = None;
    let mut doubtful = None;
    for word in &args {
        let has_prompt = rest.len() > 1;
        let may_be_option = place.can_be_option();
        match place.take(word) {
            WordKind::Option if word == "--" => {}
            WordKind::UnknownOption if place.takes_prompt() && !rest.is_empty() => {
                let words: Vec<&str> = args.iter().map(String::as_str).collect();
                let unknown = unknown_word(&words).unwrap_or_default();
                return Err(format!("{ADVICE}: {unknown}"));
            }
            what @ (WordKind::Verb
            | WordKind::Option
            | WordKind::Value
            | WordKind::UnknownOption) => {
                if has_prompt && what == WordKind::Option {
                    behind_prompt.get_or_insert(word);
                }
                options.push(word.clone());
            }
            WordKind::Argument | WordKind::UnknownVerb => {
                if may_be_option && is_option_with_value(&place, word) {
                    doubtful.get_or_insert(word);
                }
                rest.push(word.clone());
                if let Some(option) = behind_prompt {
                    return Err(format!(
                        "{ADVICE}: the option {option} stands between words of it"
                    ));
                }
            }
        }
    }
    if !place.takes_prompt() {
        return Ok(args);
    }
    // Otherwise argh would take the next word as the value.
    if let Some(option) = place.waiting() {
        return Err(format!("no value for option '{}'", option.long));
    }
    match doubtful {
        Some(word) if rest.len() > 2 => Err(format!(
            "{ADVICE}: '{word}' can be an option or a word of it"
        )),
        _ => Ok([options, vec!["--".to_owned()], rest].concat()),
    }
}

/// True if `word` is `--name=value` of one of the verb's options.
fn is_option_with_value(place: &Position, word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    let flag = name.and_then(|name| place.flag(name));
    flag.and_then(value_of).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{rows, words};

    #[test]
    fn an_option_stands_before_the_harness_behind_it_or_behind_the_prompt() {
        for (line, expected) in rows(
            "run hello hi                    -> run -- hello hi
             run --json hello hi             -> run --json -- hello hi
             run hello --json hi             -> run --json -- hello hi
             run hello hi --json             -> run --json -- hello hi
             run hello hi there --json       -> run --json -- hello hi there
             run --json hello --cwd /x hi --title t -> run --json --cwd /x --title t -- hello hi
             run hello hi -e A=b --detach    -> run -e A=b --detach -- hello hi
             # A value may look like an option.
             run hello --title --json hi     -> run --title --json -- hello hi
             run hello --title a_b hi        -> run --title a_b -- hello hi
             run hello --help                -> run --help -- hello
             run hello hi -h                 -> run -h -- hello hi
             run hello help                  -> run -- hello help
             # Everything after `--` is prompt, including further `--`.
             run hello -- --json             -> run -- hello --json
             run hello --json -- --cwd /x    -> run --json -- hello --cwd /x
             run hello fix -- --json         -> run -- hello fix --json
             run hello -- -- x               -> run -- hello -- x
             run -- hello --json             -> run -- hello --json
             run hello --nonsense_x          -> run -- hello --nonsense_x
             run hello --json_is_wrong       -> run -- hello --json_is_wrong
             run hello --title=a_b           -> run -- hello --title=a_b
             run hello - ''                  -> run -- hello - ''
             run hello hi -                  -> run -- hello hi -
             run hello -- hi -               -> run -- hello hi -
             run hello --json -              -> run --json -- hello -
             # argh reports the errors of these.
             run                             -> run --
             run --json                      -> run --json --
             run --nonsense hello            -> run --nonsense -- hello",
        ) {
            assert_eq!(ordered(words(line)), Ok(words(expected)), "{line}");
        }
    }

    #[test]
    fn a_word_that_could_be_an_option_or_prompt_is_refused_with_advice() {
        for (line, said) in rows(
            "run hello fix --json it      -> the option --json stands between
             run hello fix --title t it   -> the option --title stands between
             run hello fix --json -- it   -> the option --json stands between
             run hello fix --json -       -> the option --json stands between
             run hello --jsno hi          -> unknown option '--jsno'; did you mean '--json'?
             run hello hi --nonsense      -> unknown option '--nonsense'
             run hello hi -5              -> unknown option '-5'
             run hello --json=yes hi      -> unknown option '--json=yes'
             run hello --title=a_b hi     -> '--title=a b' can be an option
             run hello --title=a_b -- hi  -> '--title=a b' can be an option",
        ) {
            let err = ordered(words(line)).expect_err(line);
            let why = err.strip_prefix(ADVICE).unwrap();
            assert!(why[2..].starts_with(said), "{line}: {err}");
        }
    }

    #[test]
    fn an_option_without_its_value_takes_nothing_else_for_it() {
        for line in ["run --title", "run hello hi --title", "run hello --title"] {
            let err = ordered(words(line)).expect_err(line);
            assert_eq!(err, "no value for option '--title'");
        }
    }

    #[test]
    fn other_verbs_keep_their_order() {
        for line in [
            "input id --eof x",
            "logs -n 3 --json",
            "events x --after 3",
            "nonsense -x",
            "",
        ] {
            assert_eq!(ordered(words(line)), Ok(words(line)));
        }
    }
}
