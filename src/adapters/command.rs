//! Builds the command line of a launch: one function for all adapters, modes, permissions and conversations.
//!
//! Pure: it reads no file and starts nothing.

use super::declaration::{Adapter, Argument, ModelIdTransform, PromptPlace, StdinMode};
use crate::api::{Conversation, ConversationMode, LaunchMode, Permission, StreamLine};
use crate::sys;

/// The input of a command line, besides the adapter.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub mode: LaunchMode,
    pub permission: Permission,
    /// The harness's conversation that it starts or continues.
    pub conversation: Option<&'a Conversation>,
    /// The model, optionally with its provider.
    pub model: Option<&'a str>,
    /// Additional directories besides the working directory.
    pub dirs: &'a [String],
    /// Additional arguments of the launch.
    pub args: &'a [String],
    pub prompt: &'a str,
}

/// Placeholder of the prompt in a displayed command line.
pub const PROMPT_SHOWN: &str = "<prompt>";

impl<'a> Turn<'a> {
    /// A turn with a prompt and defaults.
    pub fn of(prompt: &'a str) -> Self {
        Self {
            mode: LaunchMode::default(),
            permission: Permission::default(),
            conversation: None,
            model: None,
            dirs: &[],
            args: &[],
            prompt,
        }
    }
}

/// Arguments and first input of a harness.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The arguments, starting with the program's name.
    pub argv: Vec<String>,
    /// The prompt, if it is written to stdin; `None` if it is an argument.
    pub stdin: Option<String>,
}

/// A field of a launch that the adapter does not support.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The launch's field.
    pub field: &'static str,
    /// The reason, for people.
    pub message: String,
}

impl Unsupported {
    fn new(field: &'static str, message: String) -> Self {
        Self { field, message }
    }
}

impl Adapter {
    /// Builds the command line of `turn`.
    ///
    /// # Errors
    /// The adapter does not support a field of the turn: no field is silently ignored.
    pub fn command_line(&self, turn: &Turn<'_>) -> Result<CommandLine, Unsupported> {
        let mut argv = vec![self.executable.clone()];
        let conversation = self.begin(turn, &mut argv)?;
        argv.extend(self.policy_args(turn)?);
        if let Some(model) = turn.model {
            argv.extend(self.model_args(model)?);
        }
        argv.extend_from_slice(turn.args);
        argv.extend(conversation);
        let stdin = self.ask(turn, &mut argv);
        Ok(CommandLine { argv, stdin })
    }

    /// The supported modes.
    pub fn modes(&self) -> impl Iterator<Item = LaunchMode> {
        LaunchMode::ALL.into_iter().filter(|mode| match mode {
            LaunchMode::NonInteractive => true,
            LaunchMode::Interactive => self.interactive_prefix().is_some(),
            LaunchMode::Stream => self.stream_args.is_some(),
        })
    }

    /// The supported permissions, besides the harness's own default.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        let given = Permission::ALL.into_iter();
        given.filter(|permission| {
            *permission != Permission::Default && self.permission_args(*permission).is_some()
        })
    }

    /// True if a harness with `permission` can write files; `None` if unknown.
    pub fn can_write(&self, permission: Permission) -> Option<bool> {
        match permission {
            Permission::Default => self.default_can_write,
            Permission::ReadOnly => Some(false),
            Permission::WorkspaceWrite | Permission::Full => Some(true),
        }
    }

    /// Longest prompt in bytes that fits into one argument. On stdin only the request's size limits it.
    pub fn prompt_max(&self, mode: LaunchMode) -> usize {
        match self.prompt_flag_in(mode) {
            _ if self.reads_prompt(mode) => usize::MAX,
            Some(flag) => sys::ARGUMENT_MAX - flag.len() - 1,
            None => sys::ARGUMENT_MAX,
        }
    }

    fn interactive_prefix(&self) -> Option<&[Argument]> {
        let prefix = self.interactive_prompt_prefix_args.as_deref();
        prefix.or(self.interactive_prompt_flag.as_ref().map(|_| &[][..]))
    }

    /// Adds the first arguments; returns those that name the conversation, which must follow all other options.
    fn begin(&self, turn: &Turn<'_>, argv: &mut Vec<String>) -> Result<Vec<String>, Unsupported> {
        let (continuity, stream) = (self.continuity_args.as_ref(), self.stream_args.as_ref());
        let wanted = turn.conversation.map(|conversation| conversation.mode);
        let prefix = match (turn.mode, wanted, continuity) {
            (LaunchMode::Stream, ..) => stream.map(|form| &*form.prefix_args),
            (LaunchMode::Interactive, ..) => self.interactive_prefix(),
            (_, Some(ConversationMode::Init), Some(form)) => Some(&*form.init_prefix_args),
            (_, Some(ConversationMode::Resume), Some(form)) => Some(&*form.resume_prefix_args),
            _ => Some(&*self.non_interactive_prompt_prefix_args),
        };
        let prefix = prefix.ok_or_else(|| {
            let message = format!("harness {} has no {} form", self.id, turn.mode);
            Unsupported::new("launchMode", message)
        })?;
        argv.extend(prefix.iter().map(|argument| argument.0.clone()));
        let Some(Conversation { mode, id }) = turn.conversation else {
            return Ok(Vec::new());
        };
        let flag = self.conversation_flag(turn.mode, *mode);
        let id = id.clone();
        match flag {
            Some(flag) => Ok(vec![flag.to_owned(), id]),
            None if turn.mode == LaunchMode::NonInteractive
                && *mode == ConversationMode::Resume
                && self.continuity_args.is_some() =>
            {
                argv.push(id);
                Ok(Vec::new())
            }
            None => {
                let what = match mode {
                    ConversationMode::Init => "begin a conversation under an id that it is given",
                    ConversationMode::Resume => "go on with a conversation",
                };
                let message = format!("harness {} cannot {what}", self.id);
                Err(Unsupported::new("conversation.mode", message))
            }
        }
    }

    /// The flag for the id of a conversation.
    fn conversation_flag(&self, mode: LaunchMode, wanted: ConversationMode) -> Option<&str> {
        let (init, resume) = match (mode, &self.stream_args, &self.continuity_args) {
            (LaunchMode::Stream, Some(form), _) => (&form.session_id_flag, &form.resume_flag),
            (LaunchMode::Stream, None, _) | (_, _, None) => return None,
            (_, _, Some(form)) => (&form.session_id_flag, &form.resume_flag),
        };
        let flag = match wanted {
            ConversationMode::Init => init,
            ConversationMode::Resume => resume,
        };
        flag.as_ref().map(|flag| flag.0.as_str())
    }

    /// True if a launch with `args` can get the id of a new conversation: not if `args` name a conversation.
    pub fn takes_session_id(&self, mode: LaunchMode, args: &[String]) -> bool {
        let flags = [ConversationMode::Init, ConversationMode::Resume]
            .map(|wanted| self.conversation_flag(mode, wanted));
        // Common names of these flags among agents.
        let known = ["--continue", "--resume", "-c", "-r"].into_iter();
        let known: Vec<&str> = known.chain(flags.into_iter().flatten()).collect();
        let names_one = |arg: &String| {
            let name = arg.split('=').next().unwrap_or(arg);
            known.contains(&name)
        };
        self.capabilities.preassigned_session_id
            && flags[0].is_some()
            && !args.iter().any(names_one)
    }

    /// True if it can continue a conversation with another prompt.
    pub fn resumes(&self) -> bool {
        self.continuity_args.is_some()
    }

    /// The arguments for permission and directories.
    fn policy_args(&self, turn: &Turn<'_>) -> Result<Vec<String>, Unsupported> {
        let permission = turn.permission;
        let mut args = self.permission_args(permission).ok_or_else(|| {
            let known: Vec<&str> = self.permissions().map(Permission::as_str).collect();
            let known = match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            };
            let message = format!(
                "harness {} has no permission {permission}: it has {known}",
                self.id
            );
            Unsupported::new("launchPolicy.sandbox", message)
        })?;
        if permission != Permission::Default
            && let Some(arg) = turn.args.iter().find(|arg| self.sets_permission(arg))
        {
            let message =
                format!("args has {arg:?}, which sets what launchPolicy has set to {permission}");
            return Err(Unsupported::new("args", message));
        }
        match (&self.add_dir_flag, turn.dirs) {
            (None, [_, ..]) => {
                let message = format!("harness {} takes no further directories", self.id);
                return Err(Unsupported::new("addDirs", message));
            }
            (Some(flag), dirs) => {
                args.extend(dirs.iter().flat_map(|dir| [flag.0.clone(), dir.clone()]))
            }
            (None, []) => {}
        }
        Ok(args)
    }

    /// True if `arg` is a flag or a setting that changes the harness's permission.
    fn sets_permission(&self, arg: &str) -> bool {
        let own = self
            .permissions()
            .filter_map(|permission| self.permission_args(permission));
        let own = own.flatten().filter(|own| own.starts_with('-'));
        let mut flags = own.chain(self.permission_flags.iter().map(|flag| flag.0.clone()));
        flags.any(|flag| match flag.starts_with('-') {
            true => {
                let behind = arg.strip_prefix(&*flag);
                let is_short = flag.len() == 2;
                behind.is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || is_short)
            }
            // Also matches within `-cNAME=value` and `--config=NAME=value`.
            false => arg.split('=').any(|part| {
                let before = part.trim().strip_suffix(&*flag);
                before.is_some_and(|before| before.is_empty() || before.starts_with('-'))
            }),
        })
    }

    fn model_args(&self, model: &str) -> Result<Vec<String>, Unsupported> {
        let id = match (self.model_id_transform, model.split_once('/')) {
            (ModelIdTransform::StripProvider, Some((_, id))) => id,
            _ => model,
        };
        match (&self.model_arg_template, &self.model_flag) {
            (Some(template), _) => Ok(vec![template.0.replace("{model}", id)]),
            (None, Some(flag)) => Ok(vec![flag.0.clone(), id.to_owned()]),
            (None, None) => {
                let message = format!(
                    "harness {} takes no model: its adapter has no model_flag (asked for: {model:?})",
                    self.id
                );
                Err(Unsupported::new("model", message))
            }
        }
    }

    /// Adds the prompt as an argument, or the arguments that make the harness read it; returns the text for stdin.
    fn ask(&self, turn: &Turn<'_>, argv: &mut Vec<String>) -> Option<String> {
        let flag = self.prompt_flag_in(turn.mode);
        let prompt = turn.prompt;
        if turn.mode == LaunchMode::Stream {
            return Some(StreamLine::user(prompt));
        }
        if self.reads_prompt(turn.mode) {
            argv.extend(flag.map(str::to_owned));
            // If input can follow, no end of file marks the end of the prompt.
            let needs_end = self.stdin == StdinMode::Open && !prompt.ends_with('\n');
            return Some(format!("{prompt}{}", if needs_end { "\n" } else { "" }));
        }
        match flag {
            Some(flag) => argv.push(format!("{flag}={prompt}")),
            None => argv.extend(["--".to_owned(), prompt.to_owned()]),
        }
        None
    }

    fn prompt_flag_in(&self, mode: LaunchMode) -> Option<&str> {
        let flag = match mode {
            LaunchMode::Interactive => &self.interactive_prompt_flag,
            LaunchMode::NonInteractive | LaunchMode::Stream => &self.prompt_flag,
        };
        flag.as_ref().map(|flag| flag.0.as_str())
    }

    fn reads_prompt(&self, mode: LaunchMode) -> bool {
        match mode {
            LaunchMode::NonInteractive => self.prompt == PromptPlace::Stdin,
            LaunchMode::Stream => true,
            LaunchMode::Interactive => false,
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
