//! A gate that many threads wait at.
//!
//! Any thread waits, and one opens the gate. A wait is one futex(2), and the threads that it ends take no lock: the receiver of a
//! channel yields several times before it blocks, and behind a condition variable hundreds of threads wait for one mutex.

use std::sync::{Arc, OnceLock};

/// True for an open gate, and false for one that never opens.
type Inner = Arc<OnceLock<bool>>;

/// The side that opens. Dropping it ends all waits.
#[derive(Debug, Default)]
pub struct Gate(Inner);

/// The side that waits.
#[derive(Debug, Clone)]
pub struct Waiter(Inner);

impl Gate {
    pub fn waiter(&self) -> Waiter {
        Waiter(Arc::clone(&self.0))
    }

    pub fn open(self) {
        // Nobody else sets it but the drop.
        let _ = self.0.set(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // An open gate stays open.
        let _ = self.0.set(false);
    }
}

impl Waiter {
    /// Blocks until the gate is opened or dropped; true if it is open.
    pub fn wait(&self) -> bool {
        *self.0.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_pass_an_open_gate_and_are_told_of_a_dropped_one() {
        for is_opened in [true, false] {
            let gate = Gate::default();
            let early = std::thread::spawn({
                let waiter = gate.waiter();
                move || waiter.wait()
            });
            let late = gate.waiter();
            match is_opened {
                true => gate.open(),
                false => drop(gate),
            }
            assert_eq!(early.join().unwrap(), is_opened);
            assert_eq!(late.wait(), is_opened);
        }
    }
}
