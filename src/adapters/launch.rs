//! From a launch to the program that it runs: arguments, stdin and environment.
//!
//! Pure: it looks nothing up, and starts nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::{Adapter, PromptStyle, StdinMode};
use crate::api::{LaunchOptions, SessionRecord};

/// The variable by which a process knows, and is known by, its session.
pub const SESSION_VARIABLE: &str = "COVEN_SESSION_ID";

/// What a launch asks for, parsed and checked.
#[derive(Debug)]
pub struct LaunchSpec {
    /// The session to be, with its options.
    pub record: SessionRecord,
    /// The canonical working directory.
    pub cwd: PathBuf,
    /// What the harness is asked to do.
    pub prompt: String,
    /// Killed when it has run for that long.
    pub timeout: Option<Duration>,
}

/// What to start.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// The arguments, the name of the program first. None holds a NUL.
    pub argv: Vec<String>,
    /// The variables that it has beside the daemon's own, or instead of one of the same name.
    pub env: Vec<(&'static str, String)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// What it reads.
    pub stdin: StdinMode,
    /// What it reads first, whether or not anything follows.
    pub prompt: Option<String>,
}

impl Adapter {
    /// The program of a launch. `path` is where its executable was found.
    pub fn program(&self, path: PathBuf, spec: &LaunchSpec) -> Program {
        Program {
            path,
            argv: self.argv(&spec.prompt, &spec.record.options),
            env: vec![(SESSION_VARIABLE, spec.record.id.to_string())],
            cwd: spec.cwd.clone(),
            stdin: self.stdin,
            prompt: self.stdin_prompt(&spec.prompt),
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
    use crate::adapters::Executable;
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
            timeout: None,
        };
        let program = adapter.program("/bin/x".into(), &spec);
        assert_eq!(program.argv, ["x", "run", "-m", "m"]);
        assert_eq!(program.prompt.as_deref(), Some("do it\n"));
        assert_eq!(program.env, [(SESSION_VARIABLE, id.to_string())]);
        assert_eq!(program.cwd, PathBuf::from("/p/sub"));
        let argument = Adapter {
            prompt: PromptStyle::Flag("-p".into()),
            ..adapter
        };
        let program = argument.program("/bin/x".into(), &spec);
        assert_eq!(program.argv.last().unwrap(), "-p=do it");
        assert_eq!(program.prompt, None);
    }
}
