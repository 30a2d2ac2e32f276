//! Every duration that the program waits, and the sums that follow from them.
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

// A session.

/// How long what may be the beginning of a secret is held back from the store: a writer's pause in the middle of a token
/// is shorter, and a reader does not notice it.
pub const SECRET_HOLD: Duration = millis(100);
/// After the exit, the pipes count as drained when they have been quiet this long.
pub const DRAIN_QUIET: Duration = millis(100);
/// After the exit, the longest that draining takes: who keeps a pipe open can write for ever.
pub const DRAIN_MAX: Duration = seconds(1);
/// The first of the two while a process of the session holds a pipe; the second is a setting then (`COVEN_DRAIN_MAX_MS`).
pub const DRAIN_HELD_QUIET: Duration = seconds(2);
/// How long the processes of a killed session may take to end after their SIGKILL.
pub const FAMILY_END: Duration = seconds(2);
/// The same for the sessions of a dead daemon: the start of the next one waits for it.
pub const ORPHANS_END: Duration = millis(900);
/// The longest between SIGTERM and SIGKILL for what a session has left behind: who asks for its end waits for the answer.
pub const SWEEP_GRACE_MAX: Duration = seconds(5);
/// The same where `kill_grace` is set.
pub fn sweep_grace(kill_grace: Duration) -> Duration {
    kill_grace.min(SWEEP_GRACE_MAX)
}
/// How long one pass over a session's processes waits for those that it has signalled, before it looks for new ones.
pub const FAMILY_PASS: Duration = millis(50);
/// A harness that has written twice within this time is busy: after a small read its pipes are left alone for
/// [`HARNESS_REST`], and fill. Read at once, each of its lines would be an event and two wake-ups, and the harness,
/// which waits for a processor like everybody, would run at a third of its speed.
pub const HARNESS_BUSY: Duration = millis(1);
/// See [`HARNESS_BUSY`].
pub const HARNESS_REST: Duration = Duration::from_micros(250);
/// How long no session is live until memory that sessions needed is released.
pub const REST: Duration = seconds(1);
/// An event of the state thread whose handling takes longer is logged: everybody else has waited for it.
pub const SLOW_EVENT: Duration = millis(50);

// Answers.

/// How long a large answer waits for memory that others hold, whose clients do not read.
pub const LARGE_ANSWER: Duration = seconds(1);
/// The greatest age of the live figures, and the wait for the state thread to list the running sessions.
pub const LIVE_FIGURES: Duration = seconds(1);
/// For how long the program of a harness may say its version.
pub const HARNESS_VERSION: Duration = seconds(10);

// The store.

/// How long a connection waits for another's lock (SQLite's busy timeout).
pub const STORE_LOCK: Duration = seconds(5);
/// The same for who only looks at the database: a daemon that starts replays the log under one.
pub const INSPECT_LOCK: Duration = millis(500);
/// How long until an interrupt of a statement is sent again: one that comes before its statement is lost.
pub const INTERRUPT_AGAIN: Duration = millis(5);
/// The first pause after a failed attempt to write; each further one is twice as long.
pub const WRITE_RETRY_FIRST: Duration = millis(50);
/// The pause after an attempt to have the log begin anew, while floods wait for that.
pub const LOG_RETRY: Duration = millis(250);
/// The longest pause between two attempts to write.
pub const WRITE_RETRY_MAX: Duration = seconds(2);
/// The disk's figures are taken so often while something is written, and once after that.
pub const MEASURE_EVERY: Duration = seconds(1);
/// Disk figures that are older are taken anew when somebody asks for health.
pub const MEASURE_STALE: Duration = seconds(5);
/// How often retention looks through the ended sessions although nothing has happened.
pub const RETENTION_EVERY: Duration = seconds(60 * 60);
/// The pause after a sweep of retention's that has failed.
pub const RETENTION_RETRY: Duration = seconds(60);
/// The pause after an `onEnd` that could not be carried out.
pub const ON_END_RETRY: Duration = seconds(60);
/// How long an `Idempotency-Key` is remembered (the wire contract).
pub const IDEMPOTENCY: Duration = seconds(24 * 60 * 60);

// The API.

/// How long a client may be silent between two requests.
pub const REQUEST_IDLE: Duration = seconds(60);
/// How long a client may take to deliver a request, from its first byte.
pub const REQUEST_DELIVERY: Duration = seconds(10);
/// How long a client may take to read an answer.
pub const RESPONSE_DELIVERY: Duration = seconds(30);
/// After an answer to a request that was not read to its end, how long to go on reading: unread bytes cause a reset,
/// which would take the answer from the client.
pub const LINGER: Duration = seconds(1);
/// The pause after an accept(2) that failed for want of memory or descriptors: without it the thread would spin, since the
/// connection that could not be accepted stays in the queue.
pub const ACCEPT_PAUSE: Duration = millis(20);
/// How long a request waits for the state thread's answer. Only a store that hangs takes as long.
pub const STATE_ANSWER: Duration = seconds(15);
/// How long a prune or a vacuum may take: a vacuum copies the whole database, twice.
pub const CHORE: Duration = seconds(15 * 60);
/// How long a kill waits for the exit to be committed, before it answers that it has signalled.
pub const KILL_WAIT: Duration = seconds(2);
/// The longest `waitMs` of a request for events.
pub const EVENTS_WAIT_MAX: Duration = seconds(60);
/// How long one of the CLI's requests waits for the next event.
pub const FOLLOW_WAIT: Duration = seconds(30);
/// How long an answer may take, as the client sees it: what the daemon may wait, and its way. Waits come on top.
pub const CLIENT_ANSWER: Duration = sum(STATE_ANSWER, seconds(5));

// A start.

/// How long a start waits for the lock: another daemon may be on its way out, and `status` looks at the lock by taking
/// it for an instant.
pub const LOCK: Duration = seconds(2);
/// How long the daemon's own request for its health may take.
pub const OWN_HEALTH: Duration = seconds(5);
/// How long `daemon start` waits: opening a large store after a crash replays its log.
pub const START: Duration = seconds(60);
/// A slow start asks the service manager for more time so often …
pub const START_EXTEND_EVERY: Duration = seconds(10);
/// … each time for so long, which outlives two requests that are late …
pub const START_EXTENSION: Duration = START_EXTEND_EVERY.saturating_mul(3);
/// … and no longer in all: a log to recover can be large, and a disk can be dead.
pub const START_EXTEND_MAX: Duration = seconds(15 * 60);
/// How long a message to the service manager may wait for one that does not read.
pub const NOTIFY_SEND: Duration = seconds(1);
/// The service manager is told of live sessions no more often.
pub const NOTIFY_STATUS: Duration = seconds(1);
/// How long who asks the log's thread for something waits: a log that is stuck must hold nobody.
pub const LOG_ANSWER: Duration = seconds(1);

// The home, while the daemon runs.

/// How long the names in the home must be quiet before the daemon looks at what has gone: who deletes one deletes more, and
/// who replaces one puts another in its place …
pub const HOME_QUIET: Duration = millis(200);
/// … and the longest that it waits for that.
pub const HOME_QUIET_MAX: Duration = millis(700);
/// The same where the home is being emptied: it may be about to be deleted, which a file that is made anew would prevent.
pub const HOME_EMPTIED: Duration = millis(850);
/// How long until the daemon tries again to take a lock that another process holds by now: one that starts, and is refused.
pub const HOME_LOCK_AGAIN: Duration = seconds(1);
/// How long the CLI waits for a daemon to make its socket anew.
pub const SOCKET_BACK: Duration = seconds(3);

// A stop.

/// How long a stop waits for the store once every harness has exited.
pub const STOP_STORE: Duration = seconds(10);
/// How long a stop waits for the writer to commit its last batch and close the database.
pub const STOP_WRITER: Duration = seconds(10);
/// How long the answers that are on their way may take once every session has ended; and again those of who has asked
/// for the stop.
pub const STOP_ANSWERS: Duration = seconds(2);
/// The longest that a stop takes in all with `grace` between SIGTERM and SIGKILL, whatever harnesses, store and clients
/// do. The store's time begins anew once every harness has exited; the log's last lines are waited for at the end.
/// `TimeoutStopSec=` and `ExitTimeOut` of the units in `scripts/service` are no shorter with the default grace.
pub const fn stop_within(grace: Duration) -> Duration {
    let sessions = sum(grace, STOP_STORE.saturating_mul(2));
    let answers = sum(STOP_ANSWERS, LOG_ANSWER).saturating_mul(2);
    sum(sessions, sum(STOP_WRITER, answers))
}
/// What `daemon stop` allows beyond [`stop_within`]: processors can be busy.
pub const STOP_SPARE: Duration = seconds(15);
/// How long `daemon stop` waits at least, and for a daemon that does not say how long its stop may take.
pub const STOP: Duration = seconds(90);
/// More than a daemon can be set to: a longer stop is not believed.
pub const STOP_MAX: Duration = seconds(60 * 60);

// The CLI.

/// How long health may take before the daemon counts as one that does not answer.
pub const HEALTH: Duration = seconds(2);
/// How long a service manager's own tool may take.
pub const SERVICE_TOOL: Duration = seconds(1);
/// How long `daemon stop` waits for a daemon that has begun to start to answer.
pub const SETTLE: Duration = seconds(2);
/// How often `--watch` of `sessions` and `stats` looks anew: ages are told in seconds at first.
pub const WATCH: Duration = seconds(2);
/// The silence of a session after which `run` and `attach` say at a terminal that it runs …
pub const HINT: Duration = seconds(15);
/// … the time before that over which its CPU use is measured …
pub const HINT_CPU: Duration = seconds(5);
/// … and the time until they say it again.
pub const HINT_AGAIN: Duration = seconds(60);
/// From when on, and how often, a terminal is shown how far a long operation is.
pub const PROGRESS: Duration = seconds(1);
/// How long a Tab may take: what a daemon that hangs would say is not worth more.
pub const COMPLETION: Duration = seconds(1);
/// How long `doctor` may take, without the self-test.
pub const DOCTOR: Duration = seconds(6);
/// How long `doctor` gives the daemon to show itself: what its status takes, and a little more.
pub const DOCTOR_PROBE: Duration = sum(HEALTH, millis(500));
/// What `doctor`'s check of the database may take at least, whatever the rest has taken.
pub const DOCTOR_DATABASE_MIN: Duration = millis(300);
/// How long `doctor`'s self-test gives its session, which does nothing that takes time.
pub const SELF_TEST_SESSION: Duration = seconds(10);
/// How long `diagnostics` may take. What is left of five seconds is for a slow machine.
pub const DIAGNOSTICS: Duration = millis(4500);
/// From when on `diagnostics` interrupts what looks into the database, so that it can still say how far it has come.
pub const DIAGNOSTICS_STORE: Duration = DIAGNOSTICS.saturating_sub(millis(500));
/// How long the daemon may take for the metrics that `diagnostics` shows.
pub const DIAGNOSTICS_METRICS: Duration = seconds(1);
/// How long dpkg may take to look for the binary in its lists.
pub const DPKG: Duration = millis(1500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// The files below `dir` that declare a constant duration.
    fn declaring(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                declaring(&path, found);
            } else if fs::read_to_string(&path).is_ok_and(|text| {
                let is_one = |line: &str| line.contains("const ") && line.contains(": Duration =");
                text.lines().any(is_one)
            }) {
                found.push(path.display().to_string());
            }
        }
    }

    #[test]
    fn the_units_give_a_daemon_the_time_that_its_stop_takes() {
        let within = stop_within(seconds(5)).as_secs();
        let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/service");
        for (file, begin, end) in [
            ("coven.service", "\nTimeoutStopSec=", "\n"),
            ("coven-system.service", "\nTimeoutStopSec=", "\n"),
            ("coven.plist", "<key>ExitTimeOut</key><integer>", "<"),
        ] {
            let text = fs::read_to_string(service.join(file)).unwrap();
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
        let mut found = Vec::new();
        declaring(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert!(
            matches!(&found[..], [only] if only.ends_with("settings/durations.rs")),
            "{found:?}"
        );
    }
}
