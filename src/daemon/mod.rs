//! The daemon's life: its home, its lock, how it is started, serves, and stops.
//!
//! [`serve`] runs in the daemon's process and puts its threads together; [`control`] runs in the CLI's and starts,
//! stops and looks at it from outside. Neither knows what a session is.

pub mod control;
mod home;
mod recover;
mod serve;
mod settings;

pub use home::{DaemonFile, Home, HomeError};
pub use serve::{ServeError, ServeOptions, serve};
pub use settings::BadSetting;
