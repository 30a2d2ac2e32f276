//! A session's processes on Linux: recognises them even if they try to hide, ends them all, and reaps orphans.
//!
//! A process is recognised by its mark ([`super::mark`]), and one that changed its mark by its parents.
//!
//! Harness threads end families, the main thread reaps, and recovery ends leftovers at start. It knows the
//! marks of sessions, and nothing else of them.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::mark::{LEFT, locks, mark};
use super::{
    Wake, command_name, exit_watch, has_ended, is_missing_call, is_running, newest_first,
    process_mark, send_pidfd_signal, started, stat, stat_field, system_amount,
};
use crate::settings::durations;
use crate::sys::KeptChild;
use crate::sys::{Family, FamilyEnd, FamilyUse, Interest, Process, poll, send_signal};

/// Passes over all processes when searching for a holder of a pipe. A process that starts another and exits can hide it
/// from one pass.
const HOLDER_PASSES: usize = 2;

/// Rounds of SIGTERM: a process started by the handler of one gets the next; survivors are killed.
const TERMINATE_ROUNDS: usize = 3;

/// Consecutive passes without a living member, each with a doubt, after which the search ends.
const VAIN_MAX: usize = 8;

/// Makes this process the parent of orphaned descendants (prctl(2)). They can then be reaped here, and every
/// descendant's chain of parents leads to the daemon.
pub fn adopt_orphans() {
    // SAFETY: prctl takes integers. A kernel without it (before Linux 3.4) gives orphans to init.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Reaps the orphans that this thread has adopted. Runs on the main thread: the kernel gives orphans to the first
/// living thread. `__WNOTHREAD` skips the children of other threads: each harness thread reaps its own. A harness whose
/// thread has ended, or of the program before execve(2), is a child of the main thread, too: it is kept ([`KeptChild`]).
pub fn reap_adopted() {
    let own = |options: libc::c_int, kind: libc::idtype_t, pid: i32| {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = options | libc::WEXITED | libc::WNOHANG | libc::__WNOTHREAD;
        // SAFETY: waitid fills the struct when it returns 0; all zeros, which WNOHANG leaves, is valid, too.
        unsafe {
            match libc::waitid(kind, pid.unsigned_abs(), info.as_mut_ptr(), options) {
                0 => info.assume_init_ref().si_pid(),
                _ => 0,
            }
        }
    };
    loop {
        let pid = own(libc::WNOWAIT, libc::P_ALL, 0);
        if pid == 0 {
            return;
        }
        if KeptChild::is_kept(pid) {
            break;
        }
        own(0, libc::P_PID, pid);
    }
    // A kept zombie hides the others from waitid(2): they are asked for one by one.
    let thread = format!("/proc/self/task/{}/children", std::process::id());
    let children = std::fs::read_to_string(thread).unwrap_or_default();
    let others = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    for pid in others.filter(|pid| !KeptChild::is_kept(*pid)) {
        own(0, libc::P_PID, pid);
    }
}

/// The living processes of `families` except this one, each with the index of its family.
pub fn members(families: &[Family]) -> Vec<(usize, Process)> {
    let search = Search::new(families);
    let living = search.living().unwrap_or_default().into_iter();
    let process = |(pid, family)| {
        let mark = process_mark(pid)?;
        // The process may have ended, and its pid have been reused, since it was found.
        search.family_of(pid, &mut HashMap::new())?;
        let name = command_name(pid)?;
        Some((family, Process { pid, name, mark }))
    };
    let mut found: Vec<_> = living.filter_map(process).collect();
    found.sort_unstable_by_key(|(_, process)| process.pid);
    found
}

/// CPU time and memory of each of `families`, in one pass over all processes.
pub fn family_uses(families: &[Family]) -> Vec<FamilyUse> {
    let search = Search::new(families);
    let mut uses = vec![FamilyUse::default(); families.len()];
    let mut known = HashMap::new();
    for pid in newest_first().unwrap_or_default() {
        let family = (pid != search.own).then(|| search.family_of(pid, &mut known));
        let (Some(family), Some(one)) = (family.flatten(), leader_use(pid)) else {
            continue;
        };
        let usage = &mut uses[family];
        usage.cpu_ms += one.cpu_ms;
        usage.rss_bytes += one.rss_bytes;
        if families[family].leader == Some(pid) {
            usage.leader_cpu_ms = one.leader_cpu_ms;
        }
    }
    uses
}

/// CPU time and memory of the family of `leader` as if it had no other process. `None` if there is no such process.
pub fn leader_use(leader: i32) -> Option<FamilyUse> {
    let stat = stat(leader)?;
    let number = |field: usize| stat.split_whitespace().nth(field - 3)?.parse::<u64>().ok();
    // Clock ticks of the process, and of the children that it has waited for (proc(5)).
    let ticks: u64 = [14, 15, 16, 17].into_iter().filter_map(number).sum();
    let cpu_ms = ticks * 1000 / system_amount(libc::_SC_CLK_TCK, 100);
    Some(FamilyUse {
        leader_cpu_ms: cpu_ms,
        cpu_ms,
        rss_bytes: number(24)? * system_amount(libc::_SC_PAGESIZE, 4096),
    })
}

/// As [`members`], for a family whose first process has exited. Its orphans are adopted by this process: if none of its
/// adopted children belongs to the family, no other process needs to be read.
pub fn left_behind(family: &Family) -> Vec<Process> {
    let families = std::slice::from_ref(family);
    let has_adopted = || {
        let search = Search::new(families);
        let mut adopted = adopted()?.into_iter();
        Some(adopted.any(|pid| search.is_member(pid, &mut HashMap::new()) && !has_ended(pid)))
    };
    match has_adopted() {
        Some(false) => Vec::new(),
        // A kernel without that file (CONFIG_PROC_CHILDREN) requires reading all processes.
        _ => members(families)
            .into_iter()
            .map(|(_, left)| left)
            .collect(),
    }
}

/// The children of this process's main thread, to which the kernel gives orphans; other threads' children are not
/// listed (proc(5), children). The file can miss a child while another is reaped; the next search finds it.
fn adopted() -> Option<Vec<i32>> {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
    let pids = children.split_whitespace();
    Some(pids.filter_map(|pid| pid.parse().ok()).collect())
}

/// Ends every process of `families` except this one: by SIGTERM if `grace` is not zero, then by SIGKILL, until none is
/// left or `patience` is over.
///
/// All are stopped before the first is killed: a process that forks faster than the search would otherwise reuse the
/// places of killed ones. A stopped process still counts for `RLIMIT_NPROC`.
pub fn end_families(families: &[Family], grace: Duration, patience: Duration) -> FamilyEnd {
    let mut search = Search::new(families);
    let mut pids = match grace.is_zero() {
        true => Vec::new(),
        false => search.terminate_all(Instant::now() + grace),
    };
    let deadline = Instant::now() + patience;
    let mut vain = 0;
    loop {
        let Ok(pass) = search.stop_all() else {
            // No descriptor is left for the search: retry, since others will be closed.
            if Instant::now() >= deadline {
                let is_complete = false;
                return FamilyEnd { pids, is_complete };
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
            return FamilyEnd { pids, is_complete };
        }
        if let Some(process) = last {
            // A process that does not die in time is found again by the next pass.
            let until = deadline.min(Instant::now() + durations::FAMILY_PASS);
            let _ = poll(&mut [Interest::readable(&process)], Some(until));
        }
    }
}

/// True if a process of `family`, except this one, has one of `pipes` open for writing. Processes that cannot be read,
/// such as another user's, are ignored.
pub fn is_held(family: &Family, pipes: &[impl AsFd]) -> bool {
    // The link's target is `pipe:[INODE]` in every process (proc(5), fd).
    let own = |pipe: &_| link(std::process::id() as i32, AsFd::as_fd(pipe).as_raw_fd());
    let names: Vec<PathBuf> = pipes.iter().filter_map(own).collect();
    let search = Search::new(std::slice::from_ref(family));
    (0..HOLDER_PASSES).any(|_| search.finds_writer(&names))
}

/// Target of the descriptor `fd` of the process `pid`.
fn link(pid: i32, fd: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// Result of one pass over all processes.
#[derive(Default)]
struct Pass {
    /// May include zombies.
    members: Vec<i32>,
    /// A member was found that earlier passes had not found.
    is_new: bool,
    /// A process ended while it was read: it may have been a member, and have started another that the pass missed.
    has_doubt: bool,
}

impl Pass {
    /// True if no member is left, without doubt.
    fn is_certain(&self) -> bool {
        self.members.is_empty() && !self.has_doubt
    }
}

/// A recorded member; it stays one when its parents have ended.
struct Met {
    family: usize,
    started: u64,
    /// Stopped by this search.
    is_stopped: bool,
}

/// State of a search; families are identified by their index.
struct Search {
    own: i32,
    marks: HashMap<u64, usize>,
    variables: HashMap<Vec<u8>, usize>,
    /// Pids of the session leaders (setsid(2)), with their families.
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
            // The mark is checked last: then it belongs to the process whose start was read.
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

    /// Records a member that gets `signal`. `begun` was read before `pid` was recognised as a member: if the pid has been reused in
    /// between, the new process is not recorded.
    fn meet(&mut self, pid: i32, family: usize, begun: Option<u64>, signal: i32) {
        if let Some(started) = begun {
            let met = Met {
                family,
                started,
                is_stopped: signal == libc::SIGSTOP,
            };
            self.met.insert(pid, met);
        }
    }

    fn met(&self, pid: i32) -> Option<&Met> {
        let met = self.met.get(&pid)?;
        (started(pid) == Some(met.started)).then_some(met)
    }

    /// The living members, each with its family.
    fn living(&self) -> io::Result<Vec<(i32, usize)>> {
        let mut known = HashMap::new();
        let others = newest_first()?.into_iter().filter(|pid| *pid != self.own);
        let members = others.filter_map(|pid| Some((pid, self.family_of(pid, &mut known)?)));
        Ok(members.filter(|(pid, _)| !has_ended(*pid)).collect())
    }

    /// Sends SIGTERM to all members, and after their end to new ones, until none is left or `deadline`. Returns the
    /// pids signalled.
    fn terminate_all(&mut self, deadline: Instant) -> Vec<i32> {
        let mut asked = Vec::new();
        for _ in 0..TERMINATE_ROUNDS {
            let living = self.living().unwrap_or_default();
            // All members are recorded before the first signal: some children can be recognised only by their parent.
            for &(pid, family) in &living {
                let begun = started(pid);
                if self.is_member(pid, &mut HashMap::new()) {
                    self.meet(pid, family, begun, libc::SIGTERM);
                }
            }
            // Oldest first: a parent that waits for a child then already knows why the child ends.
            for &(pid, _) in living.iter().rev() {
                if self.signal(pid, libc::SIGTERM).is_some() {
                    asked.push(pid);
                    // SIGCONT wakes a stopped process, so that it can handle the signal.
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
                // The process has ended, or its exit cannot be watched.
                Err(_) => {
                    let pass = Instant::now() + durations::FAMILY_PASS;
                    poll(&mut [], Some(deadline.min(pass)))
                }
            };
        }
    }

    /// Reads every process once, and stops the members that are new.
    fn stop_all(&mut self) -> io::Result<Pass> {
        let mut pass = Pass::default();
        let mut known = HashMap::new();
        for pid in newest_first()? {
            // A leader's zombie is kept on purpose, and its descendants are found by themselves.
            if pid == self.own || self.leaders.contains_key(&pid) && has_ended(pid) {
                continue;
            }
            if let Some(family) = self.family_of(pid, &mut known) {
                pass.members.push(pid);
                let begun = started(pid);
                let is_stopped = self.met(pid).is_some_and(|met| met.is_stopped);
                if !is_stopped && self.signal(pid, libc::SIGSTOP).is_some() {
                    self.meet(pid, family, begun, libc::SIGSTOP);
                    pass.is_new = true;
                }
            } else {
                let limit = locks(pid, None);
                pass.has_doubt |= limit.is_err_and(|err| err.raw_os_error() == Some(libc::ESRCH));
            }
        }
        Ok(pass)
    }

    /// True if a member has one of `names` open for writing.
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

    /// The family of `pid`, by its own mark, variable or session, or by its parents. Caches the results in `known`.
    fn family_of(&self, pid: i32, known: &mut HashMap<i32, Option<usize>>) -> Option<usize> {
        if let Some(&family) = known.get(&pid) {
            return family;
        }
        // Pids reused during the walk can form a circle.
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

    /// The family of `pid`'s parent, if that is a living member; an orphan's parent is this process.
    fn of_parent(&self, pid: i32, known: &mut HashMap<i32, Option<usize>>) -> Option<usize> {
        stat_field(pid, 4)
            .and_then(|parent| parent.parse().ok())
            .filter(|parent| *parent > 1 && *parent != self.own)
            .and_then(|parent| self.family_of(parent, known))
    }

    /// Only the same user can read a process's initial environment (proc(5)); a zombie has none.
    fn of_variable(&self, pid: i32) -> Option<usize> {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environ.split(|&b| b == 0);
        variables.find_map(|variable| self.variables.get(variable).copied())
    }

    fn of_session(&self, pid: i32) -> Option<usize> {
        // SAFETY: getsid takes an integer, and returns -1 if there is no such process.
        self.leaders.get(&unsafe { libc::getsid(pid) }).copied()
    }

    /// Sends `signal` to `pid` if it is still a living member; returns a descriptor that becomes readable at its exit.
    fn signal(&self, pid: i32, signal: i32) -> Option<OwnedFd> {
        // The descriptor is opened first: if the pid is reused during the check, the signal does not reach the new
        // process.
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
            // The descriptor may be a pipe instead of a pidfd.
            Err(_) => self.signal_by_number(pid, signal).map(|_| process),
        }
    }

    /// As [`Search::signal`], on a kernel without pidfds (before Linux 5.3). The pid could be reused between the check
    /// and the signal only if all pids were used up in that moment.
    fn signal_by_number(&self, pid: i32, signal: i32) -> Option<OwnedFd> {
        let begun = started(pid)?;
        if has_ended(pid) || !self.is_member(pid, &mut HashMap::new()) || started(pid)? != begun {
            return None;
        }
        send_signal(pid, signal).ok()?;
        // The exit cannot be watched: the next pass checks again after its timeout.
        Some(Wake::new().ok()?.0.into())
    }
}

/// True if the process `pid` has one of `names` open for writing. Only the links are read, not the files: a file can be
/// on a disk that does not answer.
fn has_open_to_write(pid: i32, names: &[PathBuf]) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    entries.into_iter().flatten().flatten().any(|entry| {
        let is_named = std::fs::read_link(entry.path()).is_ok_and(|name| names.contains(&name));
        // The link's mode is the mode in which the file is open (proc(5), fd).
        let mode = || entry.metadata().map(|link| link.permissions().mode());
        is_named && mode().is_ok_and(|mode| mode & 0o200 != 0)
    })
}
