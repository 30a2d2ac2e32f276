//! `coven help`: the pages of the manual, for the terminal and for man(1). `--help` of each verb is in [`verb`].
//!
//! Pure, but for the terminal and the pager. It knows neither the daemon nor its home.

mod markdown;
mod pager;
mod roff;
mod tables;
mod terminal;
mod topics;
mod verb;
mod wire_tables;

use std::io::{self, IsTerminal};

use argh::{ArgsInfo, CommandInfo, CommandInfoWithArgs, EarlyExit, FromArgs, SubCommand};

use super::output::{Out, visible};
use super::table::terminal_width;
use super::{CliError, ExitResult, say};
use crate::api::{Code, openapi};
use crate::settings::did_you_mean;
pub(super) use topics::{TOPICS, Topic};
pub(super) use verb::asked_for;

/// The page for programs, which is no text, with its subject.
const OPENAPI: (&str, &str) = ("openapi", "the API as an OpenAPI document, for programs");

/// The names of all pages, with their subjects.
pub(super) fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    let topics = TOPICS.iter().map(|topic| (topic.name, topic.about));
    topics.chain([OPENAPI])
}

/// Width without a terminal.
const WIDTH: usize = 80;

/// Maximum width: longer lines are hard to read.
const WIDTH_MAX: usize = 120;

/// Show a page of the manual, or the help of a verb; without one, the verbs and the pages.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "manual", help_triggers("-h", "--help"))]
#[argh(
    note = "A page is wrapped at the terminal's width, and shown by $PAGER (default: less) if it is longer than the screen.
There is no --json: a page is text, and openapi is one JSON document."
)]
pub(super) struct Manual {
    /// for man(1), in mdoc(7); without a page, the names of their files
    #[argh(switch, hidden_help)]
    man: bool,
    /// of the page openapi, which has no other form
    #[argh(switch, hidden_help)]
    json: bool,
    /// a page of the manual, or a verb
    #[argh(positional)]
    topic: Option<String>,
}

/// [`Manual`] under the name `help`, which argh's derive refuses.
pub(super) struct Args(Manual);

impl FromArgs for Args {
    fn from_args(command: &[&str], args: &[&str]) -> Result<Self, EarlyExit> {
        Manual::from_args(command, args).map(Self)
    }
}

impl SubCommand for Args {
    const COMMAND: &'static CommandInfo = &CommandInfo {
        name: "help",
        ..*Manual::COMMAND
    };
}

impl ArgsInfo for Args {
    fn get_args_info() -> CommandInfoWithArgs {
        CommandInfoWithArgs {
            name: Self::COMMAND.name,
            ..Manual::get_args_info()
        }
    }
}

pub(super) fn run(Args(args): &Args) -> ExitResult {
    let Some(name) = &args.topic else {
        return match args.man {
            true => say(&TOPICS
                .iter()
                .map(Topic::file)
                .collect::<Vec<_>>()
                .join("\n")),
            false => say(&verb::program()),
        };
    };
    if name == OPENAPI.0 && !args.man {
        Out::new().pretty_json(&openapi::document())?;
        return Ok(0);
    }
    if args.json {
        return Err(CliError::usage("--json is for openapi alone"));
    }
    let topic = Topic::named(name).ok_or_else(|| unknown(name))?;
    if args.man {
        return say(topic.roff().trim_end());
    }
    pager::show(&topic.text(width(), is_styled()))
}

/// True if stdout shows bold text.
fn is_styled() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The width for texts: that of the terminal, if it is not too wide.
fn width() -> usize {
    terminal_width().unwrap_or(WIDTH).min(WIDTH_MAX)
}

/// The error for an unknown page.
fn unknown(name: &str) -> CliError {
    let verbs = super::grammar::verbs().into_iter().map(|(path, _)| path);
    let mut known = pages().map(|(name, _)| name.to_owned()).chain(verbs);
    let hint = did_you_mean(name, &mut known);
    let message = format!("no help for '{}'{hint}", visible(name));
    CliError::failed(Code::Usage, message, Some("coven help"))
}
