//! The command line as data: verbs, options and arguments, from argh's definitions. Argument preparation, completions,
//! man page, suggestions and failure records use it.
//!
//! Pure: it knows neither the daemon nor the terminal.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

use super::Cli;
use super::aliases::{aliases, meant};
use crate::settings::{did_you_mean, suggestion};

pub(super) type Flag = FlagInfo<'static>;

/// Every verb by its words, such as `daemon start`, in the help's order. A verb with subcommands comes before them.
pub(super) fn verbs() -> Vec<(String, CommandInfoWithArgs)> {
    below("", Cli::get_args_info())
}

fn below(path: &str, command: CommandInfoWithArgs) -> Vec<(String, CommandInfoWithArgs)> {
    let mut verbs = Vec::new();
    for verb in command.commands {
        let path = format!("{path} {}", verb.name).trim_start().to_owned();
        verbs.push((path.clone(), verb.command.clone()));
        verbs.extend(below(&path, verb.command));
    }
    verbs
}

/// True if [`verb_of`] can return `text`.
pub(super) fn is_verb(text: &str) -> bool {
    text.is_empty() || verbs().iter().any(|(path, _)| path == text)
}

/// The verb at the start of `args`, without anything that could be a prompt.
pub(super) fn verb_of<T: AsRef<str>>(args: &[T]) -> String {
    let mut place = Position::start();
    let mut words = args.iter();
    words.find(|word| place.take(word.as_ref()) != WordKind::Verb);
    place.path.join(" ")
}

/// The option's names: the short one, if any, and the long one.
pub(super) fn names(flag: &Flag) -> impl Iterator<Item = String> {
    // argh omits the short name of its own help option, which every verb has in `help_triggers`.
    let short = flag.short.or((flag.long == "--help").then_some('h'));
    let short = short.map(|short| format!("-{short}"));
    short.into_iter().chain([flag.long.to_owned()])
}

/// Name of the option's value, if it takes one.
pub(super) fn value_of(flag: &Flag) -> Option<&'static str> {
    match flag.kind {
        FlagInfoKind::Option { arg_name } => Some(arg_name),
        FlagInfoKind::Switch => None,
    }
}

/// The visible options of `command`.
pub(super) fn options(
    command: &CommandInfoWithArgs,
) -> impl Iterator<Item = &'static Flag> + use<> {
    command.flags.iter().filter(|flag| !flag.hidden)
}

/// True if `command` has only subcommands, and no action of its own.
pub(super) fn is_group(command: &CommandInfoWithArgs) -> bool {
    !command.commands.is_empty() && command.flags.iter().all(|flag| flag.long == "--help")
}

/// Kind of a word at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    Verb,
    /// An option, or `--`.
    Option,
    /// The value of the previous option.
    Value,
    Argument,
    UnknownOption,
    UnknownVerb,
}

/// The place after the parsed words of a command line.
pub(super) struct Position {
    /// The words of the verb so far.
    pub(super) path: Vec<&'static str>,
    pub(super) command: CommandInfoWithArgs,
    /// The option that waits for its value.
    waiting: Option<&'static Flag>,
    arguments: usize,
    are_options_over: bool,
}

impl Position {
    pub(super) fn start() -> Self {
        Self {
            path: Vec::new(),
            command: Cli::get_args_info(),
            waiting: None,
            arguments: 0,
            are_options_over: false,
        }
    }

    /// Advances past `word`.
    pub(super) fn take(&mut self, word: &str) -> WordKind {
        if self.reads_as_option(word) {
            if word == "--" {
                self.are_options_over = true;
                return WordKind::Option;
            }
            let Some(flag) = self.flag(word) else {
                return WordKind::UnknownOption;
            };
            self.waiting = value_of(flag).and(Some(flag));
            return WordKind::Option;
        }
        if self.waiting.take().is_some() {
            return WordKind::Value;
        }
        let mut verbs = self.command.commands.iter();
        if let Some(verb) = verbs.find(|verb| verb.name == word) {
            self.path.push(verb.name);
            self.command = verb.command.clone();
            self.are_options_over = false;
            return WordKind::Verb;
        }
        let arguments = self.command.positionals;
        if arguments.is_empty() && !self.command.commands.is_empty() {
            return WordKind::UnknownVerb;
        }
        let argument = arguments.get(self.arguments).or(arguments.last());
        self.are_options_over |= !self.takes_prompt()
            && argument.is_some_and(|argument| argument.optionality == Optionality::Greedy);
        self.arguments += 1;
        WordKind::Argument
    }

    /// True if the verb takes a harness and a prompt, with options after each of them: see [`super::order`].
    pub(super) fn takes_prompt(&self) -> bool {
        let mut arguments = self.command.positionals.iter();
        arguments.any(|argument| argument.name.contains(" -- "))
    }

    /// True if the next word belongs to a prompt, or stands directly behind a harness.
    pub(super) fn is_in_prompt(&self) -> bool {
        self.takes_prompt() && self.arguments > 0
    }

    /// True if `word` would be read as an option here. A word with white space was quoted: after the harness it is a
    /// prompt.
    pub(super) fn reads_as_option(&self, word: &str) -> bool {
        let is_quoted = self.arguments > 0 && word.contains(char::is_whitespace);
        self.can_be_option()
            && word.starts_with('-')
            && word != "-"
            && !is_quoted
            && !self.is_last(word)
    }

    /// True if `word` stands for the newest session at the place of an id.
    pub(super) fn is_last(&self, word: &str) -> bool {
        let is_id = matches!(self.value(), Some("id" | "ids"));
        (word == "--last" || word == "-l") && self.can_be_option() && is_id
    }

    /// True if the next word can be an option.
    pub(super) fn can_be_option(&self) -> bool {
        self.waiting.is_none() && !self.are_options_over
    }

    /// The option that waits for its value.
    pub(super) fn waiting(&self) -> Option<&'static Flag> {
        self.waiting
    }

    /// The option `name`.
    pub(super) fn flag(&self, name: &str) -> Option<&'static Flag> {
        let mut flags = self.command.flags.iter();
        flags.find(|flag| names(flag).any(|known| known == name))
    }

    /// Name of the value or argument that the next word would be.
    pub(super) fn value(&self) -> Option<&'static str> {
        if let Some(flag) = self.waiting {
            return value_of(flag);
        }
        let arguments = self.command.positionals;
        let last = arguments.last();
        let repeated = last.filter(|last| last.optionality == Optionality::Repeating);
        let all = arguments.iter().chain(repeated.into_iter().cycle());
        // A greedy argument stands for several: `harness -- prompt`.
        all.flat_map(|argument| argument.name.split(' ').filter(|word| *word != "--"))
            .nth(self.arguments)
    }
}

/// Error for the first of `args` that is neither a verb nor an option at its place, with a suggestion.
pub(super) fn unknown_word(args: &[&str]) -> Option<String> {
    let mut place = Position::start();
    args.iter().enumerate().find_map(|(at, word)| {
        let (what, hint) = match place.take(word) {
            WordKind::UnknownOption => {
                let name = word.split('=').next().unwrap_or(word);
                let mut flags = options(&place.command).map(|flag| flag.long.into());
                let hint = match meant(name).filter(|meant| place.flag(meant).is_some()) {
                    Some(meant) => suggestion(meant),
                    None => did_you_mean(name, &mut flags),
                };
                ("option", hint)
            }
            // With a session; without one it is the daemon's.
            WordKind::UnknownVerb if *word == "restart" && at + 1 < args.len() => {
                ("command", suggestion("rerun"))
            }
            WordKind::UnknownVerb if place.path.is_empty() && meant(word).is_some() => {
                ("command", meant(word).map_or_else(String::new, suggestion))
            }
            WordKind::UnknownVerb => {
                let verbs = below(&place.path.join(" "), place.command.clone()).into_iter();
                let verbs = verbs.map(|(path, _)| path);
                let aliases = aliases().map(|(alias, _)| alias.to_owned());
                let aliases = aliases.filter(|_| place.path.is_empty());
                ("command", did_you_mean(word, &mut verbs.chain(aliases)))
            }
            _ => return None,
        };
        Some(format!("unknown {what} '{word}'{hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;
    use crate::cli::help::TOPICS;
    use crate::rows::rows;

    fn unknown_in(line: &str) -> Option<String> {
        unknown_word(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn an_unknown_word_is_named_with_what_it_could_have_meant() {
        for (line, expected) in rows(
            "sesions              -> unknown command 'sesions'; did you mean 'sessions'?
             shwo                 -> unknown command 'shwo'; did you mean 'show'?
             diag                 -> unknown command 'diag'; did you mean 'diagnostics'?
             inspekt              -> unknown command 'inspekt'; did you mean 'inspect'?
             daemon stopp         -> unknown command 'stopp'; did you mean 'daemon stop'?
             nonsense             -> unknown command 'nonsense'
             add hello            -> unknown command 'add'; did you mean 'run'?
             restart 0196         -> unknown command 'restart'; did you mean 'rerun'?
             sacrifice -f 0196    -> unknown option '-f'; did you mean '--yes'?
             show -f 0196         -> unknown option '-f'
             daemon sessions      -> unknown command 'sessions'
             run --tite x hello   -> unknown option '--tite'; did you mean '--title'?
             run --jsno --detach  -> unknown option '--jsno'; did you mean '--json'?
             sessions --json=yes  -> unknown option '--json=yes'; did you mean '--json'?
             show -x id           -> unknown option '-x'
             # Hidden options are not suggested.
             daemon serve --backgroun -> unknown option '--backgroun'",
        ) {
            assert_eq!(unknown_in(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(unknown_in(&"x".repeat(100_000)).unwrap().len(), 100_018);
    }

    #[test]
    fn a_possible_prompt_or_value_is_not_an_unknown_option() {
        for line in [
            "run hello -- --jsno",
            "run --title --tite hello",
            "show -- -x",
            "input id sesions -x",
        ] {
            assert_eq!(unknown_in(line), None, "{line}");
        }
    }

    #[test]
    fn the_verb_of_a_command_line_ends_before_its_arguments() {
        for (line, verb) in rows(
            "run hello daemon     -> run
             daemon status --json -> daemon status
             logs prune           -> logs prune
             logs --json          -> logs
             -V                   ->
             my secret            ->",
        ) {
            assert_eq!(
                verb_of(&line.split(' ').collect::<Vec<_>>()),
                verb,
                "{line}"
            );
        }
    }

    /// argh needs each text at its field; this test keeps them equal.
    #[test]
    fn arguments_of_one_name_are_described_alike() {
        let mut known = std::collections::HashMap::new();
        for (verb, command) in verbs() {
            for argument in command.positionals {
                let about = *known.entry(argument.name).or_insert(argument.description);
                assert_eq!(argument.description, about, "{verb} {}", argument.name);
            }
        }
        assert!(known.contains_key("id") && known.contains_key("ids"));
    }

    const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

    /// The error for a command line with aliases resolved.
    fn unknown(command: &str) -> Option<String> {
        let words = command.split_whitespace().map(str::to_owned).collect();
        let words = crate::cli::aliases::resolved(words).unwrap();
        unknown_word(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn the_commands_of_the_readme_and_of_the_pages_are_commands() {
        let texts = TOPICS.iter().map(|topic| topic.text(1000, false));
        let text = texts.collect::<String>() + README;
        let parts = text.split(['`', '\n', '|', ';', '#', '(', ')']);
        let commands =
            parts.filter_map(|part| part.trim_start_matches("$ ").strip_prefix("coven "));
        let commands: Vec<_> = commands.filter(|words| !words.starts_with('<')).collect();
        assert!(commands.len() > 20, "{commands:?}");
        for command in commands {
            assert_eq!(unknown(command), None, "coven {command}");
        }
    }

    #[test]
    fn the_commands_that_the_error_codes_name_are_commands() {
        for next in Code::ALL.into_iter().filter_map(Code::next) {
            let parts = next.split(", ").map(|part| part.trim_start_matches("and "));
            for command in parts.filter_map(|part| part.strip_prefix("coven ")) {
                assert_eq!(unknown(command), None, "{next}");
            }
        }
    }
}
