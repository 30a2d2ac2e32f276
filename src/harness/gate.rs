//! A gate that many threads wait at.
//!
//! Any thread waits, and one opens the gate. The threads pass one after the other: hundreds that are woken at once hold
//! the processors for tens of milliseconds, and clients wait behind them. The receiver of a channel yields several times
//! before it blocks: with hundreds of threads each yield is a switch to another one that yields.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Position {
    #[default]
    Closed,
    Open,
    /// The gate was dropped and never opens.
    Gone,
}

#[derive(Debug, Default)]
struct Inner {
    position: Mutex<Position>,
    moved: Condvar,
}

impl Inner {
    fn set(&self, position: Position) {
        let mut now = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == Position::Closed {
            *now = position;
            self.moved.notify_one();
        }
    }
}

/// The side that opens. Dropping it ends all waits.
#[derive(Debug, Default)]
pub struct Gate(Arc<Inner>);

/// The side that waits.
#[derive(Debug, Clone)]
pub struct Waiter(Arc<Inner>);

/// The passage of one thread: dropping it lets the next thread pass.
#[derive(Debug)]
pub struct Passage {
    inner: Arc<Inner>,
    /// The gate is open, and was not dropped.
    pub is_open: bool,
}

impl Gate {
    pub fn waiter(&self) -> Waiter {
        Waiter(Arc::clone(&self.0))
    }

    pub fn open(self) {
        self.0.set(Position::Open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.set(Position::Gone);
    }
}

impl Waiter {
    /// Blocks until the gate is opened or dropped, and the threads before this one have passed.
    pub fn wait(&self) -> Passage {
        let position = self.0.position.lock();
        let position = position.unwrap_or_else(PoisonError::into_inner);
        let is_closed = |position: &mut Position| *position == Position::Closed;
        let moved = self.0.moved.wait_while(position, is_closed);
        Passage {
            inner: Arc::clone(&self.0),
            is_open: *moved.unwrap_or_else(PoisonError::into_inner) == Position::Open,
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.inner.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_pass_an_open_gate_and_are_told_of_a_dropped_one() {
        for is_opened in [true, false] {
            let gate = Gate::default();
            let early: Vec<_> = (0..20)
                .map(|_| {
                    let waiter = gate.waiter();
                    std::thread::spawn(move || waiter.wait().is_open)
                })
                .collect();
            let late = gate.waiter();
            match is_opened {
                true => gate.open(),
                false => drop(gate),
            }
            for thread in early {
                assert_eq!(thread.join().unwrap(), is_opened);
            }
            assert_eq!(late.wait().is_open, is_opened);
        }
    }
}
