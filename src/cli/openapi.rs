//! `coven help openapi`: prints the API as an OpenAPI document. Needs no daemon.

use super::output::Out;
use super::{CliError, Outcome};
use crate::api::openapi;

/// Name of the topic.
pub(super) const TOPIC: &str = "openapi";

/// Prints the document. It has one form, also without `--json`.
pub(super) fn print(options: &[String]) -> Outcome {
    match options {
        [] => {}
        [option] if option == "--json" => {}
        _ => return Err(CliError::usage("help openapi takes --json only")),
    }
    Out::new().pretty_json(&openapi::document())?;
    Ok(0)
}
