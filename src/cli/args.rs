//! The arguments, before argh sees them: `--name=value` is taken apart, which argh does not do, and what belongs to
//! a prompt or an input is left as it is.

use super::CliError;
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
                    output_safe(&arg.to_string_lossy())
                );
                return Err(CliError::usage(&message));
            }
        }
    }
    Ok(normalize(args))
}

fn output_safe(text: &str) -> String {
    super::output::visible(text)
}

/// Takes `--name=value` apart, up to `--`, in `run` up to the harness, and in `input` up to the id.
fn normalize(args: Vec<String>) -> Vec<String> {
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
