//! Prepares the arguments for argh: splits `--name=value`, and moves options before the arguments. The words of a
//! prompt or an input stay unchanged.

use super::CliError;
use super::continued::is_id;
use super::grammar::{Position, WordKind, value_of};
use super::kill::parse_signal;
use super::order::ordered;
use super::output::visible;
use super::session::LAST;

/// The process's arguments without its name.
pub(super) fn from_env() -> Result<Vec<String>, CliError> {
    let args = std::env::args_os().skip(1).map(|arg| {
        arg.into_string().map_err(|arg| {
            let shown = visible(&arg.to_string_lossy());
            CliError::usage(&format!("the argument {shown} is not UTF-8"))
        })
    });
    args.collect()
}

/// `args` with aliases resolved, prepared for argh.
pub(super) fn prepared(args: &[String]) -> Result<Vec<String>, CliError> {
    let args = normalize(args.to_vec(), is_id);
    ordered(args).map_err(|message| CliError::usage(&message))
}

/// The option with an optional value.
const CONTINUE: &str = "--continue";

/// Two names of an option in other tools: a verb has one of them.
const SPELLINGS: [&str; 2] = ["--tail", "--lines"];

/// The repeatable option that also takes its values in one word, with commas between them.
const LIST: &str = "--status";

/// Splits `--name=value` and `-fn5` at places of options, and the values of a list. Gives `--continue` an empty value if the
/// next word is not its id. Turns `--last` at the place of an id into an argument.
pub(super) fn normalize(args: Vec<String>, is_id: impl Fn(&str) -> bool) -> Vec<String> {
    let mut place = Position::start();
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        if place.is_last(&arg) {
            place.take(&arg);
            out.push(LAST.to_owned());
            continue;
        }
        let parts = match place.reads_as_option(&arg) {
            true => option_parts(&place, &arg),
            false => None,
        };
        let parts = parts.unwrap_or_else(|| vec![arg]);
        let is_one = parts.len() == 1;
        for part in parts {
            let list = place.waiting().filter(|flag| flag.long == LIST);
            let is_option = place.take(&part) == WordKind::Option;
            let can_lack_id = is_option && is_one && part == CONTINUE;
            match list {
                Some(flag) => {
                    for (at, value) in part.split(',').enumerate() {
                        if at > 0 {
                            out.push(flag.long.to_owned());
                        }
                        out.push(value.to_owned());
                    }
                }
                None => out.push(part),
            }
            if can_lack_id && !args.peek().is_some_and(|next| is_id(next)) {
                place.take("");
                out.push(String::new());
            }
        }
    }
    out
}

/// Splits `word` into its options and the value of the last; `None` if it is a single option or none.
fn option_parts(place: &Position, word: &str) -> Option<Vec<String>> {
    if word.starts_with("--") {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let flag = match SPELLINGS.contains(&name) {
            true => SPELLINGS.iter().find_map(|name| place.flag(name))?,
            false => place.flag(name)?,
        };
        return match value {
            Some(value) => value_of(flag).map(|_| vec![flag.long.to_owned(), value.to_owned()]),
            None => Some(vec![flag.long.to_owned()]),
        };
    }
    // As in kill -9 and kill -KILL.
    let signal = place
        .flag("--signal")
        .filter(|_| parse_signal(&word[1..]).is_ok());
    if let Some(flag) = signal {
        return Some(vec![flag.long.to_owned(), word[1..].to_owned()]);
    }
    let mut parts = Vec::new();
    for (at, letter) in word.char_indices().skip(1) {
        let name = format!("-{letter}");
        let takes_value = value_of(place.flag(&name)?).is_some();
        parts.push(name);
        let rest = &word[at + letter.len_utf8()..];
        if takes_value && !rest.is_empty() {
            parts.push(rest.to_owned());
            break;
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{rows, words};

    /// Each row has what is typed, and what argh gets; `@last` stands for the newest session.
    fn check(table: &str) {
        for (typed, expected) in rows(table) {
            let expected = words(&expected.replace("@last", LAST));
            let normalized = normalize(words(typed), |word| word == "0196f");
            assert_eq!(normalized, expected, "{typed}");
        }
    }

    #[test]
    fn the_id_behind_continue_can_be_left_out() {
        check(
            "run --continue 0196f codex fix -> run --continue 0196f codex fix
             run codex --continue 0196f fix -> run codex --continue 0196f fix
             run codex --continue fix       -> run codex --continue '' fix
             run --continue=any codex fix   -> run --continue any codex fix
             run --continue codex fix       -> run --continue '' codex fix
             run --continue --json codex    -> run --continue '' --json codex
             run --continue                 -> run --continue ''
             chat --continue codex          -> chat --continue '' codex
             run --title --continue codex   -> run --title --continue codex",
        );
    }

    #[test]
    fn a_value_can_stand_behind_an_equals_sign() {
        check(
            "events x --after=3                -> events x --after 3
             run --cwd=/a=b hello hi           -> run --cwd /a=b hello hi
             daemon logs --code --a=b --pid=7  -> daemon logs --code --a=b --pid 7",
        );
    }

    #[test]
    fn short_options_can_stand_in_one_word_with_a_value() {
        check(
            "logs -ft 0196        -> logs -f -t 0196
             logs -tn5 0196       -> logs -t -n 5 0196
             logs -n 5 0196       -> logs -n 5 0196
             logs -fx 0196        -> logs -fx 0196
             run -qe A=b hello    -> run -q -e A=b hello
             run hello -5         -> run hello -5
             logs --lines 5 0196  -> logs --tail 5 0196
             logs --lines=5 0196  -> logs --tail 5 0196
             kill -9 0196         -> kill --signal 9 0196
             kill 0196 -sigkill   -> kill 0196 --signal sigkill
             kill -s9 0196        -> kill -s 9 0196
             kill -5 0196         -> kill -5 0196
             run hello -9         -> run hello -9",
        );
    }

    #[test]
    fn several_statuses_can_stand_in_one_word() {
        check(
            "sessions --status running,failed -q -> sessions --status running --status failed -q
             prune --status=failed,killed        -> prune --status failed --status killed
             sessions --label a,b                -> sessions --label a,b",
        );
    }

    #[test]
    fn the_newest_session_can_stand_in_the_place_of_an_id() {
        check(
            "show --last              -> show @last
             kill -l                  -> kill @last
             wait --timeout 3 -l 0196 -> wait --timeout 3 @last 0196
             label -l +a              -> label @last +a
             input --last -l          -> input @last -l
             logs -l -f               -> logs @last -f
             show -- -l               -> show -- -l
             sessions -l              -> sessions -l
             run hello -l             -> run hello -l",
        );
    }

    #[test]
    fn an_option_without_a_value_does_not_make_a_harness_of_one() {
        check(
            "run --detach=yes hello hi -> run --detach=yes hello hi
             run --nonsense=x hello    -> run --nonsense=x hello",
        );
    }

    #[test]
    fn a_prompt_is_left_as_it_is() {
        check(
            "run hello --cwd=/x -- --title=x    -> run hello --cwd /x -- --title=x
             run --title=a_b hello --title=a_b  -> run --title a_b hello --title=a_b
             input -n 0196 --a=b                -> input -n 0196 --a=b
             run --title --cwd=x hello -- --a=b -> run --title --cwd=x hello -- --a=b",
        );
    }
}
