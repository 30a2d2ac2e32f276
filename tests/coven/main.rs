//! Drives the real binary, each test in its own home with its own daemon and real child processes.

mod support;

mod adapters;
mod connections;
mod daemon;
mod endings;
mod errors;
mod events;
mod output;
mod process;
mod sessions;
mod transport;
