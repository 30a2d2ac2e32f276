//! A service manager that a daemon tells of itself.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::*;

/// A service manager's end of `NOTIFY_SOCKET`.
pub struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// One on a path in the test's own directory.
    pub fn on_path(coven: &Coven) -> (Self, String) {
        let path = coven.work().join("notify");
        let name = path.to_str().unwrap().to_owned();
        (Self::of(UnixDatagram::bind(path).unwrap()), name)
    }

    /// One in the abstract namespace.
    pub fn abstract_one(coven: &Coven) -> (Self, String) {
        let name = format!("coven-test{}", coven.work().display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        (Self::of(socket), format!("@{name}"))
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next message, its lines.
    pub fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).expect("a message");
        let text = str::from_utf8(&bytes[..n]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Everything up to the message that holds the line `wanted`, which is the last.
    pub fn until(&self, wanted: &str) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        loop {
            all.push(self.next());
            if all.last().unwrap().iter().any(|line| line == wanted) {
                return all;
            }
        }
    }

    /// The last message of those that have come, as one text.
    pub fn last(&self) -> String {
        let mut bytes = [0; 4096];
        let mut last = None;
        self.socket.set_nonblocking(true).unwrap();
        while let Ok(n) = self.socket.recv(&mut bytes) {
            last = Some(String::from_utf8(bytes[..n].to_vec()).unwrap());
        }
        self.socket.set_nonblocking(false).unwrap();
        last.expect("a message")
    }

    /// Forgets what has come; gives what else comes within `time`.
    pub fn hear_for(&self, time: Duration) -> Vec<String> {
        let mut bytes = [0; 4096];
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut bytes).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        self.socket.set_read_timeout(Some(time)).unwrap();
        let heard = self.socket.recv(&mut bytes).ok();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = String::from_utf8_lossy(&bytes[..heard.unwrap_or(0)]).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}
