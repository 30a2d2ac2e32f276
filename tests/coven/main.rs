//! Drives the real binary, each test in its own home with its own daemon and real child processes.

mod support;

mod adapters;
mod attach;
mod cli;
mod cli_errors;
mod connections;
mod costs;
mod daemon;
mod damage;
mod diagnostics;
mod disk_full;
mod doctor;
mod endings;
mod errors;
mod events;
mod failures;
mod home;
mod log;
mod logs;
mod metrics;
mod orphans;
mod output;
mod preview;
mod process;
mod real;
mod redaction;
mod resources;
mod retention;
mod run;
mod serve;
mod sessions;
mod stop;
mod store;
mod symptoms;
mod transport;
