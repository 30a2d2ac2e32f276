//! A session as a command line names it, and the connection to the daemon that knows it. Every verb that acts on
//! sessions gets their ids here.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::CliError;
use super::follow::connect;
use crate::api::routes::{self, Endpoint};
use crate::api::{Code, SessionsQuery, is_session_id_prefix};
use crate::http::client::Client;

/// A session's id, or a unique beginning of it. Only the daemon can tell whether there is such a session.
pub(super) struct SessionRef(String);

impl FromStr for SessionRef {
    type Err = Infallible;

    fn from_str(given: &str) -> Result<Self, Infallible> {
        Ok(Self(given.to_owned()))
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SessionRef {
    /// A connection to the daemon, and the session's full id.
    pub(super) fn connect(&self) -> Result<(Client, String), CliError> {
        let mut client = connect(&super::home()?)?;
        let id = self.full_id(&mut client)?;
        Ok((client, id))
    }

    /// The session's full id.
    pub(super) fn full_id(&self, client: &mut Client) -> Result<String, CliError> {
        let given = &self.0;
        if given.is_empty() {
            return Err(CliError::new(Code::Usage, "the session's id is empty"));
        }
        let not_found = || CliError::new(Code::SessionNotFound, format!("no session {given}"));
        if !is_session_id_prefix(given) {
            return Err(not_found());
        }
        if given.len() == 36 {
            return Ok(given.clone());
        }
        let query = SessionsQuery {
            limit: Some(2),
            include_archived: Some(true),
            id_prefix: Some(given.clone()),
            ..SessionsQuery::default()
        };
        let page = client.call(routes::ListSessions.request().query(&query))?;
        match page.sessions.as_slice() {
            [] => Err(not_found()),
            [session] => Ok(session.id.to_string()),
            [one, other, ..] => Err(CliError::new(
                Code::AmbiguousId,
                format!(
                    "{given} begins several ids, {} and {} among them",
                    one.id, other.id
                ),
            )),
        }
    }
}

/// A connection to the daemon, and the full ids of `sessions`; `if_none` is the usage error for none at all. All are
/// looked up before anything is done: a wrong id is reported at once.
pub(super) fn connect_to_all(
    sessions: &[SessionRef],
    if_none: &str,
) -> Result<(Client, Vec<String>), CliError> {
    if sessions.is_empty() {
        return Err(CliError::usage(if_none));
    }
    let mut client = connect(&super::home()?)?;
    let ids: Result<_, _> = sessions
        .iter()
        .map(|session| session.full_id(&mut client))
        .collect();
    Ok((client, ids?))
}
