//! From a launch to the program that it runs: arguments, stdin and environment.
//!
//! Pure: it looks nothing up, and starts nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Base;
use super::{Adapter, Environment, PromptStyle, StdinMode, Telemetry};
use crate::api::{LaunchOptions, SessionRecord, Variables};

/// What a launch asks for, parsed and checked.
#[derive(Debug)]
pub struct LaunchSpec {
    /// The session to be, with its options.
    pub record: SessionRecord,
    /// The canonical working directory.
    pub cwd: PathBuf,
    /// What the harness is asked to do.
    pub prompt: String,
    /// Variables for this session alone.
    pub env: Variables,
    /// What ends it.
    pub limits: Limits,
}

/// What ends a session that does not end by itself before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// It has run for that long.
    pub time: Option<Duration>,
    /// It has written nothing for that long.
    pub idle: Option<Duration>,
    /// It has used so many tokens, input and output.
    pub tokens: Option<u64>,
}

/// What to start.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// The arguments, the name of the program first. None holds a NUL.
    pub argv: Vec<String>,
    /// All of its variables.
    pub env: Environment,
    /// The working directory.
    pub cwd: PathBuf,
    /// What it reads.
    pub stdin: StdinMode,
    /// What it reads first, whether or not anything follows.
    pub prompt: Option<String>,
    /// What is read of its output.
    pub telemetry: Option<Telemetry>,
    /// The adapter.
    pub harness: String,
    /// The id of its conversation, as far as that is known before it runs.
    pub harness_session_id: Option<String>,
    /// What ends it.
    pub limits: Limits,
}

impl Adapter {
    /// The program of a launch. `path` is where its executable was found, `base` what every session gets.
    pub fn program(&self, path: PathBuf, spec: &LaunchSpec, base: &Base) -> Program {
        let argv = self.argv(&spec.prompt, &spec.record.options);
        Program {
            path,
            telemetry: self.telemetry(&argv),
            argv,
            env: base.session(&self.env, &spec.env, spec.record.id, &spec.cwd),
            cwd: spec.cwd.clone(),
            stdin: self.stdin,
            prompt: self.stdin_prompt(&spec.prompt),
            harness: self.id.clone(),
            harness_session_id: spec.record.harness_session_id.clone(),
            limits: spec.limits,
        }
    }

    /// The arguments for one prompt, the name of the program first.
    pub(super) fn argv(&self, prompt: &str, options: &LaunchOptions) -> Vec<String> {
        let mut argv = vec![self.executable_name().to_owned()];
        argv.extend(self.prefix_args.iter().cloned());
        if let (Some(flag), Some(model)) = (&self.model_flag, &options.model) {
            argv.extend([flag.clone(), model.clone()]);
        }
        match &self.prompt {
            PromptStyle::AfterDashes => argv.extend(["--".to_owned(), prompt.to_owned()]),
            PromptStyle::Flag(flag) => argv.push(format!("{flag}={prompt}")),
            PromptStyle::Stdin => {}
        }
        argv
    }

    /// What is to be written to stdin for one prompt, first of all. Where input can follow it ends with a newline:
    /// there is no end of file to tell where the prompt ends.
    pub(super) fn stdin_prompt(&self, prompt: &str) -> Option<String> {
        let end = match self.stdin {
            StdinMode::Open if !prompt.ends_with('\n') => "\n",
            StdinMode::Open | StdinMode::Closed => "",
        };
        (self.prompt == PromptStyle::Stdin).then(|| format!("{prompt}{end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    use crate::adapters::{Executable, SESSION_VARIABLE};
    use crate::api::SessionId;

    #[test]
    fn a_launch_becomes_arguments_stdin_and_environment() {
        let adapter = Adapter {
            id: "x".into(),
            label: "X".into(),
            executable: Executable::OnPath("x".into()),
            prefix_args: vec!["run".into()],
            model_flag: Some("-m".into()),
            prompt: PromptStyle::Stdin,
            stdin: StdinMode::Open,
            env: [("A", "adapter's"), ("B", "adapter's")]
                .into_iter()
                .collect(),
            pass_env: Vec::new(),
            telemetry: None,
            install_hint: String::new(),
            source: crate::api::AdapterSource::Bundled.into(),
        };
        let id = SessionId::random();
        let mut record = SessionRecord::new(id, "/p".into(), "x".into(), "t".into());
        record.options.model = Some("m".into());
        let spec = LaunchSpec {
            record,
            cwd: "/p/sub".into(),
            prompt: "do it".into(),
            env: [("B", "launch's")].into_iter().collect(),
            limits: Limits::default(),
        };
        let base = Base::default();
        let program = adapter.program("/bin/x".into(), &spec, &base);
        assert_eq!(program.argv, ["x", "run", "-m", "m"]);
        assert_eq!(program.prompt.as_deref(), Some("do it\n"));
        let env = |name| program.env.get(name).and_then(OsStr::to_str);
        assert_eq!(env(SESSION_VARIABLE), Some(&*id.to_string()));
        assert_eq!((env("A"), env("B")), (Some("adapter's"), Some("launch's")));
        assert_eq!(env("PWD"), Some("/p/sub"));
        assert_eq!(program.cwd, PathBuf::from("/p/sub"));
        let argument = Adapter {
            prompt: PromptStyle::Flag("-p".into()),
            ..adapter
        };
        let program = argument.program("/bin/x".into(), &spec, &base);
        assert_eq!(program.argv.last().unwrap(), "-p=do it");
        assert_eq!(program.prompt, None);
    }
}
