//! The wall clock is set, also by years, and stored output is none the older for it.

use std::fs;
use std::process::Child;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::*;

const DAY: i64 = 24 * 60 * 60;

/// A home whose daemon and CLI see a wall clock of the test's.
struct Machine {
    coven: Coven,
    shim: Shim,
}

impl Machine {
    /// `None`, having said so, where the clock cannot be changed for one process.
    fn new() -> Option<Self> {
        let coven = Coven::new();
        let file = coven.work().join("seconds");
        let coven = coven.env("WALL_CLOCK", file.to_str().unwrap());
        coven.harness("lines", "seq \"$2\"");
        let shim = Shim::compile(&coven, "clock", WALL_CLOCK)?;
        Some(Self { coven, shim })
    }

    /// Sets the wall clock `seconds` off the right time.
    fn set(&self, seconds: i64) {
        let file = self.coven.work().join("seconds");
        let next = file.with_extension("next");
        fs::write(&next, seconds.to_string()).unwrap();
        fs::rename(next, file).unwrap();
    }

    fn serve(&self) -> Child {
        self.shim.serve(&self.coven)
    }

    fn stop(&self, mut daemon: Child) {
        assert_eq!(self.coven.cli(["daemon", "stop"]).code, 0);
        assert!(daemon.wait().unwrap().success());
    }

    /// A sweep of the daemon's; its answer.
    fn prune(&self) -> Value {
        let preview = json!({ "dryRun": true });
        let preview = self.coven.post("/api/v1/store/prune", &preview).json();
        let answer = self.coven.post("/api/v1/store/prune", &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(preview["events"], answer["events"]);
        answer
    }

    /// Runs a session that prints; its id.
    fn run(&self) -> String {
        self.coven.run("lines", "100")["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn has_output(&self, id: &str) -> bool {
        kinds(&self.coven.events(id)).contains(&"output")
    }

    fn health(&self) -> Value {
        self.coven.get("/api/v1/health").json()["storage"].clone()
    }

    /// Makes all that is stored older, and the record of the clock what `change` makes of that.
    fn age(&self, millis: i64, change: impl Fn(&mut Value)) {
        let database = self.coven.database();
        let query = "SELECT value FROM meta WHERE name = 'clock'";
        let record: String = database.query_row(query, [], |row| row.get(0)).unwrap();
        let mut record: Value = serde_json::from_str(&record).unwrap();
        for span in record["spans"].as_array_mut().unwrap() {
            add(&mut span["wall"], -millis);
        }
        change(&mut record);
        let update = "UPDATE meta SET value = ?1 WHERE name = 'clock'";
        database.execute(update, [record.to_string()]).unwrap();
        let update =
            "UPDATE sessions SET created_at = created_at - ?1, updated_at = updated_at - ?1";
        database.execute(update, [millis]).unwrap();
    }

    /// As if the machine had been off for so many days, since the daemon was stopped.
    fn reboot_after(&self, days: i64) {
        let millis = days * DAY * 1000;
        self.age(millis, |record| {
            record["boot"] = "another".into();
            add(&mut record["wall"], -millis);
        });
    }

    /// As if a daemon had run for so many hours, before it was stopped.
    fn observe(&self, hours: i64) {
        let millis = hours * 3_600_000;
        self.age(millis, |record| {
            add(&mut record["observed"], millis);
            let spans = record["spans"].as_array_mut().unwrap();
            add(&mut spans.last_mut().unwrap()["end"], millis);
        });
    }
}

fn add(number: &mut Value, more: i64) {
    *number = (number.as_i64().unwrap() + more).into();
}

/// Seconds from the right time to the year 1971, and to 1960.
fn to_year(year: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (year - 1970) * 365 * DAY - now.as_secs() as i64
}

#[test]
fn output_stays_when_the_clock_is_set_under_a_daemon() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for (before, after) in [
        (to_year(1971), 0),
        (0, 40 * DAY),
        (0, 3650 * DAY),
        (0, -3650 * DAY),
        (to_year(1960), 0),
        (0, to_year(1960)),
        (2 * DAY, 41 * DAY),
    ] {
        machine.set(before);
        let daemon = machine.serve();
        let id = machine.run();
        machine.set(after);
        let answer = machine.prune();
        assert_eq!(answer["events"], 0, "{before} {after}: {answer}");
        assert!(machine.has_output(&id), "{before} {after}");
        // Also what is written and swept with the new time.
        let later = machine.run();
        assert_eq!(machine.prune()["events"], 0, "{before} {after}");
        assert!(machine.has_output(&later));
        let set_by = machine.health()["clockSetByMs"].as_i64().unwrap() / 1000;
        assert!((set_by - (after - before)).abs() < 60, "{set_by}");
        let doctor = machine.coven.cli(["doctor"]).out;
        assert!(doctor.contains("the clock was set by "), "{doctor}");
        machine.stop(daemon);
    }
}

#[test]
fn output_stays_when_the_clock_is_set_while_no_daemon_runs() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for (before, after) in [(to_year(1971), 0), (0, 40 * DAY), (0, to_year(1960))] {
        machine.set(before);
        let daemon = machine.serve();
        let id = machine.run();
        machine.stop(daemon);
        machine.set(after);
        let prune = ["logs", "prune", "--json"];
        let mut offline = machine.shim.command(&machine.coven, &prune);
        let offline = Ran::of(offline.output().unwrap());
        assert_eq!(offline.json()["events"], 0, "{offline:?}");
        let daemon = machine.serve();
        assert_eq!(machine.prune()["events"], 0, "{before} {after}");
        assert!(machine.has_output(&id), "{before} {after}");
        machine.stop(daemon);
    }
}

#[test]
fn output_that_is_old_by_a_time_that_nobody_observed_goes_once_a_day_has_confirmed_it() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.set(0);
    let daemon = machine.serve();
    let id = machine.run();
    machine.stop(daemon);
    machine.reboot_after(33);
    let waits = |left_hours: u64| {
        let answer = machine.prune();
        assert_eq!(answer["events"], 0, "{answer}");
        let clock = &machine.health()["unconfirmedClock"];
        let days = clock["differenceMs"].as_i64().unwrap() / 1000 / DAY;
        // Rounded up: no millisecond may have been observed yet.
        let left = clock["leftMs"].as_u64().unwrap().div_ceil(3_600_000);
        assert_eq!((days, left), (33, left_hours), "{clock}");
        assert_eq!(
            &answer["unconfirmedClock"]["differenceMs"],
            &clock["differenceMs"]
        );
    };
    let daemon = machine.serve();
    waits(24);
    let doctor = machine.coven.cli(["doctor"]);
    assert!(
        doctor.out.contains("the clock moved by 33 days"),
        "{doctor:?}"
    );
    let log = "the clock moved by 33 days while no daemon observed it";
    let prune = machine.coven.cli(["logs", "prune"]);
    assert!(prune.err.contains(log), "{prune:?}");
    machine.stop(daemon);
    machine.observe(23);
    let daemon = machine.serve();
    waits(1);
    machine.stop(daemon);
    machine.observe(1);
    let daemon = machine.serve();
    eventually("it goes", || !machine.has_output(&id));
    assert_eq!(machine.prune()["events"], 0);
    assert_eq!(machine.health()["unconfirmedClock"], Value::Null);
    machine.stop(daemon);
}

#[test]
fn a_boot_with_a_wrong_clock_costs_nothing_once_the_clock_is_right() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.set(40 * DAY);
    let daemon = machine.serve();
    let id = machine.run();
    machine.stop(daemon);
    machine.set(0);
    machine.reboot_after(0);
    let daemon = machine.serve();
    assert_eq!(machine.prune()["events"], 0);
    machine.stop(daemon);
    machine.observe(25);
    let daemon = machine.serve();
    assert_eq!(machine.prune()["events"], 0);
    assert!(machine.has_output(&id));
    machine.stop(daemon);
}

#[test]
fn everything_works_with_a_clock_that_is_before_1970() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for year in [1969, 1960, 1901] {
        machine.set(to_year(year));
        let daemon = machine.serve();
        let id = machine.run();
        for args in [
            vec!["sessions"],
            vec!["show", &id],
            vec!["log", &id],
            vec!["events", &id],
            vec!["attach", &id],
            vec!["wait", &id],
            vec!["run", "lines", "3"],
            vec!["metrics"],
            vec!["logs", "prune"],
            vec!["vacuum"],
            vec!["archive", &id],
            vec!["daemon", "status"],
            vec!["diagnostics"],
            vec!["doctor"],
        ] {
            let ran = machine.shim.command(&machine.coven, &args).output();
            let ran = Ran::of(ran.unwrap());
            assert_eq!(ran.code, 0, "{year} {args:?}: {ran:?}");
        }
        let answer = machine.coven.get("/api/v1/health");
        assert_eq!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        let created = machine.coven.session(&id)["created_at"].clone();
        // A year has 365 days here.
        let years = [year.to_string(), (year + 1).to_string()];
        let year = created.as_str().unwrap()[..4].to_owned();
        assert!(years.contains(&year), "{created}");
        machine.stop(daemon);
    }
}

#[test]
fn that_the_clock_was_set_is_in_health_behind_an_upgrade() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.set(0);
    let daemon = machine.serve();
    machine.run();
    machine.set(2 * DAY);
    machine.run();
    let set_by = || machine.health()["clockSetByMs"].clone();
    let before = set_by();
    assert!(before.is_i64());
    let next = machine.coven.program_of_version("9.9.9");
    machine.coven.upgraded_to(&next);
    assert_eq!(set_by(), before);
    machine.stop(daemon);
}
