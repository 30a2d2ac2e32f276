//! Takes over the listening socket from the service manager (sd_listen_fds(3)).
//!
//! Runs on the main thread while the daemon starts. The manager owns the socket and its file, which outlive the daemon.
//! It knows no client.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::sys;

/// Number of the first passed descriptor (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The listener passed to this process, which must listen on `socket`; `None` if there is none.
///
/// # Errors
/// The passed descriptors cannot be served; the text names the change that the unit needs.
pub(in crate::daemon) fn handed_over(socket: &Path) -> Result<Option<UnixListener>, String> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    // The variables may have been inherited from a parent that did not unset them.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    let count = match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(count) => count,
    };
    if count > 1 {
        return Err(format!(
            "{count} sockets have been handed over: give the socket unit one ListenStream= only"
        ));
    }
    let shown = socket.display();
    let listener = sys::inherited_listener(FIRST).map_err(|err| {
        format!(
            "the descriptor that has been handed over cannot be served ({err}): it must be \
             ListenStream={shown}"
        )
    })?;
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    if path != Some(socket) {
        let found = match path {
            Some(path) => path.display().to_string(),
            None => "elsewhere".to_owned(),
        };
        return Err(format!(
            "the socket that has been handed over listens on {found}: it must be ListenStream={shown}"
        ));
    }
    check_file(socket)?;
    // The manager's socket may be non-blocking; accept(2) must block.
    let blocking = listener.set_nonblocking(false);
    blocking.map_err(|err| format!("{shown}: {err}"))?;
    Ok(Some(listener))
}

/// The file's owner and mode decide who can connect (unix(7)).
fn check_file(socket: &Path) -> Result<(), String> {
    let shown = socket.display();
    let meta = socket.symlink_metadata();
    let meta = meta.map_err(|err| format!("{shown}, which has been handed over: {err}"))?;
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o7777;
        return Err(format!(
            "{shown} is open to others (mode {mode:04o}): set SocketMode=0600 in the socket unit"
        ));
    }
    if meta.uid() != sys::euid() {
        return Err(format!(
            "{shown} belongs to another user (uid {}): set SocketUser= in the socket unit",
            meta.uid()
        ));
    }
    Ok(())
}
