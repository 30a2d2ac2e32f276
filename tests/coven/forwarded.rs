//! A home that is the end of a connection to another machine's daemon, as `ssh -L` makes one: it is used while somebody
//! answers there, and no daemon of this machine takes its place.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use crate::support::*;

/// Leads `socket` to `daemon`, until a connection comes once `socket` has been removed; the file stays as ssh leaves it.
fn forward(socket: &Path, daemon: &Path) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let daemon = daemon.to_owned();
    let copy = |mut from: UnixStream, mut to: UnixStream| {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            if to.write_all(&chunk[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // The daemon has gone, and with it the connection.
            let Ok(far) = UnixStream::connect(&daemon) else {
                return;
            };
            let (back, forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            thread::spawn(move || copy(near, far));
            thread::spawn(move || copy(back, forth));
        }
    })
}

/// A home with nothing in it but a socket that leads to the daemon of `remote`.
fn forwarded(remote: &Coven) -> (Coven, thread::JoinHandle<()>) {
    let local = Coven::new();
    for entry in fs::read_dir(local.home()).unwrap().flatten() {
        match entry.path().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
    let thread = forward(&local.socket(), &remote.socket());
    (local, thread)
}

fn entries(coven: &Coven) -> Vec<String> {
    let entries = fs::read_dir(coven.home()).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// No verb puts a daemon in the place of the connection, and each tells how to get it back.
fn assert_waits_for_connection(local: &Coven) {
    for args in [
        &["run", "hello", "x"][..],
        &["run", "--detach", "hello", "x"],
        &["daemon", "start"],
        &["daemon", "restart"],
        &["daemon", "serve"],
        &["vacuum"],
    ] {
        let refused = local.cli(args);
        assert_eq!(refused.code, exit_of(args, 1), "{args:?}: {refused:?}");
        assert!(
            refused.err.contains("(home_forwarded)"),
            "{args:?}: {refused:?}"
        );
        assert!(
            refused.err.contains("coven daemon start --here"),
            "{args:?}: {refused:?}"
        );
    }
    let sessions = local.cli(["sessions"]);
    assert_eq!(sessions.code, 3, "{sessions:?}");
    assert!(
        sessions.err.contains("restore the connection"),
        "{sessions:?}"
    );
    let status = local.cli(["daemon", "status"]);
    assert_eq!(status.code, 1);
    assert!(status.out.starts_with("state   forwarded"), "{status:?}");
    assert_eq!(
        local.cli(["daemon", "status", "--json"]).json()["state"],
        "forwarded"
    );
    let report = local.cli(["doctor"]);
    for advice in [
        "chmod",
        "kill",
        "restart",
        "rm ",
        "npm",
        "coven daemon start\n",
    ] {
        assert!(!report.out.contains(advice), "{advice}: {report:?}");
    }
}

#[test]
fn a_socket_that_leads_to_another_machine_is_used_and_no_daemon_takes_its_place() {
    let remote = Coven::start();
    let (local, thread) = forwarded(&remote);
    let ran = local.cli(["run", "hello", "from afar"]);
    assert!(ran.out.contains("you said: from afar"), "{ran:?}");
    assert_eq!(remote.sessions().len(), 1);
    assert_eq!(local.cli(["daemon", "start"]).code, 0, "it runs already");
    let report = local.cli(["doctor"]);
    assert_eq!(report.code, 0, "{report:?}");
    assert!(
        report.out.contains("leads to another machine"),
        "{report:?}"
    );
    assert!(!report.out.contains("try:"), "{report:?}");
    // The connection dies.
    assert_eq!(remote.cli(["daemon", "stop"]).code, 0);
    let _ = UnixStream::connect(local.socket());
    thread.join().unwrap();
    assert_waits_for_connection(&local);
    assert_eq!(entries(&local), ["coven.sock"], "nothing was written");
    let started = local.cli(["daemon", "start", "--here"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(local.sessions().len(), 0);
    // An own home is none of the kind, whatever of it is left.
    local.crash();
    assert_eq!(local.cli(["daemon", "start"]).code, 0);
}
