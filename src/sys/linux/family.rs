//! A session's processes on Linux: how each is recognised whatever it did to hide, how all are ended, and how those
//! are reaped whose parents have gone.
//!
//! A limit is what a process passes on to all that it starts, through `fork`, `execve`, `setsid` and an empty
//! environment. The soft value of `RLIMIT_LOCKS`, which the kernel has not used since Linux 2.4.25 (setrlimit(2)), is
//! made the session's mark. Who has set it anew is found by its parents.
//!
//! Called by harness threads, which mark and end, by the main thread, which reaps, and at start. Of sessions it knows
//! their marks.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Wake, command_name, exit_watch, is_missing_call, is_running, prlimit, process_mark,
    send_pidfd_signal, stat_field,
};
use crate::settings::durations;
use crate::sys::{Ended, Family, Interest, Process, poll, send_signal};

/// How often a holder of a pipe is looked for: one that starts another and ends is missed when the walk has passed the one
/// and not reached the other.
const HOLDER_PASSES: usize = 2;

/// Set in every mark, and in no limit that anybody means.
const MARK: u64 = 1 << 62;

/// How often SIGTERM is sent to what is there: what is started on it gets its own, and what goes on with that is killed.
const TERMINATE_ROUNDS: usize = 3;

/// The mark of what has left its family, and of what that starts.
const LEFT: u64 = MARK;

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
    if locks(0, None).is_ok_and(|limit| is_mark(limit.rlim_cur)) {
        let _ = locks(0, Some(LEFT));
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
        let before = locks(0, None).map(|limit| limit.rlim_cur);
        let restored = before.ok().filter(|_| locks(0, Some(mark(family))).is_ok());
        Self {
            restored,
            _turn: turn,
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        if let Some(soft) = self.restored {
            let _ = locks(0, Some(soft));
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
fn locks(pid: i32, soft: Option<u64>) -> io::Result<libc::rlimit> {
    let mut limit = prlimit(pid, libc::RLIMIT_LOCKS, None)?;
    if let Some(soft) = soft {
        limit.rlim_cur = soft;
        prlimit(pid, libc::RLIMIT_LOCKS, Some(&limit))?;
    }
    Ok(limit)
}

/// The processes of `families` that live, this one aside, each with the index of its family.
pub fn members(families: &[Family]) -> Vec<(usize, Process)> {
    let search = Search::new(families);
    let living = search.living().unwrap_or_default().into_iter();
    let process = |(pid, family)| {
        let mark = process_mark(pid)?;
        // It may have ended, and its pid be another's since it was found.
        search.family_of(pid, &mut HashMap::new())?;
        let name = command_name(pid)?;
        Some((family, Process { pid, name, mark }))
    };
    let mut found: Vec<_> = living.filter_map(process).collect();
    found.sort_unstable_by_key(|(_, process)| process.pid);
    found
}

/// As [`members`], for a family whose first process has exited. What it has left behind has lost its parents up to this
/// process, which adopts orphans: where it has adopted none of the family, every other process is left unread.
pub fn left_behind(family: &Family) -> Vec<Process> {
    let families = std::slice::from_ref(family);
    let has_adopted = || {
        let search = Search::new(families);
        let mut adopted = adopted()?.into_iter();
        Some(adopted.any(|pid| search.is_member(pid, &mut HashMap::new()) && !has_ended(pid)))
    };
    match has_adopted() {
        Some(false) => Vec::new(),
        // A kernel without that list (CONFIG_PROC_CHILDREN) leaves the look at all of them.
        _ => members(families)
            .into_iter()
            .map(|(_, left)| left)
            .collect(),
    }
}

/// The children of this process's first thread, to which the kernel gives orphans; a thread that starts a child keeps that
/// as its own (proc(5), children). Which child the file misses while another is reaped is found at the next search.
fn adopted() -> Option<Vec<i32>> {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
    let pids = children.split_whitespace();
    Some(pids.filter_map(|pid| pid.parse().ok()).collect())
}

/// Ends every process of `families` but this one: by SIGTERM where there is a `grace`, and by SIGKILL behind it, until there
/// is none, or for `patience` at most.
///
/// All are stopped before the first is killed: what forks faster than it can be looked for would otherwise get the room
/// of the ended ones. A stopped process keeps its place among those that `RLIMIT_NPROC` allows.
pub fn end_families(families: &[Family], grace: Duration, patience: Duration) -> Ended {
    let mut search = Search::new(families);
    let mut pids = match grace.is_zero() {
        true => Vec::new(),
        false => search.terminate_all(Instant::now() + grace),
    };
    let deadline = Instant::now() + patience;
    let mut vain = 0;
    loop {
        let Ok(pass) = search.stop_all() else {
            // No descriptor to look with: others are about to be closed.
            if Instant::now() >= deadline {
                let is_complete = false;
                return Ended { pids, is_complete };
            }
            let _ = poll(&mut [], Some(Instant::now() + durations::FAMILY_PASS));
            continue;
        };
        if pass.is_new && Instant::now() < deadline {
            continue;
        }
        let mut last = None;
        for &pid in &pass.members {
            if let Some(process) = search.signal(pid, libc::SIGKILL) {
                last = Some(process);
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
        vain = if last.is_none() { vain + 1 } else { 0 };
        let is_complete = vain > 0 && (pass.is_certain() || vain == VAIN_MAX);
        if is_complete || Instant::now() >= deadline {
            return Ended { pids, is_complete };
        }
        if let Some(process) = last {
            // One that does not die in time is met again in the next pass.
            let until = deadline.min(Instant::now() + durations::FAMILY_PASS);
            let _ = poll(&mut [Interest::readable(&process)], Some(until));
        }
    }
}

/// Whether a process of `family`, this one aside, has one of `pipes` open to write. Where it cannot be looked at, as one of
/// another user, it has not.
pub fn is_held(family: &Family, pipes: &[impl AsFd]) -> bool {
    // `pipe:[INODE]`, whoever has it open (proc(5), fd).
    let own = |pipe: &_| link(std::process::id() as i32, AsFd::as_fd(pipe).as_raw_fd());
    let names: Vec<PathBuf> = pipes.iter().filter_map(own).collect();
    let search = Search::new(std::slice::from_ref(family));
    (0..HOLDER_PASSES).any(|_| search.finds_writer(&names))
}

/// Where the descriptor `fd` of the process `pid` leads.
fn link(pid: i32, fd: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// What a look at every process came to.
#[derive(Default)]
struct Pass {
    /// Zombies perhaps among them.
    members: Vec<i32>,
    /// One was met for the first time.
    is_new: bool,
    /// A process ended while it was looked at: it may have been a member, and have started another behind the search's
    /// back.
    has_doubt: bool,
}

impl Pass {
    /// There is no doubt that nobody is left.
    fn is_certain(&self) -> bool {
        self.members.is_empty() && !self.has_doubt
    }
}

/// A member that was met, and stays one when its parents have been ended.
struct Met {
    family: usize,
    started: u64,
    /// By this search.
    is_stopped: bool,
}

/// What is looked for. Families go by their index.
struct Search {
    own: i32,
    marks: HashMap<u64, usize>,
    variables: HashMap<Vec<u8>, usize>,
    /// Each leads a session of its own (setsid(2)).
    leaders: HashMap<i32, usize>,
    met: HashMap<i32, Met>,
}

impl Search {
    fn new(families: &[Family]) -> Self {
        let all = || families.iter().enumerate();
        let known = all().flat_map(|(at, family)| family.known.iter().map(move |one| (at, one)));
        let met = known.filter_map(|(family, (pid, mark))| {
            let met = Met {
                family,
                started: started(*pid)?,
                is_stopped: false,
            };
            // The mark is looked at last: it is that of the process whose start was read.
            is_running(*pid, mark).then_some((*pid, met))
        });
        Self {
            own: std::process::id() as i32,
            marks: all().map(|(at, family)| (mark(family), at)).collect(),
            variables: all()
                .map(|(at, family)| (family.variable.clone(), at))
                .collect(),
            leaders: all()
                .filter_map(|(at, family)| Some((family.leader?, at)))
                .collect(),
            met: met.collect(),
        }
    }

    /// `begun` is the start that was read before `pid` was seen to be a member: should the pid have gone to another process
    /// in between, that one is not met.
    fn meet(&mut self, pid: i32, family: usize, begun: Option<u64>, is_stopped: bool) {
        if let Some(started) = begun {
            let met = Met {
                family,
                started,
                is_stopped,
            };
            self.met.insert(pid, met);
        }
    }

    fn met(&self, pid: i32) -> Option<&Met> {
        let met = self.met.get(&pid)?;
        (started(pid) == Some(met.started)).then_some(met)
    }

    /// The members that have not ended, each with its family.
    fn living(&self) -> io::Result<Vec<(i32, usize)>> {
        let mut known = HashMap::new();
        let others = newest_first()?.into_iter().filter(|pid| *pid != self.own);
        let members = others.filter_map(|pid| Some((pid, self.family_of(pid, &mut known)?)));
        Ok(members.filter(|(pid, _)| !has_ended(*pid)).collect())
    }

    /// Sends SIGTERM to all, and once they have ended to those that are there then; until there is none, or until
    /// `deadline`. Gives those that it was sent to.
    fn terminate_all(&mut self, deadline: Instant) -> Vec<i32> {
        let mut asked = Vec::new();
        for _ in 0..TERMINATE_ROUNDS {
            let living = self.living().unwrap_or_default();
            // All are met before the first gets its signal: its children may be known by it alone.
            for &(pid, family) in &living {
                let begun = started(pid);
                if self.is_member(pid, &mut HashMap::new()) {
                    self.meet(pid, family, begun, false);
                }
            }
            // The oldest first: who waits for a child, and would go on or exit at its end, knows why it ends.
            for &(pid, _) in living.iter().rev() {
                if self.signal(pid, libc::SIGTERM).is_some() {
                    asked.push(pid);
                    // One that is stopped is woken, so that it can act on it.
                    self.signal(pid, libc::SIGCONT);
                }
            }
            for &(pid, _) in &living {
                self.wait_for_end(pid, deadline);
            }
            if living.is_empty() || Instant::now() >= deadline {
                break;
            }
        }
        asked
    }

    fn wait_for_end(&self, pid: i32, deadline: Instant) {
        while self.met(pid).is_some() && !has_ended(pid) && Instant::now() < deadline {
            let _ = match exit_watch(pid) {
                Ok(process) => poll(&mut [Interest::readable(&process)], Some(deadline)),
                // It has ended, or nothing tells of its end.
                Err(_) => {
                    let pass = Instant::now() + durations::FAMILY_PASS;
                    poll(&mut [], Some(deadline.min(pass)))
                }
            };
        }
    }

    /// Looks at every process once, and stops the members that were not met before.
    fn stop_all(&mut self) -> io::Result<Pass> {
        let mut pass = Pass::default();
        let mut known = HashMap::new();
        for pid in newest_first()? {
            // A leader's zombie is kept on purpose, and all that it can have started is looked for by itself.
            if pid == self.own || self.leaders.contains_key(&pid) && has_ended(pid) {
                continue;
            }
            if let Some(family) = self.family_of(pid, &mut known) {
                pass.members.push(pid);
                let begun = started(pid);
                let is_stopped = self.met(pid).is_some_and(|met| met.is_stopped);
                if !is_stopped && self.signal(pid, libc::SIGSTOP).is_some() {
                    self.meet(pid, family, begun, true);
                    pass.is_new = true;
                }
            } else {
                let limit = locks(pid, None);
                pass.has_doubt |= limit.is_err_and(|err| err.raw_os_error() == Some(libc::ESRCH));
            }
        }
        Ok(pass)
    }

    /// Whether a member has a file open to write whose name is one of `names`.
    fn finds_writer(&self, names: &[PathBuf]) -> bool {
        let mut known = HashMap::new();
        let pids = newest_first().unwrap_or_default();
        pids.into_iter().any(|pid| {
            pid != self.own && self.is_member(pid, &mut known) && has_open_to_write(pid, names)
        })
    }

    fn is_member(&self, pid: i32, known: &mut HashMap<i32, Option<usize>>) -> bool {
        self.family_of(pid, known).is_some()
    }

    /// Whose member `pid` is by what it carries, or by whom it comes from. Fills in what becomes `known` on the way up.
    fn family_of(&self, pid: i32, known: &mut HashMap<i32, Option<usize>>) -> Option<usize> {
        if let Some(&family) = known.get(&pid) {
            return family;
        }
        // Pids that are given anew during the walk can make a circle of it.
        known.insert(pid, None);
        let mark = locks(pid, None).map_or(0, |limit| limit.rlim_cur);
        let family = self
            .marks
            .get(&mark)
            .copied()
            .or_else(|| self.of_variable(pid))
            .or_else(|| self.of_session(pid))
            .or_else(|| self.met(pid).map(|met| met.family))
            .or_else(|| (mark != LEFT).then(|| self.of_parent(pid, known))?);
        known.insert(pid, family);
        family
    }

    /// The family of the member that has started `pid`, if that lives: else its parent is this process, by adoption.
    fn of_parent(&self, pid: i32, known: &mut HashMap<i32, Option<usize>>) -> Option<usize> {
        stat_field(pid, 4)
            .and_then(|parent| parent.parse().ok())
            .filter(|parent| *parent > 1 && *parent != self.own)
            .and_then(|parent| self.family_of(parent, known))
    }

    /// The environment that a process was started with can be read by its own user (proc(5)); a zombie has none.
    fn of_variable(&self, pid: i32) -> Option<usize> {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environ.split(|&b| b == 0);
        variables.find_map(|variable| self.variables.get(variable).copied())
    }

    fn of_session(&self, pid: i32) -> Option<usize> {
        // SAFETY: getsid takes an integer, and gives -1 where there is no such process.
        self.leaders.get(&unsafe { libc::getsid(pid) }).copied()
    }

    /// Sends `signal` to `pid` if that is still a member, and no zombie; gives what becomes readable when it has ended.
    fn signal(&self, pid: i32, signal: i32) -> Option<OwnedFd> {
        // The descriptor comes first: should the pid go to another process while that one is looked at, the signal
        // misses it.
        let process = match exit_watch(pid) {
            Ok(process) => process,
            Err(err) if is_missing_call(&err) => return self.signal_by_number(pid, signal),
            Err(_) => return None,
        };
        let is_over = || poll(&mut [Interest::readable(&process)], Some(Instant::now()));
        if !self.is_member(pid, &mut HashMap::new()) || is_over().unwrap_or(true) {
            return None;
        }
        match send_pidfd_signal(&process, signal) {
            Ok(()) => Some(process),
            // The descriptor may be no pidfd.
            Err(_) => self.signal_by_number(pid, signal).map(|_| process),
        }
    }

    /// As [`Search::signal`], where the kernel has no descriptors for processes (before Linux 5.3): the pid could go to
    /// another process between the look at its start and the signal, if all numbers were given out in that moment.
    fn signal_by_number(&self, pid: i32, signal: i32) -> Option<OwnedFd> {
        let begun = started(pid)?;
        if has_ended(pid) || !self.is_member(pid, &mut HashMap::new()) || started(pid)? != begun {
            return None;
        }
        send_signal(pid, signal).ok()?;
        // Nothing tells of its end: the next pass looks again when the time of this one is over.
        Some(Wake::new().ok()?.0.into())
    }
}

/// Whether the process `pid` has a file open to write whose name is one of `names`. The links' names are read, and the files
/// left alone: one can be on a disk that does not answer.
fn has_open_to_write(pid: i32, names: &[PathBuf]) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    entries.into_iter().flatten().flatten().any(|entry| {
        let is_named = std::fs::read_link(entry.path()).is_ok_and(|name| names.contains(&name));
        // The link has the mode in which the file is open (proc(5), fd).
        let mode = || entry.metadata().map(|link| link.permissions().mode());
        is_named && mode().is_ok_and(|mode| mode & 0o200 != 0)
    })
}

/// Every process, the youngest first: what lives for a moment only is looked at in that moment. The kernel numbers
/// processes upwards, begins anew at the end, and tells the last number that it gave (proc(5), loadavg).
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

/// When the process `pid` was started, in clock ticks since the boot (proc(5)).
fn started(pid: i32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// Whether `pid` is a zombie: it has ended, and nobody has reaped it.
fn has_ended(pid: i32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state == "Z")
}
