//! The allocator's free memory, and the pages of the program that an idle daemon does not need.
//!
//! Runs on the main thread.

use super::system_amount;

/// Has all threads allocate from one arena (mallopt(3), M_ARENA_MAX): malloc_trim(3) returns the end of this one to the
/// system, and not that of others, which keep megabytes for each thread that once read or answered much. An arena
/// also reserves 64 MiB of address space. Threads seldom wait for it: each caches small blocks, and four readers at most
/// build large answers.
///
/// Fixes the size from which an allocation is mapped separately, just above a page of events. Such memory returns to
/// the system when it is freed. By default glibc raises that size (M_MMAP_THRESHOLD) and keeps the memory. The heap's
/// end is kept up to twice that size, as by glibc's own rule (M_TRIM_THRESHOLD): otherwise a page of events would be
/// mapped anew each time.
pub fn share_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        const MAPPED_FROM: libc::c_int = 2 * 1024 * 1024;
        // SAFETY: mallopt takes integers; no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * MAPPED_FROM);
        }
    }
}

/// Returns the allocator's free memory to the system: glibc keeps free memory between used blocks (malloc_trim(3)).
/// Other allocators return it by themselves.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Releases what a busy daemon needs and an idle one does not: the allocator's free memory, and the pages of code and
/// constants that are mapped. These stay in the page cache; an access maps 16 of them again, or a folio. The pages are
/// private ones of a file that are never written, which lose nothing (madvise(2), `MADV_DONTNEED`).
pub fn release_idle_memory() {
    release_free_memory();
    // SAFETY: the callback fits the object lists of dl_iterate_phdr(3), and does not panic.
    unsafe { libc::dl_iterate_phdr(Some(release_object), std::ptr::null_mut()) };
}

/// Releases the read-only segments of one object.
unsafe extern "C" fn release_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes a filled struct, whose headers stay while the object is loaded.
    let (base, headers) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (
            object.dlpi_addr,
            std::slice::from_raw_parts(object.dlpi_phdr, count),
        )
    };
    let page = system_amount(libc::_SC_PAGESIZE, 4096) as usize;
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let address = (base + header.p_vaddr) as usize;
            let inside = address % page;
            let length = header.p_memsz as usize + inside;
            // SAFETY: the segment is mapped from its first page on, private and read-only: what is read next is the file's.
            unsafe { libc::madvise((address - inside) as *mut _, length, libc::MADV_DONTNEED) };
        }
    }
    0
}
