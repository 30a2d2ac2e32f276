//! `coven sessions`: the list.

use argh::{ArgsInfo, FromArgs};

use super::columns::{Column, Look};
use super::daemon::remark;
use super::hosts::{self, Hosts, Rows};
use super::output::{Out, check_watch, watch};
use super::pages::paged;
use super::table::{Color, fitted, terminal_width};
use super::time::parse_moment;
use super::{CliError, ExitResult};
use crate::api::routes::{self, Endpoint};
use crate::api::{SessionRecord, SessionStatus, SessionsQuery, Timestamp};
use crate::http::client::Client;
use crate::settings::did_you_mean;

/// Number of sessions shown at a terminal without `--limit`.
const SHOWN: usize = 50;

/// Columns of the table that a narrow terminal lacks, with the width from which on they are shown. Below all of them there
/// are id, status and title.
const NEEDS: [(Column, usize); 5] = [
    (Column::Created, 120),
    (Column::Duration, 76),
    (Column::Harness, 66),
    (Column::Age, 56),
    (Column::End, 44),
];

/// List sessions, newest first.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "sessions", help_triggers("-h", "--help"))]
#[argh(
    note = "At a terminal it shows the newest 50, and cuts titles to its width.\n\
            Fields: id, status, harness, created, age, duration, end (exit code or cause), cpu, memory, output, silent, labels, model, cwd, title.\n\
            Colours: NO_COLOR turns them off. Times are RFC 3339, or so long ago: 15m, 2h, 1d."
)]
pub(super) struct Args {
    /// all, also the archived ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// only the ids
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// only the newest so many
    #[argh(option, short = 'n', arg_name = "n")]
    limit: Option<usize>,
    /// only those of this status, as running or failed; repeatable
    #[argh(option, arg_name = "status")]
    status: Vec<SessionStatus>,
    /// only those of this harness
    #[argh(option, arg_name = "harness")]
    harness: Option<String>,
    /// only those with this label; repeatable: with all of them
    #[argh(option)]
    label: Vec<String>,
    /// only those launched from then on
    #[argh(option, from_str_fn(parse_moment), arg_name = "time")]
    since: Option<Timestamp>,
    /// these fields alone, a tab between them and no head, as id,title
    #[argh(option, from_str_fn(parse_columns), arg_name = "fields")]
    format: Option<Columns>,
    /// whole ids and titles
    #[argh(switch)]
    no_trunc: bool,
    /// with whole ids, for scripts
    #[argh(switch)]
    plain: bool,
    /// refresh every two seconds, until Ctrl-C
    #[argh(switch)]
    watch: bool,
    /// colours: auto, always or never
    #[argh(option, default = "Color::Auto", arg_name = "when")]
    color: Color,
    /// as one JSON document
    #[argh(switch)]
    json: bool,
}

type Columns = Vec<Column>;

fn parse_columns(text: &str) -> Result<Columns, String> {
    let fields = text.split(',').map(|field| field.trim().parse());
    fields
        .collect::<Result<_, _>>()
        .map_err(|must| format!("each {must}"))
}

pub(super) fn run(args: &Args) -> ExitResult {
    check_watch(args.watch, args.json)?;
    let mut out = Out::new();
    if let Some(mut hosts) = Hosts::several()? {
        return run_for(&mut hosts, args, &mut out);
    }
    let mut client = super::target()?.connect()?;
    if args.json {
        return print_document(&mut client, args, &mut out);
    }
    watch(args.watch, &mut out, &mut || lines(&mut client, args))
}

/// The sessions of several hosts.
fn run_for(hosts: &mut Hosts, args: &Args, out: &mut Out) -> ExitResult {
    if args.json {
        let most = args.limit.unwrap_or(usize::MAX);
        let found = |client: &mut Client| wanted(client, args).take(most).collect();
        return hosts::print_document(hosts.ask::<Vec<SessionRecord>>(found), "sessions");
    }
    let mut code = 0;
    let watched = watch(args.watch, out, &mut || {
        let width = terminal_width();
        let columns = args.columns(width);
        let answers = hosts.ask(|client| Ok(rows(client, args, width)?.0));
        code = hosts::code_of(&answers);
        let all = Rows::of(answers, columns.len(), args.color.is_on());
        if args.quiet || args.format.is_some() {
            return Ok(all.rows.iter().map(|row| row.join("\t")).collect());
        }
        let head: Vec<String> = columns.iter().map(|column| column.head()).collect();
        Ok(all.lines(&head, terminal_width().filter(|_| !args.no_trunc)))
    });
    watched.map(|_| code)
}

/// The rows of the sessions that are shown, and the number of further ones, as far as it is counted.
fn rows(
    client: &mut Client,
    args: &Args,
    width: Option<usize>,
) -> Result<(Vec<Vec<String>>, usize), CliError> {
    let (look, columns) = (args.look(width), args.columns(width));
    let row = |session: SessionRecord| {
        let cells = columns.iter().map(|column| look.cell(*column, &session));
        cells.collect()
    };
    let mut sessions = wanted(client, args);
    let shown = sessions.by_ref().take(args.at_most(width));
    let rows = shown
        .map(|session| session.map(row))
        .collect::<Result<_, _>>()?;
    let counted = match args.limit.is_some() || !args.is_filtered() {
        true => 1,
        false => usize::MAX,
    };
    let mut further = sessions.take(counted);
    let more = further.try_fold(0, |count, session| session.map(|_| count + 1))?;
    Ok((rows, more))
}

/// The table's lines, fitted to this terminal or for a pipe.
fn lines(client: &mut Client, args: &Args) -> Result<Vec<String>, CliError> {
    let width = terminal_width();
    let columns = args.columns(width);
    let at_most = args.at_most(width);
    let (rows, mut more) = rows(client, args, width)?;
    if rows.is_empty() {
        remark(&match args.is_filtered() {
            true => format!("no session is as asked for{}", meant(client, args)?),
            false => "no session yet; to start one: coven run hello \"first light\"".to_owned(),
        });
    }
    if args.quiet || args.format.is_some() {
        return Ok(rows
            .iter()
            .map(|row: &Vec<String>| row.join("\t"))
            .collect());
    }
    if more > 0 && !args.is_filtered() {
        // `--all` adds archived sessions, which `total` includes.
        let total = client.call(routes::Health.request())?.sessions.total;
        more = (total as usize).saturating_sub(at_most);
    }
    let head: Vec<String> = columns.iter().map(|column| column.head()).collect();
    let mut lines = fitted(head, rows, width.filter(|_| !args.no_trunc));
    if more > 0 && args.limit.is_none() {
        lines.push(format!("{more} more: -a"));
    }
    Ok(lines)
}

/// A suggestion for `--harness`, unless the daemon knows this one.
fn meant(client: &mut Client, args: &Args) -> Result<String, CliError> {
    let Some(harness) = &args.harness else {
        return Ok(String::new());
    };
    let adapters = client.call(routes::Capabilities.request())?.adapters;
    let is_known = adapters.iter().any(|adapter| adapter.id == *harness);
    Ok(match is_known {
        true => String::new(),
        false => did_you_mean(harness, &mut adapters.into_iter().map(|adapter| adapter.id)),
    })
}

impl Args {
    /// Shown part of each session.
    fn columns(&self, width: Option<usize>) -> Columns {
        use Column::*;
        match &self.format {
            _ if self.quiet => vec![Id],
            Some(format) => format.clone(),
            None => {
                let has_room = |column: &Column| {
                    let need = NEEDS.iter().find(|(needs, _)| needs == column);
                    need.is_none_or(|(_, need)| width.is_none_or(|width| width >= *need))
                };
                let all = [Id, Status, Harness, Created, Age, Duration, End, Title];
                all.into_iter().filter(has_room).collect()
            }
        }
    }

    fn look(&self, width: Option<usize>) -> Look {
        let is_plain = self.format.is_some() || self.quiet;
        Look {
            has_colors: self.color.is_on() && !is_plain,
            has_whole_ids: self.plain || self.no_trunc || is_plain,
            // A terminal cuts them to what there is room for.
            has_whole_titles: self.no_trunc || is_plain || width.is_some(),
            is_plain,
            ..Look::default()
        }
    }

    fn at_most(&self, width: Option<usize>) -> usize {
        match (self.limit, width) {
            (Some(limit), _) => limit,
            (None, Some(_)) if !self.all && !self.quiet && self.format.is_none() => SHOWN,
            (None, _) => usize::MAX,
        }
    }

    fn is_filtered(&self) -> bool {
        !self.status.is_empty()
            || self.harness.is_some()
            || !self.label.is_empty()
            || self.since.is_some()
    }

    fn wants(&self, session: &SessionRecord) -> bool {
        let labels = &session.options.labels.0;
        (self.status.is_empty() || self.status.contains(&session.status))
            && self
                .harness
                .as_ref()
                .is_none_or(|harness| *harness == session.harness)
            && self.label.iter().all(|label| labels.contains(label))
    }
}

/// The sessions that match the filters, newest first.
fn wanted<'a>(client: &'a mut Client, args: &'a Args) -> impl Iterator<Item = Listed> {
    let query = SessionsQuery {
        include_archived: Some(args.all),
        ..SessionsQuery::default()
    };
    let is_young =
        |session: &SessionRecord| args.since.is_none_or(|since| session.created_at >= since);
    each_session(client, query)
        .take_while(or_error(is_young))
        .filter(or_error(|session| args.wants(session)))
}

/// Prints `{"sessions":[…]}`, one record per line. Holds one page of them in memory.
fn print_document(client: &mut Client, args: &Args, out: &mut Out) -> ExitResult {
    let mut before: &[u8] = b"";
    out.line(r#"{"sessions":["#)?;
    for session in wanted(client, args).take(args.limit.unwrap_or(usize::MAX)) {
        out.bytes(std::mem::replace(&mut before, b","))?;
        out.json(&session?)?;
    }
    out.line("]}")?;
    Ok(0)
}

/// The query for all sessions, also the archived ones.
pub(super) fn all() -> SessionsQuery {
    SessionsQuery {
        include_archived: Some(true),
        ..SessionsQuery::default()
    }
}

/// A session of a list, or why the list ends here.
pub(super) type Listed = Result<SessionRecord, CliError>;

/// The sessions of `query`, newest first.
pub(super) fn each_session(
    client: &mut Client,
    mut query: SessionsQuery,
) -> impl Iterator<Item = Listed> {
    query.limit = Some(1000);
    paged(move || {
        let page = client.call(routes::ListSessions.request().query(&query))?;
        let is_last = page.next_cursor.is_none();
        query.cursor = page.next_cursor;
        Ok((page.sessions, is_last))
    })
}

/// A filter for listed sessions, which an error passes.
pub(super) fn or_error(is_wanted: impl Fn(&SessionRecord) -> bool) -> impl Fn(&Listed) -> bool {
    move |listed| listed.as_ref().map_or(true, &is_wanted)
}

/// The daemon's live sessions, newest first.
pub(super) fn live(client: &mut Client) -> impl Iterator<Item = Listed> {
    let is_live = |session: &SessionRecord| !session.status.is_final() && !session.external;
    each_session(client, all()).filter(or_error(is_live))
}

/// The daemon's `count` live sessions. Reads the list only until it has found them: they are among the newest.
pub(super) fn live_sessions(
    client: &mut Client,
    count: u64,
) -> Result<Vec<SessionRecord>, CliError> {
    live(client).take(count as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_each_field() {
        let notes = Args::get_args_info().notes.join(" ");
        let (_, fields) = notes.split_once("Fields: ").unwrap();
        let fields = fields.split_once("cwd, title.").unwrap().0.to_owned() + "cwd, title";
        let fields: Vec<_> = fields
            .split(", ")
            .map(|field| field.split(' ').next().unwrap())
            .collect();
        assert_eq!(fields, Column::ALL.map(Column::as_str));
        assert!(parse_columns("id, title").is_ok());
        assert!(
            parse_columns("id,titel")
                .unwrap_err()
                .contains("each must be id, status")
        );
    }
}
