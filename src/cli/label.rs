//! `coven label`: adds and removes a session's labels.

use argh::{ArgsInfo, FromArgs};

use super::rename::edit;
use super::session::SessionRef;
use super::{CliError, ExitResult};
use crate::api::EditRequest;

/// Add and remove labels of a session: coven label ID +a -b
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "label", help_triggers("-h", "--help"))]
#[argh(note = "+LABEL adds, -LABEL removes; all of them in one step, or none.")]
pub(super) struct Args {
    /// as one JSON document: the record
    #[argh(switch)]
    json: bool,
    /// the session: its id, a unique beginning of it, its whole title, or --last for the newest; and what changes
    #[argh(positional, greedy, arg_name = "id change")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args) -> ExitResult {
    let Some((id, changes)) = args.command.split_first() else {
        return Err(CliError::usage("label: which session?"));
    };
    // The parser takes every word behind the id for a change, and it is there that people write the option.
    let (changes, json) = match changes {
        [changes @ .., last] if last == "--json" => (changes, true),
        changes => (changes, args.json),
    };
    if changes.is_empty() {
        return Err(CliError::usage("label: +LABEL or -LABEL is missing"));
    }
    // Cannot fail: any text can be a session reference.
    let session: SessionRef = id.parse().unwrap_or_else(|never| match never {});
    edit(&session, &request(changes)?, "labelled", json)
}

fn request(changes: &[String]) -> Result<EditRequest, CliError> {
    let mut request = EditRequest::default();
    for change in changes {
        let (labels, label) = if let Some(label) = change.strip_prefix('+') {
            (&mut request.add_labels, label)
        } else if let Some(label) = change.strip_prefix('-') {
            (&mut request.remove_labels, label)
        } else {
            let message = format!("label: '{change}' must begin with + or -");
            return Err(CliError::usage(&message));
        };
        labels.0.push(label.to_owned());
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_says_whether_a_label_is_added_or_removed() {
        let parse = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            request(&words).map(|request| (request.add_labels.0, request.remove_labels.0))
        };
        let labels = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(
            parse(&["+a", "-b", "+-c", "-+d"]).unwrap(),
            (labels(&["a", "-c"]), labels(&["b", "+d"]))
        );
        assert!(parse(&["+a", "b"]).is_err());
    }
}
