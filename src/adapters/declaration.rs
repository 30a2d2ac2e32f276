//! The declaration of an adapter, bundled or in a manifest: keys in snake_case or camelCase, and their rules.
//!
//! Plain data, parsed once. It knows neither files nor launches.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::api::{
    AdapterAbilities, AdapterSource, Permission, TelemetryFormat, Variables, Word, check_name,
};

/// Longest argument of a declaration, in bytes.
const ARGUMENT_MAX: usize = 4096;

/// Invocation of a harness.
#[derive(Debug, Clone, Deserialize)]
pub struct Adapter {
    /// Id, in lower case.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Name for people.
    #[serde(default)]
    pub label: String,
    /// Name of the program, looked up on the daemon's `PATH`.
    #[serde(deserialize_with = "bare_name")]
    pub executable: String,
    /// Replaces the bundled adapter with the same id.
    #[serde(default)]
    pub replaces: bool,
    /// First arguments of the interactive mode.
    #[serde(default, alias = "interactivePromptPrefixArgs")]
    pub interactive_prompt_prefix_args: Option<Vec<Argument>>,
    /// Flag of the prompt in interactive mode; without it the prompt follows `--`.
    #[serde(default, alias = "interactivePromptFlag")]
    pub interactive_prompt_flag: Option<Argument>,
    /// First arguments of the mode that handles one prompt and exits.
    #[serde(default, alias = "nonInteractivePromptPrefixArgs")]
    pub non_interactive_prompt_prefix_args: Vec<Argument>,
    /// Flag of the prompt, as `<flag>=<prompt>`; without it the prompt follows `--`. If the prompt goes to stdin, this
    /// is the last argument.
    #[serde(default, alias = "promptFlag")]
    pub prompt_flag: Option<Argument>,
    #[serde(default)]
    pub prompt: PromptPlace,
    /// Input besides the prompt.
    #[serde(default)]
    pub stdin: StdinMode,
    /// Flag that takes the model as its next argument.
    #[serde(default, alias = "modelFlag")]
    pub model_flag: Option<Argument>,
    /// Single argument for the model, with the placeholder `{model}`. Takes precedence over `model_flag`.
    #[serde(default, alias = "modelArgTemplate")]
    pub model_arg_template: Option<Argument>,
    /// Handling of the provider in `provider/model`.
    #[serde(default, alias = "modelIdTransform")]
    pub model_id_transform: ModelIdTransform,
    /// Arguments for each permission.
    pub sandbox: Option<Sandbox>,
    /// Additional flags that set a permission: a launch with a permission may not contain them.
    #[serde(default, alias = "permissionFlags")]
    pub permission_flags: Vec<Argument>,
    /// Permission of launches without one.
    #[serde(default, alias = "defaultPermission")]
    pub default_permission: Option<Permission>,
    /// Whether an installed harness without a permission writes files.
    #[serde(default, alias = "defaultCanWrite")]
    pub default_can_write: Option<bool>,
    /// Permissions that the harness refuses to root.
    #[serde(default, alias = "refusesRoot")]
    pub refuses_root: Option<RefusesRoot>,
    /// Flag before each additional directory.
    #[serde(default, alias = "addDirFlag")]
    pub add_dir_flag: Option<Argument>,
    /// Additional capabilities.
    #[serde(default)]
    pub capabilities: AdapterAbilities,
    /// The mode that exchanges stream-json in both directions.
    #[serde(default, alias = "streamArgs")]
    pub stream_args: Option<StreamArgs>,
    /// Arguments that start or continue the harness's conversations.
    #[serde(default, alias = "continuityArgs")]
    pub continuity_args: Option<ContinuityArgs>,
    /// Variables that its sessions always get.
    #[serde(default, deserialize_with = "variables")]
    pub env: Variables,
    /// Variables that `coven run` passes on from its shell.
    #[serde(default, alias = "passEnv")]
    pub pass_env: Vec<VariableName>,
    /// Format in which it reports its session id and its usage, if any.
    pub telemetry: Option<TelemetryFormat>,
    /// How to install it.
    #[serde(default, alias = "installHint")]
    pub install_hint: String,
    /// How to log in.
    #[serde(default, alias = "loginHint")]
    pub login_hint: String,
    /// Path of this executable, for the `hello` harness.
    #[serde(skip)]
    pub own_executable: Option<PathBuf>,
    /// `bundled`, or the manifest's path.
    #[serde(skip, default = "bundled")]
    pub source: Word<AdapterSource>,
}

fn bundled() -> Word<AdapterSource> {
    AdapterSource::Bundled.into()
}

/// Destination of the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptPlace {
    /// The last argument, which every user of the machine can see.
    #[default]
    Argument,
    /// The first data on stdin.
    Stdin,
}

/// Input of a harness besides the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StdinMode {
    #[default]
    Closed,
    /// Input that clients send.
    Open,
}

/// Handling of the provider in `provider/model`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelIdTransform {
    /// Removed.
    #[default]
    StripProvider,
    /// Kept.
    Preserve,
}

/// Arguments of each permission: a list of its own, or a value of one flag.
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
    /// The arguments for `permission`; `None` if it is not supported.
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

/// Permissions that a harness refuses to root, unless a variable is set.
#[derive(Debug, Clone, Deserialize)]
pub struct RefusesRoot {
    pub permissions: Vec<Permission>,
    /// Variable by which the user confirms that root is intended.
    #[serde(default, alias = "unlessEnv")]
    pub unless_env: Option<VariableName>,
}

/// The mode that exchanges stream-json in both directions.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamArgs {
    #[serde(alias = "prefixArgs")]
    pub prefix_args: Vec<Argument>,
    /// Flag of the id of a new conversation.
    #[serde(default, alias = "sessionIdFlag")]
    pub session_id_flag: Option<Argument>,
    /// Flag of the id of a continued conversation.
    #[serde(default, alias = "resumeFlag")]
    pub resume_flag: Option<Argument>,
}

/// Arguments that start or continue a harness's conversations, one prompt at a time.
#[derive(Debug, Clone, Deserialize)]
pub struct ContinuityArgs {
    /// First arguments of a new conversation.
    #[serde(alias = "initPrefixArgs")]
    pub init_prefix_args: Vec<Argument>,
    /// First arguments of a continued conversation.
    #[serde(alias = "resumePrefixArgs")]
    pub resume_prefix_args: Vec<Argument>,
    /// Flag of the id of a new conversation.
    #[serde(default, alias = "sessionIdFlag")]
    pub session_id_flag: Option<Argument>,
    /// Flag of the id of a continued conversation; without it the id follows the first arguments.
    #[serde(default, alias = "resumeFlag")]
    pub resume_flag: Option<Argument>,
}

/// An argument of a declaration: without NUL, of bounded length.
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

/// A valid name of an environment variable.
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
    /// Checks the rules that involve several keys; an empty flag counts as absent.
    ///
    /// # Errors
    /// The path of the invalid key, and the rule.
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

    /// The arguments for `permission`; `None` if it is not supported.
    pub(super) fn permission_args(&self, permission: Permission) -> Option<Vec<String>> {
        match (&self.sandbox, permission) {
            (_, Permission::Default) => Some(Vec::new()),
            (Some(sandbox), permission) => sandbox.args(permission),
            (None, _) => None,
        }
    }

    /// Variables that `permission` needs besides its arguments.
    pub(super) fn policy_env(&self, permission: Permission) -> Option<&Variables> {
        let sandbox = self.sandbox.as_ref()?;
        (permission == Permission::ReadOnly).then_some(&sandbox.read_only_env)
    }
}
