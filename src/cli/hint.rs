//! The hint of `run` and `attach` at a terminal: their session runs, but writes nothing.
//!
//! Drawn below the cursor, and erased by the next output. It does not know how output is shown.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::columns::{Rates, Sample, silence, took};
use super::interrupt::on_stop_signal;
use super::table::{duration, shortened};
use crate::api::{SessionId, SessionRecord};
use crate::settings::durations;
use crate::sys;

/// True while the terminal shows a hint. One process follows one session.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Erases the hint. Called before anything else is written to stderr.
pub(super) fn erase() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        // Clears from the cursor to the end of the screen.
        write("\x1b[J");
    }
}

/// The silence of one session.
pub(super) struct Hint {
    /// Key that leaves the session.
    way_out: &'static str,
    /// Time of the last event, or of the start.
    since: Instant,
    /// Number of looks since then.
    looks: u32,
    /// Figures of the last look: the hint shows the CPU use since then.
    before: Option<Sample>,
}

impl Hint {
    /// `None` unless stdout and stderr are a terminal that can erase.
    pub(super) fn new(way_out: &'static str) -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let can_erase = io::stdout().is_terminal() && io::stderr().is_terminal() && !is_dumb;
        can_erase.then(|| Self {
            way_out,
            since: Instant::now(),
            looks: 0,
            before: None,
        })
    }

    /// Time of the next look at the session.
    pub(super) fn due(&self) -> Instant {
        self.since + wait_for_look(self.looks)
    }

    /// Begins a new silence: an event has arrived.
    pub(super) fn restart(&mut self) {
        erase();
        self.since = Instant::now();
        self.looks = 0;
    }

    /// Shows the hint if it is due. The first look only stores the figures.
    pub(super) fn look(&mut self, record: &SessionRecord) {
        if Instant::now() < self.due() {
            return;
        }
        self.looks += 1;
        let rates = Rates::of(record, self.before.as_ref());
        self.before = Sample::of(record);
        let cpu_percent = rates.and_then(|rates| rates.cpu_percent);
        if let (2.., Some(took), Some(silence)) = (self.looks, took(record), silence(record)) {
            erase();
            let lines = lines(took, silence, cpu_percent, self.way_out, record.id);
            let width = sys::terminal_size(&io::stderr()).map_or(80, |(columns, _)| columns);
            write(&drawn(&lines, width));
            IS_SHOWN.store(true, Ordering::Relaxed);
        }
    }

    /// Erases the hint before SIGINT or SIGTERM ends this process. Called before any other thread is started.
    pub(super) fn erase_on_signal() -> io::Result<()> {
        on_stop_signal(|signal| {
            erase();
            // The process dies by the signal: shells tell that from an exit with 130.
            sys::unblock_all();
            let _ = sys::send_signal(std::process::id() as i32, signal);
        })
    }
}

impl Drop for Hint {
    fn drop(&mut self) {
        erase();
    }
}

/// The time from the last event to the next look, after `looks` others.
fn wait_for_look(looks: u32) -> Duration {
    match looks {
        0 => durations::HINT - durations::HINT_CPU,
        others => durations::HINT + durations::HINT_AGAIN * (others - 1),
    }
}

fn lines(
    took: Duration,
    silence: Duration,
    cpu_percent: Option<u64>,
    way_out: &str,
    id: SessionId,
) -> [String; 2] {
    let (took, silence) = (duration(took), duration(silence));
    let cpu = cpu_percent.map_or_else(String::new, |percent| format!(", cpu {percent} %"));
    [
        format!("coven: running {took}, silent {silence}{cpu}"),
        format!(
            "coven: {way_out}; to look from elsewhere: coven show {}",
            id.short()
        ),
    ]
}

/// The sequence that draws `lines` below the cursor and restores its position. First it moves down and up again (IND, CUU):
/// at the bottom of the screen that scrolls, and makes room.
fn drawn(lines: &[String; 2], width: usize) -> String {
    let [first, second] = lines.each_ref().map(|line| shortened(line, width - 1));
    format!("\x1bD\x1bD\x1b[2A\x1b7\x1b[m\r\n{first}\r\n{second}\x1b8")
}

fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_looked_at_before_the_first_hint_and_then_once_a_minute() {
        let seconds = [0, 1, 2, 3].map(|looks| wait_for_look(looks).as_secs());
        assert_eq!(seconds, [10, 15, 75, 135]);
    }

    #[test]
    fn the_hint_says_what_goes_on_within_the_width_of_the_terminal() {
        let seconds = Duration::from_secs;
        let id: SessionId = "8242ef6b-816b-4987-9d2e-21591e2752ce".parse().unwrap();
        let hint = lines(seconds(120), seconds(100), Some(0), "Ctrl-C detaches", id);
        assert_eq!(
            hint,
            [
                "coven: running 2 min, silent 1 min 40 s, cpu 0 %",
                "coven: Ctrl-C detaches; to look from elsewhere: coven show 8242ef6b",
            ]
        );
        let unknown = lines(seconds(16), seconds(15), None, "Ctrl-C kills it", id);
        assert_eq!(unknown[0], "coven: running 16 s, silent 15 s");
        assert_eq!(
            drawn(&hint, 20),
            "\x1bD\x1bD\x1b[2A\x1b7\x1b[m\r\ncoven: running 2 m…\r\ncoven: Ctrl-C deta…\x1b8"
        );
    }
}
