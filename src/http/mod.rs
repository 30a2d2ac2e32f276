//! HTTP on the Unix socket. The server has a thread per connection, bounded, one request after the other; the client,
//! which the verbs use, knows the contract only.
//!
//! A request is parsed into types, answered from the store's readers or by the state thread, and forgotten. No
//! HTTP thread touches a session's state or writes to the store; nothing behind the channel ever sees HTTP.

mod about;
mod accept;
mod budget;
mod call;
pub mod client;
mod connection;
mod context;
mod events;
mod in_flight;
mod kill;
mod launch;
mod live;
mod paging;
mod preview;
mod request;
mod response;
mod routes;
mod sessions;
mod store;

pub use accept::{Rebinder, Server};
pub use budget::Budget;
pub use context::{Context, Daemon};
pub use live::LastPass;
