//! Adapters: which harnesses there are, and what each one's program is given for a launch.
//!
//! HTTP threads read a published [`Registry`]; nobody changes one. It knows command lines and manifests, and
//! nothing of live sessions or processes.

mod bundled;
pub mod environment;
mod launch;
mod lookup;
mod manifest;
mod startable;
mod telemetry;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use bundled::HELLO_VERB;
pub use environment::{Environment, SESSION_VARIABLE};
pub use launch::{LaunchSpec, Limits, Program};
pub use lookup::find_on_path;
pub use manifest::ManifestSources;
pub use startable::{Problem, problem, problem_of_env};
pub use telemetry::{Telemetry, TelemetryFormat};

use crate::api::{AdapterSource, AdapterStatus, RefusedManifest, Variables, Word};
use crate::observe::say;
use crate::sys;

/// How a harness is called, and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its id: lower case.
    pub id: String,
    /// For people.
    pub label: String,
    /// What is started.
    pub executable: Executable,
    /// The arguments before the model and the prompt.
    pub prefix_args: Vec<String>,
    /// The flag that takes the model as the next argument, where there is one.
    pub model_flag: Option<String>,
    /// How the prompt is given.
    pub prompt: PromptStyle,
    /// What the harness reads.
    pub stdin: StdinMode,
    /// Variables that its sessions always get.
    pub env: Variables,
    /// Names of variables that `coven run` takes from the shell in which it is typed.
    pub pass_env: Vec<String>,
    /// How it tells its session id and its use of a model, where it does.
    pub telemetry: Option<TelemetryFormat>,
    /// How to get it.
    pub install_hint: String,
    /// `bundled`, or the manifest's path.
    pub source: Word<AdapterSource>,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executable {
    /// A bare name, looked up on the daemon's `PATH`.
    OnPath(String),
    /// This binary itself.
    Own(PathBuf),
}

/// How the prompt is given: as one argument, the last, which every user of the machine can see; or on stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptStyle {
    /// Behind `--`.
    AfterDashes,
    /// As `<flag>=<prompt>`.
    Flag(String),
    /// The first that there is to read on stdin.
    Stdin,
}

/// What a harness reads from its stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinMode {
    /// End of file.
    Closed,
    /// What clients send as input.
    Open,
}

impl Adapter {
    /// The file to execute, if it is on `path` now.
    pub fn resolve(&self, path: Option<&OsStr>) -> Option<PathBuf> {
        match &self.executable {
            Executable::OnPath(name) => find_on_path(name, path),
            Executable::Own(path) => Some(path.clone()),
        }
    }

    /// Why what is on `path` under its name cannot be started; `None` if it can, or if there is nothing.
    pub fn problem(&self, path: Option<&OsStr>) -> Option<Problem> {
        let file = match &self.executable {
            Executable::OnPath(name) => {
                find_on_path(name, path).or_else(|| lookup::find_any_on_path(name, path))?
            }
            Executable::Own(path) => path.clone(),
        };
        let own_path = self.env.get("PATH").map(OsStr::new);
        problem(&file, own_path.or(path))
    }

    /// The name of the executable, for people and as the first argument.
    pub fn executable_name(&self) -> &str {
        match &self.executable {
            Executable::OnPath(name) => name,
            Executable::Own(_) => "coven",
        }
    }

    /// The longest prompt, in bytes, that fits the argument it becomes a part of. On stdin it is the request that
    /// bounds it.
    pub fn prompt_max(&self) -> usize {
        match &self.prompt {
            PromptStyle::Stdin => usize::MAX,
            PromptStyle::AfterDashes => sys::ARGUMENT_MAX,
            PromptStyle::Flag(flag) => sys::ARGUMENT_MAX - flag.len() - 1,
        }
    }

    /// What capabilities show of it, where harnesses are looked up on `path`.
    pub fn status(&self, path: Option<&OsStr>) -> AdapterStatus {
        let problem = self.problem(path);
        let path = self.resolve(path);
        AdapterStatus {
            id: self.id.clone(),
            label: self.label.clone(),
            executable: self.executable_name().to_owned(),
            available: path.is_some() && problem.is_none(),
            problem: problem.map(|problem| problem.to_string()),
            path: path.map(|path| path.display().to_string()),
            source: self.source.clone(),
            install_hint: self.install_hint.clone(),
            pass_env: self.pass_env.clone(),
        }
    }
}

/// All adapters that the daemon knows, and the manifests that it refused.
#[derive(Debug)]
pub struct Registry {
    adapters: Vec<Adapter>,
    refused: Vec<RefusedManifest>,
}

impl Registry {
    /// The bundled adapters, and those of the manifests in `sources`. A manifest that cannot be taken is
    /// logged and remembered, and costs the others nothing.
    pub fn load(own_executable: &Path, sources: &ManifestSources) -> Self {
        let mut registry = Self {
            adapters: bundled::adapters(own_executable),
            refused: Vec::new(),
        };
        let (files, refused) = sources.files();
        for (dir, reason) in refused {
            registry.refuse(&dir, reason);
        }
        for path in files {
            if let Err(reason) = registry.add_manifest(&path) {
                registry.refuse(&path, reason);
            }
        }
        registry
    }

    fn refuse(&mut self, path: &Path, reason: String) {
        let source = path.display().to_string();
        say!(ManifestRefused, path: path.display(), reason: &reason);
        self.refused.push(RefusedManifest { source, reason });
    }

    fn add_manifest(&mut self, path: &Path) -> Result<(), String> {
        let adapters = manifest::read(path)?;
        for adapter in &adapters {
            if let Some(known) = self.get(&adapter.id) {
                return Err(format!(
                    "adapter {:?} is already there ({})",
                    adapter.id, known.source
                ));
            }
        }
        self.adapters.extend(adapters);
        Ok(())
    }

    /// The adapter with this id.
    pub fn get(&self, id: &str) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.id == id)
    }

    /// All of them, the bundled ones first.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The manifests that were refused.
    pub fn refused(&self) -> &[RefusedManifest] {
        &self.refused
    }
}

/// The registry that is in force, replaced as a whole when it is loaded again.
#[derive(Debug)]
pub struct Published {
    own_executable: PathBuf,
    sources: RwLock<ManifestSources>,
    current: RwLock<Arc<Registry>>,
}

impl Published {
    /// Loads for the first time.
    pub fn load(own_executable: PathBuf, sources: ManifestSources) -> Self {
        let current = RwLock::new(Arc::new(Registry::load(&own_executable, &sources)));
        Self {
            own_executable,
            sources: RwLock::new(sources),
            current,
        }
    }

    /// The registry in force.
    pub fn current(&self) -> Arc<Registry> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the manifests of other files and directories from now on.
    pub fn set_sources(&self, sources: ManifestSources) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
        self.reload();
    }

    /// Reads the manifests again, and puts what comes of it into force.
    pub fn reload(&self) -> Arc<Registry> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let registry = Arc::new(Registry::load(&self.own_executable, &sources));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&registry);
        registry
    }
}
