//! macOS's own means: kqueue for exits, `getpeereid`; no eventfd, no `pipe2`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

mod exec;
mod watch;

pub(super) use exec::execute;
pub use exec::{memory_file, name_process, own_program};

pub use watch::{Arrivals, LogWatch, Wake};

use super::{Family, FamilyEnd, FamilyUse, OwnUsage, Peer, Process, ResourceUsage, checked, owned};

/// Longest path of a Unix socket, in bytes: `sun_path` has 104 with its NUL.
pub const SUN_PATH_MAX: usize = 103;

/// Capacity of the pipe `_fd`: macOS does not report it.
pub fn pipe_size(_fd: &impl AsFd) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets the capacity of the pipe `_fd`: macOS manages it itself, up to 64 KiB.
pub fn set_pipe_size(_fd: &impl AsFd, _bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Total capacity of a user's pipes: macOS has no such limit.
pub fn pipe_bytes_max() -> usize {
    0
}

/// Does nothing: `POSIX_SPAWN_CLOEXEC_DEFAULT` hides every descriptor from harnesses.
pub fn keep_inherited_descriptors() {}

/// The socket address in `NOTIFY_SOCKET`: a path. macOS has no abstract namespace.
///
/// # Errors
/// `name` is too long for an address, or no path.
pub fn notify_address(name: &std::ffi::OsStr) -> io::Result<std::os::unix::net::SocketAddr> {
    std::os::unix::net::SocketAddr::from_pathname(name)
}

/// Creates a pipe with both ends close-on-exec. `POSIX_SPAWN_CLOEXEC_DEFAULT`, which the spawn sets, covers the moment
/// between pipe(2) and fcntl(2).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: pipe fills both ints on success, and the descriptors are new and ours alone.
    unsafe {
        if libc::pipe(fds.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let ends = (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]));
        for fd in fds {
            if libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(ends)
    }
}

/// Does nothing: macOS has no `oom_score_adj`.
pub(super) fn offer_to_oom_killer(_pid: i32) {}

/// Creates a Unix stream socket, close-on-exec.
pub(super) fn unix_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket and fcntl take integers, and the descriptor is new and ours alone.
    unsafe {
        let socket = owned(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0))?;
        checked(libc::fcntl(
            socket.as_raw_fd(),
            libc::F_SETFD,
            libc::FD_CLOEXEC,
        ))?;
        Ok(socket)
    }
}

/// poll(2) with `timeout`; without one it waits for ever. macOS has no ppoll(2).
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> libc::c_int {
    let timeout = timeout.map_or(-1, |timeout| {
        // Rounded up: a timeout cut to whole milliseconds would spin through the last one.
        let millis = (timeout + Duration::from_micros(999)).as_millis();
        i32::try_from(millis).unwrap_or(i32::MAX)
    });
    // SAFETY: `fds` is a live array of `fds.len()` pollfd structs.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }
}

/// Does nothing: macOS threads have no scheduling slice to request.
pub fn prefer_latency() {}

/// Does nothing: the allocator shares a few arenas already.
pub fn share_free_memory() {}

/// Does nothing: the allocator returns free memory by itself.
pub fn release_free_memory() {}

/// Does nothing: the system takes back what is not used for long.
pub fn release_idle_memory() {}

/// Not available: macOS has no `/proc`.
pub fn own_usage() -> Option<OwnUsage> {
    None
}

/// A descriptor that becomes readable when the child `pid` exits: a kqueue with one `EVFILT_PROC`.
pub fn exit_watch(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: kqueue returns a new descriptor; kevent reads the one change, which outlives the call.
    unsafe {
        let fd = libc::kqueue();
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let queue = OwnedFd::from_raw_fd(fd);
        let change = libc::kevent {
            ident: pid as usize,
            filter: libc::EVFILT_PROC,
            flags: libc::EV_ADD,
            fflags: libc::NOTE_EXIT,
            data: 0,
            udata: std::ptr::null_mut(),
        };
        let none = std::ptr::null_mut();
        if libc::kevent(fd, &raw const change, 1, none, 0, std::ptr::null()) == 0 {
            return Ok(queue);
        }
        let err = io::Error::last_os_error();
        if err.raw_os_error() != Some(libc::ESRCH) {
            return Err(err);
        }
    }
    // ESRCH means that the child is a zombie already: the read end of a pipe without a writer is readable at once.
    pipe().map(|(reader, _)| reader)
}

/// waitid(2) for the child `pid`. Only wait4(2) reports its usage on macOS, but it reaps the zombie too early.
pub(super) fn waitid(
    pid: i32,
    info: &mut MaybeUninit<libc::siginfo_t>,
    options: libc::c_int,
) -> io::Result<Option<ResourceUsage>> {
    // SAFETY: waitid fills the struct when it returns 0, and it outlives the call.
    let result =
        unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, info.as_mut_ptr(), options) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(None)
}

/// Identity of the process that connected to this socket or listens on it.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: getpeereid writes the two ids, which outlive the call.
    if unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { uid, pid: None })
}

/// Id of this boot (`kern.bootsessionuuid`). `None` if the kernel does not tell.
pub fn boot_id() -> Option<&'static str> {
    static BOOT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let read = || {
        let mut value = [0u8; 64];
        let mut length = value.len();
        // SAFETY: sysctlbyname writes at most `length` bytes into `value`, and both outlive the call.
        let result = unsafe {
            libc::sysctlbyname(
                c"kern.bootsessionuuid".as_ptr(),
                value.as_mut_ptr().cast(),
                &raw mut length,
                std::ptr::null_mut(),
                0,
            )
        };
        let text = std::ffi::CStr::from_bytes_until_nul(&value).ok()?;
        (result == 0).then(|| text.to_string_lossy().into_owned())
    };
    BOOT.get_or_init(read).as_deref()
}

/// Time since boot, including sleep (clock_gettime(3), CLOCK_MONOTONIC).
pub fn since_boot() -> Duration {
    super::clock(libc::CLOCK_MONOTONIC)
}

/// macOS has one PID namespace only.
pub fn pid_namespace() -> Option<String> {
    None
}

/// Mark that tells the process `pid` from any later one with the same pid: its start in microseconds since the epoch.
/// `None` if there is no such process.
pub fn process_mark(pid: i32) -> Option<String> {
    let info = process_info(pid)?;
    Some((info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec).to_string())
}

/// True if `mark` belongs to the process `pid`, and it still runs: a zombie keeps its pid and its mark.
pub fn is_running(pid: i32, mark: &str) -> bool {
    process_mark(pid).as_deref() == Some(mark)
        && process_info(pid).is_some_and(|info| info.pbi_status != libc::SZOMB)
}

/// True if a signal has stopped the process `pid`.
pub fn is_stopped(pid: i32) -> bool {
    process_info(pid).is_some_and(|info| info.pbi_status == libc::SSTOP)
}

/// Executable of the process `pid`. `None` for another user's process, or no process.
pub fn executable(pid: i32) -> Option<PathBuf> {
    let mut path = vec![0u8; libc::PROC_PIDPATHINFO_MAXSIZE as usize];
    // SAFETY: proc_pidpath writes at most `path.len()` bytes; it returns their number, or 0 or less after an error.
    let length = unsafe { libc::proc_pidpath(pid, path.as_mut_ptr().cast(), path.len() as u32) };
    let length = usize::try_from(length).ok().filter(|&n| n > 0)?;
    path.truncate(length);
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

/// `None`: this system executes no descriptor.
pub fn descriptor_path(_: &impl AsFd) -> Option<PathBuf> {
    None
}

/// Path of an open file; `None` without one.
pub fn path_of(file: &impl AsFd) -> Option<PathBuf> {
    let mut path = vec![0_u8; libc::PATH_MAX as usize];
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: F_GETPATH writes at most PATH_MAX bytes, with a NUL, into the buffer, which outlives the call.
    if unsafe { libc::fcntl(fd, libc::F_GETPATH, path.as_mut_ptr()) } < 0 {
        return None;
    }
    let length = path.iter().position(|&byte| byte == 0)?;
    path.truncate(length);
    Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

/// Name of the process `pid`: needed only for systemd, which macOS does not have.
pub fn command_name(_pid: i32) -> Option<String> {
    None
}

fn process_info(pid: i32) -> Option<libc::proc_bsdinfo> {
    let mut info = std::mem::MaybeUninit::<libc::proc_bsdinfo>::uninit();
    let size = size_of::<libc::proc_bsdinfo>() as i32;
    // SAFETY: proc_pidinfo fills `size` bytes of the struct, or returns less.
    unsafe {
        if libc::proc_pidinfo(
            pid,
            libc::PROC_PIDTBSDINFO,
            0,
            info.as_mut_ptr().cast(),
            size,
        ) != size
        {
            return None;
        }
        Some(info.assume_init())
    }
}

/// Does nothing: macOS has no subreaper, and launchd adopts orphans.
pub fn adopt_orphans() {}

/// Does nothing: no orphans are adopted.
pub fn reap_adopted() {}

/// Does nothing: macOS has no marks.
pub fn leave_family() {}

/// Does nothing: macOS has no attribute that a process cannot remove.
pub(super) struct Marking;

impl Marking {
    pub(super) fn begin(_family: &Family) -> Self {
        Self
    }
}

/// macOS does not show other processes' environments: members cannot be found.
pub fn members(_families: &[Family]) -> Vec<(usize, Process)> {
    Vec::new()
}

/// As [`members`].
pub fn family_uses(_families: &[Family]) -> Vec<FamilyUse> {
    Vec::new()
}

/// Not told here.
pub fn leader_use(_leader: i32) -> Option<FamilyUse> {
    None
}

/// As [`members`].
pub fn left_behind(_family: &Family) -> Vec<Process> {
    Vec::new()
}

/// Signals the process groups of the families' leaders: SIGTERM, and SIGKILL after `grace`. Without a grace the caller
/// has signalled them already.
pub fn end_families(families: &[Family], grace: Duration, _patience: Duration) -> FamilyEnd {
    if !grace.is_zero() {
        let leaders = || families.iter().filter_map(|family| family.leader);
        // The group's members and their exits cannot be observed, so it waits for the whole grace.
        leaders().for_each(|leader| drop(super::kill_group(leader, libc::SIGTERM)));
        let _ = super::poll(&mut [], Some(Instant::now() + grace));
        leaders().for_each(|leader| drop(super::kill_group(leader, libc::SIGKILL)));
    }
    FamilyEnd {
        pids: Vec::new(),
        is_complete: true,
    }
}

/// True if a process of `_family` has one of `_pipes` open for writing: macOS does not tell.
pub fn is_held(_family: &Family, _pipes: &[impl AsFd]) -> bool {
    false
}

/// Sends `signal` to the process that `watch` was created for. A kqueue can only watch, so the pid is used.
///
/// # Errors
/// The error of kill(2): ESRCH if it has ended.
pub fn signal_watched(_watch: &OwnedFd, pid: i32, signal: i32) -> io::Result<()> {
    super::send_signal(pid, signal)
}
