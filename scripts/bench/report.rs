//! Measured figures, and the table of results.

use std::time::Duration;

use serde_json::{Value, json};

use super::plot::{self, Panel};

/// All measured figures.
#[derive(Default)]
pub struct Report {
    /// Fewer rounds: takes seconds instead of minutes, with less exact figures.
    pub is_quick: bool,
    rows: Vec<Row>,
    panels: Vec<Panel>,
}

/// Limit of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    /// Maximum ratio to the floor.
    Ratio(f64),
    /// Minimum ratio to the floor.
    RatioAtLeast(f64),
    /// Maximum, in the figure's own unit.
    AtMost(f64),
    /// Minimum, in the figure's own unit.
    AtLeast(f64),
    /// Shown without a limit.
    Shown,
}

struct Row {
    what: String,
    unit: &'static str,
    measured: f64,
    floor: Option<f64>,
    reach: Reach,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.measured / floor)
    }

    fn is_reached(&self) -> Option<bool> {
        match self.reach {
            Reach::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Reach::RatioAtLeast(least) => self.ratio().map(|ratio| ratio >= least),
            Reach::AtMost(most) => Some(self.measured <= most),
            Reach::AtLeast(least) => Some(self.measured >= least),
            Reach::Shown => None,
        }
    }

    fn reach(&self) -> String {
        match self.reach {
            Reach::Ratio(most) => format!("<= {most} x"),
            Reach::RatioAtLeast(least) => format!(">= {least} x"),
            Reach::AtMost(most) => format!("<= {}", number(most)),
            Reach::AtLeast(least) => format!(">= {}", number(least)),
            Reach::Shown => String::new(),
        }
    }
}

impl Report {
    /// The given number of rounds, or a tenth of it with `--quick`.
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.is_quick {
            (rounds / 10).max(1)
        } else {
            rounds
        }
    }

    /// Adds a figure with its floor.
    pub fn add(&mut self, what: &str, unit: &'static str, measured: f64, floor: f64, reach: Reach) {
        self.push(what, unit, measured, Some(floor), reach);
    }

    /// Adds a figure without a floor.
    pub fn add_alone(&mut self, what: &str, unit: &'static str, measured: f64, reach: Reach) {
        self.push(what, unit, measured, None, reach);
    }

    fn push(
        &mut self,
        what: &str,
        unit: &'static str,
        measured: f64,
        floor: Option<f64>,
        reach: Reach,
    ) {
        let row = Row {
            what: what.to_owned(),
            unit,
            measured,
            floor,
            reach,
        };
        eprintln!("  {}: {} {unit}", row.what, number(measured));
        self.rows.push(row);
    }

    /// Adds a plot to the SVG.
    pub fn plot(&mut self, panel: Panel) {
        self.panels.push(panel);
    }

    /// The table's rows; the first is the header.
    fn table(&self) -> Vec<[String; 6]> {
        let head = ["what", "measured", "floor", "ratio", "reach", ""].map(str::to_owned);
        let cells = self.rows.iter().map(|row| {
            [
                row.what.clone(),
                format!("{} {}", number(row.measured), row.unit),
                row.floor.map(number).unwrap_or_default(),
                row.ratio().map(number).unwrap_or_default(),
                row.reach(),
                match row.is_reached() {
                    Some(true) => "reached".into(),
                    Some(false) => "MISSED".into(),
                    None => String::new(),
                },
            ]
        });
        std::iter::once(head).chain(cells).collect()
    }

    /// The table under the machine's name, as Markdown for `scripts/bench/FIGURES.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", machine());
        for (at, row) in self.table().iter().enumerate() {
            let cells = row.each_ref().map(|cell| cell.trim());
            text += &format!("| {} |\n", cells.join(" | "));
            if at == 0 {
                text += "| --- | --- | --- | --- | --- | --- |\n";
            }
        }
        text
    }

    /// The plots as SVG.
    pub fn svg(&self) -> String {
        plot::svg(&self.panels, &machine())
    }

    pub fn print(&self) {
        let rows = self.table();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            println!("{}", line.join("  ").trim_end());
        }
    }

    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what, "unit": row.unit, "measured": row.measured, "floor": row.floor,
                "ratio": row.ratio(), "reach": row.reach(), "reached": row.is_reached(),
            })
        });
        let rows: Vec<Value> = rows.collect();
        format!(
            "{:#}\n",
            json!({ "machine": machine(), "quick": self.is_quick, "rows": rows })
        )
    }
}

/// Durations of many rounds.
#[derive(Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    /// The given percentile, in milliseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        assert!(!self.0.is_empty(), "nothing was measured");
        self.0.sort_by(f64::total_cmp);
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// Formats three significant digits: a noisy machine justifies no more.
fn number(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        some if some >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Name of the machine that ran the benchmark.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: Vec<&str> = release.splitn(3, '.').take(2).collect();
    format!("{cores} cores of {cpu}, Linux {}", version.join("."))
}
