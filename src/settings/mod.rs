//! What the program can be set to, and how long it waits for what: declared here once, for code, pages and checks.
//!
//! Constants and their parsing; runs on whichever thread asks. Knows no other room.

pub mod durations;
