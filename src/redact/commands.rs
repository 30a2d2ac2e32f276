//! Table of commands and their options with password arguments.
//!
//! Pure. [`super::rules`] finds the command.

use super::headers::is_credential;
use super::issuers::{is_word, words_in};
use super::view::{More, View, is_behind_escape, is_blank, is_quote};
use super::{Looked, Open, REDACTED, Secret, Undecided};
use crate::sys::lanes::{Common, LANES, Lanes};

/// A row of [`COMMANDS`].
pub(super) type Command = (
    &'static [&'static str],
    &'static str,
    &'static [(&'static str, Option<u8>)],
    bool,
);

const USER: Option<u8> = Some(b':');
const COOKIE: Option<u8> = Some(b'=');

/// Kind of the secret behind this byte of an argument.
pub(super) fn kind_of(before: Option<u8>) -> &'static str {
    match before == COOKIE {
        true => "cookie",
        false => "basic-auth",
    }
}

#[rustfmt::skip]
table! {
    /// Beginnings of the commands' names; their subcommand; their options, each with the byte that precedes the secret in its
    /// argument; and whether the argument can be the next word. Their order is one of speed, as that of the rules' words.
    pub(super) COMMANDS, SAMPLES: Command =
    (&["mysql", "mariadb"], "", &[("-p", None)], false; "mysqldump -uroot -p«hunter2horse» shop", "mysql -p shop1 -P3306"),
    (&["identified", "IDENTIFIED"], "", &[("BY '", None), ("BY \"", None), ("by '", None)], true;
        "CREATE USER a IDENTIFIED BY '«Winter4821!x»';", "columns identified by \"colUsed\""),
    (&["ldap"], "", &[("-w", None)], true; "ldapsearch -x -D cn=a -w «hunter2horse» uid=b", "ldapsearch -x -W uid=b1"),
    (&["sshpass"], "", &[("-p", None)], true; "sshpass -p '«hunter2horse»' ssh root@x", "sshpass -P assword2 -f file1 ssh x"),
    (&["docker", "podman"], "login", &[("-p", None)], true; "docker login -u u -p «hunter2horse» x", "docker run -p 8080:80 x"),
    (&["curl"], "", &[("-u", USER), ("--user", USER), ("--proxy-user", USER), ("-b", COOKIE), ("--cookie", COOKIE)], true;
        "curl -su admin:«hunter2horse» https://x", "curl -u admin https://x -b jar.txt"),
    (&["http%20", "http "], "", &[("-a", USER), ("--auth", USER)], true;
        "http -a u:«hunter2horse» GET x", "http --auth-type basic x"),
    (&["redis-cli"], "", &[("-a", None)], true; "redis-cli -a «hunter2;horse» ping", "redis-cli -a $PASS1 ping"),
    (&["zip%20", "zip "], "", &[("-P", None)], true; "zip -P «hunter2horse» out.zip a.txt", "zip -r out1.zip dir2"),
}

/// Beginning of most URLs: a command's name is searched for without it.
const URL: &str = "ht";

/// The part of a command's `name` that is searched for.
pub(super) fn searched(name: &'static str) -> &'static str {
    name.strip_prefix(URL).unwrap_or(name)
}

/// Maximum number of a command's arguments that are read.
pub(super) const ARGUMENTS_MAX: usize = 64;

/// True if the word found at `at` belongs to the `command`'s name, `lead` bytes of which are before it, and an option can
/// follow on its line.
pub(super) fn may_have_option(text: &[u8], at: usize, lead: usize, command: &Command) -> bool {
    let is_inside = |byte: &u8| is_word(*byte) || *byte == b'-';
    let (names, _, options, _) = *command;
    let Some(before) = text[..at].strip_suffix(&names[0].as_bytes()[..lead]) else {
        return false;
    };
    let is_name = !before.last().is_some_and(is_inside) || is_behind_escape(text, before.len());
    let is_dashed = options[0].0.as_bytes()[0] == b'-';
    is_name && !(is_dashed && has_no_option(&text[at..]))
}

/// The first password after `floor` on the line of the `command`: the searched part of its name is at `at`, and its name
/// ends at `end` or later.
pub(super) fn secret(
    view: View<'_>,
    floor: usize,
    at: usize,
    end: usize,
    command: &Command,
) -> Looked {
    let (_, subcommand, options, may_be_apart) = *command;
    let mut position = match subcommand {
        "" if view.seen(at, end).ends_with(b" ") => end,
        "" => view.skip(end, |byte| !byte.is_ascii_whitespace())?,
        _ => match view.expect(view.skip(end, is_blank)?, subcommand)? {
            Some(end) => end,
            None => return Ok(None),
        },
    };
    for _ in 0..ARGUMENTS_MAX {
        position = view.skip(position, is_blank)?;
        let glyph = view.glyph(position)?;
        if glyph.end == position || matches!(glyph.byte, b'\n' | b'|' | b';') {
            return Ok(None);
        }
        for (option, before) in options {
            let Some(end) = option_end(view, position, option)? else {
                continue;
            };
            let behind = view.skip(end, |byte| byte == b'=' || may_be_apart && is_blank(byte))?;
            let starts = behind > end || !option.starts_with("--");
            if starts
                && let Some(secret) = argument(view, behind, *before)?
                && secret.range.end > floor
            {
                return Ok(Some(secret));
            }
        }
        position = view.skip(position, |byte| !byte.is_ascii_whitespace())?;
    }
    Ok(None)
}

/// True if no option is in the rest of the line that `text` begins with, as in most lines with a command's name. False if
/// the text ends before the line does.
fn has_no_option(text: &[u8]) -> bool {
    let mut is_behind_word = false;
    for at in (0..text.len()).step_by(LANES) {
        let block = Common::at(text, at);
        let words = words_in(block).bits();
        let behind_word = words << 1 | u32::from(is_behind_word);
        let escapes = block.is(b'%').or(block.is(b'&')).or(block.is(b'\\')).bits();
        // A dash within a word begins no option, unless the word's last characters are an escape.
        let begins = block.is(b'-').bits() & !behind_word | escapes;
        let end = block.is(b'\n').bits();
        if begins & end.wrapping_sub(1) & !end != 0 {
            return false;
        }
        if end != 0 {
            return true;
        }
        is_behind_word = words >> (LANES - 1) == 1;
    }
    false
}

/// End of `option` if it is at `at`; a one-letter option can be the last of several, `-su`.
fn option_end(view: View<'_>, at: usize, option: &str) -> Result<Option<usize>, More> {
    let [b'-', letter] = *option.as_bytes() else {
        let end = view.expect(at, option)?;
        return Ok(end.filter(|end| view.seen(at, *end) == option.as_bytes()));
    };
    let dash = view.glyph(at)?;
    let first = view.glyph(dash.end)?;
    if dash.byte != b'-' || first.byte == letter {
        return Ok((dash.byte == b'-').then_some(first.end));
    }
    let end = view.skip(dash.end, |byte| byte.is_ascii_alphabetic())?;
    let is_last = view.seen(dash.end, end).last() == Some(&letter);
    Ok((is_last && is_blank(view.glyph(end)?.byte)).then_some(end))
}

/// The secret in the argument at `at`: the part after the first `before`, if given.
fn argument(view: View<'_>, at: usize, before: Option<u8>) -> Looked {
    let glyph = view.glyph(at)?;
    let quote = glyph.quote();
    let mut start = if quote.is_some() { glyph.end } else { at };
    if let Some(before) = before {
        let user = view.skip(start, |byte| {
            !byte.is_ascii_whitespace() && !is_quote(byte) && byte != before
        })?;
        let glyph = view.glyph(user)?;
        if glyph.byte != before {
            return Ok(None);
        }
        start = glyph.end;
        // The colon belongs to a mark, not to a user name.
        if view.text[..start].ends_with(REDACTED.as_bytes()) {
            return Ok(None);
        }
    }
    let (end, last) = view.until(start, |glyph| match quote {
        Some(quote) => quote.closes(glyph),
        None => glyph.byte.is_ascii_whitespace() || is_quote(glyph.byte),
    });
    let open = quote.map_or(Open::Bare { is_alone: true }, Open::Quote);
    let secret = Secret::new(kind_of(before), start..end, open);
    if last.is_err() {
        return Err(match end > start {
            true => Undecided::Begun(secret),
            false => Undecided::Unknown,
        });
    }
    let text = view.seen(start, end);
    let is_number = text
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b':');
    let is_secret = match text.len() {
        0..4 => false,
        4..6 => text.iter().any(u8::is_ascii_digit) && !is_number && !b"$<{%*".contains(&text[0]),
        _ => is_credential(&text),
    };
    Ok(is_secret.then_some(secret))
}
