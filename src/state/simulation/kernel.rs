//! The simulated kernel: a clock, signals to processes, and threads that cannot always be created.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::harness::{SimulatedProcess, SimulatedThread};
use super::{StateEvent, World};
use crate::adapters::Program;
use crate::api::{EndCause, SessionId};
use crate::harness::{Go, Harness, HarnessShared, PumpHandover, Waiter};
use crate::state::kernel::Kernel;
use crate::state::life::InputTime;
use crate::store::Done;
use crate::sys::Exit;

pub(super) struct Simulated(pub(super) Rc<RefCell<World>>);

impl Kernel for Simulated {
    fn now(&self) -> InputTime {
        self.0.borrow().time()
    }

    fn signal(&self, pid: i32, signal: i32) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        // An order to reap comes before a later signal.
        world.deliver();
        world.signal(pid, signal)
    }

    fn prepare(
        &self,
        id: SessionId,
        program: Program,
        shared: HarnessShared,
        _events: Sender<StateEvent>,
        started: Done,
    ) -> io::Result<(Harness, Go)> {
        let world = &mut *self.0.borrow_mut();
        world.accepted(id);
        if world.random.one_in(30) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let (harness, orders) = Harness::new(Arc::default())?;
        let (go, start) = bounded(1);
        let thread =
            SimulatedThread::new(id, &program, shared.queue, (start, orders), started, world);
        world.threads.insert(id, thread);
        Ok((harness, go))
    }

    fn take_up(
        &self,
        id: SessionId,
        handover: PumpHandover,
        _shared: HarnessShared,
        _events: Sender<StateEvent>,
        _begin: Waiter,
    ) -> io::Result<Harness> {
        self.0.borrow_mut().take_up(id, &handover)
    }

    fn reap_adopted(&self) {
        self.0.borrow_mut().unreaped -= 1;
    }
}

impl World {
    fn signal(&mut self, pid: i32, signal: i32) -> io::Result<()> {
        let threads = &mut self.threads;
        let found = threads.values_mut().find(|thread| thread.pid == Some(pid));
        let thread = found.expect("a process of this daemon");
        assert!(
            matches!(
                thread.process,
                SimulatedProcess::Alive | SimulatedProcess::Zombie
            ) && !thread.is_ordered_to_reap,
            "a signal to a pid that may be another process's: {:?}",
            thread.process
        );
        let id = thread.id;
        match signal {
            libc::SIGCONT => return Ok(()),
            libc::SIGUSR1 => {
                let asked = self.clients.signalled.take();
                assert_eq!(asked, Some(id), "a signal that nobody has asked for");
                return Ok(());
            }
            libc::SIGTERM | libc::SIGKILL => {}
            other => panic!("signal {other}"),
        }
        thread.note_timeout(self.now);
        assert!(
            thread.is_end_wanted || thread.is_lost_known,
            "nobody has asked for its end"
        );
        if thread.process == SimulatedProcess::Zombie {
            return Ok(());
        }
        if signal == libc::SIGKILL && !thread.is_first_signal() {
            self.with_thread(id, |thread, world| thread.die(Exit::Signal(9), world));
            return Ok(());
        }
        if thread.refuses || self.random.one_in(20) {
            thread.refuse();
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        self.with_thread(id, |thread, world| thread.be_signalled(signal, world));
        Ok(())
    }

    /// Notes that the launch of `id` has been accepted.
    fn accepted(&mut self, id: SessionId) {
        self.clients.accepted += 1;
        self.clients.check_key(id);
        assert!(self.stopped_at.is_none(), "a launch during the stop");
    }
}

/// The causes of an end that a harness thread reports.
pub(super) const LIMITS: [EndCause; 2] = [EndCause::Idle, EndCause::TokenLimit];
