//! `coven attach`: shows a session's output from the start and follows it; typed lines go to its stdin.

use std::io::{self, BufRead, IsTerminal};

use argh::{ArgsInfo, FromArgs};

use super::daemon::remark;
use super::follow::{Show, Wait, follow};
use super::hint::Hint;
use super::input::{end_input, send_beside};
use super::session::SessionRef;
use super::stream_json::Form;
use super::{CliError, ExitResult, Target, agent, prompt};
use crate::api::InputRequest;
use crate::api::routes::{self, Endpoint};

/// Show a session's output from the start, then follow it; typed lines go to its stdin, Ctrl-D ends that. Ctrl-C detaches.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "attach", help_triggers("-h", "--help"))]
#[argh(
    note = "Where stdin is no terminal, its end ends the session's after at least one line.\n\
            What codex or opencode said in its JSON form is shown as text.\n\
            Exits as run does when the session ends. Exit codes: coven --help."
)]
pub(super) struct Args {
    /// only events after this seq
    #[argh(option, default = "0", arg_name = "seq")]
    after: u64,
    /// as JSON, one object per line: the events
    #[argh(switch)]
    json: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest
    #[argh(positional)]
    id: SessionRef,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let (mut client, id) = args.id.connect()?;
    let (target, typed_to) = (super::target()?, id.clone());
    let wait = match args.json {
        true => Wait::ToTheEnd,
        false => Wait::on_terminal("Ctrl-C detaches"),
    };
    if matches!(wait, Wait::WithHint(_)) {
        Hint::erase_on_signal()?;
    }
    // Until the session accepts no more. Ctrl-C, with its default action, ends the process and so detaches.
    send_beside(move || send_stdin(&target, &typed_to))?;
    if !args.json && args.after == 0 && io::stderr().is_terminal() {
        let prompt = prompt::of(&mut client, &id)?;
        prompt
            .iter()
            .for_each(|prompt| remark(&format!("prompt: {}", prompt.shown())));
    }
    if args.json {
        return follow(&mut client, &id, args.after, Show::Json, wait);
    }
    let record = client.call(routes::ShowSession.of(&id))?;
    let (mode, args_given) = (record.options.launch_mode.as_ref(), &record.options.args);
    match Form::asked_for(&mut client, &record.harness, mode, args_given)? {
        Some(form @ Form::Messages) => agent::show(&mut client, &id, args.after, form, wait),
        _ => follow(&mut client, &id, args.after, Show::Output, wait),
    }
}

/// Sends each line of stdin, and its end: Ctrl-D on a terminal, or the end of a pipe. A stdin that is empty from the
/// start, such as /dev/null, is not an intended end.
fn send_stdin(target: &Target, id: &str) -> Result<(), CliError> {
    let mut is_meant = io::stdin().is_terminal();
    for line in io::stdin().lock().lines() {
        // Unreadable input or invalid text ends nothing.
        let Ok(line) = line else { return Ok(()) };
        let request = InputRequest::data(line + "\n");
        target
            .connect()?
            .call(routes::Input.of(id).body(&request))?;
        is_meant = true;
    }
    if !is_meant {
        return Ok(());
    }
    // The session may have ended on one of the lines; its stdin has then ended, too.
    end_input(target, id)
}
