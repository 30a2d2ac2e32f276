//! `coven chat`: a conversation with an agent, line by line.
//!
//! A harness with a stream mode runs in one session. Any other harness that can continue a conversation gets one
//! session for each line.

use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::agent::AgentScreen;
use super::daemon::remark;
use super::ending::EndFacts;
use super::follow::{Wait, conclude, follow_events};
use super::input::end_input;
use super::interrupt::{CurrentSession, kill_on_signal};
use super::permission::{self, PermissionSource};
use super::places::{self, Places};
use super::stream_json::Form;
use super::{CliError, ExitResult, Target, continued, launched, run, variables};
use crate::api::routes::{self, Endpoint};
use crate::api::{
    AdapterStatus, Code, Conversation, ConversationMode, InputRequest, LaunchRequest, Permission,
};
use crate::http::client::Client;

/// Hold a conversation with an agent: a line of yours, its answer as it comes, until Ctrl-D. Ctrl-C kills the session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "chat", help_triggers("-h", "--help"))]
#[argh(
    note = "Where stdin is no terminal, each of its lines is one of yours. Exits with the last session's own code.\n\
            There is no --json: coven run --continue --json is for programs."
)]
pub(super) struct Args {
    /// working directory of the harness (default: this one)
    #[argh(option, arg_name = "dir")]
    cwd: Option<PathBuf>,
    /// the model, for harnesses that offer a choice
    #[argh(option, short = 'm')]
    model: Option<String>,
    /// what the harness may do: read-only, workspace-write or full (default: COVEN_PERMISSION, else as it is set up)
    #[argh(option, arg_name = "permission")]
    permission: Option<Permission>,
    /// continue the conversation of this session, or of this conversation id; without an id that of the newest ended
    /// session of this project and harness
    #[argh(option, long = "continue", arg_name = "id")]
    continued: Option<String>,
    /// the harness
    #[argh(positional)]
    harness: String,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let target = super::target()?;
    let current = kill_on_signal(target.clone())?;
    let places = Places::of(&target, args.cwd.as_deref(), None, &[])?;
    let mut request = LaunchRequest {
        project_root: places.root,
        cwd: places.cwd,
        harness: args.harness.clone(),
        model: args.model.clone(),
        ..LaunchRequest::default()
    };
    let mut client = run::connect_or_start(&target)?;
    places::expand_home(&mut client, &mut request)?;
    let adapter = variables::pass(&target, &mut client, &args.harness, &mut request.env)?;
    let source = permission::choose(args.permission, &mut request)?;
    permission::remark_on_setting(&request, source);
    let form = form(adapter.as_ref(), &mut request)?;
    if let Some(given) = &args.continued {
        continued::go_on(&mut client, &mut request, given, args.cwd.is_some())?;
    }
    let mut chat = Chat {
        target,
        client,
        request,
        form,
        current,
        session: None,
        source,
        screen: AgentScreen::new(form),
        code: 0,
    };
    while let Some(line) = next_line()? {
        match chat.turn(line)? {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(()) => return Ok(chat.code),
        }
    }
    chat.end()
}

/// Chooses the form of the harness's output, and requests it in `request`.
fn form(adapter: Option<&AdapterStatus>, request: &mut LaunchRequest) -> Result<Form, CliError> {
    // The launch reports an unknown harness.
    let Some(adapter) = adapter else {
        return Ok(Form::Pieces);
    };
    let form = Form::choose(adapter, request);
    if form != Form::Stream && !adapter.resumes {
        let message = format!(
            "{} holds no conversation: it has no stream form, and cannot be told to go on with a conversation",
            adapter.id
        );
        return Err(CliError::new(Code::InvalidRequest, message));
    }
    Ok(form)
}

/// The next line that is not blank; `None` at the end of stdin.
fn next_line() -> Result<Option<String>, CliError> {
    let is_terminal = io::stdin().is_terminal();
    loop {
        if is_terminal {
            let mut err = io::stderr().lock();
            write!(err, "> ")?;
            err.flush()?;
        }
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.trim().is_empty() {
            return Ok(Some(line.to_owned()));
        }
    }
}

struct Chat {
    target: Target,
    client: Client,
    /// Launch of each session, without the prompt.
    request: LaunchRequest,
    form: Form,
    /// The session that a signal kills.
    current: CurrentSession,
    /// The running session, and the seq of the last event shown.
    session: Option<(String, u64)>,
    screen: AgentScreen,
    /// Source of the permission.
    source: PermissionSource,
    /// Exit code of the last session.
    code: u8,
}

impl Chat {
    /// Sends `line` to the agent, and shows its answer; breaks if no further turn is possible.
    fn turn(&mut self, line: String) -> Result<ControlFlow<()>, CliError> {
        let (id, after) = match self.session.take() {
            Some((id, after)) => {
                let input = InputRequest::data(line);
                self.client.call(routes::Input.of(&id).body(&input))?;
                (id, after)
            }
            None => {
                let prompt = line;
                let request = LaunchRequest {
                    prompt,
                    ..self.request.clone()
                };
                let record = launched::launch(&mut self.client, &request)?;
                if request.conversation.is_none() {
                    permission::remark_on_default(&record, self.source);
                }
                (record.id.to_string(), 0)
            }
        };
        self.current.set(Some(id.clone()));
        let Some(ending) = self.answer(&id, after)? else {
            return Ok(ControlFlow::Continue(()));
        };
        self.current.set(None);
        self.code = conclude(&ending, &id);
        if self.form == Form::Stream {
            return Ok(ControlFlow::Break(()));
        }
        let record = self.client.call(routes::ShowSession.of(&id))?;
        let Some(id) = record.harness_session_id else {
            let harness = record.harness;
            remark(&format!(
                "{harness} has told no id of its conversation, which ends here"
            ));
            return Ok(ControlFlow::Break(()));
        };
        let mode = ConversationMode::Resume;
        self.request.conversation = Some(Conversation { mode, id });
        Ok(ControlFlow::Continue(()))
    }

    /// Shows the session's output until the end of the turn or of the session.
    fn answer(&mut self, id: &str, after: u64) -> Result<Option<EndFacts>, CliError> {
        let is_stream = self.form == Form::Stream;
        let mut seen = after;
        let screen = &mut self.screen;
        let ending = follow_events(&mut self.client, id, after, Wait::ToTheEnd, &mut |event| {
            seen = event.seq;
            let is_over = screen.show(event)?;
            Ok(match is_over && is_stream {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        if ending.is_none() {
            self.session = Some((id.to_owned(), seen));
        }
        Ok(ending)
    }

    /// Ends the session after the last line.
    fn end(mut self) -> ExitResult {
        if let Some((id, after)) = self.session.take() {
            end_input(&self.target, &id)?;
            let screen = &mut self.screen;
            let ending =
                follow_events(&mut self.client, &id, after, Wait::ToTheEnd, &mut |event| {
                    screen.show(event)?;
                    Ok(ControlFlow::Continue(()))
                })?;
            self.code = ending.unwrap_or_default().code();
        }
        Ok(self.code)
    }
}
