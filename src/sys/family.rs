//! A session's processes on Linux: how each is recognised whatever it did to hide, how all are ended, and how those
//! are reaped whose parents have gone.
//!
//! `RLIMIT_RTTIME` is what a process passes on to all that it starts, through `fork`, `execve`, `setsid` and an empty
//! environment, and what the kernel uses for real-time processes only (setrlimit(2)). Its soft value is made the
//! session's mark: 2^62 microseconds and more, which is 146,000 years, so that it limits nothing.
//!
//! Called by harness threads, which mark and end, by the main thread, which reaps, and at start. Of sessions it knows
//! their marks.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{exit_watch, prlimit, send_pidfd_signal};
use crate::sys::{Ended, Family, Interest, poll};

/// Set in every mark, and in no limit that anybody means.
const MARK: u64 = 1 << 62;

/// How long a pass waits for what it has ended, before it looks again.
const PASS_PATIENCE: Duration = Duration::from_millis(50);

/// How many passes in a row find nobody alive, where each leaves a doubt, until there is nobody.
const VAIN_MAX: usize = 8;

/// From here on, processes whose parents have ended become this process's children (prctl(2)): what a harness leaves
/// behind can be reaped here, and a tree never leads out of the daemon.
pub fn adopt_orphans() {
    // SAFETY: prctl takes integers. A kernel without it (before Linux 3.4) gives orphans to init, as ever.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Takes the zombies away of the children that this thread has adopted. Called on the main thread: the kernel gives
/// orphans to the first thread that lives, and `__WNOTHREAD` leaves alone what other threads have started, which
/// each harness thread does for itself.
pub fn reap_adopted() {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::__WNOTHREAD;
        // SAFETY: waitid fills the struct when it returns 0, and all-zero, which WNOHANG leaves, is valid, too.
        let pid = unsafe {
            match libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) {
                0 => info.assume_init_ref().si_pid(),
                _ => 0,
            }
        };
        if pid == 0 {
            return;
        }
    }
}

/// This process and what it starts are of no session any more.
pub fn leave_family() {
    if let Ok(limit) = rt_time(0, None)
        && is_mark(limit.rlim_cur)
    {
        let _ = rt_time(0, Some(limit.rlim_max));
    }
}

/// While it lives, what this process starts has a family's mark from its first moment. One spawn at a time: limits
/// belong to the whole process.
pub(in crate::sys) struct Marking {
    restored: Option<u64>,
    _turn: MutexGuard<'static, ()>,
}

impl Marking {
    pub(in crate::sys) fn begin(family: &Family) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // A hard limit below the mark makes this fail: then environment and session have to do.
        let before = rt_time(0, None).map(|limit| limit.rlim_cur);
        let restored = before
            .ok()
            .filter(|_| rt_time(0, Some(mark(family))).is_ok());
        Self {
            restored,
            _turn: turn,
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        if let Some(soft) = self.restored {
            let _ = rt_time(0, Some(soft));
        }
    }
}

fn mark(family: &Family) -> u64 {
    MARK | (family.number & (MARK - 1))
}

fn is_mark(soft: u64) -> bool {
    soft != libc::RLIM_INFINITY && soft & MARK != 0
}

/// The limit of the process `pid`, 0 being this one, after its soft value was set, if `soft` is given.
fn rt_time(pid: i32, soft: Option<u64>) -> io::Result<libc::rlimit> {
    let mut limit = prlimit(pid, libc::RLIMIT_RTTIME, None)?;
    if let Some(soft) = soft {
        limit.rlim_cur = soft;
        prlimit(pid, libc::RLIMIT_RTTIME, Some(&limit))?;
    }
    Ok(limit)
}

/// Sends SIGKILL to every process of `families` but this one and the leaders, until there is none, or for `patience`
/// at most.
///
/// All are stopped before the first is ended: what forks faster than it can be looked for would otherwise get the room
/// of the ended ones. A stopped process keeps its place among those that `RLIMIT_NPROC` allows.
pub fn end_families(families: &[Family], patience: Duration) -> Ended {
    let search = Search::new(families);
    let deadline = Instant::now() + patience;
    let mut stopped = HashSet::new();
    let mut pids = Vec::new();
    let mut vain = 0;
    loop {
        let Ok((members, is_certain)) = search.members() else {
            // No descriptor to look with: others are about to be closed.
            if Instant::now() >= deadline {
                let is_complete = false;
                return Ended { pids, is_complete };
            }
            let _ = poll(&mut [], Some(Instant::now() + PASS_PATIENCE));
            continue;
        };
        let mut is_new = false;
        for &pid in &members {
            if !stopped.contains(&pid) && search.signal(pid, libc::SIGSTOP).is_some() {
                is_new = stopped.insert(pid);
            }
        }
        if is_new && Instant::now() < deadline {
            continue;
        }
        let mut last = None;
        for &pid in &members {
            if let Some(process) = search.signal(pid, libc::SIGKILL) {
                last = Some(process);
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
        vain = if last.is_none() { vain + 1 } else { 0 };
        let is_complete = vain > 0 && (is_certain || vain == VAIN_MAX);
        if is_complete || Instant::now() >= deadline {
            return Ended { pids, is_complete };
        }
        if let Some(process) = last {
            // One that does not die in time is met again in the next pass.
            let until = deadline.min(Instant::now() + PASS_PATIENCE);
            let _ = poll(&mut [Interest::readable(&process)], Some(until));
        }
    }
}

/// What is looked for.
struct Search {
    own: i32,
    marks: HashSet<u64>,
    variables: HashSet<Vec<u8>>,
    leaders: HashSet<i32>,
    /// The sessions (setsid(2)) of leaders that could not be marked.
    sessions: HashSet<i32>,
}

impl Search {
    fn new(families: &[Family]) -> Self {
        let leaders = families
            .iter()
            .filter_map(|family| Some((family.leader?, mark(family))));
        let is_marked = |pid, mark| rt_time(pid, None).is_ok_and(|limit| limit.rlim_cur == mark);
        Self {
            own: std::process::id() as i32,
            marks: families.iter().map(mark).collect(),
            variables: families
                .iter()
                .map(|family| family.variable.clone())
                .collect(),
            leaders: leaders.clone().map(|(pid, _)| pid).collect(),
            sessions: leaders
                .filter(|(pid, mark)| !is_marked(*pid, *mark))
                .map(|(pid, _)| pid)
                .collect(),
        }
    }

    /// The processes that are members, zombies perhaps among them; and whether there is no doubt that these are all.
    /// A process that ended while it was looked at may have been one, and have started another behind the search's back.
    fn members(&self) -> io::Result<(Vec<i32>, bool)> {
        let entries = std::fs::read_dir("/proc")?.flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut members = Vec::new();
        let mut has_doubt = false;
        for pid in pids.filter(|pid| *pid != self.own && !self.leaders.contains(pid)) {
            if self.is_member(pid) {
                members.push(pid);
            } else {
                let limit = rt_time(pid, None);
                has_doubt |= limit.is_err_and(|err| err.raw_os_error() == Some(libc::ESRCH));
            }
        }
        let is_certain = members.is_empty() && !has_doubt;
        Ok((members, is_certain))
    }

    fn is_member(&self, pid: i32) -> bool {
        rt_time(pid, None).is_ok_and(|limit| self.marks.contains(&limit.rlim_cur))
            || self.has_variable(pid)
            || self.is_in_session(pid)
    }

    /// The environment that a process was started with can be read by its own user (proc(5)); a zombie has none.
    fn has_variable(&self, pid: i32) -> bool {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
            environ
                .split(|&b| b == 0)
                .any(|variable| self.variables.contains(variable))
        })
    }

    fn is_in_session(&self, pid: i32) -> bool {
        // SAFETY: getsid takes an integer, and gives -1 where there is no such process.
        !self.sessions.is_empty() && self.sessions.contains(&unsafe { libc::getsid(pid) })
    }

    /// Sends `signal` to `pid` if that is still a member, and no zombie.
    fn signal(&self, pid: i32, signal: i32) -> Option<OwnedFd> {
        // The descriptor comes first: should the pid go to another process while that one is looked at, the signal
        // misses it.
        let process = exit_watch(pid).ok()?;
        let has_ended = || poll(&mut [Interest::readable(&process)], Some(Instant::now()));
        if !self.is_member(pid) || has_ended().unwrap_or(true) {
            return None;
        }
        send_pidfd_signal(&process, signal).ok()?;
        Some(process)
    }
}
