//! How many bytes may wait for the writer. Harness threads reserve before they read, and stop reading their
//! pipe when nothing is left: the pipe fills, and the kernel holds the harness back.
//!
//! A counter shared by all threads, with a list of those to wake when there is room again. No thread ever
//! blocks in here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::Wake;

/// The bytes that wait for the writer, and the bound on them.
#[derive(Debug)]
pub struct Budget {
    capacity: usize,
    used: AtomicUsize,
    held: Mutex<Vec<Arc<Wake>>>,
    held_count: AtomicUsize,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            used: AtomicUsize::new(0),
            held: Mutex::default(),
            held_count: AtomicUsize::new(0),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many harness threads wait for room.
    pub(super) fn held_back(&self) -> usize {
        self.held_count.load(Ordering::Relaxed)
    }

    /// Reserves `bytes`, or, where they do not fit, remembers to wake `waiter` when there is room.
    pub(super) fn reserve_or_wake(
        self: &Arc<Self>,
        bytes: usize,
        waiter: &Arc<Wake>,
    ) -> Option<Reservation> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Some(reservation);
        }
        {
            let mut held = self.lock_held();
            held.push(Arc::clone(waiter));
            self.held_count.store(held.len(), Ordering::SeqCst);
        }
        // A release between the failed attempt and the push would wake nobody: try once more. The wake that
        // may still come then finds nothing to do.
        self.try_reserve(bytes)
    }

    fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        // An empty queue takes anything: a single item larger than the budget must not wait for ever.
        let fits =
            |used: usize| (used == 0 || used + bytes <= self.capacity).then_some(used + bytes);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .ok()?;
        Some(Reservation {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Reserves `bytes` whatever is in use: for what is small and has happened already.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Reservation {
            budget: Arc::clone(self),
            bytes,
        }
    }

    fn release(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        // Half empty, not just below the brim: one wake-up then pays for many reads.
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
        // The list is whole after a panic elsewhere: nothing in here can panic halfway.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are spoken for until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Makes it `bytes`, once it is known how many they are: more than was reserved is taken in any case, so
    /// that each holder can pass the bound by one item.
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

    #[test]
    fn what_does_not_fit_is_held_back_until_half_is_free() {
        let budget = Budget::new(100);
        let wake = Arc::new(Wake::new().unwrap());
        let first = budget.reserve_or_wake(40, &wake).unwrap();
        let second = budget.reserve_or_wake(40, &wake).unwrap();
        let third = budget.reserve_or_wake(20, &wake).unwrap();
        assert!(budget.reserve_or_wake(1, &wake).is_none());
        assert_eq!(budget.held_back(), 1);
        drop(third);
        assert!(!woken(&wake), "80 of 100 are still in use");
        drop(first);
        assert!(woken(&wake));
        assert_eq!(budget.held_back(), 0);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_item_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(100);
        let wake = Arc::new(Wake::new().unwrap());
        let large = budget.reserve_or_wake(1000, &wake).unwrap();
        assert!(budget.reserve_or_wake(1, &wake).is_none());
        drop(large);
        assert!(budget.reserve_or_wake(1, &wake).is_some());
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
