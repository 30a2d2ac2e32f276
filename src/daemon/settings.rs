//! Settings of a daemon, read from its environment once, at its start.

use std::path::Path;
use std::time::Duration;

use super::Home;
use crate::api::{DaemonProcess, ResourceLimit, Variables};
use crate::settings::{self, BadSetting, LogFormat};
use crate::state::Limits;
use crate::store::Retention;
use crate::sys;

#[derive(Debug)]
pub struct Settings {
    pub(super) limits: Limits,
    pub(super) connections_max: usize,
    /// Delay between a session's final status and its `onEnd`.
    pub(super) on_end: Duration,
    /// Removes secrets from stored data.
    pub(super) redact: bool,
    /// Log filter, in `env_logger`'s syntax.
    pub(super) log_filter: String,
    pub(super) log_format: LogFormat,
    pub(super) retention: Retention,
}

impl Settings {
    /// # Errors
    /// The first variable with an invalid value.
    pub fn from_env() -> Result<Self, BadSetting> {
        Ok(Self {
            limits: Limits {
                sessions: settings::MAX_SESSIONS.read()? as usize,
                kill_grace: Duration::from_millis(settings::KILL_GRACE_MS.read()?),
                drain_max: Duration::from_millis(settings::DRAIN_MAX_MS.read()?),
            },
            connections_max: settings::MAX_CONNECTIONS.read()? as usize,
            on_end: Duration::from_millis(settings::ON_END_MS.read()?),
            redact: settings::REDACT.read()?,
            log_filter: settings::LOG.read()?,
            log_format: settings::LOG_FORMAT.read()?,
            retention: retention()?,
        })
    }

    /// Limits of a daemon that starts in this process's environment.
    pub fn process(&self) -> DaemonProcess {
        let limit = |resource| {
            // A kernel that does not know the limit sets none.
            let (soft, hard) = sys::limit(resource).unwrap_or((None, None));
            ResourceLimit { soft, hard }
        };
        let user_home = Home::default_path();
        let user_home = user_home.as_deref().and_then(Path::parent);
        let user_home = user_home.map(|home| home.to_string_lossy().into_owned());
        DaemonProcess {
            path: std::env::var_os("PATH").map(|path| path.to_string_lossy().into_owned()),
            home: user_home,
            filtered: Vec::new(),
            env_read_at: None,
            niceness: Some(sys::niceness()),
            redact: self.redact,
            patterns_read_at: None,
            max_sessions: self.limits.sessions as u64,
            max_connections: self.connections_max as u64,
            open_files: limit(sys::Resource::OpenFiles),
            processes: limit(sys::Resource::Processes),
        }
    }
}

/// The unknown variables of this process and of the home's file `env` that resemble a setting, each with that setting.
pub fn misspelt(file: &Variables) -> Vec<(String, String)> {
    let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names = own.chain(file.iter().map(|(name, _)| name.to_owned()));
    let found = names.filter_map(|name| settings::misspelt(&name).map(|meant| (name, meant)));
    found.collect()
}

/// The limits of retention.
///
/// # Errors
/// The first variable with an invalid value.
pub fn retention() -> Result<Retention, BadSetting> {
    let days = settings::LOG_RETENTION_DAYS.read()?;
    Ok(Retention {
        days: days.map(|days| days as u32),
        store_max: settings::STORE_MAX_BYTES.read()?,
        session_max: settings::SESSION_MAX_BYTES.read()?,
    })
}
