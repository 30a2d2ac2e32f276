//! `coven metrics`: prints the daemon's metrics for Prometheus.

use argh::{ArgsInfo, FromArgs};

use super::ExitResult;
use super::output::Out;
use crate::api::routes::{self, Endpoint};

/// Print the daemon's metrics in Prometheus' text format.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "metrics", help_triggers("-h", "--help"))]
#[argh(note = "There is no --json: the format is the one that Prometheus reads.")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> ExitResult {
    let target = super::target()?;
    let page = target.connect()?.fetch(&routes::Metrics.request())?;
    Out::new().bytes(&page)?;
    Ok(0)
}
