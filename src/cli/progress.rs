//! The progress line of a long operation, at a terminal.
//!
//! Runs on its own thread. It does not know the operation.

use std::io::{self, IsTerminal, Write};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::table::duration;
use crate::settings::durations;

/// Shows the line from the first second on, until it is dropped.
pub(super) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows the name of the operation, its time, and `how_far` it is, if stderr is a terminal.
    pub(super) fn begin(
        what: &'static str,
        how_far: impl Fn() -> Option<String> + Send + 'static,
    ) -> Self {
        let (sender, is_over) = bounded(0);
        let show = move || show(what, &how_far, &is_over);
        let thread = io::stderr().is_terminal().then(|| {
            let thread = std::thread::Builder::new().name("progress".into());
            thread.spawn(show).ok()
        });
        Self(thread.flatten().map(|thread| (sender, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn show(what: &str, how_far: &dyn Fn() -> Option<String>, is_over: &Receiver<()>) {
    let begun = Instant::now();
    let mut erase = "";
    while is_over.recv_timeout(durations::PROGRESS) == Err(RecvTimeoutError::Timeout) {
        erase = "\r\x1b[K";
        let far = how_far().map_or_else(String::new, |far| format!(", {far}"));
        let time = duration(begun.elapsed());
        let _ = write!(io::stderr(), "{erase}coven: {what}: {time}{far}");
    }
    let _ = io::stderr().write_all(erase.as_bytes());
}
