//! Who runs this, where, and under which names.
//!
//! The environment is at hand; the rest is looked up on a thread of its own, since a user database or a file system can
//! take its time.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::daemon::Home;
use crate::settings;
use crate::sys;

/// Who and where this is.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The home directories of everybody concerned, under every name that they have.
    pub homes: Vec<String>,
    /// `COVEN_HOME`, under every name that it has.
    pub coven_homes: Vec<String>,
    /// Login and full names.
    pub users: Vec<String>,
    /// The machine's names.
    pub hosts: Vec<String>,
}

impl Identity {
    /// What the environment and the kernel say, without waiting for anybody.
    pub(super) fn at_hand(home: Option<&Home>) -> Self {
        let mut identity = Self::default();
        for name in ["USER", "LOGNAME", "SUDO_USER", "DOAS_USER"] {
            identity.users.extend(env::var(name));
        }
        identity.homes.extend(env::var("HOME"));
        for host in [sys::system().host, env::var("HOSTNAME").unwrap_or_default()] {
            // A name without its domain is one, too, and so is a domain of several parts.
            if let Some((first, domain)) = host.split_once('.') {
                let domain = domain.contains('.').then_some(domain);
                let parts = [Some(first), domain].into_iter().flatten();
                identity.hosts.extend(parts.map(str::to_owned));
            }
            identity.hosts.push(host);
        }
        let home = home.map(|home| text(home.path().to_owned()));
        identity.coven_homes.extend(home);
        let lists = [
            "PATH",
            settings::HARNESS_ADAPTER_DIRS.name,
            settings::HARNESS_ADAPTER_MANIFEST.name,
        ];
        let lists = lists.into_iter().filter_map(env::var_os);
        let dirs = lists.flat_map(|list| env::split_paths(&list).collect::<Vec<_>>());
        let dirs: Vec<String> = dirs.chain(env::current_dir().ok()).map(text).collect();
        identity.add_owners(&dirs);
        identity
    }

    /// Adds what has to be looked up: in the user database, and where links lead.
    pub(super) fn look_up(mut self, home: Option<&Home>) -> Self {
        let owner = home.and_then(|home| home.path().symlink_metadata().ok());
        let sudo = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        let uids = [Some(sys::euid()), owner.map(|meta| meta.uid()), sudo];
        for user in uids.into_iter().flatten().filter_map(sys::user) {
            self.users.push(user.name);
            // One word of a full name is as likely what the account is for: `Debian`.
            let full_name = Some(user.full_name).filter(|name| name.contains(' '));
            self.users.extend(full_name);
            self.homes.push(text(user.home));
        }
        for dirs in [&mut self.homes, &mut self.coven_homes] {
            let real = dirs
                .iter()
                .filter_map(|dir| Path::new(dir).canonicalize().ok());
            let real: Vec<String> = real.map(text).collect();
            dirs.extend(real);
        }
        let dirs = [self.homes.as_slice(), &self.coven_homes].concat();
        self.add_owners(&dirs);
        self
    }

    /// Adds the users after whom directories are named: `/home/ada`, `/Users/ada`.
    pub(super) fn add_owners(&mut self, dirs: &[String]) {
        let below = |dir: &str| {
            let below = dir.strip_prefix("/home/").or(dir.strip_prefix("/Users/"))?;
            Some(below.split('/').next().unwrap_or(below).to_owned())
        };
        let owners = dirs.iter().filter_map(|dir| below(dir));
        self.users.extend(owners.filter(|name| name != "linuxbrew"));
    }
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}
