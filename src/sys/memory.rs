//! Survives an exhausted memory: a reserve for allocations that must not fail, and a check before those that may.
//!
//! Runs on the allocating thread, and knows nothing of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::limits::{Resource, limit};

/// Size of the reserve, in bytes: large enough for the allocator to map it separately.
const RESERVE_BYTES: usize = 512 * 1024;

static RESERVE: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// The system's allocator, which frees the reserve once when it has no memory left. Most failed allocations of Rust
/// abort the process (`std::alloc::handle_alloc_error`).
pub struct Reserved;

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

// SAFETY: each call is forwarded unchanged to the system's allocator, and repeated with the same arguments if it fails.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the system's allocator.
        again(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        again(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; a failed realloc leaves the block unchanged.
        again(|| unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

fn again(allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let block = allocate();
    if !block.is_null() || !give_back() {
        return block;
    }
    allocate()
}

fn reserve_layout() -> Option<Layout> {
    Layout::from_size_align(RESERVE_BYTES, 16).ok()
}

/// Frees the reserve; false if there was none.
fn give_back() -> bool {
    let reserve = RESERVE.swap(null_mut(), Ordering::AcqRel);
    if let Some(layout) = reserve_layout().filter(|_| !reserve.is_null()) {
        // SAFETY: only the thread that swapped the pointer out has it; the block was allocated with this layout.
        unsafe { System.dealloc(reserve, layout) };
        return true;
    }
    false
}

/// Allocates the reserve unless it exists.
///
/// # Errors
/// ENOMEM: there is no memory for it.
pub fn keep_reserve() -> io::Result<()> {
    if !RESERVE.load(Ordering::Acquire).is_null() {
        return Ok(());
    }
    let Some(layout) = reserve_layout() else {
        return Err(no_memory());
    };
    // SAFETY: the layout has a size.
    let block = unsafe { System.alloc(layout) };
    if block.is_null() {
        return Err(no_memory());
    }
    let kept = RESERVE.compare_exchange(null_mut(), block, Ordering::AcqRel, Ordering::Acquire);
    if kept.is_err() {
        // SAFETY: another thread was first; this block has not been published.
        unsafe { System.dealloc(block, layout) };
    }
    Ok(())
}

/// Largest number of threads seen in this process.
static MOST_THREADS: AtomicU64 = AtomicU64::new(0);

/// Stack bytes that an ended thread leaves for the next: glibc caches up to 40 MiB of stacks
/// (`glibc.pthread.stack_cache_size`), and most of this process's have this size.
const KEPT_STACK_BYTES: u64 = 256 * 1024;

/// Checks that `bytes` of address space are left below RLIMIT_AS (setrlimit(2)), besides the reserve. A trial mapping
/// would take them from other threads for a moment. Cached stacks count as free, up to half of `bytes`: otherwise no
/// launch would succeed after many sessions have run.
///
/// # Errors
/// ENOMEM: they are not left.
pub fn check_room(bytes: u64) -> io::Result<()> {
    keep_reserve()?;
    let Ok((Some(most), _)) = limit(Resource::AddressSpace) else {
        return Ok(());
    };
    let now =
        own_status().and_then(|number| Some((number("VmSize:")? * 1024, number("Threads:")?)));
    let Some((used, threads)) = now else {
        return Ok(());
    };
    let ended = MOST_THREADS
        .fetch_max(threads, Ordering::Relaxed)
        .saturating_sub(threads);
    let kept = (ended * KEPT_STACK_BYTES).min(bytes / 2);
    if used.saturating_add(bytes - kept) > most {
        return Err(no_memory());
    }
    Ok(())
}

/// Reads a number of this process by its name in `/proc/self/status`; its kB are kibibytes (proc(5)). `None` without
/// `/proc`.
pub(super) fn own_status() -> Option<impl Fn(&str) -> Option<u64>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(move |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    })
}

fn no_memory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_that_cannot_succeed_fails_and_the_reserve_is_taken_again() {
        assert!(check_room(1024 * 1024).is_ok());
        let huge: Result<(), _> = Vec::<u8>::new().try_reserve_exact(isize::MAX as usize);
        assert!(
            huge.is_err(),
            "an allocation that fails is tried again, and no more"
        );
        assert!(keep_reserve().is_ok(), "the reserve is taken again");
    }
}
