//! Help texts of the program and its verbs, from the definitions in [`grammar`](super::super::grammar).
//!
//! Pure, but for the terminal's width.

use argh::{ArgsInfo, CommandInfoWithArgs, Optionality};

use super::super::grammar::{Flag, Position, WordKind, is_group, names, options, value_of};
use super::super::{Cli, GROUPS, aliases};
use super::terminal::Layout;
use super::{is_styled, pages, width};

/// Indent of names and their texts.
const INDENT: usize = 2;

/// The help of the verb in `args`, if they have `-h` or `--help`; `None` for an unknown verb.
pub(in crate::cli) fn asked_for(args: &[String]) -> Option<String> {
    let mut place = Position::start();
    let mut asked = None;
    for word in args {
        let what = place.take(word);
        if what == WordKind::UnknownVerb {
            return None;
        }
        if what == WordKind::Option && ["-h", "--help"].contains(&word.as_str()) {
            asked = asked.max(Some(match word.as_str() {
                "-h" => Detail::Short,
                _ => Detail::Full,
            }));
        }
    }
    Some(page().of(&place.path, &place.command, asked?))
}

/// An empty text for this terminal.
fn page() -> Page {
    Page(Layout::new(width(), is_styled()))
}

/// The help of the program.
pub(super) fn program() -> String {
    page().of(&[], &Cli::get_args_info(), Detail::Full)
}

/// Part of a note.
pub(super) enum ManualPart {
    Paragraph(String),
    /// Names and their descriptions: lines with two leading spaces, and two spaces after the name.
    Rows(Vec<(String, String)>),
}

/// Splits a note into paragraphs and rows; joins the lines of a paragraph.
pub(super) fn parts(note: &str) -> Vec<ManualPart> {
    let mut parts = Vec::new();
    for paragraph in note.split("\n\n") {
        let mut begins = true;
        for line in paragraph.lines() {
            let row = line.strip_prefix("  ").and_then(|row| row.split_once("  "));
            let row = row.map(|(name, text)| (name.to_owned(), text.trim().to_owned()));
            match (row, parts.last_mut()) {
                (Some(row), Some(ManualPart::Rows(rows))) => rows.push(row),
                (Some(row), _) => parts.push(ManualPart::Rows(vec![row])),
                (None, Some(ManualPart::Paragraph(text))) if !begins => {
                    *text += &format!(" {line}");
                }
                (None, _) => parts.push(ManualPart::Paragraph(line.to_owned())),
            }
            begins = false;
        }
    }
    parts
}

/// Usage of an argument, as `<ID>...`.
fn argument(name: &str, optionality: &Optionality) -> String {
    let words = name.split(' ').map(|word| match word {
        "--" => word.to_owned(),
        word => format!("<{}>", singular(word, optionality).to_uppercase()),
    });
    let words = words.collect::<Vec<_>>().join(" ");
    match optionality {
        Optionality::Repeating | Optionality::Greedy => words + "...",
        Optionality::Optional => format!("[{words}]"),
        Optionality::Required => words,
    }
}

fn singular<'a>(word: &'a str, optionality: &Optionality) -> &'a str {
    match optionality {
        Optionality::Repeating => word.strip_suffix('s').unwrap_or(word),
        _ => word,
    }
}

/// Extent of a help text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// Without notes.
    Short,
    Full,
}

/// A help text in progress.
struct Page(Layout);

impl Page {
    /// The help of `command` with the verb `path`.
    fn of(mut self, path: &[&str], command: &CommandInfoWithArgs, detail: Detail) -> String {
        self.paragraph(&format!("Usage: {}", usage(path, command)));
        self.paragraph(command.description);
        self.arguments(command);
        self.verbs(path, command);
        self.options(command);
        let is_program = path.is_empty();
        if detail == Detail::Short {
            if is_program || !command.notes.is_empty() {
                self.paragraph("--help says more.");
            }
            return self.0.finish();
        }
        for note in command.notes {
            self.note(note);
        }
        if is_program {
            self.section("Other names", aliases::table());
            let pages = pages().map(|(name, about)| (name.to_owned(), about.to_owned()));
            self.section("Pages of the manual, shown by coven help", pages.collect());
        }
        self.0.finish()
    }

    fn arguments(&mut self, command: &CommandInfoWithArgs) {
        let arguments = command.positionals.iter().map(|argument| {
            let name = self::argument(argument.name, &argument.optionality);
            let name = name.trim_matches(['[', ']']).to_owned();
            (name, argument.description.to_owned())
        });
        self.section("Arguments", arguments.collect());
    }

    fn verbs(&mut self, path: &[&str], command: &CommandInfoWithArgs) {
        let verbs = command.commands.iter();
        let verbs = verbs.map(|verb| (verb.name.to_owned(), verb.command.description.to_owned()));
        let mut verbs: Vec<_> = verbs.collect();
        if !path.is_empty() {
            return self.section("Verbs", verbs);
        }
        for (head, count) in GROUPS {
            let rest = verbs.split_off(*count);
            self.section(head, verbs);
            verbs = rest;
        }
    }

    fn options(&mut self, command: &CommandInfoWithArgs) {
        let (help, others): (Vec<_>, Vec<_>) =
            options(command).partition(|flag| flag.long == "--help");
        let rows = others.into_iter().chain(help);
        // The long names stand below each other.
        let indented = |flag| match option(flag) {
            long if long.starts_with("--") => format!("    {long}"),
            both => both,
        };
        let rows = rows.map(|flag| (indented(flag), flag.description.to_owned()));
        self.section("Options", rows.collect());
    }

    fn note(&mut self, note: &str) {
        if note.starts_with("  ") {
            self.0.gap();
        }
        for part in parts(note) {
            match part {
                ManualPart::Rows(rows) => self.0.rows(INDENT, &rows),
                ManualPart::Paragraph(text) => self.paragraph(&text),
            }
        }
    }

    fn section(&mut self, head: &str, rows: Vec<(String, String)>) {
        if !rows.is_empty() {
            self.paragraph(&format!("**{head}:**"));
            self.0.rows(INDENT, &rows);
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.0.gap();
        self.0.hanging(0, "", text);
    }
}

/// Usage of a verb, as `coven run [OPTIONS] <HARNESS>`.
pub(super) fn usage(path: &[&str], command: &CommandInfoWithArgs) -> String {
    let mut words = vec!["coven".to_owned()];
    words.extend(path.iter().map(|&word| word.to_owned()));
    if path.is_empty() || is_group(command) {
        words.push("<VERB>".into());
    }
    if options(command).any(|flag| flag.long != "--help") {
        words.push("[OPTIONS]".into());
    }
    let arguments = command.positionals.iter();
    words.extend(arguments.map(|given| argument(given.name, &given.optionality)));
    if path.is_empty() {
        words.push("[ARGUMENTS]".into());
    }
    words.join(" ")
}

/// Usage of an option, as `-n, --limit <N>`.
pub(super) fn option(flag: &'static Flag) -> String {
    let names = names(flag).collect::<Vec<_>>().join(", ");
    let value = value_of(flag).map(|value| format!(" <{}>", value.to_uppercase()));
    names + &value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar::verbs;
    use crate::cli::table::width;

    fn page(path: &str, command: &CommandInfoWithArgs, width: usize) -> String {
        let path: Vec<&str> = path.split_whitespace().collect();
        Page(Layout::new(width, false)).of(&path, command, Detail::Full)
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let program = ("".to_owned(), Cli::get_args_info());
        for (path, command) in verbs().into_iter().chain([program]) {
            for columns in [60, 80, 120] {
                for line in page(&path, &command, columns).lines() {
                    // A word that is too long for a line stands alone.
                    let is_one_word = line.split_whitespace().nth(1).is_none();
                    assert!(width(line) <= columns || is_one_word, "{path}: {line}");
                }
            }
        }
    }

    #[test]
    fn each_verb_stands_in_one_group() {
        let counts = GROUPS.iter().map(|(_, count)| count);
        let all = Cli::get_args_info().commands.len();
        assert_eq!(counts.sum::<usize>(), all);
        let help = page("", &Cli::get_args_info(), 80);
        for (head, _) in GROUPS {
            assert!(help.contains(&format!("\n\n{head}:\n  ")), "{help}");
        }
    }

    #[test]
    fn an_option_is_shown_with_its_names_and_its_value() {
        let help = |verb: &str| {
            let verbs = verbs();
            let (path, command) = verbs.iter().find(|(path, _)| path == verb).unwrap();
            page(path, command, 80)
        };
        for (verb, shown) in [
            (
                "run",
                "Usage: coven run [OPTIONS] <HARNESS> -- <PROMPT>...\n",
            ),
            ("run", "\n  -m, --model <MODEL>        the model, for"),
            ("run", "\n      --cwd <DIR>            working directory"),
            (
                "run",
                "\n      --visibility <VISIBILITY>\n                             private, ",
            ),
            ("show", "Usage: coven show [OPTIONS] <ID>...\n"),
            ("logs", "Usage: coven logs [OPTIONS] [<ID>]\n"),
            ("logs", "\nVerbs:\n  prune  "),
            ("daemon", "Usage: coven daemon <VERB>\n"),
            ("completions", "\n\n  bash  source <("),
        ] {
            assert!(help(verb).contains(shown), "{shown}\n{}", help(verb));
        }
    }

    #[test]
    fn help_is_asked_for_where_an_option_can_stand() {
        let asked = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            asked_for(&words).map(|help| help.lines().next().unwrap().to_owned())
        };
        for line in ["show -h", "-h show", "show x --help", "show --nonsense -h"] {
            let usage = "Usage: coven show [OPTIONS] <ID>...";
            assert_eq!(asked(line).as_deref(), Some(usage), "{line}");
        }
        for line in [
            "show",
            "run hello -- -h",
            "input x -h",
            "run --title -h hello",
            "sesions -h",
        ] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
