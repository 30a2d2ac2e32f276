//! What the environment sets for a daemon: read once, at start, before anything else is done.

use std::time::Duration;

use crate::api::{DaemonProcess, ResourceLimit};
use crate::settings::{self, BadSetting, LogFormat};
use crate::store::Retention;
use crate::sys;

/// What a daemon is set to.
#[derive(Debug)]
pub struct Settings {
    pub(super) sessions_max: usize,
    pub(super) connections_max: usize,
    pub(super) kill_grace: Duration,
    pub(super) drain_max: Duration,
    /// From a closing status until its session's `onEnd` is carried out.
    pub(super) on_end: Duration,
    /// Whether secrets are taken out of what is stored.
    pub(super) redact: bool,
    /// What is logged, in `env_logger`'s syntax.
    pub(super) log_filter: String,
    pub(super) log_format: LogFormat,
    pub(super) retention: Retention,
}

impl Settings {
    /// # Errors
    /// The first variable that has a value which it cannot have.
    pub fn from_env() -> Result<Self, BadSetting> {
        Ok(Self {
            sessions_max: settings::MAX_SESSIONS.read()? as usize,
            connections_max: settings::MAX_CONNECTIONS.read()? as usize,
            kill_grace: Duration::from_millis(settings::KILL_GRACE_MS.read()?),
            drain_max: Duration::from_millis(settings::DRAIN_MAX_MS.read()?),
            on_end: Duration::from_millis(settings::ON_END_MS.read()?),
            redact: settings::REDACT.read()?,
            log_filter: settings::LOG.read()?,
            log_format: settings::LOG_FORMAT.read()?,
            retention: retention()?,
        })
    }

    /// What a daemon that is started in this process's environment has to work with.
    pub fn process(&self) -> DaemonProcess {
        let limit = |resource| {
            // A kernel without such a limit does not limit.
            let (soft, hard) = sys::limit(resource).unwrap_or((None, None));
            ResourceLimit { soft, hard }
        };
        DaemonProcess {
            path: std::env::var_os("PATH").map(|path| path.to_string_lossy().into_owned()),
            filtered: Vec::new(),
            env_read_at: None,
            niceness: Some(sys::niceness()),
            redact: self.redact,
            patterns_read_at: None,
            max_sessions: self.sessions_max as u64,
            max_connections: self.connections_max as u64,
            open_files: limit(sys::Resource::OpenFiles),
            processes: limit(sys::Resource::Processes),
        }
    }
}

/// How much of ended sessions' output is kept.
///
/// # Errors
/// The first variable that has a value which it cannot have.
pub fn retention() -> Result<Retention, BadSetting> {
    let days = settings::LOG_RETENTION_DAYS.read()?;
    Ok(Retention {
        days: days.map(|days| days as u32),
        store_max: settings::STORE_MAX_BYTES.read()?,
        session_max: settings::SESSION_MAX_BYTES.read()?,
    })
}
