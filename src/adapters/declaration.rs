//! How an adapter is declared, bundled or in a manifest: its keys, in snake_case or camelCase, and their rules.
//!
//! Plain data, parsed once. It knows no files, and no launch.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::api::{
    AdapterAbilities, AdapterSource, Permission, TelemetryFormat, Variables, Word, check_name,
};

/// The longest argument of a declaration, in bytes.
const ARGUMENT_MAX: usize = 4096;

/// How a harness is called, and what it is given.
#[derive(Debug, Clone, Deserialize)]
pub struct Adapter {
    /// Its id: lower case.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// A bare name, looked up on the daemon's `PATH`.
    #[serde(deserialize_with = "bare_name")]
    pub executable: String,
    /// Whether it is to stand in place of the bundled adapter of its id.
    #[serde(default)]
    pub replaces: bool,
    /// The first arguments of the interactive form.
    #[serde(default, alias = "interactivePromptPrefixArgs")]
    pub interactive_prompt_prefix_args: Option<Vec<Argument>>,
    /// The prompt's flag in the interactive form; without it the prompt stands behind `--`.
    #[serde(default, alias = "interactivePromptFlag")]
    pub interactive_prompt_flag: Option<Argument>,
    /// The first arguments of the form that works on one prompt and exits.
    #[serde(default, alias = "nonInteractivePromptPrefixArgs")]
    pub non_interactive_prompt_prefix_args: Vec<Argument>,
    /// The prompt's flag, as `<flag>=<prompt>`; without it the prompt stands behind `--`. Where the prompt goes to stdin,
    /// the last argument.
    #[serde(default, alias = "promptFlag")]
    pub prompt_flag: Option<Argument>,
    /// Where the prompt goes.
    #[serde(default)]
    pub prompt: PromptPlace,
    /// What the harness reads besides the prompt.
    #[serde(default)]
    pub stdin: StdinMode,
    /// The flag that takes the model as the next argument.
    #[serde(default, alias = "modelFlag")]
    pub model_flag: Option<Argument>,
    /// The one argument that gives the model, where `{model}` stands for it. It goes before `model_flag`.
    #[serde(default, alias = "modelArgTemplate")]
    pub model_arg_template: Option<Argument>,
    /// What becomes of the provider in `provider/model`.
    #[serde(default, alias = "modelIdTransform")]
    pub model_id_transform: ModelIdTransform,
    /// How each permission is given.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// Further flags by which arguments set a permission: a launch with a policy may not have them.
    #[serde(default, alias = "permissionFlags")]
    pub permission_flags: Vec<Argument>,
    /// The permission of a launch that says none.
    #[serde(default, alias = "defaultPermission")]
    pub default_permission: Option<Permission>,
    /// Whether the harness, as it is installed, writes files when it is told no permission.
    #[serde(default, alias = "defaultCanWrite")]
    pub default_can_write: Option<bool>,
    /// The permissions that the harness refuses to root.
    #[serde(default, alias = "refusesRoot")]
    pub refuses_root: Option<RefusesRoot>,
    /// The flag before each further directory.
    #[serde(default, alias = "addDirFlag")]
    pub add_dir_flag: Option<Argument>,
    /// What it can do besides.
    #[serde(default)]
    pub capabilities: AdapterAbilities,
    /// The form that talks stream-json both ways.
    #[serde(default, alias = "streamArgs")]
    pub stream_args: Option<StreamArgs>,
    /// How its own conversations are begun and gone on with.
    #[serde(default, alias = "continuityArgs")]
    pub continuity_args: Option<ContinuityArgs>,
    /// Variables that its sessions always get.
    #[serde(default, deserialize_with = "variables")]
    pub env: Variables,
    /// Names of variables that `coven run` takes from the shell in which it is typed.
    #[serde(default, alias = "passEnv")]
    pub pass_env: Vec<VariableName>,
    /// How it tells its session id and its use of a model, where it does.
    #[serde(default)]
    pub telemetry: Option<TelemetryFormat>,
    /// How to get it.
    #[serde(default, alias = "installHint")]
    pub install_hint: String,
    /// How to log in to it.
    #[serde(default, alias = "loginHint")]
    pub login_hint: String,
    /// Where it is, if it is this binary itself.
    #[serde(skip)]
    pub own_executable: Option<PathBuf>,
    /// `bundled`, or the manifest's path.
    #[serde(skip, default = "bundled")]
    pub source: Word<AdapterSource>,
}

fn bundled() -> Word<AdapterSource> {
    AdapterSource::Bundled.into()
}

/// Where the prompt goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptPlace {
    /// Into an argument, the last, which every user of the machine can see.
    #[default]
    Argument,
    /// The first that there is to read on stdin.
    Stdin,
}

/// What a harness reads from its stdin, besides a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinMode {
    /// End of file.
    #[default]
    Closed,
    /// What clients send as input.
    Open,
}

/// What becomes of the provider in `provider/model`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelIdTransform {
    /// It is left out.
    #[default]
    StripProvider,
    /// It stays.
    Preserve,
}

/// How each permission is given: by its own arguments, or as a value of one flag.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    flag: Option<Argument>,
    #[serde(alias = "readOnly")]
    read_only: Option<Argument>,
    #[serde(alias = "workspaceWrite")]
    workspace_write: Option<Argument>,
    full: Option<Argument>,
    #[serde(alias = "readOnlyArgs")]
    read_only_args: Option<Vec<Argument>>,
    #[serde(alias = "workspaceWriteArgs")]
    workspace_write_args: Option<Vec<Argument>>,
    #[serde(alias = "fullArgs")]
    full_args: Option<Vec<Argument>>,
    /// Variables that read-only needs besides its arguments.
    #[serde(alias = "readOnlyEnv", deserialize_with = "variables")]
    read_only_env: Variables,
}

impl Sandbox {
    /// The arguments that give `permission`; `None` where it cannot be given.
    pub(super) fn args(&self, permission: Permission) -> Option<Vec<String>> {
        let (args, value) = match permission {
            Permission::Default => return Some(Vec::new()),
            Permission::ReadOnly => (&self.read_only_args, &self.read_only),
            Permission::WorkspaceWrite => (&self.workspace_write_args, &self.workspace_write),
            Permission::Full => (&self.full_args, &self.full),
        };
        let flagged = || Some(vec![self.flag.clone()?, value.clone()?]);
        let args = args.clone().or_else(flagged)?;
        Some(args.into_iter().map(|argument| argument.0).collect())
    }

    fn check(&self) -> Result<(), String> {
        for (permission, key) in [
            (Permission::ReadOnly, "read_only"),
            (Permission::Full, "full"),
        ] {
            if self.args(permission).is_none() {
                return Err(format!(
                    "sandbox.{key}: must be a string, beside sandbox.flag, or sandbox.{key}_args a list of strings"
                ));
            }
        }
        let values = [&self.read_only, &self.workspace_write, &self.full];
        match self.flag.is_none() && values.iter().any(|value| value.is_some()) {
            true => Err("sandbox.flag: must be the flag that takes the values".into()),
            false => Ok(()),
        }
    }
}

/// The permissions that a harness refuses to root, unless a variable is set.
#[derive(Debug, Clone, Deserialize)]
pub struct RefusesRoot {
    /// Those permissions.
    pub permissions: Vec<Permission>,
    /// The variable by which its user says that root is meant.
    #[serde(default, alias = "unlessEnv")]
    pub unless_env: Option<VariableName>,
}

/// The form that talks stream-json both ways.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamArgs {
    /// Its first arguments.
    #[serde(alias = "prefixArgs")]
    pub prefix_args: Vec<Argument>,
    /// The flag of the id under which a conversation begins.
    #[serde(default, alias = "sessionIdFlag")]
    pub session_id_flag: Option<Argument>,
    /// The flag of the id of the conversation that goes on.
    #[serde(default, alias = "resumeFlag")]
    pub resume_flag: Option<Argument>,
}

/// How a harness's own conversations are begun and gone on with, a prompt at a time.
#[derive(Debug, Clone, Deserialize)]
pub struct ContinuityArgs {
    /// The first arguments where one begins.
    #[serde(alias = "initPrefixArgs")]
    pub init_prefix_args: Vec<Argument>,
    /// The first arguments where one goes on.
    #[serde(alias = "resumePrefixArgs")]
    pub resume_prefix_args: Vec<Argument>,
    /// The flag of the id under which it begins.
    #[serde(default, alias = "sessionIdFlag")]
    pub session_id_flag: Option<Argument>,
    /// What stands before the id of the one that goes on; without it the id stands behind the first arguments.
    #[serde(default, alias = "resumeFlag")]
    pub resume_flag: Option<Argument>,
}

/// An argument of a declaration: without NUL, and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Argument(pub String);

impl TryFrom<String> for Argument {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.contains('\0') || text.len() > ARGUMENT_MAX {
            true => Err(format!(
                "must be without NUL, and at most {ARGUMENT_MAX} bytes"
            )),
            false => Ok(Self(text)),
        }
    }
}

/// A name that a session's variable can have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct VariableName(pub String);

impl TryFrom<String> for VariableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        check_name(&name)?;
        Ok(Self(name))
    }
}

fn id<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let id = String::deserialize(input)?;
    let is_part =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    match (1..=64).contains(&id.len()) && id.chars().all(is_part) {
        true => Ok(id),
        false => Err(D::Error::custom(
            "must be 1 to 64 of a-z, 0-9, '-', '_' and '.'",
        )),
    }
}

fn bare_name<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let name = String::deserialize(input)?;
    match name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        true => Err(D::Error::custom(
            "must be a bare name, which is looked up on the PATH",
        )),
        false => Ok(name),
    }
}

fn variables<'de, D: Deserializer<'de>>(input: D) -> Result<Variables, D::Error> {
    let variables = Variables::deserialize(input)?;
    variables.check().map_err(D::Error::custom)?;
    Ok(variables)
}

impl Adapter {
    /// What no key can say of itself; a flag that is empty counts as absent.
    ///
    /// # Errors
    /// The path to the key that is wrong, and what it must be.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        for flag in [
            &mut self.interactive_prompt_flag,
            &mut self.prompt_flag,
            &mut self.model_flag,
            &mut self.model_arg_template,
            &mut self.add_dir_flag,
        ] {
            flag.take_if(|flag| flag.0.is_empty());
        }
        if self.label.is_empty() {
            self.label.clone_from(&self.id);
        }
        if let Some(sandbox) = &self.sandbox {
            sandbox.check()?;
        }
        let template = self.model_arg_template.as_ref();
        if template.is_some_and(|template| !template.0.contains("{model}")) {
            return Err("model_arg_template: must have {model} in it".into());
        }
        if self.capabilities.stream != self.stream_args.is_some() {
            return Err(
                "capabilities.stream: must be true where stream_args is there, and only there"
                    .into(),
            );
        }
        match self.default_permission {
            Some(permission) if self.permission_args(permission).is_none() => Err(format!(
                "default_permission: must be one that sandbox has, and {permission} is not"
            )),
            _ => Ok(self),
        }
    }

    /// The arguments that give `permission`; `None` where it cannot be given.
    pub(super) fn permission_args(&self, permission: Permission) -> Option<Vec<String>> {
        match (&self.sandbox, permission) {
            (_, Permission::Default) => Some(Vec::new()),
            (Some(sandbox), permission) => sandbox.args(permission),
            (None, _) => None,
        }
    }

    /// The variables that `permission` needs besides its arguments.
    pub(super) fn policy_env(&self, permission: Permission) -> Option<&Variables> {
        let sandbox = self.sandbox.as_ref()?;
        (permission == Permission::ReadOnly).then_some(&sandbox.read_only_env)
    }
}
