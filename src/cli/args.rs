//! The arguments, before argh sees them: `--name=value` is taken apart, which argh does not do, and what belongs to
//! a prompt or an input is left as it is.

use super::CliError;
use super::output::visible;
use super::run::VALUE_OPTIONS;

/// The process's arguments without its name.
pub(super) fn from_env() -> Result<Vec<String>, CliError> {
    let mut args = Vec::new();
    for arg in std::env::args_os().skip(1) {
        match arg.into_string() {
            Ok(arg) => args.push(arg),
            Err(arg) => {
                let message = format!(
                    "the argument {} is not UTF-8",
                    visible(&arg.to_string_lossy())
                );
                return Err(CliError::usage(&message));
            }
        }
    }
    Ok(normalize(args))
}

/// Takes `--name=value` apart, up to `--`, in `run` up to the harness, and in `input` up to the id.
fn normalize(args: Vec<String>) -> Vec<String> {
    let args = help_word_last(args);
    let is_run = args.first().is_some_and(|verb| verb == "run");
    let is_text_next = is_run || args.first().is_some_and(|verb| verb == "input");
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    out.extend(args.next());
    while let Some(arg) = args.next() {
        if arg == "--" || (is_text_next && !arg.starts_with('-')) {
            out.push(arg);
            break;
        }
        let parts = arg
            .strip_prefix("--")
            .and_then(|option| option.split_once('='));
        match parts {
            Some((name, value)) => out.extend([format!("--{name}"), value.to_owned()]),
            None => {
                let takes_value = is_run && VALUE_OPTIONS.contains(&arg.as_str());
                out.push(arg);
                if takes_value {
                    out.extend(args.next());
                }
            }
        }
    }
    out.extend(args);
    out
}

/// `coven help run` is `coven run --help`, and so is `coven daemon help`; behind that the word means itself.
fn help_word_last(mut args: Vec<String>) -> Vec<String> {
    let is_help = |arg: Option<&String>| arg.is_some_and(|arg| arg == "help");
    if is_help(args.first()) {
        args.remove(0);
        args.push("--help".into());
    } else if args.len() == 2 && args[0] == "daemon" && is_help(args.last()) {
        args[1] = "--help".into();
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(line: &str) -> Vec<String> {
        normalize(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn a_value_can_stand_behind_an_equals_sign() {
        assert_eq!(
            normalized("events x --after=3"),
            ["events", "x", "--after", "3"]
        );
        assert_eq!(
            normalized("run --cwd=/a=b hello hi"),
            ["run", "--cwd", "/a=b", "hello", "hi"]
        );
    }

    #[test]
    fn help_can_be_asked_for_by_the_word() {
        assert_eq!(normalized("help"), ["--help"]);
        assert_eq!(normalized("help run"), ["run", "--help"]);
        assert_eq!(normalized("daemon help"), ["daemon", "--help"]);
        assert_eq!(normalized("run hello help"), ["run", "hello", "help"]);
    }

    #[test]
    fn a_prompt_is_left_as_it_is() {
        assert_eq!(
            normalized("run --cwd /x --detach hello --title=x --json help"),
            [
                "run",
                "--cwd",
                "/x",
                "--detach",
                "hello",
                "--title=x",
                "--json",
                "help"
            ]
        );
        assert_eq!(
            normalized("input -n 0196 --a=b"),
            ["input", "-n", "0196", "--a=b"]
        );
        assert_eq!(
            normalized("run --title --cwd=x hello --a=b"),
            ["run", "--title", "--cwd=x", "hello", "--a=b"]
        );
    }
}
