//! `coven completions`: what a shell needs to complete a command line.
//!
//! The scripts know nothing: at each Tab they ask this binary, which reads its own help. It never starts a daemon,
//! and waits for one no longer than [`durations::COMPLETION`].

use std::sync::mpsc;

use argh::FromArgs;

use super::output::{Out, shortened, visible};
use super::{Cli, CliError, Home, Outcome};
use crate::api::{Capabilities, SessionPage, is_session_id_prefix};
use crate::client::Client;
use crate::settings::durations;

/// What the scripts call, with the words of the line up to the cursor.
const COMPLETE_VERB: &str = "__complete";

/// Print a shell's completion script: bash, zsh or fish.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    note = "bash: source <(coven completions bash)    zsh: coven completions zsh > DIR-IN-FPATH/_coven
fish: coven completions fish > ~/.config/fish/completions/coven.fish"
)]
pub(super) struct Args {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: String,
}

const BASH: &str = r#"# bash completion for coven
_coven() {
    local line cur="${COMP_WORDS[COMP_CWORD]}" file kind
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files | :dirs)
                kind=-f
                [ "$line" = :files ] || kind=-d
                compopt -o filenames 2>/dev/null
                [ "$cur" != "=" ] || cur=
                while IFS= read -r file; do
                    COMPREPLY+=("$file")
                done < <(compgen "$kind" -- "$cur")
                ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(command coven __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _coven coven
"#;

const ZSH: &str = r#"#compdef coven
_coven() {
    local line
    local -a found
    for line in "${(@f)$(command coven __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :files) _files ;;
            :dirs) _files -/ ;;
            *) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( $#found )) && _describe -t values coven found
}
if [ "$funcstack[1]" = "_coven" ]; then
    _coven "$@"
else
    compdef _coven coven
fi
"#;

const FISH: &str = r#"# fish completion for coven
function __coven_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    for line in (command coven __complete $before[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':dirs'
                __fish_complete_directories "$current"
            case '*'
                echo $line
        end
    end
end
complete -c coven -f -a '(__coven_complete)'
"#;

pub(super) fn run(args: &Args) -> Outcome {
    let script = match args.shell.as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        _ => return Err(CliError::usage("the shell is bash, zsh or fish")),
    };
    Out::new().bytes(script.as_bytes())?;
    Ok(0)
}

/// The words of the line that a script asks for, as they stand there: `--name=value` too.
pub(super) fn asked_for() -> Option<Vec<String>> {
    let args = std::env::args_os().skip(1);
    let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
    args.next().filter(|verb| verb == COMPLETE_VERB)?;
    crate::sys::unblock_all();
    Some(args.collect())
}

/// Prints what could stand in the place of the last of `words`: a line each, and what it is behind a tab.
pub(super) fn complete(words: &[String]) -> Outcome {
    let Some((current, before)) = words.split_last() else {
        return Ok(0);
    };
    // bash takes `--cwd=x` for three words.
    let current = if current == "=" { "" } else { current };
    let mut out = Out::new();
    for (word, about) in candidates(before, current) {
        // The shell lists files itself.
        if word.starts_with(':') {
            out.line(&word)?;
        } else if word.starts_with(current) {
            out.line(&format!("{word}\t{about}"))?;
        }
    }
    Ok(0)
}

type Candidates = Vec<(String, String)>;

fn candidates(before: &[String], current: &str) -> Candidates {
    let mut path: Vec<&str> = Vec::new();
    let mut help = Help::of(&path);
    let mut waiting: Option<String> = None;
    let mut positionals = 0;
    let mut are_options_over = false;
    for word in before.iter().filter(|word| *word != "=") {
        if waiting.take().is_some() {
        } else if word == "--" {
            are_options_over = true;
        } else if word.starts_with('-') && !are_options_over && !help.is_over(positionals) {
            waiting = help.value_of(word);
        } else if help.commands.iter().any(|(name, _)| name == word) {
            path.push(word);
            help = Help::of(&path);
        } else {
            positionals += 1;
        }
    }
    if let Some(value) = waiting {
        return values(&value, &path, current);
    }
    if current.starts_with('-') && !are_options_over && !help.is_over(positionals) {
        return help
            .options
            .into_iter()
            .flat_map(OptionHelp::words)
            .collect();
    }
    if !help.commands.is_empty() {
        return help.commands;
    }
    if positionals > 0 && !help.positional.starts_with("ids") {
        return Vec::new();
    }
    let first = help.positional.split([' ', '.']).next().unwrap_or_default();
    values(first, &path, current)
}

/// What a value can be, by the name that the help has for it.
fn values(name: &str, path: &[&str], current: &str) -> Candidates {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| ((*word).into(), String::new()))
            .collect()
    };
    match name {
        "id" | "ids" | "session" => bounded(sessions, current, path == ["summon"]),
        "harness" => bounded(harnesses, current, false),
        "file" => words(&[":files"]),
        "cwd" | "root" => words(&[":dirs"]),
        "level" => words(&["error", "warn", "info", "debug", "trace"]),
        "shell" => words(&["bash", "zsh", "fish"]),
        _ => Vec::new(),
    }
}

/// Asks the daemon in a thread that is left behind when it does not answer in time.
fn bounded(ask: fn(&str, bool) -> Option<Candidates>, current: &str, archived: bool) -> Candidates {
    let (sender, receiver) = mpsc::channel();
    let current = current.to_owned();
    std::thread::spawn(move || sender.send(ask(&current, archived)));
    receiver
        .recv_timeout(durations::COMPLETION)
        .ok()
        .flatten()
        .unwrap_or_default()
}

fn client() -> Option<Client> {
    let home = Home::from_env().ok()?;
    Some(
        Client::connect_within(&home.socket(), durations::COMPLETION)
            .ok()?
            .0,
    )
}

fn sessions(current: &str, archived: bool) -> Option<Candidates> {
    let mut path = format!("/sessions?limit=200&includeArchived={archived}");
    if !current.is_empty() {
        if !is_session_id_prefix(current) {
            return None;
        }
        path += &format!("&idPrefix={current}");
    }
    let page: SessionPage = client()?.get(&path).ok()?;
    let sessions = page.sessions.iter();
    let sessions = sessions.filter(|session| !archived || session.archived_at.is_some());
    let about = sessions.map(|session| {
        let title = shortened(&session.title, 40);
        let about = format!("{} {}: {title}", session.status, visible(&session.harness));
        (session.id.to_string(), about)
    });
    Some(about.collect())
}

fn harnesses(_: &str, _: bool) -> Option<Candidates> {
    let capabilities: Capabilities = client()?.get("/capabilities").ok()?;
    let adapters = capabilities.adapters.iter();
    Some(
        adapters
            .map(|adapter| (visible(&adapter.id), visible(&adapter.label)))
            .collect(),
    )
}

/// What a command's help says, which argh writes from the definitions themselves.
struct Help {
    options: Vec<OptionHelp>,
    commands: Candidates,
    /// The positional arguments' names as the usage has them: `id`, `ids...`, `harness prompt...`.
    positional: String,
}

struct OptionHelp {
    /// `-f` and `--follow`, or only the latter.
    names: Vec<String>,
    about: String,
    value: Option<String>,
}

impl OptionHelp {
    fn words(self) -> impl Iterator<Item = (String, String)> {
        let about = self.about;
        self.names
            .into_iter()
            .map(move |name| (name, about.clone()))
    }
}

impl Help {
    fn of(path: &[&str]) -> Self {
        let args: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
        let early = Cli::from_args(&["coven"], &args).err();
        Self::parse(&early.map(|early| early.output).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let usage = text.lines().next().unwrap_or_default();
        let mut help = Self {
            options: Vec::new(),
            commands: Vec::new(),
            positional: positional(usage),
        };
        let (mut section, mut rows): (_, Vec<(&str, String, String)>) = ("", Vec::new());
        for line in text.lines().skip(1) {
            if !line.starts_with(' ') {
                section = line;
            } else if let Some(more) = line.strip_prefix("                    ") {
                if let Some((_, _, about)) = rows.last_mut() {
                    *about += if about.is_empty() { "" } else { " " };
                    *about += more;
                }
            } else {
                // A name and its text are at least two spaces apart, unless the name is too long for both.
                let (name, about) = line
                    .trim_start()
                    .split_once("  ")
                    .unwrap_or((line.trim(), ""));
                rows.push((section, name.into(), about.trim().into()));
            }
        }
        for (section, name, about) in rows {
            match section {
                "Options:" => {
                    let names: Vec<String> = name.split(", ").map(str::to_owned).collect();
                    let value = names.iter().find_map(|name| value_in(usage, name));
                    help.options.push(OptionHelp {
                        names,
                        about,
                        value,
                    });
                }
                "Commands:" => help.commands.push((name, about)),
                _ => {}
            }
        }
        help
    }

    /// The name of the value that the option `word` takes.
    fn value_of(&self, word: &str) -> Option<String> {
        let option = self
            .options
            .iter()
            .find(|option| option.names.iter().any(|name| name == word));
        option?.value.clone()
    }

    /// Whether everything behind is text: a prompt, or an input.
    fn is_over(&self, positionals: usize) -> bool {
        positionals > 0 && self.positional.contains(' ')
    }
}

/// The value's name in `[--cwd <cwd>]`.
fn value_in(usage: &str, option: &str) -> Option<String> {
    let (_, behind) = usage.split_once(&format!("{option} <"))?;
    Some(behind.split_once('>')?.0.to_owned())
}

/// What is left of a usage without its name and its options.
fn positional(usage: &str) -> String {
    let mut rest = usage.rsplit_once("[--] ").map_or("", |(_, rest)| rest);
    if rest.is_empty() {
        rest = match usage.rsplit_once(" [") {
            Some((_, last)) if last.ends_with("...]") => last,
            _ => usage.rsplit_once(' ').map_or("", |(_, last)| last),
        };
    }
    rest.trim_matches(['[', ']', '<', '>'])
        .replace("...>", "...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (current, before) = words.split_last().unwrap();
        let found = candidates(before, current)
            .into_iter()
            .map(|(word, _)| word);
        found
            .filter(|word| word.starts_with(current) || word.starts_with(':'))
            .collect()
    }

    #[test]
    fn each_place_has_what_can_stand_there() {
        assert_eq!(words("se"), ["sessions"]);
        assert_eq!(words("daemon sta"), ["start", "status"]);
        assert_eq!(words("logs --fo"), ["--follow"]);
        assert_eq!(words("logs -n 3 --level w"), ["warn"]);
        assert_eq!(words("run --cwd /t"), [":dirs"]);
        assert_eq!(words("run --file = /t"), [":files"]);
        assert_eq!(words("completions z"), ["zsh"]);
    }

    #[test]
    fn a_prompt_is_not_completed() {
        assert!(words("run hello --jso").is_empty());
        assert!(words("run hello he").is_empty());
        assert_eq!(words("run --detach --jso"), ["--json"]);
    }

    #[test]
    fn the_names_of_positional_arguments_are_read_from_the_usage() {
        for (path, name) in [
            ("run", "harness prompt..."),
            ("input", "id text..."),
            ("kill", "ids..."),
            ("wait", "ids..."),
            ("show", "id"),
            ("completions", "shell"),
        ] {
            assert_eq!(Help::of(&[path]).positional, name, "{path}");
        }
    }
}
