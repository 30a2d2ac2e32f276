//! HTTP on the Unix socket: the server, with one thread for each connection, and the blocking client of the CLI.
//!
//! The server parses each request into types, and answers it from the store's readers or through the state thread. No
//! connection thread touches a session's state or writes to the store; no other room sees HTTP. The client knows only
//! the contract.

mod about;
mod accept;
mod budget;
mod call;
pub mod client;
mod connection;
mod context;
mod count;
pub mod dial;
mod events;
mod kill;
mod launch;
mod live;
mod paging;
mod parking;
mod preview;
mod request;
mod response;
mod routes;
mod sessions;
mod store;
mod upgrade;

pub use accept::{Rebinder, Server};
pub use budget::MemoryBudget;
pub use context::{Context, Daemon};
pub use live::LastPass;
pub use parking::HttpHandover;
pub use upgrade::Successors;
