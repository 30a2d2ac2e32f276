//! What the environment sets: parsed once, at start, before anything else is done.

use std::fmt;
use std::time::Duration;

use crate::api::{DaemonProcess, ResourceLimit};
use crate::observe::Format;
use crate::observe::log::FORMAT_VARIABLE;
use crate::store::Retention;
use crate::sys;

/// The least that one session's output may be limited to, in bytes: about what one read of a pipe makes.
const SESSION_MAX_MIN: usize = 64 * 1024;

/// A variable that has a value which it cannot have.
#[derive(Debug)]
pub struct BadSetting {
    /// The variable.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        write!(f, "{name}={value:?} is not a value that it can have")
    }
}

/// What a daemon is set to.
#[derive(Debug)]
pub struct Settings {
    pub(super) sessions_max: usize,
    pub(super) connections_max: usize,
    pub(super) kill_grace: Duration,
    /// Whether secrets are taken out of what is stored.
    pub(super) redact: bool,
    pub(super) log_format: Format,
    pub(super) retention: Retention,
}

impl Settings {
    /// # Errors
    /// The first variable that has a value which it cannot have.
    pub fn from_env() -> Result<Self, BadSetting> {
        Ok(Self {
            sessions_max: number("COVEN_MAX_SESSIONS", 256, 1, 10_000)?,
            connections_max: number("COVEN_MAX_CONNECTIONS", 512, 1, 10_000)?,
            kill_grace: Duration::from_millis(
                number("COVEN_KILL_GRACE_MS", 5000, 0, 600_000)? as u64
            ),
            redact: std::env::var_os("COVEN_REDACT").is_none_or(|value| value != "off"),
            log_format: log_format()?,
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
            redact: self.redact,
            patterns_read_at: None,
            max_sessions: self.sessions_max as u64,
            max_connections: self.connections_max as u64,
            open_files: limit(sys::Resource::OpenFiles),
            processes: limit(sys::Resource::Processes),
        }
    }
}

/// How much of ended sessions' output is kept; `off` keeps all of it.
///
/// # Errors
/// The first variable that has a value which it cannot have.
pub fn retention() -> Result<Retention, BadSetting> {
    let default = Retention::default();
    let size = |name, default: Option<u64>, min| {
        number_or_off(name, default.map(|size| size as usize), min, usize::MAX)
            .map(|size| size.map(|size| size as u64))
    };
    let days = default.days.map(|days| days as usize);
    let days = number_or_off("COVEN_LOG_RETENTION_DAYS", days, 0, 36_500)?;
    Ok(Retention {
        days: days.map(|days| days as u32),
        store_max: size("COVEN_STORE_MAX_BYTES", default.store_max, 0)?,
        session_max: size(
            "COVEN_SESSION_MAX_BYTES",
            default.session_max,
            SESSION_MAX_MIN,
        )?,
    })
}

fn number_or_off(
    name: &'static str,
    default: Option<usize>,
    min: usize,
    max: usize,
) -> Result<Option<usize>, BadSetting> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        None => Ok(default),
        Some(value) if value == "off" => Ok(None),
        Some(_) => number(name, max, min, max).map(Some),
    }
}

fn log_format() -> Result<Format, BadSetting> {
    let value = std::env::var_os(FORMAT_VARIABLE).unwrap_or_default();
    let format = value.to_str().and_then(Format::parse);
    format.ok_or_else(|| BadSetting {
        name: FORMAT_VARIABLE,
        value: value.to_string_lossy().into_owned(),
    })
}

fn number(name: &'static str, default: usize, min: usize, max: usize) -> Result<usize, BadSetting> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(default);
    };
    let parsed = value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|n| (min..=max).contains(n));
    parsed.ok_or_else(|| BadSetting {
        name,
        value: value.to_string_lossy().into_owned(),
    })
}
