//! Drives the real binary, each test in its own home with its own daemon and real child processes.

mod support;

mod attach;
mod cli;
mod cli_errors;
mod daemon;
mod home;
mod orphans;
mod real;
mod resources;
mod run;
mod serve;
mod stop;
mod store;
