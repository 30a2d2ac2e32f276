//! The terminal's width and the user's time zone, for the CLI's processes. It knows nothing of what is printed.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Columns and rows; `None` if `terminal` is not a terminal or does not tell. Rows are 0 where only they are not known.
pub fn terminal_size(terminal: &impl AsFd) -> Option<(usize, usize)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the structure outlives the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: all-zero is a valid size, which a failed call leaves.
    let size = unsafe { size.assume_init() };
    let is_known = result == 0 && size.ws_col > 0;
    is_known.then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Year, month, day, hour, minute and second of `seconds` since the epoch, in the time zone `TZ`; `None` if the year
/// overflows.
pub fn local_time(seconds: i64) -> Option<[i32; 6]> {
    let mut time = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers outlive the call, and the CLI changes no environment variable meanwhile.
    let time = unsafe {
        (!libc::localtime_r(&seconds, time.as_mut_ptr()).is_null()).then(|| time.assume_init())?
    };
    let (year, month) = (time.tm_year.checked_add(1900)?, time.tm_mon + 1);
    Some([
        year,
        month,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
    ])
}
