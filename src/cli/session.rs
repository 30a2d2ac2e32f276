//! A session as a command line names it, and the connection to its daemon. Every verb that acts on sessions gets their
//! ids here.

use std::convert::Infallible;
use std::str::FromStr;

use super::sessions::{self, each_session};
use super::{CliError, consent};
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, SessionRecord, SessionsQuery, is_session_id_prefix};
use crate::http::client::Client;
use crate::settings::did_you_mean;

/// Stands for `--last` as an id: no process argument can contain a NUL.
pub(super) const LAST: &str = "\0last";

/// Most titles and ids searched for a similar one.
const NEAR_MAX: usize = 2000;

/// A session by its id, a unique prefix of it, its whole title, or `--last`, in this order. Only the daemon knows
/// whether it exists.
pub(super) struct SessionRef(String);

impl FromStr for SessionRef {
    type Err = Infallible;

    fn from_str(given: &str) -> Result<Self, Infallible> {
        Ok(Self(given.to_owned()))
    }
}

impl SessionRef {
    /// Connects to the daemon, and returns the session's full id.
    pub(super) fn connect(&self) -> Result<(Client, String), CliError> {
        let mut client = super::target()?.connect()?;
        let id = self.full_id(&mut client)?;
        Ok((client, id))
    }

    pub(super) fn full_id(&self, client: &mut Client) -> Result<String, CliError> {
        let given = &self.0;
        if given.is_empty() {
            return Err(CliError::new(Code::Usage, "the session's id is empty"));
        }
        if is_session_id_prefix(given) && given.len() == 36 {
            return Ok(given.clone());
        }
        let several = match given == LAST || is_session_id_prefix(given) {
            true => {
                let page = client.call(routes::ListSessions.request().query(&self.query()))?;
                match page.sessions.as_slice() {
                    [session] => return Ok(session.id.to_string()),
                    several => several.to_owned(),
                }
            }
            false => Vec::new(),
        };
        if given == LAST {
            return Err(CliError::new(Code::SessionNotFound, "there is no session"));
        }
        let mut near = Vec::new();
        if let Some(id) = by_title(client, given, &mut near)? {
            return Ok(id);
        }
        if let [one, other, ..] = several.as_slice() {
            return Err(ambiguous(given, "begins several ids", one, other));
        }
        let hint = did_you_mean(given, &mut near.into_iter());
        let message = format!("no session {given}{hint}");
        Err(CliError::new(Code::SessionNotFound, message))
    }

    /// The query for the newest session, or for ids with this prefix.
    fn query(&self) -> SessionsQuery {
        let is_last = self.0 == LAST;
        SessionsQuery {
            limit: Some(if is_last { 1 } else { 2 }),
            include_archived: Some(!is_last),
            id_prefix: (!is_last).then(|| self.0.clone()),
            ..SessionsQuery::default()
        }
    }
}

/// The id of the only session with this title or chosen id. Adds to `seen` what a mistyped name could mean: titles, and ids
/// cut to its length.
fn by_title(
    client: &mut Client,
    given: &str,
    seen: &mut Vec<String>,
) -> Result<Option<String>, CliError> {
    let mut found: Option<SessionRecord> = None;
    let length = given.chars().count();
    for session in each_session(client, sessions::all()) {
        let session = session?;
        let id = session.id.to_string();
        if id == given {
            return Ok(Some(id));
        }
        if seen.len() < NEAR_MAX {
            seen.extend([session.title.clone(), id.chars().take(length).collect()]);
        }
        if session.title != given {
            continue;
        }
        if let Some(one) = &found {
            let what = "is the title of several sessions";
            return Err(ambiguous(given, what, one, &session));
        }
        found = Some(session);
    }
    Ok(found.map(|session| session.id.to_string()))
}

fn ambiguous(given: &str, what: &str, one: &SessionRecord, other: &SessionRecord) -> CliError {
    let message = format!("{given} {what}, {} and {} among them", one.id, other.id);
    CliError::new(Code::AmbiguousId, message)
}

pub(super) fn connect_to_all(
    sessions: &[SessionRef],
    if_none: &str,
) -> Result<(Client, Vec<String>), CliError> {
    if sessions.is_empty() {
        return Err(CliError::usage(if_none));
    }
    let mut client = super::target()?.connect()?;
    let ids: Result<_, _> = sessions
        .iter()
        .map(|session| session.full_id(&mut client))
        .collect();
    Ok((client, ids?))
}

/// As [`connect_to_all`], for verbs that end or delete sessions: a title or `--last` requires a terminal for
/// confirmation. Also returns whether one was used.
pub(super) fn connect_with_care(
    sessions: &[SessionRef],
    if_none: &str,
) -> Result<(Client, Vec<String>, bool), CliError> {
    let (client, ids) = connect_to_all(sessions, if_none)?;
    let mut given = sessions.iter().zip(&ids);
    let is_loose = given.any(|(session, id)| !id.starts_with(&session.0));
    if is_loose && !consent::can_ask() {
        let message =
            "--last and titles are taken at a terminal only, where it can be asked: give the id";
        return Err(CliError::usage(message));
    }
    Ok((client, ids, is_loose))
}

/// Calls `act` for each session, and prints its result; a failure does not stop the others. Prints all failures; the
/// last one is the verb's error.
pub(super) fn for_each(
    ids: Vec<String>,
    mut act: impl FnMut(&str) -> Result<(), CliError>,
) -> super::ExitResult {
    let mut last: Option<CliError> = None;
    for id in ids {
        if let Err(err) = act(&id)
            && let Some(earlier) = last.replace(err)
        {
            earlier.print();
        }
    }
    last.map_or(Ok(0), Err)
}
