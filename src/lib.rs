//! coven
pub mod adapters;
pub mod api;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod harness;
mod http;
pub mod observe;
pub mod state;
pub mod store;
pub mod sys;
