//! The daemon's life: home, lock, start, service, stop.
//!
//! [`serve()`] runs in the daemon's process and assembles its threads. [`control`], [`stop`], [`status`] and
//! [`service`] run in the CLI's process: they start, stop and inspect the daemon from outside, also through a service
//! manager. None of them knows what a session is.

mod conclude;
pub mod control;
mod error;
pub mod failure;
mod guard;
pub mod handover;
mod home;
mod lock;
mod log_place;
mod open;
mod recover;
mod serve;
pub mod service;
mod settings;
mod signals;
pub mod status;
pub mod stop;
mod tool;

pub use error::{HomeError, ServeError};
pub use home::{DaemonFile, Home};
pub use log_place::LogPlace;
pub use serve::{ServeOptions, serve};
pub use settings::{Settings, misspelt, retention};
pub use tool::tool_output;
