//! Memory that runs out: a reserve for what cannot fail, and a question before what can.
//!
//! Runs on whichever thread allocates. It knows nothing of who does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::limits::{Resource, limit};

/// What is given back when an allocation fails, in bytes: large enough for the allocator to be a mapping of its own.
const RESERVE_BYTES: usize = 512 * 1024;

static RESERVE: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// The system's allocator. When it has nothing more, the reserve is given back to it once: most of Rust's allocations end
/// the process when they fail (`std::alloc::handle_alloc_error`).
pub struct Reserved;

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

// SAFETY: each call is passed on to the system's allocator as it is, and again with the same arguments if it gave nothing.
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
        // SAFETY: as above; a block that could not be resized is as it was.
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

/// Gives the reserve back; whether there was one.
fn give_back() -> bool {
    let reserve = RESERVE.swap(null_mut(), Ordering::AcqRel);
    if let Some(layout) = reserve_layout().filter(|_| !reserve.is_null()) {
        // SAFETY: whoever swaps it out is the only one to have it; it was allocated with this layout.
        unsafe { System.dealloc(reserve, layout) };
        return true;
    }
    false
}

/// Takes the reserve, if it is not there.
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
        // SAFETY: another thread's is kept, and nobody has seen this one.
        unsafe { System.dealloc(block, layout) };
    }
    Ok(())
}

/// The most threads that this process has been seen with.
static MOST_THREADS: AtomicU64 = AtomicU64::new(0);

/// What an ended thread leaves for the next one, in bytes: the C library keeps up to 40 MiB of stacks mapped (glibc,
/// `glibc.pthread.stack_cache_size`), and most of this process's are as large as this.
const KEPT_STACK_BYTES: u64 = 256 * 1024;

/// Sees that `bytes` of address space are left below the limit of this process (setrlimit(2), RLIMIT_AS), beside the reserve.
/// To map them for a moment would take them from the other threads. The stacks of ended threads count as room, up to half of
/// `bytes`: else nothing would be launched again where many sessions have been, however few are left.
///
/// # Errors
/// ENOMEM: they are not.
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

/// The numbers of this process now, by the name before them (proc(5), `status`; its kB are kibibytes); `None` where there
/// is no `/proc`.
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
