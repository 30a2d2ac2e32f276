//! Replaces the program of a running daemon by execve(2): pid, children, socket and sessions stay.
//!
//! [`binary`] opens the new program once; the check and the exec use that descriptor. [`check`] runs in a process of
//! the new program, before anything has changed.

pub mod binary;
pub mod check;

/// Newest format of a handover that this program writes and reads.
pub const FORMAT: u32 = 1;
