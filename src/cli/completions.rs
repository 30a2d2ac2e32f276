//! `coven completions`: completion of command lines in shells.
//!
//! The scripts call this executable at each Tab, which knows its verbs and options. It never starts a daemon, and waits
//! at most [`durations::COMPLETION`] for one.

use std::sync::mpsc;

use argh::{ArgsInfo, FromArgs};

use super::columns::Column;
use super::daemon_logs::levels;
use super::grammar::{Flag, Position, names, options};
use super::help::pages;
use super::output::{Out, visible};
use super::sessions::live_sessions;
use super::table::{Color, age, shortened};
use super::target::{self, known_hosts, take_hosts};
use super::{Cli, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::api::{
    Code, Health, KillSignal, Permission, SessionRecord, SessionStatus, SessionsQuery, Stream,
    Visibility, is_session_id_prefix, words,
};
use crate::http::client::Client;
use crate::observe::LogEvent;
use crate::settings::durations;

/// Verbs for live sessions only.
const LIVE_ONLY: [&str; 4] = ["attach", "input", "kill", "wait"];

/// Verbs for ended sessions only.
const ENDED_ONLY: [&str; 2] = ["archive", "sacrifice"];

/// Verbs for archived sessions only.
const ARCHIVED_ONLY: [&str; 1] = ["summon"];

/// Most candidates among sessions that are not live.
const OFFERED: u64 = 200;

/// Hidden verb of the scripts; its arguments are the words up to the cursor.
const COMPLETE_VERB: &str = "__complete";

/// Print a shell's completion script: bash, zsh or fish.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "completions", help_triggers("-h", "--help"))]
#[argh(note = "There is no --json: it prints a script.")]
#[argh(note = "  bash  source <(coven completions bash)
  zsh   coven completions zsh > DIR-IN-FPATH/_coven
  fish  coven completions fish > ~/.config/fish/completions/coven.fish")]
pub(super) struct Args {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: Shell,
}

words! {
    /// The shells that there is a script for.
    enum Shell {
        Bash = "bash",
        Zsh = "zsh",
        Fish = "fish",
    }
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

pub(super) fn run(args: &Args) -> ExitResult {
    let script = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    };
    Out::new().bytes(script.as_bytes())?;
    Ok(0)
}

/// The words that a script passes, unchanged, including `--name=value`.
pub(super) fn asked_for() -> Option<Vec<String>> {
    let args = std::env::args_os().skip(1);
    let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
    args.next().filter(|verb| verb == COMPLETE_VERB)?;
    crate::sys::unblock_all();
    Some(args.collect())
}

/// Prints the candidates for the last of `words`, one per line, each with a description after a tab.
pub(super) fn complete(words: &[String]) -> ExitResult {
    // The completed word is not a verb's name yet. A verb of a later version has no candidates.
    let words = match words.len() {
        0 | 1 => words.to_vec(),
        // The host is the completed word.
        length if target::OPTION.contains(&words[length - 2].as_str()) => {
            words[length - 2..].to_vec()
        }
        _ => take_hosts(words.to_vec()).unwrap_or_default(),
    };
    let Some((current, before)) = words.split_last() else {
        return Ok(0);
    };
    // bash splits `--cwd=x` into three words.
    let current = if current == "=" { "" } else { current };
    let mut out = Out::new();
    for (word, about) in candidates(before, current) {
        // The shell itself completes file names.
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
    let mut place = Position::start();
    for word in before.iter().filter(|word| *word != "=") {
        place.take(word);
    }
    let over = || ("--".into(), "the prompt stands behind it".into());
    if place.can_be_option() && current.starts_with('-') {
        let about = |flag: &'static Flag| names(flag).map(|name| (name, flag.description.into()));
        let over = place.takes_prompt().then(over);
        let last = place.is_last("--last");
        let last = last.then(|| ("--last".into(), "the newest session".into()));
        return options(&place.command)
            .flat_map(about)
            .chain(over)
            .chain(last)
            .collect();
    }
    let value = place.value();
    if value == Some("prompt") && place.can_be_option() {
        return vec![over()];
    }
    let mut found = match value {
        Some("id" | "ids") => sessions(place.path.join(" "), current.to_owned()),
        Some("harness") => bounded(harnesses),
        Some("topic") => topics(),
        Some(value) => values(value, current),
        None => Vec::new(),
    };
    if place.waiting().is_none() && (value.is_some() || place.command.positionals.is_empty()) {
        let verbs = place.command.commands.iter();
        found.extend(verbs.map(|verb| (verb.name.into(), verb.command.description.into())));
    }
    found
}

/// The known candidates for a value or an argument, by its name.
fn values(name: &str, current: &str) -> Candidates {
    fn all<T: ToString>(words: impl IntoIterator<Item = T>) -> Vec<String> {
        words.into_iter().map(|word| word.to_string()).collect()
    }
    let words = match name {
        "file" | "copy" => vec![":files".into()],
        "dir" => vec![":dirs".into()],
        "level" => levels(),
        "event" => all(LogEvent::ALL.iter().map(|event| event.name)),
        "code" => all(Code::ALL),
        "permission" => all(Permission::SET),
        "shell" => all(Shell::ALL),
        "signal" => all(KillSignal::ALL),
        "status" => all(SessionStatus::ALL),
        "stream" => all(Stream::ALL),
        "visibility" => all(Visibility::ALL),
        "host" => known_hosts().into_iter().map(|(name, _)| name).collect(),
        "when" => all(Color::ALL),
        "fields" => {
            let before = current.rfind(',').map_or("", |comma| &current[..=comma]);
            all(Column::ALL.map(|column| format!("{before}{column}")))
        }
        _ => Vec::new(),
    };
    let words = words.into_iter();
    words.map(|word| (word, String::new())).collect()
}

/// Asks the daemon on a thread that is abandoned after the timeout.
fn bounded(ask: impl FnOnce() -> Option<Candidates> + Send + 'static) -> Candidates {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(ask()));
    let answer = receiver.recv_timeout(durations::COMPLETION);
    answer.ok().flatten().unwrap_or_default()
}

fn connect() -> Option<(Client, Health)> {
    target::target().ok()?.connect_quickly()
}

/// Ids of the sessions on which `verb` can act and which start with `current`, newest first.
fn sessions(verb: String, current: String) -> Candidates {
    if !current.is_empty() && !is_session_id_prefix(&current) {
        return Vec::new();
    }
    bounded(move || {
        let (mut client, health) = connect()?;
        if LIVE_ONLY.contains(&verb.as_str()) {
            let live = live_sessions(&mut client, health.sessions.live).ok()?;
            return Some(live.iter().map(candidate).collect());
        }
        let is_archived = ARCHIVED_ONLY.contains(&verb.as_str());
        let query = SessionsQuery {
            limit: Some(OFFERED),
            include_archived: Some(is_archived),
            id_prefix: Some(current).filter(|prefix| !prefix.is_empty()),
            ..SessionsQuery::default()
        };
        let page = client
            .call(routes::ListSessions.request().query(&query))
            .ok()?;
        let sessions = page.sessions.iter();
        let sessions = sessions
            .filter(|session| !is_archived || session.archived_at.is_some())
            .filter(|session| session.status.is_final() || !ENDED_ONLY.contains(&verb.as_str()));
        Some(sessions.map(candidate).collect())
    })
}

/// A session's id, with a description for people.
fn candidate(session: &SessionRecord) -> (String, String) {
    let (harness, age) = (visible(&session.harness), age(session.created_at));
    let title = shortened(&session.title, 40);
    let about = format!("{} {harness}, {age} ago: {title}", session.status);
    (session.id.to_string(), about)
}

/// The pages of the manual, and the verbs.
fn topics() -> Candidates {
    let verbs = Cli::get_args_info().commands.into_iter();
    let verbs = verbs.map(|verb| (verb.name, verb.command.description));
    let verbs = verbs.filter(|(verb, _)| pages().all(|(page, _)| page != *verb));
    pages()
        .chain(verbs)
        .map(|(name, about)| (name.to_owned(), about.to_owned()))
        .collect()
}

fn harnesses() -> Option<Candidates> {
    let capabilities = connect()?.0.call(routes::Capabilities.request()).ok()?;
    let adapters = capabilities.adapters.iter();
    let named = adapters.map(|adapter| (visible(&adapter.id), visible(&adapter.label)));
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::grammar::{value_of, verbs};

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
        assert_eq!(words("daemon logs -n 3 --level w"), ["warn"]);
        assert_eq!(words("run --cwd /t"), [":dirs"]);
        assert_eq!(words("run --file = /t"), [":files"]);
        assert_eq!(words("backup /t"), [":files"]);
        assert_eq!(words("diagnostics --output r"), [":files"]);
        assert_eq!(words("completions z"), ["zsh"]);
        assert_eq!(words("help set"), ["settings"]);
        assert_eq!(words("help do"), ["doctor"]);
        assert_eq!(words("daemon logs --event session_k"), ["session_kill"]);
    }

    #[test]
    fn a_prompt_is_not_completed() {
        assert!(words("run hello -- --jso").is_empty());
        assert!(words("run hello he").is_empty());
        for before in ["run --detach", "run hello", "run hello hi"] {
            assert_eq!(words(&format!("{before} --jso")), ["--json"]);
        }
        assert_eq!(words("run hello --").last().unwrap(), "--");
        assert_eq!(words("run hello "), ["--"]);
    }

    #[test]
    fn every_verb_and_every_option_completes() {
        for (verb, command) in verbs() {
            assert!(words(&verb).contains(&verb.rsplit(' ').next().unwrap().into()));
            let offered = words(&format!("{verb} -"));
            let mut shown: Vec<String> = options(&command).flat_map(names).collect();
            shown.extend((verb == "run").then(|| "--".into()));
            let names_session = command.positionals.first().is_some_and(|argument| {
                ["id", "ids"].contains(&argument.name.split(' ').next().unwrap())
            });
            shown.extend(names_session.then(|| "--last".into()));
            assert_eq!(offered, shown, "{verb}");
            assert!(offered.contains(&"--help".into()), "{verb}");
        }
        assert!(!words("daemon serve -").contains(&"--background".into()));
        for verb in LIVE_ONLY.iter().chain(&ENDED_ONLY).chain(&ARCHIVED_ONLY) {
            assert!(verbs().iter().any(|(path, _)| path == verb), "{verb}");
        }
    }

    /// Values that only the user or the daemon knows.
    const FREE: &str = "id ids harness prompt text change title model label labels n time seq pid argument \
        name[=value] topic";

    #[test]
    fn every_option_and_argument_completes_or_is_free_text() {
        let mut free = Vec::new();
        for (verb, command) in verbs() {
            let options = options(&command).filter_map(value_of);
            let arguments = command.positionals.iter();
            let arguments = arguments.flat_map(|argument| argument.name.split(' '));
            for name in options.chain(arguments).filter(|name| *name != "--") {
                let is_free = FREE.split(' ').any(|free| free == name);
                assert_eq!(is_free, values(name, "").is_empty(), "{verb} {name}");
                free.extend(is_free.then_some(name));
            }
        }
        assert!(FREE.split(' ').all(|name| free.contains(&name)), "{free:?}");
        assert_eq!(words("kill -s K"), ["KILL"]);
        assert_eq!(words("sessions --format id,ti"), ["id,title"]);
        assert_eq!(words("sessions --status ru"), ["running"]);
    }
}
