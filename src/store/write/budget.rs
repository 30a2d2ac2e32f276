//! Bounds the bytes that wait for the writer. Harness threads reserve before they read. Without room they stop reading:
//! the pipe fills, and the kernel blocks the harness.
//!
//! A harness with nothing waiting always gets [`Share::LEAST`] bytes: a flood does not block a quiet session.
//!
//! A counter shared by all threads, with a list of threads to wake when there is room again. No call blocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::Wake;

/// The bytes that wait for the writer, and their bound.
#[derive(Debug)]
pub struct Budget {
    capacity: usize,
    used: AtomicUsize,
    held: Mutex<Vec<Arc<Wake>>>,
    held_count: AtomicUsize,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            used: AtomicUsize::new(0),
            held: Mutex::default(),
            held_count: AtomicUsize::new(0),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Number of harness threads that wait for room.
    pub(crate) fn held_back(&self) -> usize {
        self.held_count.load(Ordering::Relaxed)
    }

    /// The share of one harness; `waiter` wakes its thread.
    pub(crate) fn share(self: &Arc<Self>, waiter: Arc<Wake>) -> Share {
        Share {
            budget: Arc::clone(self),
            waiter,
            holder: Arc::new(()),
        }
    }

    fn remember(&self, waiter: &Arc<Wake>) {
        let mut held = self.lock_held();
        held.push(Arc::clone(waiter));
        self.held_count.store(held.len(), Ordering::SeqCst);
    }

    fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        // An empty queue accepts any size: an item larger than the budget must not wait for ever.
        let fits =
            |used: usize| (used == 0 || used + bytes <= self.capacity).then_some(used + bytes);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .ok()?;
        Some(Reservation {
            budget: Arc::clone(self),
            bytes,
            _holder: None,
        })
    }

    /// Reserves `bytes` even beyond the bound: for small facts that have already happened.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Reservation {
            budget: Arc::clone(self),
            bytes,
            _holder: None,
        }
    }

    fn release(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        // At half, not just below the bound: one wake-up then serves many reads.
        if used <= self.capacity / 2 && self.held_count.load(Ordering::SeqCst) > 0 {
            let waiters = {
                let mut held = self.lock_held();
                self.held_count.store(0, Ordering::SeqCst);
                std::mem::take(&mut *held)
            };
            waiters.iter().for_each(|waiter| waiter.wake());
        }
    }

    fn lock_held(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Wake>>> {
        // Poisoning is harmless: no code in this file panics while it changes the list.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One harness's share of the budget.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    waiter: Arc<Wake>,
    /// Its reservations hold clones: a count of one means that nothing waits.
    holder: Arc<()>,
}

impl Share {
    /// Bytes that a harness gets in any case while nothing of it waits: one small read. Each share can exceed the
    /// budget by this much.
    pub const LEAST: usize = 24 * 1024;

    /// Reserves `bytes`, or up to [`Share::LEAST`]. `None` if neither is possible; then its thread is woken when there
    /// is room.
    pub fn reserve_or_wake(&self, bytes: usize) -> Option<Reservation> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Some(reservation);
        }
        self.budget.remember(&self.waiter);
        // A release between the failed attempt and the registration would wake no thread: try again. A wake-up that
        // still comes finds nothing to do.
        self.try_reserve(bytes)
    }

    fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.budget.try_reserve(bytes).or_else(|| {
            let is_quiet = Arc::strong_count(&self.holder) == 1;
            is_quiet.then(|| self.budget.reserve(bytes.min(Self::LEAST)))
        })?;
        reservation._holder = Some(Arc::clone(&self.holder));
        Some(reservation)
    }
}

/// Reserved bytes; dropping it releases them.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
    _holder: Option<Arc<()>>,
}

impl Reservation {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the size to `bytes`, once the exact size is known. Growing always succeeds: each holder can exceed the
    /// bound by one item.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget
                .used
                .fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            self.budget.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Interest, poll};
    use std::time::Instant;

    fn woken(wake: &Wake) -> bool {
        let mut interests = [Interest::readable(wake)];
        poll(&mut interests, Some(Instant::now())).unwrap()
    }

    fn share(budget: &Arc<Budget>) -> (Share, Arc<Wake>) {
        let wake = Arc::new(Wake::new().unwrap());
        (budget.share(Arc::clone(&wake)), wake)
    }

    const CAPACITY: usize = 100 * Share::LEAST;

    #[test]
    fn output_beyond_the_budget_is_held_back_until_half_is_free() {
        let budget = Budget::new(CAPACITY);
        let (flood, wake) = share(&budget);
        let first = flood.reserve_or_wake(CAPACITY / 5 * 2).unwrap();
        let second = flood.reserve_or_wake(CAPACITY / 5 * 2).unwrap();
        let third = flood.reserve_or_wake(CAPACITY / 5).unwrap();
        assert!(flood.reserve_or_wake(1).is_none());
        assert_eq!(budget.held_back(), 1);
        drop(third);
        assert!(!woken(&wake), "four fifths are still in use");
        drop(first);
        assert!(woken(&wake));
        assert_eq!(budget.held_back(), 0);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_item_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(CAPACITY);
        let (share, _) = share(&budget);
        let large = share.reserve_or_wake(CAPACITY * 2).unwrap();
        assert_eq!(large.bytes(), CAPACITY * 2);
        assert!(share.reserve_or_wake(1).is_none());
        drop(large);
        assert!(share.reserve_or_wake(1).is_some());
    }

    #[test]
    fn a_quiet_harness_gets_a_little_while_another_takes_all_that_there_is() {
        let budget = Budget::new(CAPACITY);
        let (flood, _) = share(&budget);
        let (quiet, wake) = share(&budget);
        let all = flood.reserve_or_wake(CAPACITY).unwrap();
        let line = quiet.reserve_or_wake(CAPACITY).unwrap();
        assert_eq!(line.bytes(), Share::LEAST);
        // Only once: a second read waits like the flood.
        assert!(quiet.reserve_or_wake(1).is_none());
        drop(line);
        assert!(quiet.reserve_or_wake(1).is_some());
        drop(all);
        assert!(woken(&wake));
    }

    #[test]
    fn a_reservation_can_grow_and_shrink() {
        let budget = Budget::new(100);
        let mut reservation = budget.reserve(50);
        reservation.resize(120);
        assert_eq!(budget.used(), 120);
        reservation.resize(10);
        assert_eq!(budget.used(), 10);
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }
}
