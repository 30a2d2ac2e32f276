//! Assigns large pipes to harnesses. A program that exits right after writing, as node programs do, loses what its pipe
//! cannot hold; so does one that gives up when its reader is slow for some seconds.
//!
//! Shared by the harness threads; no call blocks. The kernel limits the pipe pages of a user (pipe(7),
//! `pipe-user-pages-soft`), and gives further pipes a hundredth of a large one. So there is a budget well below the
//! limit; when it is used up, a new session takes the large pipe of the one that has been quiet longest.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::api::{STDOUT_PIPE_MAX, Stream};
use crate::store::SessionNum;
use crate::sys;

/// Default capacity of a pipe, in bytes (pipe(7)).
pub(super) const SMALL: usize = 64 * 1024;

/// Pipes of a session: stdin, stdout and stderr.
const PIPES: usize = 3;

#[derive(Debug)]
pub struct Pipes {
    /// Bytes in all pipes of the user, from which the kernel makes new ones tiny.
    user_max: usize,
    held: Mutex<Held>,
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    sessions: usize,
    large: Vec<Arc<Member>>,
}

/// A large pipe.
#[derive(Debug)]
struct Member {
    pipe: Arc<File>,
    stream: Stream,
    /// Set once its session runs: only then can it count as quiet.
    num: OnceLock<SessionNum>,
    /// Tick of the last read.
    read_at: AtomicU64,
}

/// A session whose pipes are counted; dropping it uncounts them.
#[derive(Debug)]
pub(super) struct CountedPipes(Arc<Pipes>);

/// A large pipe; dropping it frees the place, unless another session has taken it.
#[derive(Debug)]
pub(super) struct LargePipe {
    pipes: Arc<Pipes>,
    member: Arc<Member>,
}

impl Pipes {
    /// A budget by the user's current limit.
    pub fn new() -> Arc<Self> {
        Self::within(sys::pipe_bytes_max())
    }

    fn within(user_max: usize) -> Arc<Self> {
        Arc::new(Self {
            user_max,
            held: Mutex::default(),
            clock: AtomicU64::new(0),
        })
    }

    /// Most large pipes with so many sessions: half of the user's limit, and leaving a quarter of it to the user's
    /// other programs after all small pipes are counted.
    fn most(&self, sessions: usize) -> usize {
        let others = sessions * PIPES * SMALL;
        let rest = (self.user_max / 4 * 3).saturating_sub(others);
        rest.min(self.user_max / 2) / STDOUT_PIPE_MAX
    }

    /// Counts a session. Calls `on_shrunk` for each session whose stdout loses its large pipe.
    pub(super) fn enter(self: &Arc<Self>, on_shrunk: impl Fn(SessionNum)) -> CountedPipes {
        let mut held = self.lock();
        held.sessions += 1;
        let most = self.most(held.sessions);
        while held.large.len() > most && held.take_back(&on_shrunk) {}
        drop(held);
        CountedPipes(Arc::clone(self))
    }

    /// Makes `pipe` large, if there is room; a stdout may take another session's place, which `on_shrunk` reports.
    pub(super) fn widen(
        self: &Arc<Self>,
        pipe: &Arc<File>,
        stream: Stream,
        on_shrunk: impl Fn(SessionNum),
    ) -> Option<LargePipe> {
        let mut held = self.lock();
        let most = self.most(held.sessions);
        let has_room = held.large.len() < most
            || most > 0 && stream == Stream::Stdout && held.take_back(&on_shrunk);
        if !has_room {
            return None;
        }
        // The limit may be used up by others, or lower than expected: the pipe stays small.
        sys::set_pipe_size(pipe, STDOUT_PIPE_MAX).ok()?;
        Some(self.hold(&mut held, pipe, stream))
    }

    /// Counts a large pipe of the previous program.
    pub(super) fn take_up(self: &Arc<Self>, pipe: &Arc<File>, stream: Stream) -> LargePipe {
        self.hold(&mut self.lock(), pipe, stream)
    }

    fn hold(self: &Arc<Self>, held: &mut Held, pipe: &Arc<File>, stream: Stream) -> LargePipe {
        let member = Arc::new(Member {
            pipe: Arc::clone(pipe),
            stream,
            num: OnceLock::new(),
            read_at: AtomicU64::new(self.tick()),
        });
        held.large.push(Arc::clone(&member));
        LargePipe {
            pipes: Arc::clone(self),
            member,
        }
    }

    /// Orders the reads.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Poisoning is harmless: no code in this file panics while it changes the list.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Makes one pipe of a running session small: a stderr before a stdout, then the one quiet for longest. A pipe with
    /// more data than a small one can hold stays large.
    fn take_back(&mut self, on_shrunk: impl Fn(SessionNum)) -> bool {
        self.large.sort_by_key(|member| {
            let read_at = member.read_at.load(Ordering::Relaxed);
            (member.stream == Stream::Stdout, read_at)
        });
        let taken = self.large.iter().position(|member| {
            member.num.get().is_some() && sys::set_pipe_size(&member.pipe, SMALL).is_ok()
        });
        let Some(member) = taken.map(|at| self.large.remove(at)) else {
            return false;
        };
        if let (Stream::Stdout, Some(num)) = (member.stream, member.num.get()) {
            on_shrunk(*num);
        }
        true
    }
}

impl LargePipe {
    /// The session runs under this number.
    pub(super) fn start(&self, num: SessionNum) {
        // Set once per session.
        let _ = self.member.num.set(num);
    }

    /// Frees the place; true if the pipe had it until now.
    pub(super) fn end(self) -> bool {
        let held = self.pipes.lock();
        held.large
            .iter()
            .any(|member| Arc::ptr_eq(member, &self.member))
    }

    /// Records a read of its pipe.
    pub(super) fn was_read(&self) {
        self.member
            .read_at
            .store(self.pipes.tick(), Ordering::Relaxed);
    }
}

impl Drop for LargePipe {
    fn drop(&mut self) {
        let mut held = self.pipes.lock();
        held.large
            .retain(|member| !Arc::ptr_eq(member, &self.member));
    }
}

impl Drop for CountedPipes {
    fn drop(&mut self) {
        self.0.lock().sessions -= 1;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::cell::RefCell;
    use std::io::{Read, Write};

    use super::super::source::Source;
    use super::*;
    use crate::redact::Redactor;

    fn pipe() -> (Arc<File>, File) {
        let (ours, childs) = sys::pipe().unwrap();
        (Arc::new(File::from(ours)), File::from(childs))
    }

    fn size(pipe: &Arc<File>) -> usize {
        sys::pipe_size(pipe).unwrap()
    }

    /// A budget of `large` large pipes.
    fn budget(large: usize) -> Arc<Pipes> {
        Pipes::within(large * 2 * STDOUT_PIPE_MAX)
    }

    /// The stdout of a running session.
    fn session(pipes: &Arc<Pipes>, number: usize) -> (Arc<File>, File, Option<LargePipe>) {
        let (ours, childs) = pipe();
        let lease = pipes.widen(&ours, Stream::Stdout, |_| {});
        if let Some(lease) = &lease {
            lease.start(nth(number));
        }
        (ours, childs, lease)
    }

    fn nth(number: usize) -> SessionNum {
        (1..number).fold(SessionNum::FIRST, |num, _| num.next())
    }

    #[test]
    fn pipes_within_the_budget_stay_large_however_long_they_are_quiet() {
        let pipes = budget(3);
        let sessions = [1, 2, 3].map(|number| session(&pipes, number));
        for (pipe, ..) in &sessions {
            assert_eq!(size(pipe), STDOUT_PIPE_MAX);
        }
    }

    #[test]
    fn a_new_session_gets_the_large_pipe_of_the_one_that_has_been_quiet_longest() {
        let pipes = budget(2);
        let (first, _f, first_lease) = session(&pipes, 1);
        let (second, _s, _second_lease) = session(&pipes, 2);
        first_lease.as_ref().unwrap().was_read();
        let taken = RefCell::new(Vec::new());
        let (third, _childs) = pipe();
        let lease = pipes.widen(&third, Stream::Stdout, |num| taken.borrow_mut().push(num));
        assert!(lease.is_some());
        assert_eq!(*taken.borrow(), [nth(2)]);
        assert_eq!(
            [size(&first), size(&second), size(&third)],
            [STDOUT_PIPE_MAX, SMALL, STDOUT_PIPE_MAX]
        );
    }

    #[test]
    fn a_pipe_that_holds_more_than_a_small_one_is_not_taken() {
        let pipes = budget(2);
        let (full, mut writer, _lease) = session(&pipes, 1);
        writer.write_all(&vec![b'x'; 3 * SMALL]).unwrap();
        let (other, _o, _other_lease) = session(&pipes, 2);
        let (third, _t, lease) = session(&pipes, 3);
        assert!(lease.is_some());
        assert_eq!(
            [size(&full), size(&other), size(&third)],
            [STDOUT_PIPE_MAX, SMALL, STDOUT_PIPE_MAX]
        );
        // All are full, or not running: the next gets a small one.
        let mut all = vec![0; 3 * SMALL];
        let (fourth, _) = pipe();
        let waits = pipes.widen(&fourth, Stream::Stdout, |_| {});
        assert!(waits.is_some(), "the third gives its place");
        let (fifth, _) = pipe();
        assert!(pipes.widen(&fifth, Stream::Stdout, |_| {}).is_none());
        assert_eq!(size(&fifth), SMALL);
        (&*full).read_exact(&mut all).unwrap();
        assert!(all.iter().all(|&byte| byte == b'x'));
    }

    #[test]
    fn a_stderr_takes_no_place_of_others_and_gives_its_own_first() {
        let pipes = budget(2);
        let (stdout, _s, lease) = session(&pipes, 1);
        let (stderr, _e) = pipe();
        let stderr_lease = pipes.widen(&stderr, Stream::Stderr, |_| {}).unwrap();
        stderr_lease.start(nth(1));
        let (other, _o) = pipe();
        assert!(pipes.widen(&other, Stream::Stderr, |_| {}).is_none());
        lease.as_ref().unwrap().start(nth(1));
        stderr_lease.was_read();
        let (third, _t, third_lease) = session(&pipes, 2);
        assert!(third_lease.is_some());
        assert_eq!(
            [size(&stdout), size(&stderr), size(&third)],
            [STDOUT_PIPE_MAX, SMALL, STDOUT_PIPE_MAX]
        );
    }

    #[test]
    fn a_place_is_free_again_when_its_pipe_is_closed() {
        let pipes = budget(1);
        drop(session(&pipes, 1));
        let (next, _n, lease) = session(&pipes, 2);
        assert!(lease.is_some());
        assert_eq!(size(&next), STDOUT_PIPE_MAX);
    }

    #[test]
    fn a_large_pipe_that_is_handed_over_takes_its_place_in_the_next_budget() {
        let redactor = Redactor::new("").0;
        let next = budget(1);
        let sources = [1, 2].map(|number| {
            let (pipe, childs, lease) = session(&budget(2 - number), number);
            let source = Source::new(pipe, lease, Stream::Stdout);
            let handover = source.hand_over(&redactor).unwrap();
            let source = Source::take_up(handover, nth(number), &next, &redactor);
            (source, childs)
        });
        let [(large, _), (small, _)] = &sources;
        assert_eq!(
            [size(&large.pipe), size(&small.pipe)],
            [STDOUT_PIPE_MAX, SMALL]
        );
        let taken = RefCell::new(Vec::new());
        let (third, _childs) = pipe();
        let lease = next.widen(&third, Stream::Stdout, |num| taken.borrow_mut().push(num));
        assert!(lease.is_some());
        assert_eq!(*taken.borrow(), [nth(1)]);
        assert_eq!(size(&large.pipe), SMALL);
    }

    #[test]
    fn many_sessions_leave_the_user_a_quarter_of_the_limit() {
        let limit = 64 * 1024 * 1024;
        let pipes = Pipes::within(limit);
        for sessions in 0..=256 {
            let all = pipes.most(sessions) * STDOUT_PIPE_MAX + sessions * PIPES * SMALL;
            assert!(all <= limit / 4 * 3, "{sessions}");
        }
        assert_eq!((pipes.most(1), pipes.most(256)), (32, 0));
        let tight = Pipes::within(5 * STDOUT_PIPE_MAX);
        let (first, _f, _lease) = session(&tight, 1);
        let places: Vec<CountedPipes> = (0..20).map(|_| tight.enter(|_| {})).collect();
        assert_eq!(size(&first), SMALL);
        drop(places);
        assert_eq!(tight.lock().sessions, 0);
    }
}
