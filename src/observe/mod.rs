//! What the daemon tells those who look after it: its log, and its metrics.
//!
//! Threads hand lines to the log's own thread, and never wait for a terminal, a pipe or a disk.

mod counters;
mod exposition;
pub mod log;
pub mod metrics;
mod rotate;
