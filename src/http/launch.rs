//! `POST /sessions`: parses and checks a request into a launch.
//!
//! Runs on the connection's thread. Uses requests, adapters and directories; the state thread and the store know the
//! running and the stored sessions.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::Call;
use super::context::{self, Context};
use super::response::Answer;
use crate::adapters::{
    Adapter, LaunchSpec, Program, Registry, SessionLimits, Telemetry, Unsupported,
};
use crate::api::fields;
use crate::api::{
    ApiError, Conversation, ConversationMode, LaunchMode, LaunchRequest, PROMPT_KEPT_MAX,
    SessionId, SessionRecord, SessionStatus, TelemetryFormat, Usage, Word, routes,
};
use crate::redact::Redactor;
use crate::settings::did_you_mean;
use crate::state::{Command, Launch, Launched};
use crate::store::{NewEvent, NewSession, Refused};
use crate::sys;

/// Maximum length of a title made from the prompt's first line, in characters.
const TITLE_CHARACTERS: usize = 120;
/// Maximum number of sessions of a conversation whose usage is summed.
const CHAIN_MAX: usize = 1000;
/// Maximum length of an `Idempotency-Key`, in bytes.
const KEY_MAX: usize = 255;

/// `POST /sessions`
pub(super) fn launch(call: &Call<'_, routes::Launch>) -> Result<Answer, ApiError> {
    let idempotency = parse_idempotency(call)?;
    if let Some(answer) = repeat(call, idempotency.as_ref())? {
        return Ok(answer);
    }
    let launch = Box::new(parse_launch(call, idempotency)?);
    (call.context.before_launch)();
    match call.context.ask(|reply| Command::Launch(launch, reply))? {
        Launched::New(record) => call.answer(201, &record),
        Launched::Repeat(id) => call.ok(&call.context.reader.session(id)?),
    }
}

/// Response to a repeated launch: the first one's session. `None` if the launch is new.
fn repeat(
    call: &Call<'_, routes::Launch>,
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
        // The first launch is still running: the command `Launch` waits for its result.
        Ok(record) if record.status == SessionStatus::Created => Ok(None),
        Err(Refused::NotFound { .. }) => Ok(None),
        Ok(record) => call.ok(&record).map(Some),
        Err(err) => Err(err.into()),
    }
}

fn parse_launch(
    call: &Call<'_, routes::Launch>,
    idempotency: Option<(String, String)>,
) -> Result<Launch, ApiError> {
    let request = call.body()?;
    let registry = registry_with(call, &request.harness);
    let adapter = registry
        .get(&request.harness)
        .ok_or_else(|| unknown_harness(&request.harness, &registry))?;
    let sweep = request.sweep;
    let base = call.context.environment.current();
    let redactor = call.context.redactor.for_session(base.given(&request.env));
    let mut spec = parse_spec(call, request, adapter, &redactor)?;
    check_mode(spec.mode())?;
    check_prompt(&spec, adapter)?;
    // Reports what the adapter does not support before what this machine lacks.
    let shown = adapter.shown_argv(&spec).map_err(unsupported)?;
    let argv = redactor.redact_arguments(&shown);
    // Takes the args from the redacted command line: a word before them can mark one as a secret.
    let count = spec.args.len();
    let begin = shown
        .windows(count.max(1))
        .position(|words| words == spec.args);
    spec.record.options.args =
        begin.map_or(Vec::new(), |begin| argv[begin..begin + count].to_vec());
    spec.record.options.argv = Some(argv);
    let path = adapter
        .resolve(base.path())
        .ok_or_else(|| not_found(adapter, base.path()))?;
    let program = adapter.program(path, &spec, &base).map_err(unsupported)?;
    check_tokens(&program)?;
    let bytes = spec.prompt.len();
    let prompt = redactor.redact_stored_beginning(&spec.prompt, PROMPT_KEPT_MAX);
    Ok(Launch {
        program,
        redactor,
        sweep,
        session: NewSession {
            prompt: NewEvent::of_prompt(spec.record.created_at, &prompt, bytes),
            record: spec.record,
            idempotency,
        },
    })
}

fn parse_spec(
    call: &Call<'_, routes::Launch>,
    mut request: LaunchRequest,
    adapter: &Adapter,
    redactor: &Redactor,
) -> Result<LaunchSpec, ApiError> {
    let limits = limits(&request);
    check_unchanged(call.context, &request)?;
    let (project_root, cwd) = parse_directories(call.context, &request)?;
    let mut options = request.take_options();
    options.launch_mode.get_or_insert_default();
    let mut permission = adapter.default_permission.unwrap_or_default();
    options.add_dirs = existing(call.context, "addDirs", &options.add_dirs)?;
    if let Some(policy) = request.launch_policy.take() {
        permission = policy.sandbox;
        let dirs = existing(call.context, "launchPolicy.addDirs", &policy.add_dirs)?;
        options.add_dirs.extend(dirs);
    }
    let (conversation, client_id) = (request.conversation.take(), &mut options.conversation_id);
    if let Some(Conversation { id, .. }) = &conversation
        && client_id.get_or_insert_with(|| id.clone()) != id
    {
        let message = "conversationId must be the id of conversation, or left out";
        return Err(ApiError::invalid_field("conversationId", message));
    }
    options.permission = Some(permission.into());
    options.can_write = adapter.can_write(permission);
    options.labels = context::labels(redactor, options.labels);
    options.familiar_id = options.familiar_id.map(|id| redactor.redact_stored(id));
    let model = options.model.clone();
    options.model = options.model.map(|model| redactor.redact_stored(model));
    let args = std::mem::take(&mut options.args);
    let env = std::mem::take(&mut request.env);
    let title = match request.title {
        Some(title) => context::title(redactor, title),
        None => shortened(&redactor.redact_stored(first_line(&request.prompt))),
    };
    let mut record = SessionRecord {
        cwd: Some(cwd.clone()),
        options,
        ..SessionRecord::new(SessionId::random(), project_root, request.harness, title)
    };
    let conversation = conversation.or_else(|| own_conversation(adapter, &record, &args));
    record.harness_session_id = conversation.as_ref().map(|wanted| wanted.id.clone());
    let (continued_from, told_before) = before(call, adapter, conversation.as_ref())?;
    record.continued_from = continued_from;
    Ok(LaunchSpec {
        record,
        cwd: cwd.into(),
        prompt: request.prompt,
        conversation,
        told_before,
        permission,
        model,
        args,
        env,
        limits,
    })
}

/// Rejects tokens in those paths, ids and names of a launch that are stored unchanged.
fn check_unchanged(context: &Context, request: &LaunchRequest) -> Result<(), ApiError> {
    let conversation = request.conversation.as_ref().map(|wanted| &wanted.id);
    let policy = request.launch_policy.as_ref();
    for (field, texts) in [
        ("projectRoot", slice::from_ref(&request.project_root)),
        ("cwd", request.cwd.as_slice()),
        ("addDirs", &request.add_dirs),
        (
            "launchPolicy.addDirs",
            policy.map_or(&[], |policy| &policy.add_dirs),
        ),
        ("conversationId", request.conversation_id.as_slice()),
        ("conversation.id", conversation.map_or(&[], slice::from_ref)),
        ("env", &request.env.names()),
    ] {
        context.check_kept(field, texts)?;
    }
    Ok(())
}

/// A new conversation for a launch that names none, if its harness accepts an id: the conversation can then be
/// continued.
fn own_conversation(
    adapter: &Adapter,
    record: &SessionRecord,
    args: &[String],
) -> Option<Conversation> {
    let mode = record.options.launch_mode.as_ref().and_then(Word::known)?;
    adapter.takes_session_id(mode, args).then(|| Conversation {
        mode: ConversationMode::Init,
        id: record.id.to_string(),
    })
}

/// The session whose conversation the launch continues, and the tokens that it and its predecessors used.
fn before(
    call: &Call<'_, routes::Launch>,
    adapter: &Adapter,
    conversation: Option<&Conversation>,
) -> Result<(Option<SessionId>, Usage), ApiError> {
    let reader = &call.context.reader;
    let resumed = conversation.filter(|wanted| wanted.mode == ConversationMode::Resume);
    let Some(Conversation { id, .. }) = resumed else {
        return Ok((None, Usage::default()));
    };
    let from = reader.session_of(&adapter.id, id)?;
    let mut used = Usage::default();
    // Other harnesses report each session's own usage, not the conversation's sum: nothing is to be subtracted.
    let has_sums = adapter.telemetry.is_some_and(TelemetryFormat::has_sums);
    let mut next = from.filter(|_| has_sums);
    for _ in 0..CHAIN_MAX {
        let Some(id) = next else { break };
        // A predecessor can have been deleted.
        let Ok(record) = reader.session(id) else {
            break;
        };
        next = record.continued_from;
        used.add_tokens(&record.usage.unwrap_or_default());
    }
    Ok((from, used))
}

/// The adapters. Reloads the manifests if `harness` is unknown: its manifest may be new.
fn registry_with(call: &Call<'_, routes::Launch>, harness: &str) -> Arc<Registry> {
    let registry = call.context.adapters.current();
    match registry.get(harness) {
        Some(_) => registry,
        None => call.context.adapters.reload(),
    }
}

fn unknown_harness(harness: &str, registry: &Registry) -> ApiError {
    let known: Vec<&str> = registry.adapters.iter().map(|a| a.id.as_str()).collect();
    let hint = did_you_mean(harness, &mut known.iter().map(|&id| id.to_owned()));
    ApiError::InvalidRequest {
        message: format!("unknown harness {harness:?}{hint}"),
        field: Some("harness".into()),
        extra: Some(("known", json!(known))),
    }
}

fn not_found(adapter: &Adapter, path: Option<&OsStr>) -> ApiError {
    let (harness, executable) = (adapter.id.clone(), adapter.executable.clone());
    match adapter.problem(path) {
        Some(problem) => ApiError::HarnessUnusable {
            harness,
            executable,
            problem: problem.to_string(),
        },
        None => ApiError::HarnessNotFound {
            harness,
            executable,
            install_hint: adapter.install_hint.clone(),
            login_hint: adapter.login_hint.clone(),
            daemon_path: path.unwrap_or_default().to_string_lossy().into_owned(),
        },
    }
}

fn unsupported(Unsupported { field, message }: Unsupported) -> ApiError {
    ApiError::invalid_field(field, message)
}

fn check_mode(mode: LaunchMode) -> Result<(), ApiError> {
    match LaunchMode::SUPPORTED.contains(&mode) {
        true => Ok(()),
        false => Err(ApiError::invalid_field(
            "launchMode",
            format!("launchMode {mode} is not in this version"),
        )),
    }
}

/// Canonical paths of the directories `dirs`, the value of `field`.
fn existing(context: &Context, field: &str, dirs: &[String]) -> Result<Vec<String>, ApiError> {
    let wrong = |why: &str| ApiError::invalid_field(field, format!("{field}: {why}"));
    let existing = |dir: &String| {
        let found = directory(dir, wrong)?;
        let text = found.to_str().map(str::to_owned);
        text.ok_or_else(|| wrong(&format!("{dir} leads to a path that is not UTF-8")))
    };
    let dirs: Vec<_> = dirs.iter().map(existing).collect::<Result<_, _>>()?;
    context.check_kept(field, &dirs)?;
    Ok(dirs)
}

/// Canonical path of the directory `path`.
fn directory(path: &str, wrong: impl Fn(&str) -> ApiError) -> Result<PathBuf, ApiError> {
    let found = std::fs::canonicalize(path)
        .map_err(|err| wrong(&format!("{path} cannot be used: {err}")))?;
    match found.is_dir() {
        true => Ok(found),
        false => Err(wrong(&format!("{path} is not a directory"))),
    }
}

fn check_prompt(spec: &LaunchSpec, adapter: &Adapter) -> Result<(), ApiError> {
    let prompt = &spec.prompt;
    let max = adapter.prompt_max(spec.mode());
    if prompt.len() <= max {
        return Ok(());
    }
    Err(ApiError::InvalidRequest {
        message: format!(
            "the prompt has {} bytes, and {} takes it as one argument, which holds at most {max}: put the text into a file, and \
             name the file in the prompt",
            prompt.len(),
            adapter.id
        ),
        field: Some("prompt".into()),
        extra: Some(("maxBytes", json!(max))),
    })
}

fn first_line(prompt: &str) -> String {
    prompt.lines().next().unwrap_or("").to_owned()
}

fn shortened(title: &str) -> String {
    title.chars().take(TITLE_CHARACTERS).collect()
}

fn limits(request: &LaunchRequest) -> SessionLimits {
    // A century acts as no limit, and does not overflow an Instant.
    let duration = |millis: u64| Duration::from_millis(millis.min(100 * 365 * 86_400_000));
    SessionLimits {
        time: request.timeout_ms.map(duration),
        idle: request.idle_timeout_ms.map(duration),
        tokens: request.max_tokens,
    }
}

/// Rejects a limit of tokens if the harness does not report its usage.
fn check_tokens(program: &Program) -> Result<(), ApiError> {
    if program.limits.tokens.is_none() || program.telemetry.is_some_and(Telemetry::has_usage) {
        return Ok(());
    }
    let message = format!(
        "harness {} does not tell what it uses of a model when it is started like this: maxTokens would have no effect \
         (claude, codex and opencode tell it in their JSON form, as with launchMode stream)",
        program.harness
    );
    Err(ApiError::invalid_field("maxTokens", message))
}

/// The client's key, and a fingerprint of the body: a name-based UUID (RFC 9562, version 5) of the body with sorted
/// fields. Environment variables contribute their names only: no derivative of a value is stored.
fn parse_idempotency(
    call: &Call<'_, routes::Launch>,
) -> Result<Option<(String, String)>, ApiError> {
    let Some(key) = &call.request.idempotency_key else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(ApiError::invalid_field(
            "Idempotency-Key",
            format!("Idempotency-Key must have 1 to {KEY_MAX} bytes"),
        ));
    }
    call.context
        .check_kept("Idempotency-Key", slice::from_ref(key))?;
    let mut body = fields::parse(&call.request.body)?;
    if let Some(variables) = body.get_mut("env").and_then(Value::as_object_mut) {
        variables
            .values_mut()
            .for_each(|value| *value = Value::Null);
    }
    let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_OID, body.to_string().as_bytes());
    Ok(Some((key.clone(), fingerprint.to_string())))
}

/// The canonical project root and working directory.
fn parse_directories(
    context: &Context,
    request: &LaunchRequest,
) -> Result<(String, String), ApiError> {
    let root_field = &request.project_root;
    let wrong_root =
        |why: &str| ApiError::invalid_field("projectRoot", format!("projectRoot {why}"));
    let root = directory(root_field, wrong_root)?;
    let root_text = root
        .to_str()
        .ok_or_else(|| wrong_root("leads to a path that is not UTF-8"))?
        .to_owned();
    context.check_kept("projectRoot", slice::from_ref(&root_text))?;
    let Some(cwd_field) = request.cwd.as_deref().filter(|cwd| !cwd.is_empty()) else {
        check_entry("projectRoot", &root)?;
        return Ok((root_text.clone(), root_text));
    };
    // `join` with an absolute path returns that path.
    let cwd = std::fs::canonicalize(root.join(cwd_field))
        .ok()
        .filter(|cwd| cwd.starts_with(&root) && cwd.is_dir());
    let Some(cwd) = cwd.and_then(|cwd| cwd.into_os_string().into_string().ok()) else {
        return Err(ApiError::ProjectRootViolation {
            project_root: root_text,
            cwd: cwd_field.to_owned(),
        });
    };
    context.check_kept("cwd", slice::from_ref(&cwd))?;
    check_entry("cwd", Path::new(&cwd))?;
    Ok((root_text, cwd))
}

/// Checks that the daemon's user can enter `directory`: chdir(2) needs search permission on the directory itself.
fn check_entry(field: &str, directory: &Path) -> Result<(), ApiError> {
    let entered = directory.join(".").metadata();
    entered.map(drop).map_err(|err| {
        let (directory, uid) = (directory.display(), sys::euid());
        let message = format!(
            "{field} {directory} cannot be entered by the daemon's user (uid {uid}): {err}"
        );
        ApiError::invalid_field(field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_prompts_first_line_cut_between_characters() {
        assert_eq!(first_line("Fix it\nnow"), "Fix it");
        assert_eq!(first_line("\nx"), "");
        assert_eq!(shortened(&"é".repeat(500)), "é".repeat(120));
    }
}
