//! Compares the ages of rows with a plain model that knows the true time.

use super::*;
use crate::random::Random;

const HOUR: i64 = DAY / 24;
const MONTH: i64 = 30 * DAY;

/// About 2026, in milliseconds.
const TODAY: i64 = 1_790_000_000_000;

const NONE: [i64; 0] = [];

/// A machine's clocks, and the true time, which no program sees.
struct Machine {
    truth: i64,
    /// Error of the wall clock, in milliseconds.
    error: i64,
    boot: &'static str,
    since_boot: i64,
    clock: Clock,
    /// True time and wall-clock time of each row.
    rows: Vec<(i64, i64)>,
}

impl Machine {
    fn new(error: i64) -> Self {
        let now = Now {
            boot: "0",
            since_boot: 5000,
            wall: TODAY + error,
        };
        Self {
            truth: TODAY,
            error,
            boot: "0",
            since_boot: 5000,
            clock: Clock::begin(now, None),
            rows: Vec::new(),
        }
    }

    fn wall(&self) -> i64 {
        self.truth + self.error
    }

    fn look(&mut self) {
        self.clock.observe(Now {
            boot: self.boot,
            since_boot: self.since_boot,
            wall: self.wall(),
        });
        assert!(self.clock.is_sane() && self.clock.spans.len() <= SPANS_MAX);
    }

    /// Time passes, also during a suspend or without a daemon.
    fn pass(&mut self, millis: i64) {
        self.truth += millis;
        self.since_boot += millis;
    }

    /// A daemon runs and observes the clocks once an hour.
    fn run(&mut self, millis: i64) {
        for _ in 0..millis / HOUR {
            self.pass(HOUR);
            self.look();
        }
    }

    fn set(&mut self, error: i64) {
        self.error = error;
    }

    /// The machine is off for `off` milliseconds; afterwards its clock is wrong by `error`.
    fn reboot(&mut self, off: i64, error: i64) {
        self.truth += off;
        self.since_boot = 5000;
        self.boot = if self.boot == "0" { "1" } else { "0" };
        self.error = error;
        let stored = serde_json::to_string(&self.clock).unwrap();
        self.clock = serde_json::from_str(&stored).unwrap();
        self.look();
    }

    fn write(&mut self) {
        self.look();
        self.rows.push((self.truth, self.wall()));
    }

    /// True ages of the rows that count as older than `age`.
    fn old(&self, age: i64) -> Vec<i64> {
        let aged = self.clock.older_than(age);
        let old = self.rows.iter().filter(|(_, wall)| {
            let at = Timestamp::from_millis(*wall);
            let is_old = aged.is_old(at);
            assert!(!is_old || at < aged.end(), "{at} {aged:?}");
            is_old
        });
        old.map(|(truth, _)| self.truth - truth).collect()
    }
}

/// Clock errors: 1971, 40 days ahead, ten years back, before 1970, and an hour.
const ERRORS: [i64; 6] = [
    -TODAY + 365 * DAY,
    40 * DAY,
    -3650 * DAY,
    -TODAY - 9 * 365 * DAY,
    HOUR,
    -HOUR,
];

#[test]
fn a_row_is_as_old_as_the_time_since_boot_says_however_the_clock_is_set() {
    for first in ERRORS {
        for second in [0, 40 * DAY, -3650 * DAY, -TODAY] {
            let mut machine = Machine::new(first);
            machine.write();
            machine.pass(60_000);
            machine.set(second);
            machine.look();
            assert_eq!(machine.old(MONTH), NONE, "{first} {second}");
            machine.write();
            machine.run(29 * DAY);
            assert_eq!(machine.old(MONTH), NONE, "{first} {second}");
            machine.run(DAY + HOUR);
            assert_eq!(machine.old(MONTH).len(), 2, "{first} {second}");
        }
    }
}

#[test]
fn time_in_a_suspend_or_without_a_daemon_counts() {
    let mut machine = Machine::new(0);
    machine.write();
    machine.pass(29 * DAY);
    machine.write();
    assert_eq!(machine.old(MONTH), NONE);
    machine.set(40 * DAY);
    machine.pass(2 * DAY);
    machine.look();
    assert_eq!(machine.old(MONTH), [31 * DAY]);
}

#[test]
fn a_day_that_nobody_has_observed_counts_at_once_and_more_once_it_is_confirmed() {
    for (off, expected) in [
        (HOUR + 1, true),
        (DAY, true),
        (DAY + 1, false),
        (40 * DAY, false),
    ] {
        let mut machine = Machine::new(0);
        machine.write();
        machine.run(MONTH - HOUR);
        machine.reboot(off, 0);
        assert_eq!(machine.old(MONTH).len() == 1, expected, "{off}");
        assert_eq!(machine.clock.unconfirmed().is_some(), !expected, "{off}");
        machine.pass(DAY - 1);
        machine.look();
        // The row lacks an hour without the unobserved time, and 23 hours have been observed since.
        assert_eq!(machine.old(MONTH).len(), 1, "{off}");
        assert_eq!(machine.clock.unconfirmed().is_some(), !expected, "{off}");
        machine.pass(1);
        machine.look();
        assert_eq!(machine.clock.unconfirmed(), None, "{off}");
        let all: i64 = machine.old(MONTH).iter().sum();
        assert_eq!(all, MONTH - HOUR + off + DAY);
    }
}

#[test]
fn a_clock_that_is_wrong_at_a_boot_takes_nothing_away_once_it_is_set_right() {
    for error in ERRORS {
        for before_it_is_set in [60_000, 3 * HOUR, DAY - HOUR] {
            let mut machine = Machine::new(0);
            machine.write();
            machine.run(HOUR);
            machine.reboot(HOUR, error);
            assert_eq!(machine.old(MONTH), NONE);
            machine.write();
            machine.pass(before_it_is_set);
            machine.look();
            assert_eq!(machine.old(MONTH), NONE);
            machine.set(0);
            machine.look();
            machine.run(2 * DAY);
            assert_eq!(machine.old(MONTH), NONE, "{error} {before_it_is_set}");
            machine.run(MONTH);
            assert_eq!(machine.old(MONTH).len(), 2, "{error} {before_it_is_set}");
        }
    }
}

#[test]
fn a_boot_with_a_wrong_clock_is_corrected_by_the_next_boot_with_a_right_one() {
    for error in ERRORS {
        let mut machine = Machine::new(0);
        machine.write();
        machine.run(HOUR);
        machine.reboot(HOUR, error);
        machine.write();
        machine.run(2 * HOUR);
        machine.reboot(HOUR, 0);
        machine.run(3 * DAY);
        assert_eq!(machine.old(MONTH), NONE, "{error}");
        machine.run(MONTH);
        assert_eq!(machine.old(MONTH).len(), 2, "{error}");
    }
}

#[test]
fn a_machine_that_is_off_each_night_and_weekend_still_forgets_in_time() {
    let mut machine = Machine::new(0);
    machine.write();
    let mut days = 0;
    while machine.old(MONTH).is_empty() {
        machine.run(9 * HOUR);
        machine.reboot(15 * HOUR, 0);
        if days % 7 == 4 {
            machine.reboot(2 * DAY, 0);
        }
        days += 1;
        assert!(machine.truth - TODAY < 34 * DAY);
    }
    assert!(machine.truth - TODAY >= MONTH);
}

#[test]
fn a_store_of_an_older_coven_waits_if_its_clock_may_be_wrong() {
    let newest = Timestamp::from_millis(TODAY);
    for (now, is_old) in [
        (TODAY + HOUR, true),
        (TODAY + 40 * DAY, false),
        (TODAY - 40 * DAY, false),
    ] {
        let now = Now {
            boot: "0",
            since_boot: 5000,
            wall: now,
        };
        let mut clock = Clock::begin(now, Some(newest));
        let at = Timestamp::from_millis(TODAY - MONTH);
        assert_eq!(clock.older_than(MONTH).is_old(at), is_old);
        assert!(!clock.older_than(MONTH).is_old(newest));
        let later = Now {
            since_boot: now.since_boot + DAY,
            wall: now.wall + DAY,
            ..now
        };
        clock.observe(later);
        assert!(clock.older_than(MONTH).is_old(at));
    }
}

#[test]
fn with_any_clocks_in_a_boot_all_output_is_deleted_and_none_early() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut machine = Machine::new(*random.pick(&ERRORS));
        for _ in 0..120 {
            machine.pass(random.below(6 * HOUR as usize) as i64);
            match random.below(6) {
                0 => machine.set(*random.pick(&ERRORS)),
                1 => machine.set(0),
                2 => machine.set(machine.error + random.below(2000) as i64 - 1000),
                3 => machine.look(),
                _ => machine.write(),
            }
            for age in machine.old(5 * DAY) {
                // A small step cannot be told from slewing.
                assert!(age >= 5 * DAY - 4 * STEP, "{seed}: {age}");
            }
        }
        machine.set(0);
        machine.run(11 * DAY);
        let (all, old) = (machine.rows.len(), machine.old(5 * DAY).len());
        // A time that the wall clock shows twice counts as young until its second occurrence is old.
        assert!(old > 0 && old >= all / 2, "{seed}: {old} of {all}");
    }
}

#[test]
fn no_output_is_deleted_early_with_any_clock_in_the_first_day_after_a_boot() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut machine = Machine::new(0);
        let mut boots = 0;
        for _ in 0..40 {
            machine.write();
            machine.run(random.below(2 * DAY as usize) as i64);
            let is_wrong = random.below(3) == 0;
            let error = if is_wrong { *random.pick(&ERRORS) } else { 0 };
            machine.reboot(random.below(2 * DAY as usize) as i64, error);
            boots += 1;
            machine.write();
            machine.run(random.below(20) as i64 * HOUR);
            machine.set(0);
            for age in machine.old(MONTH) {
                // An unobserved day counts, right or wrong.
                assert!(age >= MONTH - boots * DAY, "{seed}: {age}");
            }
        }
        machine.run(70 * DAY);
        assert!(machine.old(MONTH).len() >= 40, "{seed}");
    }
}

#[test]
fn a_record_that_this_program_cannot_have_written_is_none() {
    let clock = Machine::new(0).clock;
    assert!(clock.is_sane());
    let spanless = Clock {
        spans: Vec::new(),
        ..clock.clone()
    };
    let endless = Clock {
        observed: i64::MIN,
        ..clock
    };
    assert!(!spanless.is_sane() && !endless.is_sane());
}
