//! Adapters: the known harnesses, and the command line and environment of each launch.
//!
//! Connection threads read a shared, immutable [`Registry`]. This room knows command lines and manifests; it knows
//! neither live sessions nor processes.

mod bundled;
mod command;
mod declaration;
pub mod environment;
mod launch;
mod lookup;
mod manifest;
mod startable;
mod telemetry;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use bundled::{HELLO_VERB, built_in};
pub use command::{CommandLine, PROMPT_SHOWN, Turn, Unsupported};
pub use declaration::{Adapter, StdinMode};
pub use environment::{Environment, SESSION_VARIABLE};
pub use launch::{LaunchSpec, Program, SessionLimits};
pub use lookup::find_on_path;
pub use manifest::ManifestSources;
pub use startable::{Problem, problem, problem_of_env};
pub use telemetry::Telemetry;

use crate::api::{
    AdapterCommand, AdapterSource, AdapterStatus, LaunchMode, Permission, RefusedManifest, Word,
};
use crate::observe::say;

impl Adapter {
    /// The executable, if it is on `path` now.
    pub fn resolve(&self, path: Option<&OsStr>) -> Option<PathBuf> {
        match &self.own_executable {
            Some(own) => Some(own.clone()),
            None => find_on_path(&self.executable, path),
        }
    }

    /// Why the executable on `path` cannot be started; `None` if it can, or if there is none.
    pub fn problem(&self, path: Option<&OsStr>) -> Option<Problem> {
        let found = self.resolve(path);
        let file = found.or_else(|| lookup::find_any_on_path(&self.executable, path))?;
        let own_path = self.env.get("PATH").map(OsStr::new);
        problem(&file, own_path.or(path))
    }

    /// The adapter's entry in the capabilities, with harnesses looked up on `path`.
    pub fn status(&self, path: Option<&OsStr>) -> AdapterStatus {
        let problem = self.problem(path);
        let path = self.resolve(path);
        AdapterStatus {
            id: self.id.clone(),
            label: self.label.clone(),
            executable: self.executable.clone(),
            available: path.is_some() && problem.is_none(),
            problem: problem.map(|problem| problem.to_string()),
            path: path.map(|path| path.display().to_string()),
            source: self.source.clone(),
            install_hint: self.install_hint.clone(),
            login_hint: self.login_hint.clone(),
            pass_env: self.pass_env.iter().map(|name| name.0.clone()).collect(),
            modes: self.supported_modes().map(Word::Known).collect(),
            permissions: self.permissions().map(Word::Known).collect(),
            default_permission: self.default_permission.unwrap_or_default().into(),
            capabilities: self.capabilities,
            telemetry: self.telemetry.map(Word::Known),
            resumes: self.resumes(),
            commands: self.commands(),
        }
    }

    fn supported_modes(&self) -> impl Iterator<Item = LaunchMode> {
        self.modes()
            .filter(|mode| LaunchMode::SUPPORTED.contains(mode))
    }

    /// The command line for each mode and permission.
    fn commands(&self) -> Vec<AdapterCommand> {
        let command = |mode, permission| {
            let turn = Turn {
                mode,
                permission,
                ..Turn::of(PROMPT_SHOWN)
            };
            // A permission that the adapter does not have has no command.
            let line = self.command_line(&turn).ok()?;
            Some(AdapterCommand {
                mode: Word::Known(mode),
                permission: Word::Known(permission),
                can_write: self.can_write(permission),
                argv: line.argv,
                reads_prompt: line.stdin.is_some(),
                env: self.policy_env(permission).cloned().unwrap_or_default(),
            })
        };
        let of_mode = |mode| {
            let permissions = Permission::ALL.into_iter();
            permissions.filter_map(move |permission| command(mode, permission))
        };
        self.supported_modes().flat_map(of_mode).collect()
    }
}

/// All known adapters, and the rejected manifests.
#[derive(Debug)]
pub struct Registry {
    /// The bundled ones first.
    pub adapters: Vec<Adapter>,
    pub refused: Vec<RefusedManifest>,
}

impl Registry {
    /// Loads the bundled adapters and the manifests of `sources`. An invalid manifest is logged and recorded; it does
    /// not affect the others.
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
        for Adapter { id, replaces, .. } in &adapters {
            match self.get(id).map(|known| &known.source) {
                Some(source) if *source == AdapterSource::Bundled && *replaces => {}
                Some(source) if *source == AdapterSource::Bundled => {
                    return Err(format!(
                        "adapter {id:?} is bundled: add \"replaces\": true to put this one in its place"
                    ));
                }
                Some(source) => return Err(format!("adapter {id:?} is already there ({source})")),
                None => {}
            }
        }
        for adapter in adapters {
            match self
                .adapters
                .iter_mut()
                .find(|known| known.id == adapter.id)
            {
                Some(bundled) => *bundled = adapter,
                None => self.adapters.push(adapter),
            }
        }
        Ok(())
    }

    /// The adapter with the id `id`.
    pub fn get(&self, id: &str) -> Option<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.id == id)
    }
}

/// The current registry, replaced as a whole by a reload.
#[derive(Debug)]
pub struct SharedRegistry {
    own_executable: PathBuf,
    sources: RwLock<ManifestSources>,
    /// `None` until first used, if no manifest existed at the start: an idle daemon keeps no registry in memory.
    current: RwLock<Option<Arc<Registry>>>,
}

impl SharedRegistry {
    /// Loads the manifests for the first time.
    pub fn load(own_executable: PathBuf, sources: ManifestSources) -> Self {
        let (files, refused) = sources.files();
        let published = Self {
            own_executable,
            sources: RwLock::new(sources),
            current: RwLock::new(None),
        };
        if !files.is_empty() || !refused.is_empty() {
            published.reload();
        }
        published
    }

    /// The current registry.
    pub fn current(&self) -> Arc<Registry> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let loaded = current.clone();
        drop(current);
        // No manifest existed at the start: later ones are read when first needed.
        loaded.unwrap_or_else(|| self.put_in_force(&ManifestSources::default()))
    }

    /// Reads manifests from `sources` from now on.
    pub fn set_sources(&self, sources: ManifestSources) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
        self.reload();
    }

    /// Reads the manifests again, and makes the result current.
    pub fn reload(&self) -> Arc<Registry> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        self.put_in_force(&sources)
    }

    fn put_in_force(&self, sources: &ManifestSources) -> Arc<Registry> {
        let registry = Arc::new(Registry::load(&self.own_executable, sources));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&registry));
        registry
    }
}
