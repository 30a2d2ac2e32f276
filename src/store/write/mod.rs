//! The write path: the queue to the writer thread, and the transactions in which that thread commits.
//!
//! Runs on the writer thread and the checkpoint thread; the queue and its byte budget on every thread that sends. It
//! knows neither retention's rules nor how events are read; it only wakes the followers.

pub(super) mod backlog;
pub(super) mod budget;
pub(super) mod op;
pub(super) mod queue;
pub(super) mod writer;

mod batch;
mod wal;

#[cfg(test)]
mod model_tests;
