//! Counts the requests that are being answered, and waits until they are few.
//!
//! Connection threads count their requests; the main thread waits for them when the daemon stops.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct InFlight {
    count: Mutex<usize>,
    less: Condvar,
}

/// A counted request; dropping it ends the count.
pub(super) struct Busy<'a>(&'a InFlight);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.less.notify_all();
    }
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request.
    pub(super) fn begin(&self) -> Busy<'_> {
        *self.lock() += 1;
        Busy(self)
    }

    /// Waits until at most `most` requests are being answered, or until `patience` is over.
    pub(super) fn wait_for(&self, patience: Duration, most: impl Fn() -> usize) {
        let deadline = Instant::now() + patience;
        let mut count = self.lock();
        while *count > most() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            let waited = self.less.wait_timeout(count, left);
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
