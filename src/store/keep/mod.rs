//! What the store keeps, and what it has: retention, the space that it gives back, counts and figures.
//! Runs on the writer thread, between two batches; [`survey`] in the CLI's process; [`status`] is read by all threads.
//! It must not know the writer's queue and batches, nor who reads: it is given a connection.

pub(super) mod clock;
pub(super) mod damage;
pub(super) mod maintenance;
pub(super) mod on_end;
pub(super) mod retention;
pub(super) mod status;
pub(super) mod survey;
pub(super) mod sweep;
pub(super) mod tails;
pub(super) mod truncation;
