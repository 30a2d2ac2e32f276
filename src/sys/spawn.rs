//! Starts programs by `posix_spawn`. Its cost does not grow with the daemon's memory and threads, unlike fork's: the
//! child borrows the address space until it execs.

use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Family;
use super::os::Marking;
use super::signal::SignalSet;

/// A program to start in its own session and process group (setsid(2)).
pub struct Spawn<'a> {
    /// Path of the executable; no search in PATH.
    pub path: &'a Path,
    /// Arguments, starting with the program's name.
    pub argv: Vec<CString>,
    /// Environment, as `NAME=value`.
    pub env: Vec<CString>,
    pub cwd: &'a Path,
    /// Family by which the program and its descendants are recognised.
    pub family: Option<&'a Family>,
}

/// The program's three descriptors. It inherits no other: all of the daemon's are close-on-exec.
pub struct Stdio<'a> {
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

/// Converts `text` to a C string.
///
/// # Errors
/// `InvalidInput` if it holds a NUL.
pub fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} holds a NUL byte", text.display()),
        )
    })
}

/// Starts `program` with default signal dispositions and an empty signal mask; returns its pid, which is also its
/// process group and its session.
///
/// # Errors
/// The error of posix_spawn(3), including those of `chdir` and `execve` in the child.
pub fn spawn(program: &Spawn<'_>, stdio: &Stdio<'_>) -> io::Result<i32> {
    let path = c_string(program.path.as_os_str())?;
    let cwd = c_string(program.cwd.as_os_str())?;
    let mut actions = FileActions::new()?;
    actions.chdir(&cwd)?;
    for (fd, target) in [(stdio.stdin, 0), (stdio.stdout, 1), (stdio.stderr, 2)] {
        actions.dup2(fd, target)?;
    }
    let attributes = Attributes::for_a_session_of_its_own()?;
    let argv = pointers(&program.argv);
    let env = pointers(&program.env);
    let mut pid = 0;
    let _marking = program.family.map(Marking::begin);
    // SAFETY: every pointer is to a live, initialised object; `argv` and `env` are null-terminated arrays
    // of pointers to NUL-terminated strings, which posix_spawn only reads in spite of its `*mut`.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            env.as_ptr(),
        )
    })?;
    super::limits::give_back(pid);
    if program.family.is_some() {
        super::os::offer_to_oom_killer(pid);
    }
    Ok(pid)
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let end = std::iter::once(std::ptr::null_mut());
    strings
        .iter()
        .map(|s| s.as_ptr().cast_mut())
        .chain(end)
        .collect()
}

/// The posix_spawn functions return the error number instead of setting errno.
fn check(errno: libc::c_int) -> io::Result<()> {
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: init fills the object whenever it returns 0.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Self(actions.assume_init()))
        }
    }

    fn chdir(&mut self, dir: &CString) -> io::Result<()> {
        // SAFETY: the object is initialised, and the path is copied.
        check(unsafe { addchdir(&raw mut self.0, dir.as_ptr()) })
    }

    fn dup2(&mut self, fd: BorrowedFd<'_>, target: i32) -> io::Result<()> {
        // SAFETY: the object is initialised. The copy is not close-on-exec (dup2(2)); `fd` is never
        // `target` itself, since the daemon's own 0, 1 and 2 are always open.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd.as_raw_fd(), target)
        })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: the object is initialised, and destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

#[cfg(target_os = "linux")]
use libc::posix_spawn_file_actions_addchdir_np as addchdir;
#[cfg(target_os = "macos")]
unsafe extern "C" {
    #[link_name = "posix_spawn_file_actions_addchdir_np"]
    fn addchdir(
        actions: *mut libc::posix_spawn_file_actions_t,
        path: *const libc::c_char,
    ) -> libc::c_int;
}

#[cfg(target_os = "linux")]
const OWN_SESSION: libc::c_int = libc::POSIX_SPAWN_SETSID as libc::c_int;
/// `POSIX_SPAWN_SETSID` and `POSIX_SPAWN_CLOEXEC_DEFAULT` of macOS' <spawn.h>.
#[cfg(target_os = "macos")]
const OWN_SESSION: libc::c_int = 0x0400 | 0x4000;

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn for_a_session_of_its_own() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: init fills the object whenever it returns 0.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            Self(attributes.assume_init())
        };
        let flags = OWN_SESSION
            | libc::POSIX_SPAWN_SETSIGDEF as libc::c_int
            | libc::POSIX_SPAWN_SETSIGMASK as libc::c_int;
        let attr = &raw mut attributes.0;
        // SAFETY: the object and both sets are initialised; the sets are copied.
        unsafe {
            check(libc::posix_spawnattr_setflags(attr, flags as libc::c_short))?;
            check(libc::posix_spawnattr_setsigdefault(
                attr,
                SignalSet::full().as_ptr(),
            ))?;
            check(libc::posix_spawnattr_setsigmask(
                attr,
                SignalSet::empty().as_ptr(),
            ))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the object is initialised, and destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
