//! `coven rerun`: repeats the launch of a session.

use argh::{ArgsInfo, FromArgs};

use super::interrupt::Interrupt;
use super::launched::{LaunchedSession, OutputOptions};
use super::permission::{self, PermissionSource};
use super::session::SessionRef;
use super::stream_json::Form;
use super::{CliError, ExitResult, Target, continued, prompt, run, variables};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, LaunchRequest, SessionRecord, Word};
use crate::http::client::Client;
use crate::redact::REDACTED;

/// Start a session again: its harness, prompt, directories and options, with this shell's values of its variables. Ctrl-C kills the session.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "rerun", help_triggers("-h", "--help"))]
#[argh(
    note = "A session that went on with a conversation goes on with it again, as that is now; another one begins its own.\n\
            What an agent said in its JSON form is shown as text. Exits as run does."
)]
pub(super) struct Args {
    /// print the session's id, and return while it runs
    #[argh(switch, short = 'd')]
    detach: bool,
    /// as JSON, one object per line: the events; with --detach as one JSON document: the record
    #[argh(switch)]
    json: bool,
    /// do not print the session's id and permission on stderr
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let target = super::target()?;
    let interrupt = Interrupt::watch(target.clone())?;
    let mut client = run::connect_or_start(&target)?;
    let id = args.id.full_id(&mut client)?;
    let record = client.call(routes::ShowSession.of(&id))?;
    let is_continued = record.continued_from.is_some();
    let permission = record.options.permission.as_ref().and_then(Word::known);
    let mut request = request(&target, &mut client, record)?;
    let source = permission::set(
        permission.unwrap_or_default(),
        PermissionSource::Option,
        &mut request,
    );
    if is_continued {
        let session = continued::find(&mut client, &request.harness, &id)?;
        continued::resume(&mut request, &session);
    }
    let mode = request.launch_mode.as_ref();
    let form = Form::asked_for(&mut client, &request.harness, mode, &request.args)?;
    let output = OutputOptions {
        detach: args.detach,
        json: args.json,
        quiet: args.quiet,
        ..OutputOptions::default()
    };
    let launched = LaunchedSession::new(target, interrupt, client, &request)?;
    launched.show(output, form, source, &request.prompt)
}

/// The launch of `record`, without its permission and its conversation.
fn request(
    target: &Target,
    client: &mut Client,
    record: SessionRecord,
) -> Result<LaunchRequest, CliError> {
    let prompt = whole_prompt(client, &record)?;
    let is_redacted = |text: &String| text.contains(REDACTED);
    let (args, model) = (&record.options.args, &record.options.model);
    if is_redacted(&prompt) || args.iter().chain(model).any(is_redacted) {
        let why = "its prompt, its model, or an argument holds a secret, which is not on record";
        return Err(incomplete(&record, why));
    }
    if target.host().is_some() && !record.options.env_names.is_empty() {
        let why = "it had variables, and those of this shell are not sent to another host";
        return Err(incomplete(&record, why));
    }
    let mut options = record.options;
    let env = variables::anew(&options.env_names)?;
    // The id of a conversation that the session started: it exists already.
    if options.conversation_id == record.harness_session_id || record.continued_from.is_some() {
        options.conversation_id = None;
    }
    Ok(LaunchRequest {
        harness: record.harness,
        prompt,
        project_root: record.project_root,
        cwd: record.cwd,
        title: Some(record.title),
        env,
        ..options.into_request()
    })
}

/// The complete prompt of `record`.
fn whole_prompt(client: &mut Client, record: &SessionRecord) -> Result<String, CliError> {
    let Some(prompt) = prompt::of(client, &record.id.to_string())? else {
        let why = match record.external {
            true => "coven has not launched it",
            false => "its prompt is gone by retention, or an older coven has launched it",
        };
        return Err(incomplete(record, why));
    };
    match prompt.bytes {
        _ if prompt.is_whole => Ok(prompt.text),
        Some(bytes) => {
            let kept = prompt.text.len();
            let why = format!("its prompt has {bytes} bytes, of which {kept} are on record");
            Err(incomplete(record, &why))
        }
        None => Err(incomplete(
            record,
            "a part of its prompt is gone by retention",
        )),
    }
}

/// Error: the record lacks something that the launch needs.
fn incomplete(record: &SessionRecord, why: &str) -> CliError {
    let message = format!("session {} cannot be run again as it was: {why}", record.id);
    let next = format!(
        "coven run {} --file FILE, with the prompt in FILE",
        record.harness
    );
    CliError::failed(Code::InvalidRequest, message, Some(&next))
}
