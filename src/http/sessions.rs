//! The session routes: each parses its request into one command, and says what came of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossbeam_channel::{RecvTimeoutError, bounded};
use serde_json::json;
use uuid::Uuid;

use super::fields::{Body, Query, no_nul};
use super::response::Answer;
use super::routes::Call;
use super::session_id;
use crate::adapters::Adapter;
use crate::api::{
    Accepted, ApiError, Deleted, LIST_BYTES_MAX, Labels, LaunchMode, SessionId, SessionRecord,
    SessionStatus, Visibility, is_session_id_prefix,
};
use crate::harness::Program;
use crate::settings::durations;
use crate::state::{Acceptance, Command, Event, Launch, Launched};
use crate::store::{Answer as Committed, NewSession, Request, SessionQuery};

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1000;
/// The longest title, and the longest of the client's own words about a session, in bytes.
const TITLE_MAX: usize = 1024;
/// How much of a prompt's first line becomes the title, in characters.
const TITLE_CHARACTERS: usize = 120;
/// The longest path that the system takes, in bytes, with its NUL (PATH_MAX).
const PATH_MAX: usize = 4096;
/// The longest `Idempotency-Key`, in bytes.
const KEY_MAX: usize = 255;

/// `GET /sessions`
pub(super) fn list(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let parameters = Query::new(&call.request.query);
    let paged = ["limit", "cursor", "includeArchived", "idPrefix"]
        .iter()
        .any(|p| parameters.get(p).is_some());
    let mut query = SessionQuery {
        limit: usize::MAX,
        before: None,
        include_archived: false,
        id_prefix: String::new(),
    };
    if !paged {
        let (list, _) = call.context.reader.sessions(&query)?;
        return Ok(Answer::json(200, [b"[", list.as_slice(), b"]"].concat()));
    }
    let limit = limit(&parameters)?;
    query.limit = usize::try_from(limit).unwrap_or(usize::MAX);
    query.before = parameters.get("cursor").map(decode_cursor).transpose()?;
    query.include_archived = parameters.flag("includeArchived")?.unwrap_or(false);
    if let Some(prefix) = parameters.get("idPrefix") {
        if !is_session_id_prefix(prefix) {
            return Err(ApiError::invalid_field(
                "idPrefix",
                "idPrefix is not the beginning of a session id",
            ));
        }
        query.id_prefix = prefix.to_owned();
    }
    let (mut body, next) = call.context.reader.sessions(&query)?;
    let next = next.map_or("null".into(), |last| format!("\"{}\"", encode_cursor(last)));
    body.splice(..0, *br#"{"sessions":["#);
    body.extend_from_slice(format!(r#"],"next_cursor":{next}}}"#).as_bytes());
    debug_assert!(body.len() <= LIST_BYTES_MAX);
    Ok(Answer::json(200, body))
}

/// 1 to 1000: what lies outside is an error here, as the contract has it, and not clamped.
fn limit(parameters: &Query<'_>) -> Result<u64, ApiError> {
    let limit = parameters
        .clamped("limit", 0, LIMIT_MAX + 1)?
        .unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid_field(
        "limit",
        format!("limit must be from 1 to {LIMIT_MAX}"),
    ))
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

/// `POST /sessions`
pub(super) fn launch(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let idempotency = parse_idempotency(call)?;
    if let Some(answer) = repeat(call, idempotency.as_ref())? {
        return Ok(answer);
    }
    let launch = Box::new(parse_launch(call, idempotency)?);
    match call.context.ask(|reply| Command::Launch(launch, reply))? {
        Launched::New(record) => Answer::of(201, &*record),
        Launched::Repeat(id) => Answer::of(200, &call.context.reader.session(id)?),
    }
}

/// The answer to a launch that has been asked for before.
fn repeat(
    call: &Call<'_>,
    idempotency: Option<&(String, String)>,
) -> Result<Option<Answer>, ApiError> {
    let Some((key, fingerprint)) = idempotency.cloned() else {
        return Ok(None);
    };
    let find = |reply| Command::FindRepeat {
        key,
        fingerprint,
        reply,
    };
    let Some(first) = call.context.ask(find)? else {
        return Ok(None);
    };
    match call.context.reader.session(first) {
        // It is on its way: the launch itself waits for it.
        Ok(record) if record.status == SessionStatus::Created => Ok(None),
        Err(ApiError::SessionNotFound { .. }) => Ok(None),
        Ok(record) => Answer::of(200, &record).map(Some),
        Err(err) => Err(err),
    }
}

fn parse_launch(
    call: &Call<'_>,
    idempotency: Option<(String, String)>,
) -> Result<Launch, ApiError> {
    let body = Body::parse(&call.request.body)?;
    let harness = body.required("harness")?;
    let mut registry = call.context.adapters.current();
    if registry.get(harness).is_none() {
        // Its manifest may be newer than what was read: who has just written it expects it to work.
        registry = call.context.adapters.reload();
    }
    let Some(adapter) = registry.get(harness) else {
        let known: Vec<&str> = registry
            .adapters()
            .iter()
            .map(|adapter| adapter.id.as_str())
            .collect();
        return Err(ApiError::InvalidRequest {
            message: format!("unknown harness {harness:?}"),
            field: Some("harness".into()),
            extra: Some(("known", json!(known))),
        });
    };
    let prompt = parse_prompt(&body, adapter)?;
    let title = body
        .optional_text("title", TITLE_MAX)?
        .unwrap_or_else(|| first_line(prompt));
    let model = body.optional_text("model", TITLE_MAX)?;
    let conversation_id = body.optional_text("conversationId", TITLE_MAX)?;
    let familiar_id = body.optional_text("familiarId", TITLE_MAX)?;
    let labels = body.labels()?;
    let visibility = parse_visibility(&body)?;
    check_launch_mode(&body)?;
    let timeout = parse_timeout(&body)?;
    let (project_root, cwd) = parse_directories(&body)?;
    let path = adapter.resolve().ok_or_else(|| ApiError::HarnessNotFound {
        harness: adapter.id.clone(),
        executable: adapter.executable_name().to_owned(),
        install_hint: adapter.install_hint.clone(),
        daemon_path: std::env::var_os("PATH")
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    })?;
    let argv = adapter.argv(prompt, model.as_deref());
    Ok(Launch {
        program: Program {
            path,
            argv,
            cwd: PathBuf::from(&cwd),
            stdin: adapter.stdin,
            prompt: adapter.stdin_prompt(prompt),
        },
        session: NewSession {
            record: SessionRecord {
                cwd: Some(cwd),
                conversation_id,
                familiar_id,
                labels: redacted_labels(call, labels),
                visibility,
                launch_mode: Some(LaunchMode::NonInteractive.into()),
                model,
                ..SessionRecord::new(
                    SessionId::random(),
                    project_root,
                    adapter.id.clone(),
                    call.context.redacted(title),
                )
            },
            idempotency,
        },
        timeout,
    })
}

fn parse_prompt<'a>(body: &'a Body, adapter: &Adapter) -> Result<&'a str, ApiError> {
    let prompt = body.required("prompt")?;
    no_nul("prompt", prompt)?;
    let max = adapter.prompt_max();
    if prompt.len() > max {
        return Err(ApiError::InvalidRequest {
            message: format!("the prompt is longer than an argument can be: {max} bytes"),
            field: Some("prompt".into()),
            extra: Some(("maxBytes", json!(max))),
        });
    }
    Ok(prompt)
}

fn redacted_labels(call: &Call<'_>, labels: Vec<String>) -> Labels {
    let redacted = labels.into_iter().map(|label| call.context.redacted(label));
    Labels(redacted.collect())
}

fn first_line(prompt: &str) -> String {
    prompt
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(TITLE_CHARACTERS)
        .collect()
}

fn parse_visibility(body: &Body) -> Result<Visibility, ApiError> {
    match body.optional("visibility")? {
        None => Ok(Visibility::default()),
        Some(word) => word
            .parse()
            .map_err(|err| ApiError::invalid_field("visibility", format!("visibility {err}"))),
    }
}

fn check_launch_mode(body: &Body) -> Result<(), ApiError> {
    match body.optional("launchMode")?.map(LaunchMode::parse) {
        None | Some(Some(LaunchMode::NonInteractive)) => Ok(()),
        Some(None) => Err(ApiError::invalid_field(
            "launchMode",
            "the only launchMode supported is nonInteractive",
        )),
    }
}

fn parse_timeout(body: &Body) -> Result<Option<Duration>, ApiError> {
    match body.optional_unsigned("timeoutMs")? {
        Some(0) => Err(ApiError::invalid_field(
            "timeoutMs",
            "timeoutMs must be at least 1",
        )),
        // A century is no limit, and within what an Instant can be moved by.
        millis => {
            Ok(millis.map(|millis| Duration::from_millis(millis.min(100 * 365 * 86_400_000))))
        }
    }
}

/// The client's key, and what tells its body from another: a name-based UUID (RFC 9562, version 5) of the body
/// with its fields in one order.
fn parse_idempotency(call: &Call<'_>) -> Result<Option<(String, String)>, ApiError> {
    let Some(key) = &call.request.idempotency_key else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(ApiError::invalid_field(
            "Idempotency-Key",
            format!("Idempotency-Key must have 1 to {KEY_MAX} bytes"),
        ));
    }
    let body: serde_json::Value = serde_json::from_slice(&call.request.body)
        .map_err(|err| ApiError::invalid(format!("the body is not JSON: {err}")))?;
    let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_OID, body.to_string().as_bytes());
    Ok(Some((key.clone(), fingerprint.to_string())))
}

/// The canonical project root and working directory.
fn parse_directories(body: &Body) -> Result<(String, String), ApiError> {
    let root_field = body.required("projectRoot")?;
    let wrong_root =
        |why: &str| ApiError::invalid_field("projectRoot", format!("projectRoot {why}"));
    no_nul("projectRoot", root_field)?;
    if !Path::new(root_field).is_absolute() {
        return Err(wrong_root("must be an absolute path"));
    }
    let root = std::fs::canonicalize(root_field)
        .map_err(|err| wrong_root(&format!("cannot be used: {err}")))?;
    if !root.is_dir() {
        return Err(wrong_root("is not a directory"));
    }
    let root_text = root
        .to_str()
        .ok_or_else(|| wrong_root("leads to a path that is not UTF-8"))?;
    let Some(cwd_field) = body.optional("cwd")?.filter(|cwd| !cwd.is_empty()) else {
        return Ok((root_text.to_owned(), root_text.to_owned()));
    };
    no_nul("cwd", cwd_field)?;
    // `join` of an absolute path is that path.
    let cwd = std::fs::canonicalize(root.join(cwd_field))
        .ok()
        .filter(|cwd| cwd.starts_with(&root) && cwd.is_dir());
    match cwd.as_deref().and_then(Path::to_str) {
        Some(cwd) => Ok((root_text.to_owned(), cwd.to_owned())),
        None => Err(ApiError::ProjectRootViolation {
            project_root: root_text.to_owned(),
            cwd: cwd_field.to_owned(),
        }),
    }
}

/// `GET /sessions/:id`
pub(super) fn show(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    Answer::of(200, &call.context.reader.session(session_id(id)?)?)
}

/// `POST /sessions/:id/input`
pub(super) fn input(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    let id = session_id(id)?;
    let body = Body::parse(&call.request.body)?;
    let data = match body.optional("data")? {
        Some(data) => data.to_owned(),
        None => return Err(ApiError::invalid_field("data", "data is missing")),
    };
    let shown = call.context.redacted(data.clone());
    let input = |reply| Command::Input {
        id,
        data,
        shown,
        reply,
    };
    match call.context.ask(input)? {
        Acceptance::Accepted => accepted(),
        Acceptance::NotLive => Err(not_live(call, id, ApiError::InputNotAccepted { id })?),
    }
}

/// `POST /sessions/:id/kill`
pub(super) fn kill(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    let id = session_id(id)?;
    let (reply, answer) = bounded(1);
    // A state thread that has ended drops the reply, which is the answer.
    let _ = call
        .context
        .state
        .send(Event::Command(Command::Kill { id, reply }));
    match answer.recv_timeout(durations::KILL_WAIT) {
        // It was asked for; that the harness takes its time to die is no failure.
        Ok(Ok(Acceptance::Accepted)) | Err(RecvTimeoutError::Timeout) => accepted(),
        Ok(Ok(Acceptance::NotLive)) => Err(not_live(
            call,
            id,
            ApiError::ExternalSessionNotKillable { id },
        )?),
        Ok(Err(err)) => Err(err),
        Err(RecvTimeoutError::Disconnected) => Err(ApiError::ShuttingDown),
    }
}

/// Why a session that the state thread does not know cannot do what only a live one can.
fn not_live(call: &Call<'_>, id: SessionId, if_external: ApiError) -> Result<ApiError, ApiError> {
    let record = call.context.reader.session(id)?;
    let status = record.status;
    Ok(match record.external {
        true => if_external,
        false => ApiError::SessionNotLive { id, status },
    })
}

fn accepted() -> Result<Answer, ApiError> {
    Answer::of(
        202,
        &Accepted {
            ok: true,
            accepted: true,
        },
    )
}

/// `POST /sessions/:id/archive`
pub(super) fn archive(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    set_archived(call, id, true)
}

/// `POST /sessions/:id/summon`
pub(super) fn summon(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    set_archived(call, id, false)
}

fn set_archived(call: &Call<'_>, id: &str, archived: bool) -> Result<Answer, ApiError> {
    let id = session_id(id)?;
    let answer = call.context.ask_store(Request::Archive { id, archived })?;
    Answer::of(200, &answer.record()?)
}

/// `DELETE /sessions/:id`
pub(super) fn delete(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    let id = session_id(id)?;
    call.context.ask_store(Request::Delete { id })?;
    Answer::of(200, &Deleted { ok: true })
}

/// `POST /sessions/external`
pub(super) fn register_external(call: &Call<'_>, _: &str) -> Result<Answer, ApiError> {
    let body = Body::parse(&call.request.body)?;
    let id: SessionId = body
        .required("id")?
        .parse()
        .map_err(|err| ApiError::invalid_field("id", format!("id: {err}")))?;
    let project_root = body.required("projectRoot")?.to_owned();
    if !Path::new(&project_root).is_absolute() || project_root.len() >= PATH_MAX {
        return Err(ApiError::invalid_field(
            "projectRoot",
            "projectRoot must be an absolute path",
        ));
    }
    let harness = body.required("harness")?.to_owned();
    no_nul("projectRoot", &project_root)?;
    no_nul("harness", &harness)?;
    if harness.len() > TITLE_MAX {
        return Err(ApiError::invalid_field(
            "harness",
            format!("harness is longer than {TITLE_MAX} bytes"),
        ));
    }
    let title = call.context.redacted(
        body.optional_text("title", TITLE_MAX)?
            .unwrap_or_else(|| harness.clone()),
    );
    let session = SessionRecord {
        status: SessionStatus::Running,
        external: true,
        transcript_path: body.optional_text("transcriptPath", PATH_MAX - 1)?,
        labels: redacted_labels(call, body.labels()?),
        ..SessionRecord::new(id, project_root, harness, title)
    };
    let request = Request::RegisterExternal(Box::new(session));
    match call.context.ask_store(request)? {
        Committed::Existing(record) => Answer::of(200, &*record),
        new => Answer::of(201, &new.record()?),
    }
}

/// `POST /sessions/:id/complete`
pub(super) fn complete(call: &Call<'_>, id: &str) -> Result<Answer, ApiError> {
    let id = session_id(id)?;
    let exit_code = Body::parse_or_empty(&call.request.body)?.optional_i32("exitCode")?;
    let answer = call
        .context
        .ask_store(Request::Complete { id, exit_code })?;
    Answer::of(200, &answer.record()?)
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
    fn a_title_is_the_prompts_first_line_cut_between_characters() {
        assert_eq!(first_line("Fix it\nnow"), "Fix it");
        assert_eq!(first_line(&"é".repeat(500)).chars().count(), 120);
        assert_eq!(first_line("\nx"), "");
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
