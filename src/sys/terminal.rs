//! What a terminal and its user's clock are like. For the CLI's processes only: it knows nothing of what is shown.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// How many columns the terminal has; `None` if this is none, or does not say.
pub fn terminal_columns(terminal: &impl AsFd) -> Option<usize> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the structure outlives the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: zeros are a size, and all that the call may have left.
    let columns = unsafe { size.assume_init() }.ws_col;
    (result == 0 && columns > 0).then_some(columns.into())
}

/// Year, month, day, hour, minute and second of `seconds` since the epoch, as `TZ` has them; `None` for a year that has no number.
pub fn local_time(seconds: i64) -> Option<[i32; 6]> {
    let mut time = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both outlive the call, and the CLI sets no variable that it reads meanwhile.
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
