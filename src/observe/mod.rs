//! What the daemon tells those who look after it: its log, written and read back, and its metrics.
//!
//! Threads hand lines to the log's own thread, and never wait for a terminal, a pipe or a disk.

mod counters;
mod exposition;
mod failures;
mod files;
mod line;
pub mod log;
pub mod metrics;
mod record;
mod rotate;

pub use failures::{COMMAND_FAILED, FailedCommand};
pub use files::LogFiles;
pub use line::Format;
pub use record::LogRecord;
