//! What the daemon tells those who look after it. So far: its log, written and read back.
//!
//! Threads hand lines to the log's own thread, and never wait for a terminal, a pipe or a disk.

mod files;
mod line;
pub mod log;
mod record;
mod rotate;

pub use files::LogFiles;
pub use line::Format;
pub use record::LogRecord;
