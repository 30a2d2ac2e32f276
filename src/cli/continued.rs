//! `--continue`: finds the session whose conversation is continued.
//!
//! It asks the daemon; the launch checks whether the harness supports it.

use super::CliError;
use super::run::connect_or_start;
use super::sessions::{self, each_session};
use crate::api::routes::{self, Endpoint};
use crate::api::{
    Code, Conversation, ConversationMode, LaunchRequest, SessionId, SessionRecord, SessionsQuery,
    is_conversation_id, is_session_id_prefix,
};
use crate::http::client::Client;

/// Shortest session id prefix that `--continue` accepts.
const PREFIX_MIN: usize = 4;

/// True if `word`, which follows `--continue`, is its id: a UUID, a unique prefix of a session id, or a conversation
/// id; but no harness name.
pub(super) fn is_id(word: &str) -> bool {
    if !is_conversation_id(word) {
        return false;
    }
    // Without a daemon the verb itself reports the error.
    word.parse::<SessionId>().is_ok() || is_known(word).unwrap_or(false)
}

fn is_known(word: &str) -> Result<bool, CliError> {
    let mut client = connect_or_start(&super::target()?)?;
    let adapters = client.call(routes::Capabilities.request())?.adapters;
    if adapters.iter().any(|adapter| adapter.id == word) {
        return Ok(false);
    }
    let is_begin = word.len() >= PREFIX_MIN && by_prefix(&mut client, word)?.len() == 1;
    Ok(is_begin || !by_conversation(&mut client, word)?.is_empty())
}

/// The session of `harness` to continue by the id `given`: a session id, the harness's own conversation id, or the
/// client's, in this order.
pub(super) fn find(
    client: &mut Client,
    harness: &str,
    given: &str,
) -> Result<SessionRecord, CliError> {
    let session = match by_prefix(client, given)?.as_mut_slice() {
        [] => best(by_conversation(client, given)?, harness, given),
        [session] => Some(session.clone()),
        [one, other, ..] => {
            let message = format!(
                "{given} begins several ids, {} and {} among them",
                one.id, other.id
            );
            return Err(CliError::new(Code::AmbiguousId, message));
        }
    };
    let Some(session) = session else {
        let message = format!("no session and no conversation {given}");
        return Err(CliError::new(Code::SessionNotFound, message));
    };
    if session.harness != harness {
        let message = format!(
            "session {} is one of {}: {harness} cannot go on with its conversation",
            session.id, session.harness
        );
        return Err(CliError::new(Code::InvalidRequest, message));
    }
    ended(session)
}

/// The newest session of `harness` in `project_root` that can be continued.
pub(super) fn newest(
    client: &mut Client,
    harness: &str,
    project_root: &str,
) -> Result<SessionRecord, CliError> {
    let query = SessionsQuery {
        harness: Some(harness.to_owned()),
        ..sessions::all()
    };
    let (mut final_one, mut live) = (None, None);
    for session in each_session(client, query) {
        let session = session?;
        if session.project_root != project_root || session.harness_session_id.is_none() {
            continue;
        }
        if session.status.is_final() {
            final_one = Some(session);
            break;
        }
        live.get_or_insert(session);
    }
    let session = final_one.or(live).ok_or_else(|| {
        let message = format!("{harness} has no session in {project_root} that it can go on with");
        CliError::new(Code::SessionNotFound, message)
    })?;
    ended(session)
}

/// `session`, if its conversation can be continued now.
fn ended(session: SessionRecord) -> Result<SessionRecord, CliError> {
    let id = session.id;
    if !session.status.is_final() {
        let message = format!("session {id} is live: its conversation goes on there");
        let next = format!("coven attach {id}");
        return Err(CliError::failed(Code::SessionLive, message, Some(&next)));
    }
    if session.harness_session_id.is_none() {
        let message = format!(
            "{} has told no id of session {id}'s conversation",
            session.harness
        );
        return Err(CliError::new(Code::InvalidRequest, message));
    }
    Ok(session)
}

/// At most two sessions whose id starts with `prefix`.
fn by_prefix(client: &mut Client, prefix: &str) -> Result<Vec<SessionRecord>, CliError> {
    if !is_session_id_prefix(prefix) {
        return Ok(Vec::new());
    }
    let query = SessionsQuery {
        limit: Some(2),
        id_prefix: Some(prefix.to_owned()),
        ..sessions::all()
    };
    list(client, &query)
}

/// The newest sessions of a conversation, by either of its ids.
fn by_conversation(client: &mut Client, id: &str) -> Result<Vec<SessionRecord>, CliError> {
    if !is_conversation_id(id) {
        return Ok(Vec::new());
    }
    let query = SessionsQuery {
        conversation: Some(id.to_owned()),
        ..sessions::all()
    };
    list(client, &query)
}

fn list(client: &mut Client, query: &SessionsQuery) -> Result<Vec<SessionRecord>, CliError> {
    Ok(client
        .call(routes::ListSessions.request().query(query))?
        .sessions)
}

/// The newest session of this harness: by the harness's own conversation id first, then by the client's.
fn best(sessions: Vec<SessionRecord>, harness: &str, id: &str) -> Option<SessionRecord> {
    let is_own = |session: &SessionRecord| session.harness_session_id.as_deref() == Some(id);
    sessions
        .into_iter()
        .min_by_key(|session| (session.harness != harness, !is_own(session)))
}

/// Makes `request` continue the conversation that `given` names, or the newest if it is empty. Uses that session's
/// directories unless others are given, since agents store conversations by directory.
pub(super) fn go_on(
    client: &mut Client,
    request: &mut LaunchRequest,
    given: &str,
    has_directory: bool,
) -> Result<(), CliError> {
    let session = match given {
        "" => newest(client, &request.harness, &request.project_root)?,
        given => find(client, &request.harness, given)?,
    };
    resume(request, &session);
    if !has_directory {
        request.project_root = session.project_root;
        request.cwd = session.cwd;
    }
    Ok(())
}

/// Makes `request` continue the conversation of `session`.
pub(super) fn resume(request: &mut LaunchRequest, session: &SessionRecord) {
    let mode = ConversationMode::Resume;
    let id = session.harness_session_id.clone();
    request.conversation = id.map(|id| Conversation { mode, id });
}
