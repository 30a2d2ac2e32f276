//! `coven run`: launches a session, and shows it to its end.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::continued;
use super::daemon::remark;
use super::interrupt::Interrupt;
use super::launched::{LaunchedSession, OutputOptions};
use super::permission;
use super::places::{self, Places};
use super::stream_json::{self, Form};
use super::target::IfDown;
use super::text::{file_text, has_unread_input, stdin_text};
use super::time::parse_duration;
use super::variables::{self, GivenVariable};
use super::{CliError, ExitResult, Target};
use crate::api::{
    AdapterStatus, Code, Labels, LaunchRequest, OnEnd, Permission, TelemetryFormat, Visibility,
    Word,
};
use crate::daemon::Home;
use crate::daemon::control::{self, DaemonStart};
use crate::http::client::{Client, ClientError};

/// Launch a session and show its output: coven run <harness> [options] -- "$PROMPT". Ctrl-C kills the session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "run", help_triggers("-h", "--help"))]
#[argh(
    note = "Options stand before the harness, directly behind it, or behind the whole prompt. Everything behind -- is the prompt.\n\
            A word that contains white space is never an option.\n\
            The prompt `-` is read from stdin. A last word `-` behind others appends stdin, after an empty line.\n\
            The session also gets the variables that its adapter passes on from this shell (keys, tokens): coven adapters --json lists them.\n\
            Exit codes: coven --help.\n\
            SIGINT and SIGTERM kill the session; a second one does not wait for its end. SIGHUP ends run alone (a shell gives 129); the session runs on."
)]
pub(super) struct Args {
    /// working directory of the harness (default: this one)
    #[argh(option, arg_name = "dir")]
    cwd: Option<PathBuf>,
    /// project root (default: the nearest directory upwards that holds .git, else the working directory)
    #[argh(option, arg_name = "dir")]
    root: Option<PathBuf>,
    /// continue the conversation of this session, or of this conversation id; without an id that of the newest ended
    /// session of this project and harness
    #[argh(option, long = "continue", arg_name = "id")]
    continued: Option<String>,
    /// a line for people (default: the prompt's first line)
    #[argh(option)]
    title: Option<String>,
    /// the model, for harnesses that offer a choice
    #[argh(option, short = 'm')]
    model: Option<String>,
    /// words to find it by, as a,b
    #[argh(option, arg_name = "labels")]
    labels: Option<String>,
    /// private, workspace or shared: kept for clients, the daemon acts on none of it
    #[argh(option, arg_name = "visibility")]
    visibility: Option<Visibility>,
    /// what the harness may do: read-only, workspace-write or full (default: COVEN_PERMISSION, else as it is set up)
    #[argh(option, arg_name = "permission")]
    permission: Option<Permission>,
    /// one more directory that the harness may use; repeatable
    #[argh(option, arg_name = "dir")]
    add_dir: Vec<PathBuf>,
    /// one more argument for the harness, before the prompt, as --arg=-v; repeatable
    #[argh(option, arg_name = "argument")]
    arg: Vec<String>,
    /// kill it after this time: seconds, or 90s, 15m, 2h
    #[argh(option, from_str_fn(parse_duration), arg_name = "time")]
    timeout: Option<Duration>,
    /// kill it after this time without output
    #[argh(option, from_str_fn(parse_duration), arg_name = "time")]
    idle_timeout: Option<Duration>,
    /// kill it after this many tokens; for harnesses that report them
    #[argh(option, arg_name = "n")]
    max_tokens: Option<u64>,
    /// when it has completed, archive it, 30 s later
    #[argh(switch)]
    archive: bool,
    /// when it has completed, delete it, 30 s later; sacrifice does so at once
    #[argh(switch)]
    rm: bool,
    /// at its end, also end the processes that it leaves running
    #[argh(switch)]
    sweep: bool,
    /// a variable for this session: its value shows in `ps`; NAME alone has this shell's value, and shows none
    #[argh(option, short = 'e', arg_name = "name[=value]")]
    env: Vec<GivenVariable>,
    /// variables for this session, NAME=VALUE a line, quoted as for systemd; refused if others can read it
    #[argh(option, arg_name = "file")]
    env_file: Option<PathBuf>,
    /// read the prompt from this file; - is stdin
    #[argh(option)]
    file: Option<PathBuf>,
    /// print the session's id, and return while it runs
    #[argh(switch, short = 'd')]
    detach: bool,
    /// as JSON, one object per line: the events; with --detach as one JSON document: the record
    #[argh(switch)]
    json: bool,
    /// as stream-json, one object per line: the session
    #[argh(switch)]
    stream_json: bool,
    /// read messages from stdin, a JSON object a line; with --stream-json
    #[argh(switch)]
    stream_json_input: bool,
    /// do not print the session's id and permission on stderr
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// the harness, and what it is asked to do
    #[argh(positional, greedy, arg_name = "harness -- prompt")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    check_output(args)?;
    let target = super::target()?;
    let mut request = request_for(args, &target)?;
    request.prompt = prompt(args)?;
    let interrupt = Interrupt::watch(target.clone())?;
    let mut client = connect_or_start(&target)?;
    places::expand_home(&mut client, &mut request)?;
    let adapter = variables::pass(&target, &mut client, &request.harness, &mut request.env)?;
    let source = permission::choose(args.permission, &mut request)?;
    let output = OutputOptions {
        detach: args.detach,
        json: args.json,
        stream_json: args.stream_json,
        stream_json_input: args.stream_json_input,
        quiet: args.quiet,
    };
    if output.is_talkative() {
        permission::remark_on_setting(&request, source);
    }
    if let Some(given) = &args.continued {
        let has_directory = args.cwd.is_some() || args.root.is_some();
        continued::go_on(&mut client, &mut request, given, has_directory)?;
    }
    let form = form(args, adapter.as_ref(), &mut request);
    let launched = LaunchedSession::new(target, interrupt, client, &request)?;
    // Checked now: a process that writes into the pipe has had time to start.
    remark_on_unread_input(args, form);
    launched.show(output, form, source, &request.prompt)
}

/// Checks that at most one kind of output is requested.
fn check_output(args: &Args) -> Result<(), CliError> {
    let other = [(args.json, "--json"), (args.detach, "--detach")];
    let other = other.into_iter().find(|(is_given, _)| *is_given);
    match (args.stream_json, other) {
        (true, Some((_, other))) => {
            Err(CliError::usage(&format!("run: --stream-json and {other}")))
        }
        (false, _) if args.stream_json_input => Err(CliError::usage(
            "run: --stream-json-input without --stream-json",
        )),
        _ => Ok(()),
    }
}

/// The form of the output: the requested one; a form that reports tokens, if they are limited; or one that reports the
/// conversation id, if no other form does, so that the session can be continued.
fn form(args: &Args, adapter: Option<&AdapterStatus>, request: &mut LaunchRequest) -> Option<Form> {
    // The launch reports an unknown harness.
    let adapter = adapter?;
    if args.stream_json {
        return Some(Form::choose(adapter, request));
    }
    let format = adapter.telemetry.as_ref().and_then(Word::known);
    let has_id_so = format.is_some_and(TelemetryFormat::has_id_in_json_only);
    match args.max_tokens.is_some() || has_id_so {
        true => Form::choose_telling(adapter, request),
        false => None,
    }
}

/// The launch request without its prompt.
fn request_for(args: &Args, target: &Target) -> Result<LaunchRequest, CliError> {
    let Some(harness) = args.command.first() else {
        return Err(CliError::usage("run: which harness?"));
    };
    let (cwd, root) = (args.cwd.as_deref(), args.root.as_deref());
    let places = Places::of(target, cwd, root, &args.add_dir)?;
    Ok(LaunchRequest {
        project_root: places.root,
        cwd: places.cwd,
        harness: harness.clone(),
        title: args.title.clone(),
        model: args.model.clone(),
        labels: labels(args.labels.as_deref()),
        visibility: args.visibility.unwrap_or_default().into(),
        sweep: args.sweep,
        on_end: on_end(args)?.map(Word::from),
        add_dirs: places.add_dirs,
        args: args.arg.clone(),
        env: variables::given(&args.env, args.env_file.as_ref())?,
        timeout_ms: args.timeout.map(|timeout| timeout.as_millis() as u64),
        idle_timeout_ms: args.idle_timeout.map(|idle| idle.as_millis() as u64),
        max_tokens: args.max_tokens,
        ..LaunchRequest::default()
    })
}

/// The action on the session's record after its end.
fn on_end(args: &Args) -> Result<Option<OnEnd>, CliError> {
    match (args.archive, args.rm) {
        (true, true) => Err(CliError::usage("run: --archive and --rm")),
        (true, false) => Ok(Some(OnEnd::Archive)),
        (false, true) => Ok(Some(OnEnd::Delete)),
        (false, false) => Ok(None),
    }
}

fn labels(given: Option<&str>) -> Labels {
    let labels = given.unwrap_or_default().split(',').map(str::trim);
    let labels = labels.filter(|label| !label.is_empty());
    Labels(labels.map(str::to_owned).collect())
}

fn prompt(args: &Args) -> Result<String, CliError> {
    let words = args.command.get(1..).unwrap_or_default();
    match (args.file.as_deref(), words) {
        (None, []) if args.stream_json_input => match stream_json::next_message()? {
            Some(text) => filled("the first message on stdin", text),
            None => Err(CliError::usage("run: no prompt, and no message on stdin")),
        },
        (Some(path), []) if path == Path::new("-") => filled("stdin", stdin_text()?),
        (Some(path), []) => filled(&path.display().to_string(), file_text(path)?),
        (Some(_), _) => Err(CliError::usage("run: a prompt and --file")),
        (None, []) if io::stdin().is_terminal() && io::stdout().is_terminal() => Err(
            CliError::usage("run: no prompt; a session on this terminal is not in this version"),
        ),
        (None, []) => Err(CliError::usage("run: no prompt")),
        (None, [dash]) if dash == "-" => filled("stdin", stdin_text()?),
        (None, [words @ .., dash]) if dash == "-" => Ok(appended(words.join(" "), &stdin_text()?)),
        (None, words) => Ok(words.join(" ")),
    }
}

/// The prompt read from `source`, without the byte order mark with which some editors start a UTF-8 file (RFC 3629, 6).
fn filled(source: &str, text: String) -> Result<String, CliError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match text.trim().is_empty() {
        true => Err(CliError::new(
            Code::InvalidRequest,
            format!("there is no prompt in {source}: it is empty"),
        )),
        false => Ok(text.to_owned()),
    }
}

fn appended(words: String, input: &str) -> String {
    if input.is_empty() {
        remark("stdin is empty: nothing is appended to the prompt");
        return words;
    }
    format!("{words}\n\n{input}")
}

/// Warns that piped input is ignored: otherwise the harness would seem to get it.
fn remark_on_unread_input(args: &Args, form: Option<Form>) {
    if args.stream_json_input {
        if form != Some(Form::Stream) {
            remark("only the first message on stdin is read: the harness has no stream form");
        }
        return;
    }
    let is_read = args.file.is_some() || args.command.last().is_some_and(|word| word == "-");
    if !is_read && has_unread_input() {
        remark("stdin is not read; end the prompt with - to append it");
    }
}

/// Connects to the daemon, which is started if none runs: on its own host.
pub(super) fn connect_or_start(target: &Target) -> Result<Client, CliError> {
    match target {
        Target::Here(home) => connect_or_start_here(home),
        Target::There(remote) => remote.connect(IfDown::Start),
    }
}

pub(super) fn connect_or_start_here(home: &Home) -> Result<Client, CliError> {
    control::revive(home, &remark);
    match Client::connect(&home.socket()) {
        Err(ClientError::NotRunning { .. }) => {
            let by = match control::start(home, &remark)? {
                DaemonStart::New(pid) => Some(format!("pid {pid}")),
                DaemonStart::ByUnit(_, unit) => Some(format!("{unit}, by systemd")),
                DaemonStart::Already(_) => None,
            };
            if let (Some(by), true) = (by, io::stderr().is_terminal()) {
                remark(&format!("started the daemon ({by})"));
            }
            control::revive(home, &remark);
            Ok(Client::connect(&home.socket())?)
        }
        result => Ok(result?),
    }
}
