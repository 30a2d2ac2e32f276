//! The event store: one SQLite database, one writer thread, a few read connections.
//!
//! The writer thread ([`Writer`]) owns the only connection that writes. Connection threads read through [`Reader`];
//! every thread hands its writes to [`WriteQueue`]. The store knows sessions and events as rows; it knows neither
//! processes nor HTTP.
//!
//! Dependencies run one way: `schema`, `rows` and `facts` use no other file of the store but each other, `keep` uses
//! these, `read` and `write` use `keep`, `write` wakes the followers of `read`, and `open` assembles all of them.

mod backup;
mod columns;
mod connect;
mod facts;
mod files;
mod generation;
mod keep;
mod meta;
mod migrations;
mod open;
mod owner;
mod read;
mod restore;
mod rows;
mod schema;
mod write;

pub use backup::partial_name;
pub use facts::{
    Chore, Committed, Done, Dropped, Edit, End, Fact, IdempotencyKey, NewEvent, NewSession, Note,
    Refused, StoreRequest, SweepResult,
};
pub use files::OpenFiles;
pub use keep::damage::read as damage;
pub use keep::on_end::OnEndTimer;
pub use keep::retention::Retention;
pub use keep::status::{StatusHandover, StoreStatus, Waiting};
pub use keep::survey::{EventOutline, Group, SessionOutline, Survey, outline, survey};
pub use migrations::{is_long as needs_long_migration, version as own_schema};
pub use open::{Store, Unfinished, schema_version};
pub use owner::LastOwner;
pub use read::followers::{Followers, Following};
pub use read::inspect::{Inspection, Integrity, inspect, left_behind};
pub use read::page::{EventQuery, EventRead, PageAhead};
pub use read::reader::{Reader, SessionList, SessionQuery};
pub use restore::restore;
pub use rows::SessionNum;
pub use schema::{StoreError, beside, with_time};
pub use write::budget::{Reservation, Share};
pub use write::queue::{Paused, Unwritten, WriteQueue};
pub use write::writer::Writer;
#[cfg(test)]
pub(crate) use write::{backlog::Pending, queue::Item};
