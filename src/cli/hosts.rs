//! Several hosts at once, for the verbs that show a table: one that is down is a row that says so.
//!
//! Each host is asked on a thread of its own. It knows hosts and their errors, and not the content of the tables.

use serde::Serialize;
use serde_json::{Value, json};

use super::daemon::remark;
use super::output::{Out, visible};
use super::status::{as_json, facts, for_people, for_programs, uptime};
use super::table::{Color, RED, fitted, painted, terminal_width, wrapped};
use super::target::{self, IfDown, Remote};
use super::{CliError, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, Health};
use crate::daemon::Home;
use crate::daemon::status::Status;
use crate::http::client::Client;

/// Column of the state of a host that does not answer, behind its name and one other.
const STATE: usize = 2;

/// Exit code if a host is down.
const DOWN: u8 = 1;

/// The hosts of a command, with the connections to those that answer.
pub(super) struct Hosts(Vec<(Remote, Option<Client>)>);

/// The answer of each host, by its name.
pub(super) type Answers<T> = Vec<(String, Result<T, CliError>)>;

/// Rows of a table in progress: a host's name stands before the cells of each.
pub(super) struct Rows {
    pub rows: Vec<Vec<String>>,
    /// Which rows are those of hosts that do not answer: their last cell is the reason.
    down: Vec<usize>,
    has_colors: bool,
    width: usize,
}

impl Hosts {
    /// The hosts of this command, if they are several.
    pub(super) fn several() -> Result<Option<Self>, CliError> {
        let hosts = target::hosts()?;
        if hosts.len() < 2 {
            return Ok(None);
        }
        let hosts = hosts
            .into_iter()
            .map(|host| (host.without_questions(), None));
        Ok(Some(Self(hosts.collect())))
    }

    /// Asks all hosts at the same time.
    pub(super) fn ask<T: Send>(
        &mut self,
        ask: impl Fn(&mut Client) -> Result<T, CliError> + Sync,
    ) -> Answers<T> {
        let one = |(host, client): &mut (Remote, Option<Client>)| {
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => host.connect(IfDown::Fail),
            };
            let answer = connected.and_then(|mut connected| {
                let answer = ask(&mut connected)?;
                // One that has failed is connected anew.
                *client = Some(connected);
                Ok(answer)
            });
            (host.name.clone(), answer)
        };
        std::thread::scope(|scope| {
            let one = &one;
            let asked: Vec<_> = self
                .0
                .iter_mut()
                .map(|host| scope.spawn(|| one(host)))
                .collect();
            // Cannot fail: a panic of a thread is a bug, and is passed on.
            let answers = asked
                .into_iter()
                .map(|asked| asked.join().expect("it does not panic"));
            answers.collect()
        })
    }
}

/// The exit code for these answers.
pub(super) fn code_of<T>(answers: &Answers<T>) -> u8 {
    match answers.iter().all(|(_, answer)| answer.is_ok()) {
        true => 0,
        false => DOWN,
    }
}

/// Prints `{"hosts":[…]}`: for each host its name, and its answer under `key`, or its error.
pub(super) fn print_document<T: Serialize>(answers: Answers<T>, key: &str) -> ExitResult {
    let code = code_of(&answers);
    let host = |(name, answer): (String, Result<T, CliError>)| match answer {
        Ok(answer) => json!({ "host": name, "ok": true, key: as_json(&answer) }),
        Err(err) => {
            let code = err.code().map(ToString::to_string);
            let error = json!({ "code": code, "message": err.to_string() });
            json!({ "host": name, "ok": false, "error": error })
        }
    };
    let hosts: Vec<Value> = answers.into_iter().map(host).collect();
    Out::new().pretty_json(&json!({ "hosts": hosts }))?;
    Ok(code)
}

impl Rows {
    /// The rows of each host's answer, for a table of `width` columns besides the host's.
    pub(super) fn of(answers: Answers<Vec<Vec<String>>>, width: usize, has_colors: bool) -> Self {
        let mut all = Self {
            rows: Vec::new(),
            down: Vec::new(),
            has_colors,
            width,
        };
        for (host, answer) in answers {
            match answer {
                Ok(rows) => all.add(&host, rows),
                Err(err) => all.add_down(&host, &err),
            }
        }
        all
    }

    /// Adds the rows of a host that answers.
    fn add(&mut self, host: &str, rows: Vec<Vec<String>>) {
        let named = |mut row: Vec<String>| {
            row.insert(0, visible(host));
            row
        };
        self.rows.extend(rows.into_iter().map(named));
    }

    /// Adds the row of a host that does not answer; a table of one column has no room for the reason.
    fn add_down(&mut self, host: &str, err: &CliError) {
        // The host stands before it already.
        let reason = err.to_string();
        let reason = reason.strip_prefix(&format!("{host}: ")).unwrap_or(&reason);
        if self.width < 3 {
            return remark(&format!("{host} is down: {reason}"));
        }
        let is_stopped = err
            .code()
            .is_some_and(|code| *code == Code::DaemonNotRunning);
        let state = if is_stopped { "stopped" } else { "down" };
        let mut row = vec!["-".to_owned(); self.width];
        row[STATE - 1] = painted(self.has_colors, RED, state);
        row[self.width - 1] = visible(reason);
        self.down.push(self.rows.len());
        self.add(host, vec![row]);
    }

    /// The table under `head`, fitted to `width`, if there is one. A reason is whole: it stands right behind the state, across
    /// the other columns.
    pub(super) fn lines(mut self, head: &[String], width: Option<usize>) -> Vec<String> {
        let head = [&["HOST".to_owned()], head].concat();
        let mut reasons = Vec::new();
        for &at in &self.down {
            let row = &mut self.rows[at];
            reasons.extend(row.pop());
            row.truncate(STATE + 1);
            row.resize(self.width + 1, String::new());
        }
        let mut lines = fitted(head, self.rows, width);
        for (at, reason) in self.down.into_iter().zip(reasons) {
            let line = &mut lines[at + 1];
            *line += "  ";
            *line = wrapped(std::mem::take(line), &reason, width.unwrap_or(usize::MAX));
        }
        lines
    }
}

/// `coven daemon status` of other hosts; `None` if this machine is meant.
pub(super) fn status(is_json: bool, color: Color) -> Result<Option<u8>, CliError> {
    let health = |client: &mut Client| Ok(client.call(routes::Health.request())?);
    if let Some(mut hosts) = Hosts::several()? {
        if is_json {
            return print_document(hosts.ask(health), "health").map(Some);
        }
        let head = [
            "PID", "STATE", "VERSION", "UPTIME", "LIVE", "SESSIONS", "STORE",
        ];
        let head = head.map(str::to_owned);
        let answers = hosts.ask(|client| Ok(vec![row(&health(client)?)]));
        let code = code_of(&answers);
        let rows = Rows::of(answers, head.len(), color.is_on());
        Out::new().line(&rows.lines(&head, terminal_width()).join("\n"))?;
        return Ok(Some(code));
    }
    let target = target::target()?;
    if target.host().is_none() {
        return Ok(None);
    }
    let health = health(&mut target.connect()?)?;
    let home = Home::of_socket(health.daemon.socket.as_ref());
    let facts = facts(&home, &Status::Running(Box::new(health)));
    match is_json {
        true => Out::new().pretty_json(&for_programs(&facts))?,
        false => Out::new().facts(&for_people(&facts))?,
    }
    Ok(Some(0))
}

fn row(health: &Health) -> Vec<String> {
    let store = match &health.storage.damage {
        Some(_) => "damaged".to_owned(),
        None => visible(&health.storage.status.to_string()),
    };
    vec![
        health.daemon.pid.to_string(),
        "running".into(),
        visible(&health.coven_version),
        uptime(health.daemon.uptime_seconds).to_string(),
        health.sessions.live.to_string(),
        health.sessions.total.to_string(),
        store,
    ]
}
