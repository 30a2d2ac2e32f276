//! Memory budgets of large answers and of large request bodies: they bound what unread answers and incoming bodies use
//! in the whole daemon.
//!
//! Connection threads reserve memory before they build an answer or read a body, and release it after sending. Small
//! ones reserve nothing: health, kill and launch work even if other clients do not read.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::api::{ApiError, LIST_BYTES_MAX};
use crate::settings::durations;
use crate::sys;

/// Size of one budget, in bytes.
const TOTAL: usize = 64 * 1024 * 1024;

/// Size from which an answer or body is large, in bytes.
pub(super) const SMALL_MAX: usize = 64 * 1024;

/// Usage below which a shortage is over, in bytes.
const EASED: usize = TOTAL / 8;

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// A request has waited since memory was last returned to the system.
    was_short: bool,
    /// A large answer or body has been completed since [`MemoryBudget::take_use`] was called last.
    was_used: bool,
}

/// The memory of all large answers, or of all large bodies.
#[derive(Debug, Clone, Default)]
pub struct MemoryBudget(Arc<(Mutex<Taken>, Condvar)>);

/// A reserved share of a budget; dropping it releases it.
#[derive(Debug)]
pub(super) struct MemoryLease {
    budget: MemoryBudget,
    bytes: usize,
}

/// Content of an answer that was read within a bound.
pub(super) struct Bounded<T> {
    pub content: T,
    /// Its size, in bytes.
    pub length: usize,
    /// True if the bound cut it short.
    pub is_cut: bool,
}

impl MemoryBudget {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a large answer or body has been completed since the last call.
    pub(super) fn take_use(&self) -> bool {
        std::mem::take(&mut self.lock().was_used)
    }

    fn try_take(&self, bytes: usize) -> Option<MemoryLease> {
        let mut taken = self.lock();
        (taken.bytes + bytes <= TOTAL).then(|| self.lease(&mut taken, bytes))
    }

    fn lease(&self, taken: &mut Taken, bytes: usize) -> MemoryLease {
        taken.bytes += bytes;
        MemoryLease {
            budget: self.clone(),
            bytes,
        }
    }

    /// Reserves `bytes` for an answer, waiting if necessary.
    ///
    /// # Errors
    /// [`ApiError::Busy`] after [`durations::LARGE_ANSWER`].
    fn take(&self, bytes: usize) -> Result<MemoryLease, ApiError> {
        let deadline = Instant::now() + durations::LARGE_ANSWER;
        self.take_until(deadline, bytes, "answers that clients have not read yet")
    }

    /// Reserves memory for a body of `bytes`; `None` for a small one.
    ///
    /// # Errors
    /// [`ApiError::Busy`] after `deadline`.
    pub(super) fn take_body(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Option<MemoryLease>, ApiError> {
        match bytes > SMALL_MAX {
            true => self.take_until(deadline, bytes, "large requests").map(Some),
            false => Ok(None),
        }
    }

    fn take_until(
        &self,
        deadline: Instant,
        bytes: usize,
        what: &'static str,
    ) -> Result<MemoryLease, ApiError> {
        let is_short = |taken: &mut Taken| {
            let is_short = taken.bytes + bytes > TOTAL;
            taken.was_short |= is_short;
            is_short
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.1.wait_timeout_while(self.lock(), patience, is_short);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match waited.timed_out() {
            true => Err(ApiError::Busy { what }),
            false => Ok(self.lease(&mut taken, bytes)),
        }
    }

    /// Calls `read` with the allowed size of its content; returns its result with the reserved memory. If at first only
    /// a small answer fits, and that does not suffice, it waits and calls `read` again; nothing is held meanwhile.
    ///
    /// # Errors
    /// [`ApiError::Busy`], or the error of `read`.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(usize) -> Result<Bounded<T>, ApiError>,
    ) -> Result<(T, Option<MemoryLease>), ApiError> {
        let lease = match self.try_take(LIST_BYTES_MAX) {
            Some(lease) => lease,
            None => {
                let small = read(SMALL_MAX)?;
                if !small.is_cut && small.length <= SMALL_MAX {
                    return Ok((small.content, None));
                }
                drop(small);
                self.take(LIST_BYTES_MAX)?
            }
        };
        let Bounded {
            content, length, ..
        } = read(LIST_BYTES_MAX)?;
        Ok((content, lease.shrunk(length)))
    }

    /// Reserves memory for an existing answer of `length` bytes; `None` for a small one.
    ///
    /// # Errors
    /// [`ApiError::Busy`].
    pub(super) fn cover(&self, length: usize) -> Result<Option<MemoryLease>, ApiError> {
        match length > SMALL_MAX {
            true => self.take(length.min(TOTAL)).map(Some),
            false => Ok(None),
        }
    }
}

impl MemoryLease {
    /// Reduces the share to `length` bytes; `None` for a small answer.
    fn shrunk(mut self, length: usize) -> Option<Self> {
        if length <= SMALL_MAX {
            self.give_back(self.bytes);
            return None;
        }
        self.give_back(self.bytes.saturating_sub(length));
        Some(self)
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let mut taken = self.budget.lock();
        taken.bytes -= bytes;
        let is_over = taken.was_short && taken.bytes < EASED;
        if is_over {
            taken.was_short = false;
        }
        drop(taken);
        self.budget.0.1.notify_all();
        if is_over {
            // The allocator keeps free memory between used blocks.
            sys::release_free_memory();
        }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.lock().was_used = true;
        }
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BODY_MAX;

    fn bounded(length: usize) -> impl Fn(usize) -> Result<Bounded<usize>, ApiError> {
        move |most| {
            Ok(Bounded {
                content: length.min(most),
                length: length.min(most),
                is_cut: length > most,
            })
        }
    }

    #[test]
    fn a_small_answer_waits_for_nobody_and_a_large_one_for_room() {
        let budget = MemoryBudget::default();
        let large = bounded(LIST_BYTES_MAX);
        let mut held: Vec<MemoryLease> = Vec::new();
        while budget.lock().bytes + LIST_BYTES_MAX <= TOTAL {
            let (length, lease) = budget.read(&large).unwrap();
            assert_eq!(length, LIST_BYTES_MAX);
            held.extend(lease);
        }
        let (length, lease) = budget.read(bounded(SMALL_MAX)).unwrap();
        assert_eq!((length, lease.is_none()), (SMALL_MAX, true));
        assert!(matches!(budget.read(&large), Err(ApiError::Busy { .. })));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.read(&large).map(|(length, _)| length));
            held.pop();
            assert_eq!(waiter.join().unwrap(), Ok(LIST_BYTES_MAX));
        });
        held.clear();
        let taken = budget.lock();
        assert_eq!((taken.bytes, taken.was_short), (0, false));
    }

    #[test]
    fn a_large_body_waits_for_room_until_its_deadline() {
        let budget = MemoryBudget::default();
        let take = |bytes| budget.take_body(bytes, Instant::now());
        let held: Vec<MemoryLease> = (0..TOTAL / BODY_MAX)
            .flat_map(|_| take(BODY_MAX).unwrap())
            .collect();
        assert!(
            take(SMALL_MAX).unwrap().is_none(),
            "a small one takes nothing"
        );
        assert!(matches!(take(SMALL_MAX + 1), Err(ApiError::Busy { .. })));
        drop(held);
        assert!(take(BODY_MAX).unwrap().is_some());
    }

    #[test]
    fn an_answer_takes_what_it_has_become() {
        let budget = MemoryBudget::default();
        let (_, lease) = budget.read(bounded(SMALL_MAX + 1)).unwrap();
        assert_eq!(budget.lock().bytes, SMALL_MAX + 1);
        drop(lease);
        let (_, lease) = budget.read(bounded(10)).unwrap();
        assert!(lease.is_none());
        assert_eq!(budget.lock().bytes, 0);
    }
}
