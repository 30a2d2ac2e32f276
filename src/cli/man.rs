//! Generates the man page coven(1) from a template and this executable's verbs, options and settings. Installers run it
//! to create the page.
//!
//! Pure except for the printing.

use argh::{ArgsInfo, CommandInfoWithArgs, Optionality};

use super::grammar::{Flag, is_group, names, options, value_of, verbs};
use super::help::{Part, parts};
use super::output::Out;
use super::{Cli, Outcome, aliases};
use crate::settings::{self, Declared};

/// Hidden verb that prints the page.
pub(super) const VERB: &str = "__man";

/// Template of the page, in mdoc(7).
const PAGE: &str = include_str!("coven.1");

/// Width in bytes of text lines: `mandoc -T lint` requires less than 80.
const WIDTH: usize = 76;

pub(super) fn print() -> Outcome {
    Out::new().bytes(page().as_bytes())?;
    Ok(0)
}

fn page() -> String {
    let verbs = verbs().into_iter();
    let entries = verbs.filter(|(_, command)| !is_group(command));
    let entries: String = entries
        .map(|(path, command)| entry(&path, &command))
        .collect();
    let settings: String = settings::ALL.iter().copied().map(setting).collect();
    // The first note of the help has the exit codes.
    let notes = Cli::get_args_info().notes;
    let codes = notes.first().and_then(|note| note.split("\n\n").next());
    let shows: String = notes.iter().skip(1).copied().map(note).collect();
    PAGE.replace("@VERBS@\n", &entries)
        .replace("@SHOWS@\n", &shows)
        .replace("@ALIASES@\n", &list(&aliases::table()))
        .replace("@SETTINGS@\n", &settings)
        .replace("@EXIT_STATUS@\n", &text(codes.unwrap_or_default()))
}

/// Entry of a setting: meaning, values, default.
fn setting(setting: &dyn Declared) -> String {
    let name = setting.name();
    let values = format!("Values: {}.", setting.values());
    let default = match setting.default_text() {
        none if none.is_empty() => none,
        default => format!("The default is {default}."),
    };
    let doc = sentence(setting.doc());
    format!(
        ".It Ev {name}\n{doc}{}",
        text(&format!("{values} {default}"))
    )
}

/// Entry of a verb: usage, meaning, options, notes.
fn entry(path: &str, command: &CommandInfoWithArgs) -> String {
    let mut out = format!(".It Cm {path}");
    let flags: Vec<&Flag> = options(command)
        .filter(|flag| flag.long != "--help")
        .collect();
    if !flags.is_empty() {
        out += " Oo Ar options Oc";
    }
    for argument in command.positionals {
        for word in argument.name.split(' ') {
            out += &match word {
                "--" => " Fl \\-".to_owned(),
                word => format!(" Ar {word}"),
            };
        }
        if matches!(
            argument.optionality,
            Optionality::Repeating | Optionality::Greedy
        ) {
            out += " ...";
        }
    }
    out += "\n";
    out += &text(command.description);
    if !flags.is_empty() {
        out += ".Bl -tag -width 4n -compact\n";
        for flag in flags {
            let names: Vec<String> = names(flag)
                .map(|name| format!("Fl {}", name[1..].replace('-', "\\-")))
                .collect();
            let value = value_of(flag).map(|value| format!(" Ar {value}"));
            out += &format!(".It {}{}\n", names.join(" , "), value.unwrap_or_default());
            out += &sentence(flag.description);
        }
        out += ".El\n";
    }
    out += &command.notes.iter().copied().map(note).collect::<String>();
    out
}

/// Formats a note of the help.
fn note(note: &str) -> String {
    let (mut out, mut rows) = (String::new(), Vec::new());
    for part in parts(note) {
        match part {
            Part::Paragraph(paragraph) => out += &format!(".Pp\n{}", text(&paragraph)),
            Part::Row(name, about) => rows.push((name, about)),
        }
    }
    match rows.as_slice() {
        [] => out,
        rows => out + &list(rows),
    }
}

/// Formats rows of the help: words to type, and their meanings.
fn list(rows: &[(String, String)]) -> String {
    let rows = rows
        .iter()
        .map(|(name, about)| format!(".It Ic {name}\n{}", text(about)));
    format!(
        ".Bl -tag -width 4n -compact\n{}.El\n",
        rows.collect::<String>()
    )
}

/// Turns the phrase of an option or setting into a sentence.
fn sentence(description: &str) -> String {
    let (first, rest) = description.split_at(description.chars().next().map_or(0, char::len_utf8));
    text(&format!("{}{rest}.", first.to_uppercase()))
}

/// Puts each sentence of `text` on lines of its own, as roff requires.
fn text(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && (line.ends_with('.') || line.len() + word.len() > WIDTH) {
            out += &format!("{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        } else if word.starts_with(['.', '\'']) {
            // Otherwise roff takes the line as a request.
            line += "\\&";
        }
        line += &word.replace('\\', "\\e").replace("--", "\\-\\-");
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_verb_and_setting() {
        let page = page();
        assert!(!page.contains('@'), "{page}");
        for entry in [
            ".It Cm daemon start Oo Ar options Oc\nStart it in the background; a success if it runs already.\n",
            ".It Cm run Oo Ar options Oc Ar harness Fl \\- Ar prompt ...\n",
            ".It Fl \\-cwd Ar dir\nWorking directory of the harness (default: this one).\n",
            ".It Fl n , Fl \\-lines Ar n\nOnly the last lines, this many.\n",
            ".It Cm wait Oo Ar options Oc Ar ids ...\n",
            ".It Cm logs prune Oo Ar options Oc\n",
            ".It Ev COVEN_KILL_GRACE_MS\nMilliseconds between SIGTERM and SIGKILL.\nValues: 0 to 600000.\nThe default is 5000.\n",
        ] {
            assert!(page.contains(entry), "{entry}\nis not in\n{page}");
        }
        assert!(!page.contains("Cm daemon\n") && !page.contains("background Ar"));
    }

    #[test]
    fn no_text_is_a_request() {
        assert_eq!(
            text(".git is a\\b. --json"),
            "\\&.git is a\\eb.\n\\-\\-json\n"
        );
        let long = text(&"'word ".repeat(40));
        assert!(
            long.lines()
                .all(|line| line.len() < 80 && line.starts_with("\\&'"))
        );
    }
}
