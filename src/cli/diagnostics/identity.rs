//! Who runs this, where, and under which names: what the anonymiser looks for.
//!
//! The environment is at hand; the rest is looked up on a thread of its own, since a user database or a file system can
//! take its time.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::anonymise::Identity;
use crate::daemon::Home;
use crate::settings;
use crate::sys::{self, User};

/// What the environment and the kernel say, without waiting for anybody.
pub(super) fn at_hand(home: Option<&Home>) -> Identity {
    let mut identity = Identity::default();
    for name in ["USER", "LOGNAME", "SUDO_USER", "DOAS_USER"] {
        identity.users.extend(env::var(name));
    }
    identity.homes.extend(env::var("HOME"));
    let host = sys::system().host;
    for host in [host, env::var("HOSTNAME").unwrap_or_default()] {
        // A name without its domain is one, too, and so is a domain of several parts.
        let parts = host.split_once('.');
        identity
            .hosts
            .extend(parts.map(|(first, _)| first.to_owned()));
        let domain = parts.map(|(_, domain)| domain.to_owned());
        identity
            .hosts
            .extend(domain.filter(|domain| domain.contains('.')));
        identity.hosts.push(host);
    }
    let dirs = [
        "PATH",
        settings::HARNESS_ADAPTER_DIRS.name,
        settings::HARNESS_ADAPTER_MANIFEST.name,
    ];
    for list in dirs.into_iter().filter_map(env::var_os) {
        let dirs = env::split_paths(&list).map(text);
        identity.dirs.extend(dirs);
    }
    identity.dirs.extend(env::current_dir().map(text));
    identity
        .coven_homes
        .extend(home.map(|home| text(home.path().to_owned())));
    add_names_in_paths(&mut identity);
    identity
}

/// What has to be looked up: in the user database, and where links lead.
pub(super) fn looked_up(home: Option<&Home>) -> Identity {
    let mut identity = at_hand(home);
    let owner = home.and_then(|home| home.path().symlink_metadata().ok());
    let sudo = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    let uids = [Some(sys::euid()), owner.map(|meta| meta.uid()), sudo];
    for user in uids.into_iter().flatten().filter_map(sys::user) {
        add_user(&mut identity, user);
    }
    add_links(&mut identity.homes);
    add_links(&mut identity.coven_homes);
    add_names_in_paths(&mut identity);
    identity
}

impl Identity {
    /// Adds what is known elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        self.homes.extend_from_slice(&other.homes);
        self.coven_homes.extend_from_slice(&other.coven_homes);
        self.users.extend_from_slice(&other.users);
        self.hosts.extend_from_slice(&other.hosts);
        self.dirs.extend_from_slice(&other.dirs);
        self.texts.extend_from_slice(&other.texts);
    }
}

fn add_user(identity: &mut Identity, user: User) {
    identity.users.push(user.name);
    // One word of a full name is as likely what the account is for: `Debian`.
    if user.full_name.contains(' ') {
        identity.users.push(user.full_name);
    }
    identity.homes.push(text(user.home));
}

/// Adds what links lead to.
fn add_links(dirs: &mut Vec<String>) {
    let real = dirs
        .iter()
        .filter_map(|dir| Path::new(dir).canonicalize().ok());
    let real: Vec<String> = real.map(text).collect();
    dirs.extend(real);
}

/// Adds the users after whom directories are named: `/home/ada`, `/Users/ada`.
fn add_names_in_paths(identity: &mut Identity) {
    let paths = [&identity.homes, &identity.coven_homes, &identity.dirs];
    let names = paths.into_iter().flatten().filter_map(|path| {
        let below = path
            .strip_prefix("/home/")
            .or(path.strip_prefix("/Users/"))?;
        below
            .split('/')
            .next()
            .filter(|&name| name != "linuxbrew")
            .map(str::to_owned)
    });
    let names: Vec<String> = names.collect();
    identity.users.extend(names);
    for list in [
        &mut identity.users,
        &mut identity.hosts,
        &mut identity.homes,
    ] {
        list.sort();
        list.dedup();
    }
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}
