//! System calls and processor features that std does not offer: signals, poll, spawn, peers.
//!
//! Called from every thread. The only room with `unsafe` and with `cfg(target_os)`. It knows nothing of sessions, HTTP
//! or SQLite.

mod cgroup;
mod exec;
mod files;
pub mod lanes;
mod limits;
mod memory;
pub mod passed;
mod poll;
mod process;
mod signal;
mod spawn;
mod terminal;
mod within;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod os;
#[cfg(target_os = "macos")]
#[path = "macos/mod.rs"]
mod os;

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

pub use cgroup::{ControlGroup, OomWatch};
pub use exec::{Execution, arm, disarm, prepare_executed};
pub use files::{append_own, create_own, open_followed, open_own};
pub use limits::{
    Resource, Use, explain, is_scarce, limit, niceness, open_files_before, raise_open_files,
    reset_niceness, take_up_open_files, too_many_open_files,
};
pub use memory::{check_room, keep_reserve};
pub use os::{
    Arrivals, LogWatch, SUN_PATH_MAX, Wake, adopt_orphans, boot_id, command_name, descriptor_path,
    end_families, executable, exit_watch, family_uses, is_held, is_running, is_stopped,
    keep_inherited_descriptors, leader_use, leave_family, left_behind, members, memory_file,
    name_process, notify_address, own_program, own_usage, path_of, peer, pid_namespace, pipe,
    pipe_bytes_max, pipe_size, prefer_latency, process_mark, reap_adopted, release_free_memory,
    release_idle_memory, set_pipe_size, share_free_memory, signal_watched, since_boot,
};
pub use poll::{Interest, connect_within, poll, set_nonblocking};
pub use process::{Exit, KeptChild, ResourceUsage, kill_group, reap, wait_exit};
pub use signal::{
    CHILD_SIGNAL, DAEMON_SIGNALS, RELOAD_SIGNAL, STOP_SIGNALS, SignalSet, block_signals,
    ignore_interrupts, send_signal, set_daemon_dispositions, unblock_all, wait_signal,
};
pub use spawn::{Spawn, Stdio, spawn};
pub use terminal::{local_time, terminal_size};
pub use within::{INTERRUPTED, Within};

/// The longest single argument that `execve` takes, in bytes without its terminating NUL.
///
/// Linux: `MAX_ARG_STRLEN` is 32 pages, 131,072 bytes with the NUL (execve(2)). macOS has no limit for
/// one argument, only for all of them; the same number keeps the contract one.
pub const ARGUMENT_MAX: usize = 131_071;

/// Variables that a service manager sets for the process that it starts (sd_notify(3), sd_listen_fds(3),
/// systemd.exec(5)). Children must not inherit them: they would speak in the daemon's name.
pub const SERVICE_VARIABLES: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "FDSTORE",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "XPC_SERVICE_NAME",
];

/// Pid of another process whose lock on `bytes` of `file` conflicts with a write lock (fcntl(2), F_GETLK).
pub fn lock_holder(file: &impl AsFd, bytes: std::ops::Range<i64>) -> Option<i32> {
    // SAFETY: a flock is integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = bytes.start;
    lock.l_len = bytes.end - bytes.start;
    // SAFETY: fcntl reads and writes the struct, which outlives the call.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    (result == 0 && lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid)
}

/// Reads the clock `id`, which every supported system has, and which starts at 0 (clock_gettime(2)).
fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes the struct, which outlives the call.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// True if `name` is one of [`SERVICE_VARIABLES`].
pub fn is_service_variable(name: &std::ffi::OsStr) -> bool {
    SERVICE_VARIABLES.iter().any(|&known| name == known)
}

/// The other end of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id at the time of `connect`.
    pub uid: u32,
    /// Pid of the process that connected or listened; `None` if the system does not tell.
    pub pid: Option<i32>,
}

/// The processes of one session: its first process, and all that it starts, as far as they can be recognised.
#[derive(Debug, Clone)]
pub struct Family {
    /// Variable in their environment, as `NAME=value`; a process can remove it.
    pub variable: Vec<u8>,
    /// Random number of the family. 62 bits of it form the mark that a process cannot remove.
    pub number: u64,
    /// Pid of the first process, which leads their session, while that pid cannot be reused: the process lives, or its
    /// zombie is not reaped.
    pub leader: Option<i32>,
    /// Members recorded earlier, each with its [`process_mark`]; they stay members even without variable and mark.
    pub known: Vec<(i32, String)>,
}

/// CPU time and memory of the processes of a family, including zombies.
#[derive(Debug, Clone, Copy, Default)]
pub struct FamilyUse {
    /// CPU time of the leader and of the children that it has waited for, in milliseconds.
    pub leader_cpu_ms: u64,
    /// The same, of all processes.
    pub cpu_ms: u64,
    /// Resident memory. A page that several processes share counts for each.
    pub rss_bytes: u64,
}

/// A process, with the mark that tells it from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// The name that it gives itself: at most 15 arbitrary bytes.
    pub name: String,
    /// Its [`process_mark`].
    pub mark: String,
}

/// Result of ending a family.
#[derive(Debug)]
pub struct FamilyEnd {
    /// Pids that were signalled.
    pub pids: Vec<i32>,
    /// No member is left.
    pub is_complete: bool,
}

/// Resources that this process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnUsage {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    pub open_files: u64,
    pub threads: u64,
}

/// The effective user id of this process.
pub fn euid() -> u32 {
    // SAFETY: geteuid(2) takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// True if both paths lead to the same file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().map(|meta| file_id(&meta));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}

/// Metadata of the open file `file` (fstat(2)).
///
/// # Errors
/// The descriptor is closed, or no descriptor is left for its copy.
pub fn metadata_of(file: &impl AsFd) -> io::Result<Metadata> {
    let file = file.as_fd().try_clone_to_owned()?;
    std::fs::File::from(file).metadata()
}

/// Identity of a file: its device and inode (stat(2)). Valid while the file exists.
pub fn file_id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Identity of the file that `path` names, without following a link; `None` if there is none.
pub fn named_file_id(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|meta| file_id(&meta))
}

/// True if this process (EMFILE) or the machine (ENFILE) has no descriptor left.
pub fn is_out_of_descriptors(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Starts a thread without which the daemon must not run. If it panics, the process aborts, and its supervisor can
/// restart it: a daemon without its writer would accept requests and answer none.
///
/// # Errors
/// No thread can be created.
pub fn spawn_essential(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            std::process::abort();
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(guarded)
        .map(drop)
}

/// Cause of a wake-up of the signals thread.
#[derive(Debug)]
pub enum Arrival {
    Signal(i32),
    /// Names in the watched directories were created, deleted or moved; an empty name stands for a directory itself.
    Names(Vec<OsString>),
    /// The deadline passed.
    Deadline,
}

/// Bytes that a read of `fd`, a pipe, socket or file, would return now; 0 for other descriptors.
pub fn bytes_waiting(fd: &impl AsFd) -> usize {
    let mut n: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut n) };
    if result < 0 {
        0
    } else {
        usize::try_from(n).unwrap_or(0)
    }
}

/// Checks that this process may execute `file`, by its mode, its access list and its mount.
pub fn check_executable(file: &Path) -> io::Result<()> {
    let file = spawn::c_string(file.as_os_str())?;
    // SAFETY: `file` is NUL-terminated, and outlives the call.
    checked(unsafe { libc::faccessat(libc::AT_FDCWD, file.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
        .map(drop)
}

/// Microseconds of CLOCK_MONOTONIC, which all processes share (clock_gettime(2)).
pub fn monotonic_micros() -> u64 {
    clock(libc::CLOCK_MONOTONIC).as_micros() as u64
}

/// Takes over the listening socket that the parent process passed as descriptor `number`.
///
/// # Errors
/// There is no such descriptor, or it is not a listening stream socket (unix(7), `SO_ACCEPTCONN`).
pub fn inherited_listener(number: i32) -> io::Result<UnixListener> {
    // SAFETY: fcntl takes integers.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: fcntl has just proven that the descriptor is open. It was passed to this process, and no other code uses
    // it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: both options are an int.
    let [kind, listens]: [libc::c_int; 2] = unsafe {
        [
            socket_option(&fd, libc::SO_TYPE)?,
            socket_option(&fd, libc::SO_ACCEPTCONN)?,
        ]
    };
    if kind != libc::SOCK_STREAM {
        return Err(io::Error::other("it is no stream socket"));
    }
    if listens == 0 {
        return Err(io::Error::other("it does not listen"));
    }
    Ok(fd.into())
}

/// Reads an option of the level `SOL_SOCKET`.
///
/// # Safety
/// The option's type must be `T`, for which all zeros is a valid value.
unsafe fn socket_option<T>(fd: &impl AsFd, option: libc::c_int) -> io::Result<T> {
    // SAFETY: by the caller's promise; both pointers outlive the call, and `length` is the size of `value`.
    unsafe {
        let mut value: T = std::mem::zeroed();
        let mut length = size_of::<T>() as libc::socklen_t;
        let (fd, to) = (fd.as_fd().as_raw_fd(), (&raw mut value).cast());
        checked(libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            to,
            &raw mut length,
        ))?;
        Ok(value)
    }
}

/// Turns a system call's result of -1 into the error in errno.
fn checked<T: From<i8> + PartialEq>(result: T) -> io::Result<T> {
    match result == T::from(-1) {
        true => Err(io::Error::last_os_error()),
        false => Ok(result),
    }
}

/// Takes ownership of the descriptor that a system call returned.
///
/// # Safety
/// `fd` is new and owned by the caller alone, or -1.
unsafe fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's promise.
    checked(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Bytes that an unprivileged user can still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = spawn::c_string(path.as_os_str())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is NUL-terminated, and statvfs fills the struct whenever it returns 0.
    let stat = unsafe {
        checked(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()))?;
        stat.assume_init()
    };
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' width differs by system"
    )]
    Ok(stat.f_bavail as u64 * stat.f_frsize as u64)
}

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub home: std::path::PathBuf,
}

/// Looks up the user `uid`. The user database can be a directory server: the call may take seconds.
pub fn user(uid: u32) -> Option<User> {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;
    let mut buffer = vec![0u8; 16 * 1024];
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: getpwuid_r fills `entry`, whose strings point into `buffer`; both outlive the use, and
    // `found` is null unless the entry was filled.
    let [name, home] = unsafe {
        let status = libc::getpwuid_r(
            uid,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut found,
        );
        if status != 0 || found.is_null() {
            return None;
        }
        let entry = *found;
        // A C library may leave these pointers null.
        [entry.pw_name, entry.pw_dir].map(|text| match text.is_null() {
            true => Vec::new(),
            false => CStr::from_ptr(text).to_bytes().to_vec(),
        })
    };
    Some(User {
        name: String::from_utf8_lossy(&name).into_owned(),
        home: OsStr::from_bytes(&home).into(),
    })
}

/// This user's home directory in the user database, for when `HOME` is not set.
pub fn home_from_passwd() -> Option<std::path::PathBuf> {
    Some(user(euid())?.home)
}

/// The system, as uname(2) describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// `Linux` or `Darwin`.
    pub name: String,
    /// The kernel's release, such as `6.12.0`.
    pub release: String,
    /// The machine's architecture, such as `x86_64`.
    pub machine: String,
}

pub fn system() -> System {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: uname(2) fills the struct; should it fail, it is all zeros, which are empty strings.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field
            .iter()
            .take_while(|&&c| c != 0)
            // `c_char` is signed on some machines, unsigned on others.
            .map(|&c| c.to_ne_bytes()[0])
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    System {
        name: text(&names.sysname),
        release: text(&names.release),
        machine: text(&names.machine),
    }
}

/// Replaces the socket behind the descriptor `old` by `listener`; returns the old socket under a new descriptor. A
/// thread that waits in accept(2) on `old` returns once its pending connections are taken.
pub fn replace_listener(old: &UnixListener, listener: &UnixListener) -> io::Result<UnixListener> {
    let before = old.try_clone()?;
    let number = old.as_raw_fd();
    // SAFETY: both descriptors are open for the call, and dup2 replaces in one step; fcntl and shutdown take integers.
    unsafe {
        checked(libc::dup2(listener.as_raw_fd(), number))?;
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::shutdown(before.as_raw_fd(), libc::SHUT_RDWR);
    }
    Ok(before)
}

/// Redirects descriptor 1 to `file`.
pub fn replace_stdout(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: both descriptors are open; std never closes descriptor 1, nor relies on its target.
    checked(unsafe { libc::dup2(file.as_fd().as_raw_fd(), 1) }).map(drop)
}
