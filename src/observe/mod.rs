//! What the daemon tells those who look after it. So far: its log.
//!
//! Threads hand lines to the log's own thread, and never wait for a terminal, a pipe or a disk.

mod line;
pub mod log;
mod rotate;

pub use line::Format;
