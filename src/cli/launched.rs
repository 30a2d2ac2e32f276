//! A launched session, from the request to its end: the common part of `run`, `rerun` and `chat`.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::agent;
use super::daemon::remark;
use super::follow::{Show, Wait, follow};
use super::input::end_input;
use super::interrupt::Interrupt;
use super::permission::{self, PermissionSource};
use super::sessions::{self, or_error};
use super::stream_json::{self, Form};
use super::{CliError, ExitResult, Target, say_answer};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, LaunchRequest, SessionRecord};
use crate::http::client::{Client, ClientError};

/// Printed part of a launched session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OutputOptions {
    pub detach: bool,
    pub json: bool,
    pub stream_json: bool,
    pub stream_json_input: bool,
    pub quiet: bool,
}

impl OutputOptions {
    pub(super) fn is_talkative(self) -> bool {
        !self.json && !self.stream_json && !self.quiet
    }
}

/// A launched session, which a stop signal kills.
pub(super) struct LaunchedSession {
    target: Target,
    interrupt: Arc<Interrupt>,
    client: Client,
    record: SessionRecord,
    /// Number of sessions that were live before it. Read before the launch, since the session can end at once.
    others: u64,
}

impl LaunchedSession {
    pub(super) fn new(
        target: Target,
        interrupt: Arc<Interrupt>,
        mut client: Client,
        request: &LaunchRequest,
    ) -> Result<Self, CliError> {
        let health = client.call(routes::Health.request());
        let others = health.map_or(0, |health| health.sessions.live);
        interrupt.launching();
        let record = launch(&mut client, request)?;
        interrupt.launched(record.id.to_string());
        Ok(Self {
            target,
            interrupt,
            client,
            record,
            others,
        })
    }

    /// Shows the session to its end, or prints only its id; returns the exit code.
    pub(super) fn show(
        mut self,
        output: OutputOptions,
        form: Option<Form>,
        source: PermissionSource,
        prompt: &str,
    ) -> ExitResult {
        let id = self.record.id.to_string();
        if output.is_talkative() {
            permission::remark_on_default(&self.record, source);
            // Best effort: the session runs in any case.
            let _ = remark_on_neighbours(&mut self.client, &self.record, self.others);
        }
        let shown = match output.detach {
            true => say_answer(output.json, &self.record, &id),
            false => self.follow(output, form, prompt),
        };
        let said = match shown {
            Err(CliError::OutputClosed) if !output.detach => {
                if !self.interrupt.is_signalled() {
                    remark(&format!(
                        "the output's reader has closed it; the session runs on: coven attach {id}"
                    ));
                }
                Ok(0)
            }
            result => result,
        };
        self.interrupt.outcome(&mut self.client, &id, said)
    }

    fn follow(&mut self, output: OutputOptions, form: Option<Form>, prompt: &str) -> ExitResult {
        let id = self.record.id.to_string();
        if io::stderr().is_terminal() && !output.quiet {
            remark(&format!("session {id}"));
        }
        match form {
            Some(Form::Stream) if output.stream_json_input => {
                stream_json::send_messages(self.target.clone(), id.clone())?;
            }
            Some(Form::Stream) => end_input(&self.target, &id)?,
            _ => {}
        }
        let client = &mut self.client;
        let wait = || match output.quiet {
            true => Wait::ToTheEnd,
            false => Wait::on_terminal("Ctrl-C kills the session"),
        };
        match form {
            Some(form) if output.stream_json => {
                stream_json::show(client, &self.record, form, prompt)
            }
            Some(form) if !output.json => agent::show(client, &id, 0, form, wait()),
            _ if output.json => follow(client, &id, 0, Show::Json, Wait::ToTheEnd),
            _ => follow(client, &id, 0, Show::Output, wait()),
        }
    }
}

/// Warns that another live session may change the same files; `others` were live before the launch.
fn remark_on_neighbours(
    client: &mut Client,
    record: &SessionRecord,
    others: u64,
) -> Result<(), CliError> {
    let live = sessions::live(client).filter(or_error(|other| other.id != record.id));
    for other in live.take(others as usize) {
        let other = other?;
        let writes_here = other.cwd == record.cwd && other.options.can_write != Some(false);
        if writes_here {
            remark(&format!(
                "session {} of {} runs in the same directory, and may write there",
                other.id, other.harness
            ));
            break;
        }
    }
    Ok(())
}

pub(super) fn launch(
    client: &mut Client,
    request: &LaunchRequest,
) -> Result<SessionRecord, CliError> {
    let answer = client.call(routes::Launch.request().body(request));
    answer.map_err(|err| match err {
        // The request may have arrived nevertheless.
        ClientError::Io(_) | ClientError::Protocol(_) => CliError::failed(
            Code::DaemonUnreachable,
            format!("{err}; the session may run"),
            Some("coven sessions, then coven kill <id>"),
        ),
        err => err.into(),
    })
}
