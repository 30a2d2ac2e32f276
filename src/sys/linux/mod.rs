//! Linux's own means: eventfd, pidfd, inotify, `SO_PEERCRED`, `/proc`.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

mod exec;
mod family;
mod mark;
mod memory;
mod watch;

pub(super) use exec::execute;
pub use exec::{memory_file, name_process, own_program};
pub use family::{
    adopt_orphans, end_families, family_uses, is_held, leader_use, left_behind, members,
    reap_adopted,
};
pub(super) use mark::Marking;
pub use mark::leave_family;
pub use memory::{release_free_memory, release_idle_memory, share_free_memory};
pub use watch::{Arrivals, LogWatch, Wake};

use super::memory::own_status;
use super::{Interest, OwnUsage, Peer, ResourceUsage, checked, owned, socket_option};

/// Longest path of a Unix socket, in bytes: `sun_path` has 108 with its NUL (unix(7)).
pub const SUN_PATH_MAX: usize = 107;

/// Creates a Unix stream socket that is close-on-exec from the start.
pub(super) fn unix_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket takes three integers, and its descriptor is new and ours alone.
    unsafe {
        owned(libc::socket(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ))
    }
}

/// The socket address in `NOTIFY_SOCKET`: a path, or after an `@` a name in the abstract namespace (sd_notify(3)).
///
/// # Errors
/// `name` is too long for an address, or has neither form.
pub fn notify_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Creates a pipe. Both ends are close-on-exec from the start, so that no concurrent spawn inherits them.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: pipe2 fills both ints on success, and the descriptors are new and ours alone.
    unsafe {
        checked(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Capacity of the pipe `fd`, in bytes.
pub fn pipe_size(fd: &impl AsFd) -> io::Result<usize> {
    // SAFETY: fcntl takes integers, and the descriptor is borrowed.
    let size = checked(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETPIPE_SZ) });
    size.map(|size| size as usize)
}

/// Sets the capacity of the pipe `fd` to `bytes`; its content stays.
///
/// # Errors
/// EPERM: beyond the limit of one pipe (`pipe-max-size`) or of all pipes of this user (`pipe-user-pages-soft`,
/// pipe(7)). EBUSY: it holds more data.
pub fn set_pipe_size(fd: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: fcntl takes integers, and the descriptor is borrowed.
    checked(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, bytes) }).map(drop)
}

/// Total capacity of a user's pipes, in bytes, beyond which the kernel makes new pipes tiny (`pipe-user-pages-soft`,
/// pipe(7)). The kernel's default if it cannot be read or is unlimited.
pub fn pipe_bytes_max() -> usize {
    const DEFAULT_PAGES: usize = 16_384;
    let told = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft");
    let pages = told.ok().and_then(|text| text.trim().parse().ok());
    let page = system_amount(libc::_SC_PAGESIZE, 4096) as usize;
    pages.filter(|pages| *pages > 0).unwrap_or(DEFAULT_PAGES) * page
}

/// Makes every descriptor except 0, 1 and 2 close-on-exec: harnesses must not inherit descriptors that the parent
/// process left open.
pub fn keep_inherited_descriptors() {
    // One call for thousands of descriptors; Linux 5.11 and later.
    // SAFETY: close_range takes three integers; with this flag it closes nothing.
    let marked = unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags)
    };
    if marked == 0 {
        return;
    }
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = entries.flatten().filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        (number > 2).then_some(number)
    });
    for number in numbers {
        // SAFETY: fcntl takes integers; a number that was closed meanwhile fails with EBADF.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// poll(2) with a timeout in nanoseconds; without `timeout` it waits for ever.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> libc::c_int {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is a live array of `fds.len()` pollfd structs, and the timeout, if any, outlives the call. Without
    // a signal mask ppoll is poll.
    unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            timeout,
            std::ptr::null(),
        )
    }
}

/// Requests a scheduling slice of 0.1 ms, the minimum, for the calling thread and those that it starts: it runs sooner
/// after a wake-up, for less time. Keeps an inherited policy and nice value. Kernels older than 6.12 have one slice for
/// all (sched_setattr(2); Documentation/scheduler/sched-eevdf.rst).
pub fn prefer_latency() {
    const SLICE_NANOS: u64 = 100_000;
    // SAFETY: all-zero is a valid sched_attr.
    let mut attr: libc::sched_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes into the struct, which outlives the call; 0 is the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if got == 0 && attr.sched_policy == libc::SCHED_OTHER as u32 {
        attr.sched_runtime = SLICE_NANOS;
        // SAFETY: the struct outlives the call, which reads as many bytes as its `size` field says.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}

/// Resources that this process uses now (proc(5)); `None` without `/proc`.
pub fn own_usage() -> Option<OwnUsage> {
    let number = own_status()?;
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(OwnUsage {
        resident_bytes: number("VmRSS:")? * 1024,
        // The descriptor that reads the directory is among them.
        open_files: entries.saturating_sub(1),
        threads: number("Threads:")?,
    })
}

/// A descriptor that becomes readable when the process `pid` exits: a pidfd. For a child on a kernel without
/// pidfd_open(2) it is a pipe that a thread closes.
///
/// # Errors
/// The error of pidfd_open(2): ESRCH for no such process, EMFILE. ENOSYS for a process that is no child, before Linux
/// 5.3 and in sandboxes that refuse the call.
pub fn exit_watch(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers, and its descriptor is new, ours alone, and close-on-exec.
    match unsafe { owned(libc::syscall(libc::SYS_pidfd_open, pid, 0) as libc::c_int) } {
        Err(err) if is_missing_call(&err) => exit_watch_by_thread(pid),
        result => result,
    }
}

/// True if `err` means that the system call is missing: ENOSYS from the kernel, or EPERM from a sandbox's filter
/// (seccomp(2)). None of the calls checked here returns EPERM for our own processes.
fn is_missing_call(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// Stack of a thread that only waits for a child, in bytes.
const WAITER_STACK_BYTES: usize = 64 * 1024;

fn exit_watch_by_thread(pid: i32) -> io::Result<OwnedFd> {
    let wait = move |options| {
        let mut info = MaybeUninit::zeroed();
        waitid(pid, &mut info, libc::WEXITED | libc::WNOWAIT | options).map(drop)
    };
    // Only the parent can wait for a process.
    wait(libc::WNOHANG).map_err(|_| io::Error::from_raw_os_error(libc::ENOSYS))?;
    let (reader, writer) = pipe()?;
    std::thread::Builder::new()
        .name("exit-watch".into())
        .stack_size(WAITER_STACK_BYTES)
        .spawn(move || {
            // WNOWAIT leaves the zombie to the thread that reaps it.
            while wait(0).is_err_and(|err| err.kind() == io::ErrorKind::Interrupted) {}
            drop(writer);
        })?;
    Ok(reader)
}

/// waitid(2) for the child `pid`, with its resource usage. The raw system call has a fifth argument for that, which the
/// C library hides. It works for a zombie that stays (`WNOWAIT`), too.
pub(super) fn waitid(
    pid: i32,
    info: &mut MaybeUninit<libc::siginfo_t>,
    options: libc::c_int,
) -> io::Result<Option<ResourceUsage>> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills both structs when it returns 0, and they outlive it; all zeros is a valid rusage.
    let usage = unsafe {
        let (info, used) = (info.as_mut_ptr(), usage.as_mut_ptr());
        checked(libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            pid,
            info,
            options,
            used,
        ))?;
        usage.assume_init()
    };
    Ok(Some(ResourceUsage {
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        // In kibibytes (getrusage(2)).
        peak_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }))
}

fn duration(time: libc::timeval) -> Duration {
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_micros(part(time.tv_usec))
}

/// Identity of the process that connected to this socket or listens on it, fixed by the kernel at that time (unix(7)).
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    // SAFETY: SO_PEERCRED writes one ucred, for which all zeros is a valid value.
    let cred: libc::ucred = unsafe { socket_option(stream, libc::SO_PEERCRED) }?;
    Ok(Peer {
        uid: cred.uid,
        pid: (cred.pid > 0).then_some(cred.pid),
    })
}

/// Random id of this boot (random(4), boot_id). `None` without `/proc`.
pub fn boot_id() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    BOOT.get_or_init(read).as_deref().map(str::trim_end)
}

/// Time since boot, including suspends (clock_gettime(2), CLOCK_BOOTTIME).
pub fn since_boot() -> Duration {
    super::clock(libc::CLOCK_BOOTTIME)
}

/// PID namespace of this process (pid_namespaces(7)): pids are meaningful only within it.
pub fn pid_namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.display().to_string())
}

/// Mark that tells the process `pid` from any later one with the same pid: the boot, and the clock tick at which the
/// process started (proc(5), field 22). `None` if there is no such process.
pub fn process_mark(pid: i32) -> Option<String> {
    let started = stat_field(pid, 22)?;
    Some(format!("{}/{started}", boot_id()?))
}

/// True if `mark` belongs to the process `pid`, and it still runs: a zombie keeps its pid and its mark.
pub fn is_running(pid: i32, mark: &str) -> bool {
    process_mark(pid).as_deref() == Some(mark)
        && stat_field(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

/// True if a signal has stopped the process `pid` (proc(5), field 3 of its `stat`).
pub fn is_stopped(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state == "T" || state == "t")
}

/// Field `number` of `/proc/PID/stat`, counted from 1 as in proc(5); from the third on. `None` if there is no such
/// process.
fn stat_field(pid: i32, number: usize) -> Option<String> {
    let stat = stat(pid)?;
    let field = stat.split_whitespace().nth(number - 3)?;
    Some(field.to_owned())
}

/// `/proc/PID/stat` from its third field on (proc(5)). `None` if there is no such process.
fn stat(pid: i32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The second field is the command in parentheses. It can contain any bytes: also `)`, and incomplete characters.
    Some(stat[stat.rfind(')')? + 1..].to_owned())
}

/// A constant of the system (sysconf(3)): the bytes of a page, or the clock ticks of a second.
fn system_amount(name: libc::c_int, default: u64) -> u64 {
    // SAFETY: sysconf takes an integer.
    let amount = u64::try_from(unsafe { libc::sysconf(name) });
    amount.ok().filter(|amount| *amount > 0).unwrap_or(default)
}

/// Executable of the process `pid`; ends in ` (deleted)` once the file is gone (proc(5), `exe`). `None` for another
/// user's process, or no process.
pub fn executable(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Path of an open file; a word such as `pipe:[7]` for a descriptor without a path (proc(5), `fd`).
pub fn path_of(file: &impl AsFd) -> Option<PathBuf> {
    let number = file.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// Path that leads to an open file, whatever its name leads to by now (proc(5), `fd`); `None` without /proc.
pub fn descriptor_path(file: &impl AsFd) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()));
    path.symlink_metadata().is_ok().then_some(path)
}

/// Name that the process `pid` gives itself (proc(5), `comm`); works also for another user's process.
pub fn command_name(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    // Cut at 15 bytes, possibly within a character.
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Sends `signal` to the process `pid`, for which `watch` was created, and to no later one with the same pid. On a
/// kernel without pidfds, a process whose exit `watch` has not reported is assumed to be the same.
///
/// # Errors
/// The error of pidfd_send_signal(2) or kill(2): ESRCH if it has ended.
pub fn signal_watched(watch: &OwnedFd, pid: i32, signal: i32) -> io::Result<()> {
    let sent = send_pidfd_signal(watch, signal);
    match &sent {
        Err(err) if err.raw_os_error() != Some(libc::ESRCH) => {
            let has_ended = super::poll(&mut [Interest::readable(watch)], Some(Instant::now()))?;
            match has_ended {
                true => Err(io::Error::from_raw_os_error(libc::ESRCH)),
                false => super::send_signal(pid, signal),
            }
        }
        _ => sent,
    }
}

fn send_pidfd_signal(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed; a null siginfo means that of kill(2).
    let sent = unsafe {
        let process = process.as_raw_fd();
        libc::syscall(libc::SYS_pidfd_send_signal, process, signal, info, 0)
    };
    checked(sent).map(drop)
}

/// glibc and musl disagree on its sign.
#[cfg(target_env = "musl")]
type ResourceNumber = libc::c_int;
#[cfg(not(target_env = "musl"))]
type ResourceNumber = libc::__rlimit_resource_t;

/// Added to a harness's `oom_score_adj` (proc(5), of 1000), so that the OOM killer prefers it to the daemon.
const OOM_SCORE_MORE: i32 = 500;

/// Makes the OOM killer prefer the child `pid` and its future children to this process. Raising the score needs no
/// privilege. A child that has set its own score keeps it.
pub(super) fn offer_to_oom_killer(pid: i32) {
    let score = |file: &str| {
        std::fs::read_to_string(file)
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    };
    let childs = format!("/proc/{pid}/oom_score_adj");
    let inherited = score("/proc/self/oom_score_adj");
    if let Some(before) = inherited.filter(|_| score(&childs) == inherited) {
        // It may have ended, or have changed its user.
        let _ = std::fs::write(childs, (before + OOM_SCORE_MORE).min(1000).to_string());
    }
}

/// Sets the limit `resource` of the process `pid` (0: this one) to `new`, if given; returns the limit in force.
pub(super) fn prlimit(
    pid: i32,
    resource: ResourceNumber,
    new: Option<&libc::rlimit>,
) -> io::Result<libc::rlimit> {
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new_limit = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: prlimit reads the new limit unless it is null, and fills the old one; both outlive the call.
    checked(unsafe { libc::prlimit(pid, resource, new_limit, &raw mut before) })?;
    Ok(new.copied().unwrap_or(before))
}

/// Every process, youngest first: short-lived processes are read while they exist. The kernel assigns ascending pids,
/// wraps around, and reports the last one (proc(5), loadavg).
fn newest_first() -> io::Result<Vec<i32>> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let last: i32 = load
        .split_whitespace()
        .last()
        .and_then(|pid| pid.parse().ok())
        .unwrap_or(i32::MAX);
    let entries = std::fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut pids: Vec<i32> = pids.collect();
    pids.sort_unstable_by_key(|pid| last.wrapping_sub(*pid) as u32);
    Ok(pids)
}

/// Start of the process `pid`, in clock ticks since boot (proc(5)).
fn started(pid: i32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// True if `pid` is a zombie.
fn has_ended(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state == "Z")
}
