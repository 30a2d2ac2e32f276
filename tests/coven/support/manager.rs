//! A service manager that a daemon tells of itself.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::*;

/// A service manager's end of `NOTIFY_SOCKET`.
pub struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// A manager on a path in the test's own directory.
    pub fn on_path(coven: &Coven) -> (Self, String) {
        let path = coven.work().join("notify");
        let name = path.to_str().unwrap().to_owned();
        (Self::of(UnixDatagram::bind(path).unwrap()), name)
    }

    /// A manager in the abstract namespace.
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
        self.receive().expect("a message")
    }

    fn receive(&self) -> Option<Vec<String>> {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).ok()?;
        let text = str::from_utf8(&bytes[..n]).unwrap();
        Some(text.lines().map(str::to_owned).collect())
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

    /// Fills the queue of this socket, which is at `path`: who sends to it waits until something is read.
    pub fn fill(&self, path: &str) {
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        while other.send_to(b"X_FULL=1", path).is_ok() {}
    }

    /// The messages that have come, without waiting for more.
    pub fn come(&self) -> Vec<Vec<String>> {
        self.socket.set_nonblocking(true).unwrap();
        let all = std::iter::from_fn(|| self.receive()).collect();
        self.socket.set_nonblocking(false).unwrap();
        all
    }

    /// The last message of those that have come, as one text.
    pub fn last(&self) -> String {
        self.come().last().expect("a message").join("\n")
    }
}
