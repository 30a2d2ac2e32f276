//! State of a harness thread: its session, channels to the writer and the state thread, and its orders.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::HarnessShared;
use super::message::{Order, Report};
use super::tally::Tally;
use crate::api::SessionId;
use crate::store::{SessionNum, Share};
use crate::sys::Wake;

/// State of a harness thread after the spawn.
pub(super) struct ThreadState {
    pub(super) id: SessionId,
    pub(super) num: SessionNum,
    pub(super) shared: HarnessShared,
    pub(super) share: Share,
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<Wake>,
    pub(super) report: Box<dyn Fn(Report) + Send>,
    pub(super) tally: Arc<Tally>,
}
