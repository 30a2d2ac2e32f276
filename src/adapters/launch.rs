//! Turns a launch into a program to start: command line and environment.
//!
//! Pure: it reads no file and starts nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::environment::Base;
use super::{Adapter, Environment, PROMPT_SHOWN, StdinMode, Telemetry, Turn, Unsupported};
use crate::api::{Conversation, LaunchMode, Permission, SessionRecord, Usage, Variables, Word};
use crate::sys;

/// A validated launch request.
#[derive(Debug)]
pub struct LaunchSpec {
    /// The new session's record, with its options.
    pub record: SessionRecord,
    /// The canonical working directory.
    pub cwd: PathBuf,
    pub prompt: String,
    /// The harness's own conversation.
    pub conversation: Option<Conversation>,
    pub permission: Permission,
    /// The model as the client sent it; the one in the record is redacted.
    pub model: Option<String>,
    /// Additional arguments as the client sent them; those in the record are redacted.
    pub args: Vec<String>,
    /// Variables of this session only.
    pub env: Variables,
    /// Tokens that earlier sessions of the conversation have used.
    pub told_before: Usage,
    pub limits: SessionLimits,
}

/// Limits that end a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// Longest run time.
    pub time: Option<Duration>,
    /// Longest time without output.
    pub idle: Option<Duration>,
    /// Most tokens, input and output together.
    pub tokens: Option<u64>,
}

/// A program to start.
#[derive(Debug)]
pub struct Program {
    /// Path of the executable.
    pub path: PathBuf,
    /// The arguments, starting with the program's name. None contains a NUL.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: Environment,
    pub cwd: PathBuf,
    /// Input besides the prompt.
    pub stdin: StdinMode,
    /// The text that is written to stdin first.
    pub prompt: Option<String>,
    /// The telemetry in its output.
    pub telemetry: Option<Telemetry>,
    /// Id of the adapter.
    pub harness: String,
    /// Id of its conversation, if known before the start.
    pub harness_session_id: Option<String>,
    /// Tokens that earlier sessions of the conversation have used.
    pub told_before: Usage,
    pub limits: SessionLimits,
}

impl LaunchSpec {
    /// The launch mode.
    pub fn mode(&self) -> LaunchMode {
        let mode = self.record.options.launch_mode.as_ref();
        mode.and_then(Word::known).unwrap_or_default()
    }

    fn turn<'a>(&'a self, prompt: &'a str) -> Turn<'a> {
        let options = &self.record.options;
        Turn {
            mode: self.mode(),
            permission: self.permission,
            conversation: self.conversation.as_ref(),
            model: self.model.as_deref(),
            dirs: &options.add_dirs,
            args: &self.args,
            prompt,
        }
    }
}

impl Adapter {
    /// The program of a launch. `path` is its executable, `base` the environment of all sessions.
    ///
    /// # Errors
    /// The adapter does not support a field of the launch.
    pub fn program(
        &self,
        path: PathBuf,
        spec: &LaunchSpec,
        base: &Base,
    ) -> Result<Program, Unsupported> {
        let line = self.command_line(&spec.turn(&spec.prompt))?;
        let mut env = spec.env.clone();
        // Last: no other source may undo the launch's restrictions.
        for (name, value) in self
            .policy_env(spec.permission)
            .into_iter()
            .flat_map(Variables::iter)
        {
            env.set(name, value);
        }
        let program = Program {
            path,
            telemetry: self.telemetry(&line.argv),
            argv: line.argv,
            env: base.session(&self.env, &env, spec.record.id, &spec.cwd),
            cwd: spec.cwd.clone(),
            stdin: match spec.mode() {
                LaunchMode::Stream => StdinMode::Open,
                LaunchMode::NonInteractive | LaunchMode::Interactive => self.stdin,
            },
            prompt: line.stdin,
            harness: self.id.clone(),
            harness_session_id: spec.record.harness_session_id.clone(),
            told_before: spec.told_before.clone(),
            limits: spec.limits,
        };
        match sys::euid() == 0 && self.refuses_root(spec.permission, &program.env) {
            true => Err(Unsupported {
                field: "launchPolicy.sandbox",
                message: format!(
                    "{} refuses permission {} to root, and the daemon runs as root: run the daemon as another user, or ask for less",
                    self.id, spec.permission
                ),
            }),
            false => Ok(program),
        }
    }

    /// The command line of a launch for display, without the prompt, which can be long.
    pub fn shown_argv(&self, spec: &LaunchSpec) -> Result<Vec<String>, Unsupported> {
        Ok(self.command_line(&spec.turn(PROMPT_SHOWN))?.argv)
    }

    /// True if the harness refuses to start as root with `permission` in the environment `env`.
    fn refuses_root(&self, permission: Permission, env: &Environment) -> bool {
        let Some(refused) = &self.refuses_root else {
            return false;
        };
        let is_meant = refused
            .unless_env
            .as_ref()
            .and_then(|name| env.get(&name.0));
        refused.permissions.contains(&permission) && is_meant.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    use crate::adapters::{SESSION_VARIABLE, manifest};
    use crate::api::SessionId;

    #[test]
    fn a_launch_becomes_arguments_stdin_and_environment() {
        let manifest = r#"{"adapters":[{"id":"x","executable":"x","non_interactive_prompt_prefix_args":["run"],
            "model_flag":"-m","prompt":"stdin","stdin":"open","env":{"A":"adapter's","B":"adapter's","C":"adapter's"},
            "sandbox":{"read_only_args":["--look"],"read_only_env":{"C":"policy's"},"full_args":[]}}]}"#;
        let adapter = manifest::parse(manifest).unwrap().remove(0);
        let id = SessionId::random();
        let record = SessionRecord::new(id, "/p".into(), "x".into(), "t".into());
        let mut spec = LaunchSpec {
            record,
            cwd: "/p/sub".into(),
            prompt: "do it".into(),
            conversation: None,
            told_before: Usage::default(),
            permission: Permission::Default,
            model: Some("m".into()),
            args: vec!["-a".into()],
            env: [("B", "launch's"), ("C", "launch's")].into_iter().collect(),
            limits: SessionLimits::default(),
        };
        let base = Base::default();
        let program = adapter.program("/bin/x".into(), &spec, &base).unwrap();
        assert_eq!(program.argv, ["x", "run", "-m", "m", "-a"]);
        assert_eq!(program.prompt.as_deref(), Some("do it\n"));
        let env = |program: &Program, name| {
            program
                .env
                .get(name)
                .and_then(OsStr::to_str)
                .map(str::to_owned)
        };
        assert_eq!(env(&program, SESSION_VARIABLE), Some(id.to_string()));
        assert_eq!(env(&program, "A").as_deref(), Some("adapter's"));
        assert_eq!(env(&program, "B").as_deref(), Some("launch's"));
        assert_eq!(env(&program, "C").as_deref(), Some("launch's"));
        assert_eq!(env(&program, "PWD").as_deref(), Some("/p/sub"));
        assert_eq!(program.cwd, PathBuf::from("/p/sub"));
        spec.permission = Permission::ReadOnly;
        let program = adapter.program("/bin/x".into(), &spec, &base).unwrap();
        assert_eq!(program.argv, ["x", "run", "--look", "-m", "m", "-a"]);
        assert_eq!(env(&program, "C").as_deref(), Some("policy's"));
    }
}
