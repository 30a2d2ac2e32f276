//! Writing: the queue to the writer thread, and how it commits in groups what waits there.
//! Runs on the writer thread, and on the checkpoint thread beside it; the queue and its budget on every thread that sends.
//! It must not know which output retention takes, nor how events are read; it only wakes those who wait for them.

pub(super) mod budget;
pub(super) mod op;
pub(super) mod queue;
pub(super) mod writer;

mod backlog;
mod batch;
mod wal;

#[cfg(test)]
mod model_tests;
