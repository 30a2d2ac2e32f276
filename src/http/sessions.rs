//! Handlers of the session routes: each parses its request into one command and maps the result to a response.

use std::slice;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::budget::Bounded;
use super::call::Call;
use super::context::{self, Context};
use super::response::Answer;
use crate::api::routes::{self, Endpoint};
use crate::api::{
    Accepted, ApiError, Deleted, LIST_BYTES_MAX, LaunchOptions, PATH_MAX, SessionId, SessionRecord,
    SessionStatus, SessionsQuery, TITLE_MAX,
};
use crate::state::{Acceptance, Command};
use crate::store::{Committed, Edit, SessionList, SessionQuery, StoreRequest};

const LIMIT_DEFAULT: u64 = 100;

/// `GET /sessions`
pub(super) fn list(call: &Call<'_, routes::ListSessions>) -> Result<Answer, ApiError> {
    let asked = call.query()?;
    let mut query = SessionQuery {
        limit: usize::MAX,
        before: None,
        include_archived: false,
        id_prefix: String::new(),
        harness: asked.harness.clone(),
        conversation: None,
        bytes_max: LIST_BYTES_MAX,
    };
    if asked == SessionsQuery::default() {
        return read_list(call.context, &query, |mut list| {
            list.json.insert(0, b'[');
            list.json.push(b']');
            list.json
        });
    }
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    query.limit = usize::try_from(limit).unwrap_or(usize::MAX);
    query.before = asked.cursor.as_deref().map(decode_cursor).transpose()?;
    query.include_archived = asked.include_archived.unwrap_or(false);
    query.id_prefix = asked.id_prefix.unwrap_or_default();
    query.conversation = asked.conversation;
    read_list(call.context, &query, |mut list| {
        let cursor = |last| format!("\"{}\"", encode_cursor(last));
        let next = list.last.map_or("null".into(), cursor);
        list.json.splice(..0, *br#"{"sessions":["#);
        let end = format!(r#"],"next_cursor":{next}}}"#);
        list.json.extend_from_slice(end.as_bytes());
        list.json
    })
}

/// Upper bound of the size of a list's body without its sessions, in bytes.
const LIST_FRAME: usize = 200;

fn read_list(
    context: &Context,
    query: &SessionQuery,
    body: impl Fn(SessionList) -> Vec<u8>,
) -> Result<Answer, ApiError> {
    // Reads the figures first: the pass over all processes must not hold a connection of the store.
    let figures = context.figures();
    let (body, lease) = context.answers.read(|most| {
        let query = SessionQuery {
            bytes_max: most - LIST_FRAME,
            ..query.clone()
        };
        let list = context
            .reader
            .sessions(&query, &|record| figures.complete(record))?;
        let is_cut = list.is_cut;
        let content = body(list);
        let length = content.len();
        debug_assert!(length <= LIST_BYTES_MAX);
        Ok(Bounded {
            content,
            length,
            is_cut,
        })
    })?;
    Ok(Answer {
        lease,
        ..Answer::json(200, body)
    })
}

fn encode_cursor(last: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("s{last}"))
}

fn decode_cursor(cursor: &str) -> Result<i64, ApiError> {
    let decode = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let last: i64 = text.strip_prefix('s')?.parse().ok()?;
        (encode_cursor(last) == cursor).then_some(last)
    };
    decode()
        .ok_or_else(|| ApiError::invalid_field("cursor", "cursor is not one that this daemon gave"))
}

/// `GET /sessions/:id`
pub(super) fn show(call: &Call<'_, routes::ShowSession>) -> Result<Answer, ApiError> {
    let mut record = call.context.reader.session(call.session()?)?;
    if record.status == SessionStatus::Running {
        call.context.figures().complete(&mut record);
    }
    call.ok(&record)
}

/// `POST /sessions/:id/input`
pub(super) fn input(call: &Call<'_, routes::Input>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let if_live = |wrong| unless_ended(call, id, wrong);
    let request = call.body().map_err(if_live)?;
    let eof = request.eof;
    let data = request.into_data().map_err(if_live)?;
    let input = |reply| Command::Input {
        id,
        data,
        eof,
        reply,
    };
    match call.context.ask(input)? {
        Acceptance::Accepted => accepted(call, None),
        Acceptance::NotLive => Err(not_live(call, id, ApiError::InputNotAccepted { id })?),
    }
}

/// Error for an input whose body is `wrong`: the end of the session, if it has ended, takes precedence.
fn unless_ended(call: &Call<'_, routes::Input>, id: SessionId, wrong: ApiError) -> ApiError {
    match call.context.reader.session(id) {
        Ok(SessionRecord { status, .. }) if status.is_final() => ended(id, status),
        Ok(_) => wrong,
        Err(err) => err.into(),
    }
}

/// Error for a command to a session that the state thread does not know: it is external, or has ended.
pub(super) fn not_live<E>(
    call: &Call<'_, E>,
    id: SessionId,
    if_external: ApiError,
) -> Result<ApiError, ApiError> {
    let record = call.context.reader.session(id)?;
    let status = record.status;
    Ok(match record.external {
        true => if_external,
        false => ended(id, status),
    })
}

fn ended(id: SessionId, status: SessionStatus) -> ApiError {
    ApiError::SessionNotLive {
        id,
        status,
        left_behind: None,
    }
}

pub(super) fn accepted(
    call: &Call<'_, impl Endpoint<Answer = Accepted>>,
    swept: Option<usize>,
) -> Result<Answer, ApiError> {
    let accepted = Accepted {
        ok: true,
        accepted: true,
        swept,
    };
    call.answer(202, &accepted)
}

/// `POST /sessions/:id/archive`
pub(super) fn archive(call: &Call<'_, routes::Archive>) -> Result<Answer, ApiError> {
    set_archived(call, true)
}

/// `POST /sessions/:id/summon`
pub(super) fn summon(call: &Call<'_, routes::Summon>) -> Result<Answer, ApiError> {
    set_archived(call, false)
}

fn set_archived(
    call: &Call<'_, impl Endpoint<Answer = SessionRecord>>,
    archived: bool,
) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let answer = call
        .context
        .ask_store(StoreRequest::Archive { id, archived })?;
    call.ok(&answer.record()?)
}

/// `PATCH /sessions/:id`
pub(super) fn edit(call: &Call<'_, routes::Edit>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let request = call.body()?;
    let own = call.context.ask(|reply| Command::Redactor { id, reply })?;
    let redactor = own.as_ref().unwrap_or(&call.context.redactor);
    let edit = Edit {
        title: request.title.map(|title| context::title(redactor, title)),
        add_labels: context::labels(redactor, request.add_labels).0,
        remove_labels: context::labels(redactor, request.remove_labels).0,
    };
    let answer = call.context.ask_store(StoreRequest::Edit { id, edit })?;
    call.ok(&answer.record()?)
}

/// `DELETE /sessions/:id`
pub(super) fn delete(call: &Call<'_, routes::DeleteSession>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    call.context.ask_store(StoreRequest::Delete { id })?;
    call.ok(&Deleted { ok: true })
}

/// `POST /sessions/external`
pub(super) fn register_external(
    call: &Call<'_, routes::RegisterExternal>,
) -> Result<Answer, ApiError> {
    let request = call.body()?;
    let (project_root, harness) = (request.project_root, request.harness);
    if project_root.len() >= PATH_MAX {
        return Err(ApiError::invalid_field(
            "projectRoot",
            format!("projectRoot is not shorter than {PATH_MAX} bytes"),
        ));
    }
    if harness.len() > TITLE_MAX {
        return Err(ApiError::invalid_field(
            "harness",
            format!("harness is longer than {TITLE_MAX} bytes"),
        ));
    }
    for (field, text) in [
        ("id", slice::from_ref(&request.id)),
        ("projectRoot", slice::from_ref(&project_root)),
        ("harness", slice::from_ref(&harness)),
        ("transcriptPath", request.transcript_path.as_slice()),
    ] {
        call.context.check_kept(field, text)?;
    }
    let redactor = &call.context.redactor;
    let title = context::title(redactor, request.title.unwrap_or_else(|| harness.clone()));
    // Parsed after all other checks: a given name is interned for the life of the process.
    let id = SessionId::given(&request.id)
        .map_err(|err| ApiError::invalid_field("id", format!("id {err}")))?;
    let session = SessionRecord {
        status: SessionStatus::Running,
        external: true,
        transcript_path: request.transcript_path,
        options: LaunchOptions {
            labels: context::labels(redactor, request.labels),
            ..LaunchOptions::default()
        },
        ..SessionRecord::new(id, project_root, harness, title)
    };
    let request = StoreRequest::RegisterExternal(Box::new(session));
    match call.context.ask_store(request)? {
        Committed::Existing(record) => call.ok(&record),
        new => call.answer(201, &new.record()?),
    }
}

/// `POST /sessions/:id/complete`
pub(super) fn complete(call: &Call<'_, routes::Complete>) -> Result<Answer, ApiError> {
    let id = call.session()?;
    let exit_code = call.body_or_default()?.exit_code;
    let answer = call
        .context
        .ask_store(StoreRequest::Complete { id, exit_code })?;
    call.ok(&answer.record()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, rounds};

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        assert_eq!(decode_cursor(&encode_cursor(42)), Ok(42));
        for bad in ["", "42", "czQy=", "!!", "cysx", "czAx"] {
            assert!(decode_cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_cursor_reads_back_and_what_reads_is_a_cursor() {
        let mut random = Random::new(1);
        for _ in 0..rounds(5000) {
            let last = (random.next() >> random.below(64)) as i64;
            let cursor = encode_cursor(last);
            assert_eq!(decode_cursor(&cursor), Ok(last));
            assert!(
                cursor
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            );
            let mut bytes = cursor.into_bytes();
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
            let spoilt = String::from_utf8_lossy(&bytes);
            if let Ok(other) = decode_cursor(&spoilt) {
                assert_eq!(encode_cursor(other), spoilt);
            }
        }
    }
}
