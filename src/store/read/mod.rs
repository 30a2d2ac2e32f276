//! Reading: records and pages of events from a few read-only connections, who waits for events, and a look from outside.
//! Runs on the connections' threads, and [`inspect`] in the CLI's process.
//! It must not know how writing is done: a read sees the last commit, and waits for nobody.

pub(super) mod followers;
pub(super) mod inspect;
pub(super) mod page;
pub(super) mod reader;
