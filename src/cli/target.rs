//! The daemon that a verb talks to: that of this user's home, or one on another host, behind ssh.
//!
//! Hosts are given with `-H` or `COVEN_HOST`. Nothing is started on this machine for another host.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::CliError;
use super::aliases::resolved;
use super::daemon::remark;
use super::dial_stdio;
use super::grammar::Position;
use super::output::command_text;
use crate::api::{Code, Health};
use crate::daemon::{Home, control};
use crate::http::client::{Client, ClientError};
use crate::http::dial::{Dial, Gateway, GatewayEnd, NOT_FOUND};
use crate::settings::{self, durations};
use crate::sys;

/// How coven is called on another host: by its name, and where a user's installation has it, relative to their home, in which
/// ssh starts. Shells for commands often lack the `PATH` of a login.
const PLACES: [&str; 3] = ["coven", ".local/bin/coven", ".cargo/bin/coven"];

/// The option that names hosts.
pub(super) const OPTION: [&str; 2] = ["-H", "--host"];

/// The hosts of this command, and its words without them.
static GIVEN: OnceLock<Given> = OnceLock::new();

struct Given {
    hosts: String,
    words: Vec<String>,
}

/// The daemon of a command.
#[derive(Clone)]
pub(super) enum Target {
    Here(Home),
    There(Remote),
}

/// Reaction to a daemon on another host that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfDown {
    Fail,
    Start,
}

/// A daemon on another host.
#[derive(Clone)]
pub(super) struct Remote {
    /// The host as it was given: its name in the file of hosts, or its address.
    pub name: String,
    /// The destination, as ssh takes it.
    destination: String,
    port: Option<u16>,
    /// ssh may ask for a password or about a new key.
    can_ask: bool,
}

impl Target {
    pub(super) fn connect(&self) -> Result<Client, CliError> {
        match self {
            Self::Here(home) => {
                control::revive(home, &remark);
                Ok(Client::connect(&home.socket())?)
            }
            Self::There(remote) => remote.connect(IfDown::Fail),
        }
    }

    /// The host's name, unless it is this machine.
    pub(super) fn host(&self) -> Option<&Remote> {
        match self {
            Self::Here(_) => None,
            Self::There(remote) => Some(remote),
        }
    }

    /// A connection without a question to the user, for completions; with the daemon's health.
    pub(super) fn connect_quickly(self) -> Option<(Client, Health)> {
        let dial = match self {
            Self::Here(home) => Dial::Socket(home.socket()),
            Self::There(remote) => remote.without_questions().dial(PLACES[0], IfDown::Fail),
        };
        Client::dial_within(dial, durations::COMPLETION).ok()
    }
}

impl Remote {
    /// Parses `[ssh://][USER@]HOST[:PORT]`; the port only in a URL.
    fn parse(name: &str, address: &str) -> Result<Self, CliError> {
        let wrong = |why: &str| CliError::usage(&format!("-H {name}: {why}"));
        let has_bad = |c: char| c.is_whitespace() || c.is_control();
        let url = address.strip_prefix("ssh://");
        if url.is_none() && address.contains("://") {
            return Err(wrong("only ssh:// is known"));
        }
        let place = url.map_or(address, |place| place.trim_end_matches('/'));
        if url.is_some() && place.contains('/') {
            return Err(wrong("a path is not taken: the daemon is that of the user"));
        }
        // An IPv6 address is in brackets in a URL.
        let (place, port) = match (url, place.rsplit_once(':')) {
            (Some(_), Some((place, port))) if !port.contains(']') => {
                let port = port.parse().map_err(|_| wrong("its port is no number"))?;
                (place, Some(port))
            }
            _ => (place, None),
        };
        let (user, host) = match place.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, place),
        };
        let host = match url {
            Some(_) => host.trim_start_matches('[').trim_end_matches(']'),
            None => host,
        };
        let parts = [user.unwrap_or("user"), host];
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("it names no host"));
        }
        if parts.iter().any(|part| part.starts_with('-')) {
            return Err(wrong("a host does not begin with -"));
        }
        if place.contains(has_bad) {
            return Err(wrong(
                "a host has neither white space nor control characters",
            ));
        }
        let destination = match user {
            Some(user) => format!("{user}@{host}"),
            None => host.to_owned(),
        };
        Ok(Self {
            name: name.to_owned(),
            destination,
            port,
            can_ask: true,
        })
    }

    /// The same host, where ssh fails instead of asking.
    pub(super) fn without_questions(self) -> Self {
        Self {
            can_ask: false,
            ..self
        }
    }

    pub(super) fn connect(&self, if_down: IfDown) -> Result<Client, CliError> {
        let patience = match (self.can_ask, if_down) {
            (true, _) => durations::REMOTE_ANSWER,
            (false, IfDown::Start) => durations::START,
            (false, IfDown::Fail) => durations::SSH_CONNECT,
        };
        let mut places = PLACES.into_iter().peekable();
        loop {
            let coven = places.next().unwrap_or(PLACES[0]);
            let connected = Client::dial_within(self.dial(coven, if_down), patience);
            match connected {
                Err(ClientError::Ended(GatewayEnd { code, .. }))
                    if code == Some(NOT_FOUND) && places.peek().is_some() => {}
                connected => return Ok(connected.map(|(client, _)| client)?),
            }
        }
    }

    fn dial(&self, coven: &str, if_down: IfDown) -> Dial {
        Dial::Gateway(Gateway {
            name: self.name.clone(),
            command: format!("{} {coven}", self.prefix()),
            argv: self.argv(coven, if_down),
        })
    }

    fn argv(&self, coven: &str, if_down: IfDown) -> Vec<String> {
        let timeout = format!("ConnectTimeout={}", durations::SSH_CONNECT.as_secs());
        let mut argv = vec!["ssh".to_owned(), "-T".into(), "-o".into(), timeout];
        if !self.can_ask {
            argv.extend(["-o".into(), "BatchMode=yes".into()]);
        }
        if let Some(port) = self.port {
            argv.extend(["-p".into(), port.to_string()]);
        }
        argv.extend(["--".into(), self.destination.clone()]);
        argv.extend([coven.into(), dial_stdio::VERB.into()]);
        if if_down == IfDown::Start {
            argv.push(dial_stdio::START.into());
        }
        argv
    }

    /// The words before a command that is to be run on the host itself.
    fn prefix(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} "));
        format!("ssh {}{}", port.unwrap_or_default(), self.destination)
    }
}

/// Takes the option for hosts out of `args`, and resolves the aliases. It is one before the verb, behind it, and behind
/// arguments that are no prompt.
///
/// # Errors
/// It has no value, or an alias is of a later version.
pub(super) fn take_hosts(args: Vec<String>) -> Result<Vec<String>, CliError> {
    let mut hosts = None;
    let mut args = args.into_iter().peekable();
    while let Some(host) = args
        .peek()
        .cloned()
        .and_then(|arg| host_in(&arg, &mut args))
    {
        hosts = Some(host?);
    }
    let args = resolved(args.collect())?;
    let (mut place, mut words) = (Position::start(), Vec::new());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.peek().cloned() {
        if !place.is_in_prompt()
            && place.reads_as_option(&arg)
            && let Some(host) = host_in(&arg, &mut args)
        {
            hosts = Some(host?);
            continue;
        }
        place.take(&arg);
        words.push(arg);
        args.next();
    }
    let hosts = match hosts {
        Some(hosts) => hosts,
        None => settings::HOST.read()?,
    };
    let _ = GIVEN.set(Given {
        hosts,
        words: words.clone(),
    });
    Ok(words)
}

/// The hosts that `arg`, the next of `args`, names if it is the option; then its words are taken.
fn host_in(arg: &str, args: &mut impl Iterator<Item = String>) -> Option<Result<String, CliError>> {
    let value = match arg.split_once('=') {
        Some((name, value)) if name == OPTION[1] => Some(value.to_owned()),
        _ if OPTION.contains(&arg) => None,
        _ => return None,
    };
    args.next();
    let value = value
        .or_else(|| args.next())
        .filter(|value| !value.is_empty());
    Some(value.ok_or_else(|| CliError::usage("-H: which host?")))
}

/// The hosts of this command; none for this machine.
pub(super) fn hosts() -> Result<Vec<Remote>, CliError> {
    let given = GIVEN.get().map_or("", |given| &given.hosts);
    let names = given.split(',').filter(|name| !name.is_empty());
    let known = known_hosts();
    let remote = |name: &str| {
        let address = known.iter().find(|(known, _)| known == name);
        let address = address.map_or(name, |(_, address)| address);
        Remote::parse(name, address)
    };
    names.map(remote).collect()
}

/// The daemon of this command.
///
/// # Errors
/// It names several hosts.
pub(super) fn target() -> Result<Target, CliError> {
    let mut hosts = hosts()?;
    match (hosts.pop(), hosts.as_slice()) {
        (None, _) => Ok(Target::Here(own_home()?)),
        (Some(host), []) => Ok(Target::There(host)),
        _ => Err(CliError::usage(
            "several hosts are for sessions, stats and daemon status: name one",
        )),
    }
}

/// The home of a verb that works on this machine alone.
pub(super) fn home() -> Result<Home, CliError> {
    check_own()?;
    own_home()
}

/// Checks that a verb that works on this machine alone is not asked for another host.
///
/// # Errors
/// The command names another host.
pub(super) fn check_own() -> Result<(), CliError> {
    let hosts = hosts()?;
    let Some(host) = hosts.first() else {
        return Ok(());
    };
    let words = GIVEN.get().map_or(&[][..], |given| &given.words);
    let message = format!(
        "{}: this verb is for the machine that it runs on",
        host.name
    );
    let next = format!("{} coven {}", host.prefix(), command_text(words));
    Err(CliError::failed(Code::Usage, message, Some(&next)))
}

/// Verbs that work on the machine that they run on alone.
#[rustfmt::skip]
const OWN: [&str; 6] = ["backup", "daemon", "diagnostics", "doctor", "restore", "vacuum"];

/// The command `next` as it is typed for this command's host.
pub(super) fn for_host(next: &str) -> String {
    let hosts = hosts().unwrap_or_default();
    let ([host], Some(words)) = (hosts.as_slice(), next.strip_prefix("coven ")) else {
        return next.to_owned();
    };
    let verb = words.split(' ').next().unwrap_or_default();
    if words.ends_with("--help") {
        return next.to_owned();
    }
    match OWN.contains(&verb) && !words.starts_with("daemon status") {
        true => format!("{} coven {words}", host.prefix()),
        false => format!("coven -H {} {words}", host.name),
    }
}

fn own_home() -> Result<Home, CliError> {
    sys::unblock_all();
    Ok(Home::from_env()?)
}

/// Names and addresses from `~/.config/coven/hosts`: a name and an address a line, `#` begins a comment.
pub(super) fn known_hosts() -> Vec<(String, String)> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config"));
    let Some(config) = config.or_else(home) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(config.join("coven/hosts")).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .map(|(name, address)| (name.to_owned(), address.trim().to_owned()))
        .collect()
}
