//! The event store: one SQLite database, one writer, a few readers.
//!
//! Three kinds of threads come here. The writer thread owns the only connection that writes ([`Writer`]);
//! HTTP threads read through [`Reader`]; everybody hands the writer its work through [`WriteQueue`]. The store
//! knows sessions and events as rows, and nothing of processes or HTTP.
//!
//! Nothing points back: `schema`, `rows` and `facts` know no other file of the store but each other, `keep` knows these,
//! `read` and `write` know `keep`, `write` wakes the followers of `read`, and `open` puts all of it together.

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

pub use facts::{
    Answer, Chore, Done, Dropped, Edit, End, Fact, IdempotencyKey, NewEvent, NewSession, Note,
    Pruned, Refused, Request,
};
pub use files::OpenFiles;
pub use keep::damage::read as damage;
pub use keep::on_end::OnEndTimer;
pub use keep::retention::Retention;
pub use keep::status::{StoreStatus, Waiting};
pub use keep::survey::{EventOutline, Group, SessionOutline, Survey, outline, survey};
pub use open::{Store, Unfinished};
pub use owner::Heritage;
pub use read::followers::{Followers, Following};
pub use read::inspect::{Inspection, Integrity, inspect, left_behind};
pub use read::page::{EventQuery, EventRead, PageAhead};
pub use read::reader::{Reader, SessionList, SessionQuery};
pub use restore::{Restored, restore};
pub use rows::SessionNum;
pub use schema::{StoreError, beside, with_time};
pub use write::budget::{Reservation, Share};
pub use write::queue::{Unwritten, WriteQueue};
pub use write::writer::Writer;
