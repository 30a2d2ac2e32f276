//! What Linux does its own way: eventfd, pidfd, inotify, `SO_PEERCRED`, `/proc`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[path = "family.rs"]
mod family;

pub(super) use family::Marking;
pub use family::{
    adopt_orphans, end_families, is_held, leave_family, left_behind, members, reap_adopted,
};

use super::memory::own_status;
use super::signal::SignalSet;
use super::spawn::c_string;
use super::{Arrival, Interest, OwnUsage, Peer, Usage};

/// The longest path a Unix socket can have, in bytes: `sun_path` is 108 with its NUL (unix(7)).
pub const SUN_PATH_MAX: usize = 107;

/// A descriptor that one thread waits on and another makes readable: an eventfd.
#[derive(Debug)]
pub struct Wake(File);

impl Wake {
    /// # Errors
    /// What eventfd(2) reports: no descriptors or memory left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers; on success the descriptor is new and ours alone.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(File::from(OwnedFd::from_raw_fd(fd))))
        }
    }

    /// Makes the descriptor readable until [`Wake::clear`]. Never blocks, and can be repeated.
    pub fn wake(&self) {
        // EAGAIN means that the counter is at its end, so that the descriptor is readable anyway.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Takes back every wake so far.
    pub fn clear(&self) {
        // EAGAIN means that there was none.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable when a file in a directory is written, made or renamed: an inotify instance.
#[derive(Debug)]
pub struct LogWatch(File);

impl LogWatch {
    /// Watches the directory `dir` and the files in it.
    ///
    /// # Errors
    /// What inotify_init1(2) or inotify_add_watch(2) report: no such directory, or too many watches.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let dir = c_string(dir.as_os_str())?;
        let events = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR;
        // SAFETY: inotify_init1 takes an integer, and its descriptor is new and ours alone; `dir` is
        // NUL-terminated and outlives the call.
        unsafe {
            let fd = libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let watch = Self(File::from(OwnedFd::from_raw_fd(fd)));
            if libc::inotify_add_watch(fd, dir.as_ptr(), events) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(watch)
        }
    }

    /// Also reports what is written to `file`, which is in the directory: inotify does so anyway.
    ///
    /// # Errors
    /// None.
    pub fn watch_file(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Takes back what has been reported so far.
    pub fn clear(&self) {
        // EAGAIN means that nothing is left; a queue that ran over has reported that, too.
        let mut sink = [0; 16 * 1024];
        while matches!((&self.0).read(&mut sink), Ok(n) if n > 0) {}
    }
}

impl AsFd for LogWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the thread waits for that takes the daemon's signals: a signal (signalfd(2)), or a change of the names in a few
/// directories (inotify(7)). What is written to their files wakes nobody.
pub struct Arrivals {
    signals: File,
    names: Option<File>,
}

impl Arrivals {
    /// Takes `signals`, which [`super::block_signals`] has blocked.
    ///
    /// # Errors
    /// What signalfd(2) reports: no descriptors or memory left.
    pub fn of_signals(signals: &[libc::c_int]) -> io::Result<Self> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let set = SignalSet::of(signals);
        // SAFETY: the set is initialised and outlives the call; the descriptor is new and ours alone.
        let signals = unsafe {
            let fd = libc::signalfd(-1, set.as_ptr(), flags);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from(OwnedFd::from_raw_fd(fd))
        };
        Ok(Self {
            signals,
            names: None,
        })
    }

    /// Also watches the names in the directory `dir`. Can be repeated.
    ///
    /// # Errors
    /// What inotify_init1(2) or inotify_add_watch(2) report: no such directory, or too many watches.
    pub fn watch_names(&mut self, dir: &Path) -> io::Result<()> {
        let dir = c_string(dir.as_os_str())?;
        let changes = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE;
        let own = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF;
        let fd = match &self.names {
            Some(names) => names.as_raw_fd(),
            None => {
                // SAFETY: inotify_init1 takes an integer, and its descriptor is new and ours alone.
                let names = unsafe {
                    let fd = libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK);
                    if fd < 0 {
                        return Err(io::Error::last_os_error());
                    }
                    File::from(OwnedFd::from_raw_fd(fd))
                };
                self.names.insert(names).as_raw_fd()
            }
        };
        // SAFETY: `dir` is NUL-terminated and outlives the call.
        let watch =
            unsafe { libc::inotify_add_watch(fd, dir.as_ptr(), changes | own | libc::IN_ONLYDIR) };
        match watch {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Blocks until something arrives, or `deadline` has passed.
    ///
    /// # Errors
    /// What poll(2) or read(2) report.
    pub fn wait(&self, deadline: Option<Instant>) -> io::Result<Arrival> {
        loop {
            let mut interests = vec![Interest::readable(&self.signals)];
            interests.extend(self.names.as_ref().map(Interest::readable));
            if !super::poll(&mut interests, deadline)? {
                return Ok(Arrival::Deadline);
            }
            if let Some(signal) = self.next_signal()? {
                return Ok(Arrival::Signal(signal));
            }
            let names = self.changed_names();
            if !names.is_empty() {
                return Ok(Arrival::Names(names));
            }
        }
    }

    fn next_signal(&self) -> io::Result<Option<i32>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.signals).read(&mut info) {
            // The number is the first field (signalfd(2)).
            Ok(_) => Ok(Some(i32::from_ne_bytes([
                info[0], info[1], info[2], info[3],
            ]))),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The names that have changed; an empty one stands for a directory itself, or for what was too much to tell.
    fn changed_names(&self) -> Vec<OsString> {
        const HEAD: usize = size_of::<libc::inotify_event>();
        let mut names = Vec::new();
        let mut buffer = [0; 16 * 1024];
        let Some(mut file) = self.names.as_ref() else {
            return names;
        };
        while let Ok(n @ 1..) = file.read(&mut buffer) {
            let mut rest = &buffer[..n];
            // The last field of the head is the length of the name, which NULs fill up (inotify(7)).
            while let Some((head, behind)) = rest.split_at_checked(HEAD) {
                let length = [
                    head[HEAD - 4],
                    head[HEAD - 3],
                    head[HEAD - 2],
                    head[HEAD - 1],
                ];
                let length = u32::from_ne_bytes(length) as usize;
                let (name, next) = behind.split_at(length.min(behind.len()));
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                names.push(OsStr::from_bytes(name).to_owned());
                rest = next;
            }
        }
        names
    }
}

/// A Unix stream socket, close-on-exec from the start.
///
/// # Errors
/// What socket(2) reports.
pub(super) fn unix_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket takes three integers, and its descriptor is new and ours alone.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The address of the socket that `NOTIFY_SOCKET` names: a path, or behind an `@` a name in the abstract namespace
/// (sd_notify(3)).
///
/// # Errors
/// It is too long for an address, or neither of the two.
pub fn notify_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A pipe, both ends close-on-exec from the start, so that no concurrent spawn inherits them.
///
/// # Errors
/// What pipe2(2) reports.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: pipe2 fills both ints on success, and the descriptors are new and ours alone.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// What the pipe `fd` can hold, in bytes.
///
/// # Errors
/// What fcntl(2) reports.
pub fn pipe_size(fd: &impl AsFd) -> io::Result<usize> {
    // SAFETY: fcntl takes integers, and the descriptor is borrowed.
    let size = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETPIPE_SZ) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

/// Makes the pipe `fd` hold `bytes`. What is in it stays.
///
/// # Errors
/// EPERM: over what one pipe (`pipe-max-size`) or all of this user's (`pipe-user-pages-soft`) may hold (pipe(7)); EBUSY:
/// more is in it.
pub fn set_pipe_size(fd: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: fcntl takes integers, and the descriptor is borrowed.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, bytes) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What all pipes of a user may hold, in bytes, before the kernel makes each new one tiny (pipe(7),
/// `pipe-user-pages-soft`). Where it is not told, or there is no limit: the kernel's default.
pub fn pipe_bytes_max() -> usize {
    const DEFAULT_PAGES: usize = 16_384;
    let told = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft");
    let pages = told.ok().and_then(|text| text.trim().parse().ok());
    // SAFETY: sysconf takes an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.filter(|pages| *pages > 0).unwrap_or(DEFAULT_PAGES)
        * usize::try_from(page).unwrap_or(4096)
}

/// Makes every descriptor but 0, 1 and 2 close-on-exec: whoever started this process may have left it some, and
/// they are not for harnesses.
pub fn keep_inherited_descriptors() {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = entries.flatten().filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        (number > 2).then_some(number)
    });
    for number in numbers {
        // SAFETY: fcntl takes integers; one that names no descriptor any more fails with EBADF.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Lets all threads share four of the allocator's arenas: with one for each thread, as glibc has it, each keeps for itself
/// what its session once needed (mallopt(3), M_ARENA_MAX). Elsewhere allocators share by themselves. Under a limit on address
/// space there is one: another reserves 64 MiB, and a thread that cannot have that maps a page for each allocation.
///
/// What is larger than a page of events is a mapping of its own, which goes back when it is freed, whoever frees it. Without
/// this glibc raises the size from which that is so (mallopt(3), M_MMAP_THRESHOLD), and keeps such memory. The end of a heap
/// is kept up to twice that size, as glibc's own rule has it (M_TRIM_THRESHOLD): a page of events would else be mapped
/// anew each time.
pub fn share_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        const MAPPED_FROM: libc::c_int = 2 * 1024 * 1024;
        let limit = super::limits::limit(super::limits::Resource::AddressSpace);
        let arenas = match limit {
            Ok((Some(_), _)) => 1,
            _ => 4,
        };
        // SAFETY: mallopt takes integers; no other thread is there yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * MAPPED_FROM);
        }
    }
}

/// poll(2), for `timeout` to the nanosecond; for ever without one.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> libc::c_int {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is a live array of `fds.len()` pollfd structs, and the timeout, if any, outlives the call; without a
    // signal mask it is poll.
    unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            timeout,
            std::ptr::null(),
        )
    }
}

/// Asks for the processor soon after each wake-up, and for less of it at a time, for the calling thread and those that it
/// starts: a tenth of a millisecond, the least that there is. A policy and a nice value that the daemon was given stay.
/// Kernels older than 6.12 have the same slice for all (sched_setattr(2); Documentation/scheduler/sched-eevdf.rst).
pub fn prefer_latency() {
    const SLICE_NANOS: u64 = 100_000;
    // SAFETY: all-zero is a valid sched_attr.
    let mut attr: libc::sched_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes `size` bytes at most into the struct, which outlives the call; 0 is the calling thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if got == 0 && attr.sched_policy == libc::SCHED_OTHER as u32 {
        attr.sched_runtime = SLICE_NANOS;
        // SAFETY: the struct outlives the call, which reads as much of it as it says itself.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}

/// Gives memory that is free, but still the allocator's, back to the system: glibc keeps what lies between other
/// things (malloc_trim(3)). Elsewhere allocators do it by themselves.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What this process uses now, from proc(5); `None` where that is not mounted.
pub fn own_usage() -> Option<OwnUsage> {
    let number = own_status()?;
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(OwnUsage {
        resident_bytes: number("VmRSS:")? * 1024,
        // The descriptor that the directory is read by is among them.
        open_files: entries.saturating_sub(1),
        threads: number("Threads:")?,
    })
}

/// A descriptor that becomes readable when the process `pid` exits: a pidfd, or, for a child on a kernel without
/// pidfd_open(2), a pipe that a thread closes.
///
/// # Errors
/// What pidfd_open(2) reports: ESRCH for no such process, EMFILE; ENOSYS for a process that is no child, before Linux 5.3
/// and in sandboxes that refuse the call.
pub fn exit_watch(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers, and its descriptor is new, ours alone, and close-on-exec.
    let opened = unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            fd if fd < 0 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as i32)),
        }
    };
    match opened {
        Err(err) if is_missing_call(&err) => exit_watch_by_thread(pid),
        result => result,
    }
}

/// Whether `err` means that there is no such system call: the kernel's ENOSYS, or the EPERM of a sandbox's filter
/// (seccomp(2)), which none of the calls asked about here gives by itself for a process of our own.
fn is_missing_call(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// The stack of a thread that only waits for a child, in bytes.
const WAITER_STACK_BYTES: usize = 64 * 1024;

fn exit_watch_by_thread(pid: i32) -> io::Result<OwnedFd> {
    let wait = move |options| {
        let mut info = MaybeUninit::zeroed();
        waitid(pid, &mut info, libc::WEXITED | libc::WNOWAIT | options).map(drop)
    };
    // Only its parent can wait for a process.
    wait(libc::WNOHANG).map_err(|_| io::Error::from_raw_os_error(libc::ENOSYS))?;
    let (reader, writer) = pipe()?;
    std::thread::Builder::new()
        .name("exit-watch".into())
        .stack_size(WAITER_STACK_BYTES)
        .spawn(move || {
            // WNOWAIT: the zombie stays for the thread that reaps it.
            while wait(0).is_err_and(|err| err.kind() == io::ErrorKind::Interrupted) {}
            drop(writer);
        })?;
    Ok(reader)
}

/// waitid(2) for the child `pid`, and what it has used: the system call has a fifth argument for that, which the C
/// library's function hides, and gives it for a zombie that stays (`WNOWAIT`), too.
pub(super) fn waitid(
    pid: i32,
    info: &mut MaybeUninit<libc::siginfo_t>,
    options: libc::c_int,
) -> io::Result<Option<Usage>> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills both structs when it returns 0, and they outlive it; all-zero is a valid rusage.
    let usage = unsafe {
        let result = libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            pid,
            info.as_mut_ptr(),
            options,
            usage.as_mut_ptr(),
        );
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        usage.assume_init()
    };
    Ok(Some(Usage {
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        // In kibibytes (getrusage(2)).
        peak_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }))
}

fn duration(time: libc::timeval) -> Duration {
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_micros(part(time.tv_usec))
}

/// Who connected to this socket, or who listens on it: fixed by the kernel at that time (unix(7)).
///
/// # Errors
/// What getsockopt(2) reports.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let mut cred = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: SO_PEERCRED writes one ucred of `len` bytes, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        uid: cred.uid,
        pid: (cred.pid > 0).then_some(cred.pid),
    })
}

/// This boot of the system (random(4), boot_id). `None` where `/proc` is not mounted.
pub fn boot_id() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    BOOT.get_or_init(read).as_deref().map(str::trim_end)
}

/// The time since the system was started, with the time in which it was suspended (clock_gettime(2), CLOCK_BOOTTIME).
pub fn since_boot() -> Duration {
    super::clock(libc::CLOCK_BOOTTIME)
}

/// The PID namespace of this process (pid_namespaces(7)), in which alone its pids mean something.
pub fn pid_namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.display().to_string())
}

/// What tells the process `pid` from any later one with the same number: the boot and the clock tick in it at which the
/// process started (proc(5), field 22). `None` if there is no such process.
pub fn process_mark(pid: i32) -> Option<String> {
    let started = stat_field(pid, 22)?;
    Some(format!("{}/{started}", boot_id()?))
}

/// Whether `mark` is that of the process `pid`, and that still runs: a zombie keeps its number and its mark.
pub fn is_running(pid: i32, mark: &str) -> bool {
    process_mark(pid).as_deref() == Some(mark)
        && stat_field(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

/// Whether a signal has stopped the process `pid` (proc(5), field 3 of its `stat`).
pub fn is_stopped(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state == "T" || state == "t")
}

/// A field of `/proc/PID/stat`, counted from 1 as proc(5) does, from the third on. `None` if there is no such process.
fn stat_field(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The second field is the command in parentheses and can hold anything: also `)`, and half a character.
    let after_command = &stat[stat.rfind(')')? + 1..];
    let field = after_command.split_whitespace().nth(number - 3)?;
    Some(field.to_owned())
}

/// The file that the process `pid` executes, with ` (deleted)` behind it once that file is no more (proc(5), `exe`).
/// `None` for another user's process, or none.
pub fn executable(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The path of an open file, and of what has none a word in its place, as `pipe:[7]` (proc(5), `fd`).
pub fn path_of(file: &impl AsFd) -> Option<PathBuf> {
    let number = file.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// What the process `pid` calls itself (proc(5), `comm`), also another user's.
pub fn command_name(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    // Its end at 15 bytes can lie within a character.
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Sends `signal` to the process `pid`, which `watch` was made for, and to no later one with its pid. Where the kernel
/// has no descriptors for processes, one whose end `watch` has not told is taken for it.
///
/// # Errors
/// What pidfd_send_signal(2) or kill(2) report: ESRCH if it has ended.
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
    // SAFETY: the descriptor is borrowed; a null siginfo means the one that kill(2) would send.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            info,
            0,
        )
    };
    if result != 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The C libraries do not agree on its sign.
#[cfg(target_env = "musl")]
type ResourceNumber = libc::c_int;
#[cfg(not(target_env = "musl"))]
type ResourceNumber = libc::__rlimit_resource_t;

/// By how much the kernel's OOM killer prefers a harness to the daemon (proc(5), `oom_score_adj`): of 1000.
const OOM_SCORE_MORE: i32 = 500;

/// Has the OOM killer take the child `pid`, and what it starts from now on, before this process. Raising it needs no
/// privilege. One that has set its own by now keeps that.
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
        // It may have ended, or be another user's by now.
        let _ = std::fs::write(childs, (before + OOM_SCORE_MORE).min(1000).to_string());
    }
}

/// What limits the process `pid`, 0 being this one, after `new` was put into force, if it is given.
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
    if unsafe { libc::prlimit(pid, resource, new_limit, &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(new.copied().unwrap_or(before))
}
