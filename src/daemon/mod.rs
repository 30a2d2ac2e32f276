//! The daemon's life: its home, its lock, how it is started, serves, and stops.
//!
//! [`serve()`] runs in the daemon's process and puts its threads together; [`control`], [`stop`], [`status`] and [`service`] run
//! in the CLI's: they start, stop and look at it from outside, and tell who else does. None of them knows what a session is.

pub mod control;
mod error;
pub mod failure;
mod guard;
mod home;
mod log_place;
mod recover;
mod serve;
pub mod service;
mod settings;
mod signals;
pub mod status;
pub mod stop;

pub use error::ServeError;
pub use home::{DaemonFile, Home, HomeError};
pub use log_place::LogPlace;
pub use serve::{ServeOptions, serve};
pub use settings::{Settings, retention};
