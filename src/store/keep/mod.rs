//! Retention, freed space, and the store's figures.
//!
//! Runs on the writer thread between two batches; [`survey`] in the CLI's process; [`status`] is read by all threads.
//! It gets a connection, and knows neither the writer's queue and batches nor the readers.

pub(super) mod before;
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
