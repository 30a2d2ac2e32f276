//! State of a harness thread: its session, channels to the writer and the state thread, and its orders.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::message::{Order, Report};
use super::tally::Tally;
use crate::api::SessionId;
use crate::redact::Redactor;
use crate::store::{SessionNum, Share, WriteQueue};
use crate::sys::Wake;

/// State of a harness thread after the spawn.
pub(super) struct ThreadState {
    pub(super) id: SessionId,
    pub(super) num: SessionNum,
    pub(super) queue: WriteQueue,
    pub(super) share: Share,
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<Wake>,
    pub(super) report: Box<dyn Fn(Report) + Send>,
    pub(super) tally: Arc<Tally>,
    /// Redacts output and input.
    pub(super) redactor: Arc<Redactor>,
    /// Longest drain while a process of the session holds a stream.
    pub(super) drain_max: Duration,
}
