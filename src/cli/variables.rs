//! The variables of a `coven run`: from the command line, a file, and the shell.
//!
//! Values are only sent with the launch: no message contains one.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::daemon::remark;
use super::{CliError, Target};
use crate::adapters::environment::read_given;
use crate::api::routes::{self, Endpoint};
use crate::api::{ActionRequest, AdapterStatus, Code, Variables};
use crate::http::client::Client;

/// `NAME=VALUE`, or `NAME` for this shell's value.
pub(super) struct GivenVariable {
    name: String,
    value: Option<String>,
}

impl FromStr for GivenVariable {
    /// The launch rejects an invalid name: argh would print the value with it.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// Variables of the command line: `--env` overrides the file, and later options override earlier ones.
pub(super) fn given(
    options: &[GivenVariable],
    file: Option<&PathBuf>,
) -> Result<Variables, CliError> {
    let mut variables = match file {
        Some(path) => from_file(path)?,
        None => Variables::default(),
    };
    for GivenVariable { name, value } in options {
        if name.is_empty() {
            return Err(CliError::usage("run: --env has no name"));
        }
        let value = match value {
            Some(value) => value.clone(),
            None => own_value(name, &format!("run: --env {name}"))?,
        };
        variables.set(name, value);
    }
    Ok(variables)
}

fn from_file(path: &Path) -> Result<Variables, CliError> {
    read_given(path).map_err(|reason| {
        let message = format!("--env-file {}: {reason}", path.display());
        CliError::new(Code::IoError, message)
    })
}

/// Adds the variables that the adapter of `harness` passes on from this shell, unless `variables` has them; none for
/// another host, which has keys of its own. Returns the adapter, if the daemon knows it.
pub(super) fn pass(
    target: &Target,
    client: &mut Client,
    harness: &str,
    variables: &mut Variables,
) -> Result<Option<AdapterStatus>, CliError> {
    let adapter = adapter(client, harness)?;
    let passes = adapter.iter().filter(|_| target.host().is_none());
    for name in passes.flat_map(|adapter| adapter.pass_env.clone()) {
        match shell_value(&name) {
            Some(Ok(value)) if variables.get(&name).is_none() => variables.set(name, value),
            Some(Err(())) => remark(&format!("{name} is not UTF-8, and not passed on")),
            _ => {}
        }
    }
    Ok(adapter)
}

/// The variables `names` with this shell's values.
pub(super) fn anew(names: &[String]) -> Result<Variables, CliError> {
    let mut variables = Variables::default();
    for name in names {
        let needed = format!("rerun: the session had the variable {name}");
        variables.set(name, own_value(name, &needed)?);
    }
    Ok(variables)
}

/// The adapter of `harness`. If the daemon does not know it, the manifests are reloaded: the user may have just written
/// one.
pub(super) fn adapter(
    client: &mut Client,
    harness: &str,
) -> Result<Option<AdapterStatus>, CliError> {
    let find = |client: &mut Client| -> Result<Option<AdapterStatus>, CliError> {
        let adapters = client.call(routes::Capabilities.request())?.adapters;
        Ok(adapters.into_iter().find(|adapter| adapter.id == harness))
    };
    if let Some(adapter) = find(client)? {
        return Ok(Some(adapter));
    }
    client.call(routes::Act.request().body(&ActionRequest::refresh()))?;
    // The launch reports an unknown harness.
    find(client)
}

/// This shell's value of `name`, which is `needed`.
fn own_value(name: &str, needed: &str) -> Result<String, CliError> {
    let lacks = |why: &str| CliError::usage(&format!("{needed}: it is not {why}"));
    let value = shell_value(name).ok_or_else(|| lacks("set in this shell"))?;
    value.map_err(|()| lacks("UTF-8"))
}

/// This shell's value of `name`; an error if it is not UTF-8.
fn shell_value(name: &str) -> Option<Result<String, ()>> {
    let value = std::env::var_os(name)?;
    Some(value.into_string().map_err(drop))
}
