//! The daemon's output for its operators: the log, written and read back, the metrics, and messages.
//!
//! Threads pass lines to the log thread, and never wait for a terminal, a pipe or a disk.

mod counters;
mod event;
mod exposition;
mod failures;
pub mod field;
mod files;
pub mod journal;
mod line;
pub mod log;
mod message;
pub mod metrics;
mod record;
mod rotate;
mod visible;

pub use event::DeclaredEvent;
pub(crate) use event::{LogEvent, log_event, say};
pub use failures::FailedCommand;
pub use files::LogFiles;
pub(crate) use message::message;
pub use message::{Message, Mode, Part};
pub use record::LogRecord;
pub use visible::{is_invisible, visible_json};
