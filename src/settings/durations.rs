//! All durations that the program waits, and sums of them.
//!
//! Constants only. A name says what is waited for; a duration that depends on another is computed from it.

use std::time::Duration;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn sum(a: Duration, b: Duration) -> Duration {
    a.saturating_add(b)
}

/// A duration that users meet: the pages of the manual show its value, and its text in a table.
pub struct Named {
    pub name: &'static str,
    pub about: &'static str,
    pub value: Duration,
}

/// Declares durations that users meet, and the list of them.
macro_rules! named {
    ($list:ident: $($(#[doc = $about:literal])+ $name:ident = $value:expr;)+) => {
        $($(#[doc = $about])+ pub const $name: Duration = $value;)+

        pub const $list: &[Named] = &[$(Named {
            name: stringify!($name),
            about: concat!($($about),+),
            value: $name,
        }),+];
    };
}

// A session.

named! { SESSION:
    /// Longest hold of a possible start of a secret before it is stored: longer than a writer's pause within a token, and
    /// too short for a reader to notice.
    SECRET_HOLD = millis(100);
    /// After the exit, the pipes count as drained once they have been quiet this long.
    DRAIN_QUIET = millis(100);
    /// Longest drain after the exit: a process that keeps a pipe open can write for ever.
    DRAIN_MAX = seconds(1);
    /// [`DRAIN_QUIET`] while a process of the session holds a pipe; [`DRAIN_MAX`] is then a setting (`COVEN_DRAIN_MAX_MS`).
    DRAIN_HELD_QUIET = seconds(2);
    /// Longest end of the processes of a killed session after SIGKILL.
    FAMILY_END = seconds(2);
    /// Longest grace period for processes that a session left behind: the client that ends the session waits for it.
    SWEEP_GRACE_MAX = seconds(5);
}
/// [`FAMILY_END`] for the sessions of a dead daemon: the next daemon's start waits for it.
pub const ORPHANS_END: Duration = millis(900);
/// The longest sweep of a session: its grace period, and the time until SIGKILL has ended the rest.
pub const SWEEP_END: Duration = sum(SWEEP_GRACE_MAX, FAMILY_END);
/// The sweep's grace period for a given `kill_grace`.
pub fn sweep_grace(kill_grace: Duration) -> Duration {
    kill_grace.min(SWEEP_GRACE_MAX)
}
/// Time in which one pass over a session's processes waits for those that it signalled, before it searches for new ones.
pub const FAMILY_PASS: Duration = millis(50);
/// A harness that writes twice within this time is busy: after a small read its pipes may fill for [`HARNESS_REST`].
/// Read at once, each of its lines would be an event and two wake-ups. The harness, which competes for the processor,
/// would run at a third of its speed.
pub const HARNESS_BUSY: Duration = millis(1);
/// See [`HARNESS_BUSY`].
pub const HARNESS_REST: Duration = Duration::from_micros(250);
/// Time after which memory that sessions or large answers needed is released, if no session is live.
pub const REST: Duration = seconds(1);
/// Longest handling of an event by the state thread that is not logged: all clients wait for it.
pub const SLOW_EVENT: Duration = millis(50);

// Answers.

/// Greatest age of the live figures, and longest wait for the state thread's list of running sessions.
pub const LIVE_FIGURES: Duration = seconds(1);
/// Longest run of a harness's program that prints its version.
pub const HARNESS_VERSION: Duration = seconds(10);

// The store.

/// Longest wait of a connection for another's lock (SQLite's busy timeout).
pub const STORE_LOCK: Duration = seconds(5);
/// [`STORE_LOCK`] for an inspection: a starting daemon replays the log under a lock.
pub const INSPECT_LOCK: Duration = millis(500);
/// Interval between interrupts of a statement: one that arrives before the statement starts is lost.
pub const INTERRUPT_AGAIN: Duration = millis(5);
/// First pause after a failed write; each further pause is twice as long.
pub const WRITE_RETRY_FIRST: Duration = millis(50);
/// Pause between attempts to restart the log, while floods wait for it.
pub const LOG_RETRY: Duration = millis(250);
/// Longest pause between two attempts to write.
pub const WRITE_RETRY_MAX: Duration = seconds(2);
/// Interval of the disk's measurements while data is written; one follows after the last write.
pub const MEASURE_EVERY: Duration = seconds(1);
/// Age of the disk's figures from which a health request measures again.
pub const MEASURE_STALE: Duration = seconds(5);
/// Interval of retention sweeps.
pub const RETENTION_EVERY: Duration = seconds(60 * 60);
/// Pause after a failed retention sweep.
pub const RETENTION_RETRY: Duration = seconds(60);
/// Pause after an `onEnd` that failed.
pub const ON_END_RETRY: Duration = seconds(60);

// The API.

named! { API:
    /// Longest silence of a client between two requests.
    REQUEST_IDLE = seconds(60);
    /// Longest delivery of a request, from its first byte.
    REQUEST_DELIVERY = seconds(10);
    /// Longest reading of an answer by its client.
    RESPONSE_DELIVERY = seconds(30);
    /// The longest `waitMs` of a request for events.
    EVENTS_WAIT_MAX = seconds(60);
    /// Longest wait of a kill for the commit of the exit; then it answers that it has signalled.
    KILL_WAIT = seconds(2);
    /// Longest wait of a large answer for memory that is held by answers whose clients do not read.
    LARGE_ANSWER = seconds(1);
    /// Longest wait of a request for the state thread's answer. Only a hanging store takes that long.
    STATE_ANSWER = seconds(15);
    /// Longest prune or vacuum: a vacuum copies the whole database twice.
    CHORE = seconds(15 * 60);
    /// Lifetime of an `Idempotency-Key` (the wire contract).
    IDEMPOTENCY = seconds(24 * 60 * 60);
}
/// Longest reading after the answer to a request that was not read completely: unread bytes would reset the connection,
/// and the client would lose the answer.
pub const LINGER: Duration = seconds(1);
/// Pause after an accept(2) that failed for lack of memory or descriptors: the connection stays in the queue, and the
/// thread would spin.
pub const ACCEPT_PAUSE: Duration = millis(20);
/// Longest wait of one request of the CLI for the next event.
pub const FOLLOW_WAIT: Duration = seconds(30);
/// Longest answer as the client sees it: the daemon's limit and the transfer. A request's own wait is added.
pub const CLIENT_ANSWER: Duration = sum(STATE_ANSWER, seconds(5));

// A start.

/// Longest wait of a start for the lock: another daemon may be stopping, and `status` takes the lock for an instant.
pub const LOCK: Duration = seconds(2);
/// Longest answer to the daemon's own health request.
pub const OWN_HEALTH: Duration = seconds(5);
/// Longest wait of `daemon start`: opening a large store after a crash replays its log.
pub const START: Duration = seconds(60);
/// Interval at which a slow start asks the service manager for more time …
pub const START_EXTEND_EVERY: Duration = seconds(10);
/// … by how much each time: longer than two late requests …
pub const START_EXTENSION: Duration = START_EXTEND_EVERY.saturating_mul(3);
/// … and in total: a log to replay can be large, and a disk can be dead.
pub const START_EXTEND_MAX: Duration = seconds(15 * 60);
/// Longest block of a message to the service manager.
pub const NOTIFY_SEND: Duration = seconds(1);
/// Longest wait of the daemon's end for messages to the service manager: the one that is being sent, and that of the stop.
pub const NOTIFY_FLUSH: Duration = NOTIFY_SEND.saturating_mul(2);
/// Shortest interval between two reports of live sessions to the service manager.
pub const NOTIFY_STATUS: Duration = seconds(1);
/// Longest wait of a request to the log thread: a blocked log must not block others.
pub const LOG_ANSWER: Duration = seconds(1);

// The home, while the daemon runs.

/// Time without a change of the home's names after which the daemon checks for missing files: deletions come in groups,
/// and a replacement takes two steps …
pub const HOME_QUIET: Duration = millis(200);
/// … and the longest wait for that.
pub const HOME_QUIET_MAX: Duration = millis(700);
/// [`HOME_QUIET_MAX`] while the home is being emptied: a recreated file would prevent its deletion.
pub const HOME_EMPTIED: Duration = millis(850);
/// Pause before the daemon tries again to lock a file that another process holds: one that starts and will be refused.
pub const HOME_LOCK_AGAIN: Duration = seconds(1);
/// Longest wait of the CLI for a daemon that binds its socket again.
pub const SOCKET_BACK: Duration = seconds(3);

// An upgrade in place.

/// How long the check of a new program may take: it only loads, and reads the database's schema.
pub const CHECK_PROGRAM: Duration = seconds(5);
/// How long an upgrade waits for the requests that are being answered; clients that have been answered wait as well.
pub const PARK: Duration = seconds(2);
/// How long an upgrade waits for the harness threads, and for sessions that are being started or ended.
pub const HAND_OVER: Duration = seconds(2);
/// How long an upgrade waits for a checkpoint before its sessions wait: the next program reads a short log sooner.
pub const SHORTEN_LOG: Duration = seconds(2);
/// How long an upgrade waits for the writer to commit what is queued.
pub const SETTLE_STORE: Duration = seconds(2);
/// How long a new program may take to take everything up, before the previous one is executed again.
pub const TAKE_UP: Duration = seconds(10);

// A stop.

/// Longest wait of a stop for the store once every harness has exited.
pub const STOP_STORE: Duration = seconds(10);
/// Longest wait of a stop for the writer to commit its last batch and close the database.
pub const STOP_WRITER: Duration = seconds(10);
/// Longest run of the answers under way once every session has ended, and then the answers to the clients that asked for
/// the stop.
pub const STOP_ANSWERS: Duration = seconds(2);
/// Longest stop in total with `grace` between SIGTERM and SIGKILL, whatever harnesses, store and clients do. The
/// store's time starts again once every harness has exited; messages to the service manager and the log are flushed last.
/// `TimeoutStopSec=` and `ExitTimeOut` of the units in `scripts/service` are at least as long for the default grace.
pub const fn stop_within(grace: Duration) -> Duration {
    let sessions = sum(grace, STOP_STORE.saturating_mul(2));
    let answers = sum(STOP_ANSWERS, LOG_ANSWER).saturating_mul(2);
    let last = sum(NOTIFY_FLUSH, STOP_WRITER);
    sum(sessions, sum(last, answers))
}
/// Added by `daemon stop` to [`stop_within`]: processors can be busy.
pub const STOP_SPARE: Duration = seconds(15);
/// Shortest wait of `daemon stop`, and its wait for a daemon that does not announce the duration of its stop.
pub const STOP: Duration = seconds(90);
/// Longest announced stop that is believed: more than a daemon can be set to.
pub const STOP_MAX: Duration = seconds(60 * 60);

// The CLI.

/// Longest health request; a daemon that takes longer counts as unresponsive.
pub const HEALTH: Duration = seconds(2);
/// Longest run of a service manager's tool.
pub const SERVICE_TOOL: Duration = seconds(1);
/// Longest wait of `daemon stop` for the answer of a starting daemon.
pub const SETTLE: Duration = seconds(2);
/// Interval of `--watch` of `sessions` and `stats`: young sessions show their age in seconds.
pub const WATCH: Duration = seconds(2);
/// The silence after which `run` and `attach` show a hint at a terminal …
pub const HINT: Duration = seconds(15);
/// … the time before it in which CPU use is measured …
pub const HINT_CPU: Duration = seconds(5);
/// … and the interval at which they repeat it.
pub const HINT_AGAIN: Duration = seconds(60);
/// Interval at which a terminal shows the progress of a long operation.
pub const PROGRESS: Duration = seconds(1);
/// Longest wait for the connection of ssh to a host.
pub const SSH_CONNECT: Duration = seconds(10);
/// Longest wait for the first answer from another host: ssh may ask for a password.
pub const REMOTE_ANSWER: Duration = seconds(120);
/// Longest wait for the last words of the program that a connection led through.
pub const PROGRAM_END: Duration = seconds(2);
/// Longest completion of a Tab key: an unresponsive daemon is not worth a longer wait.
pub const COMPLETION: Duration = seconds(1);
/// Longest run of `doctor`, without the self-test.
pub const DOCTOR: Duration = seconds(6);
/// Longest wait of `doctor` for the daemon: the time of a status request, and a little more.
pub const DOCTOR_PROBE: Duration = sum(HEALTH, millis(500));
/// Shortest time for `doctor`'s check of the database, whatever the other checks took.
pub const DOCTOR_DATABASE_MIN: Duration = millis(300);
/// Longest run of the session of `doctor`'s self-test, which does nothing slow.
pub const SELF_TEST_SESSION: Duration = seconds(10);
/// Longest run of `diagnostics`; the rest of five seconds is for a slow machine.
pub const DIAGNOSTICS: Duration = millis(4500);
/// Time at which `diagnostics` interrupts its database queries, to report what it has.
pub const DIAGNOSTICS_STORE: Duration = DIAGNOSTICS.saturating_sub(millis(500));
/// Longest request for the metrics that `diagnostics` shows.
pub const DIAGNOSTICS_METRICS: Duration = seconds(1);
/// Longest search of dpkg for the package of the executable.
pub const DPKG: Duration = millis(1500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::{checkout, each_file};

    #[test]
    fn the_units_give_a_daemon_the_time_that_its_stop_takes() {
        let within = stop_within(seconds(5)).as_secs();
        let service = checkout("scripts/service");
        for (file, begin, end) in [
            ("coven.service", "\nTimeoutStopSec=", "\n"),
            ("coven-system.service", "\nTimeoutStopSec=", "\n"),
            ("coven.plist", "<key>ExitTimeOut</key><integer>", "<"),
        ] {
            let text = std::fs::read_to_string(service.join(file)).unwrap();
            let (_, rest) = text.split_once(begin).unwrap();
            let given: u64 = rest.split_once(end).unwrap().0.parse().unwrap();
            assert!(
                given > within,
                "{file}: {given} s, and a stop may take {within} s"
            );
        }
    }

    #[test]
    fn every_duration_is_declared_in_this_table() {
        let is_one = |line: &str| line.contains("const ") && line.contains(": Duration =");
        let mut found = Vec::new();
        each_file(&checkout("src"), &mut |path, text| {
            found.extend(text.lines().any(is_one).then(|| path.to_owned()));
        });
        assert!(
            matches!(&found[..], [only] if only.ends_with("settings/durations.rs")),
            "{found:?}"
        );
    }
}
