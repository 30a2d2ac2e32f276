//! What a harness thread has at hand: its session, the ways to the writer and to the state thread, and its orders.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::message::{Order, Report};
use super::tally::Tally;
use crate::api::SessionId;
use crate::redact::Redactor;
use crate::store::{SessionNum, Share, WriteQueue};
use crate::sys::Wake;

/// What a harness thread works with once its program runs.
pub(super) struct Context {
    pub(super) id: SessionId,
    pub(super) num: SessionNum,
    pub(super) queue: WriteQueue,
    pub(super) share: Share,
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<Wake>,
    pub(super) report: Box<dyn Fn(Report) + Send>,
    /// Counts the output.
    pub(super) tally: Arc<Tally>,
    /// Takes secrets out of output and input.
    pub(super) redactor: Arc<Redactor>,
    /// The longest that a drain takes while a process of the session holds a stream.
    pub(super) drain_max: Duration,
}
