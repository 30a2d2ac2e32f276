//! Counts what goes on at the same time, and waits until that is little.
//!
//! Connection threads count themselves and their requests; an upgrade and the daemon's stop wait for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A count for which others wait.
#[derive(Debug, Default)]
pub(super) struct Count {
    number: Mutex<usize>,
    less: Condvar,
}

/// A counted request; dropping it ends the count.
pub(super) struct Busy<'a>(&'a Count);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self) {
        *self.lock() += 1;
    }

    pub(super) fn remove(&self) {
        *self.lock() -= 1;
        self.less.notify_all();
    }

    /// Counts a request.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.add();
        Busy(self)
    }

    /// Has [`Count::wait_for`] ask again whether it waits.
    pub(super) fn look_again(&self) {
        // Under the lock: it comes before the question, or ends the wait behind it.
        let _number = self.lock();
        self.less.notify_all();
    }

    /// Waits until the number `is_few`, for at most `patience`; returns the number.
    pub(super) fn wait_for(&self, patience: Duration, is_few: impl Fn(usize) -> bool) -> usize {
        let number = self.lock();
        let waited = self
            .less
            .wait_timeout_while(number, patience, |number| !is_few(*number));
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A counted request or connection; dropping it ends the count.
pub(super) struct Counted<'a> {
    count: &'a AtomicUsize,
    /// The count with this one.
    pub(super) number: usize,
}

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Self { count, number }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_whose_thread_panics_gives_its_place_back() {
        let connections = AtomicUsize::new(0);
        let panicked = std::panic::catch_unwind(|| {
            let place = Counted::new(&connections);
            assert_eq!(place.number, 0, "the first is number 1: this panics");
        });
        assert!(panicked.is_err());
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }
}
