//! `cargo bench [-- [--quick] [--json FILE] [--markdown FILE] [--svg FILE] [FILTER…]]` measures the daemon's costs.
//! Each figure is compared with its floor: the same work by a bare program in the same run. Absolute times depend on
//! the machine; ratios do not.
//!
//! One file per subject, and one line in [`SUBJECTS`]. The bare programs are this binary, started with `--floor`.

mod build;
mod floor;
mod follower;
mod growth;
mod health;
mod idle;
mod lab;
mod launch;
mod lines;
mod many;
mod output;
mod plot;
mod read;
mod redaction;
mod report;
mod start;
mod upgrade;

use std::process::ExitCode;

use report::Report;

/// Name of a subject, and its function.
type Subject = (&'static str, fn(&mut Report));

/// Writes a report in one format.
type Shape = fn(&Report) -> String;

/// All subjects. A filter selects a subject by any part of its name.
const SUBJECTS: &[Subject] = &[
    ("health", health::measure),
    ("idle", idle::measure),
    ("launch", launch::measure),
    ("output", output::measure),
    ("lines", lines::measure),
    ("follower", follower::measure),
    ("read", read::measure),
    ("many", many::measure),
    ("upgrade", upgrade::measure),
    ("start", start::measure),
    ("redaction", redaction::measure),
    ("growth", growth::measure),
    ("build", build::measure),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--floor") {
        floor::run(&args[1..]);
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    let mut files = Vec::new();
    let mut filters = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => report.is_quick = true,
            "--json" => files.extend(args.next().map(|path| (path, Report::json as Shape))),
            "--markdown" => files.extend(args.next().map(|path| (path, Report::markdown as Shape))),
            "--svg" => files.extend(args.next().map(|path| (path, Report::svg as Shape))),
            // Passed by cargo itself.
            "--bench" => {}
            _ => filters.push(arg),
        }
    }
    println!("{}", report::machine());
    for (name, measure) in SUBJECTS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            measure(&mut report);
        }
    }
    report.print();
    for (path, shape) in files {
        if let Err(err) = std::fs::write(&path, shape(&report)) {
            eprintln!("{path}: {err}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
