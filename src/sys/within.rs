//! Reads and writes until a deadline, for callers that must not wait for ever for the other end.
//!
//! Runs on the caller's thread, and blocks in poll(2) only.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use super::{Interest, Wake, poll};

/// A descriptor with a deadline: afterwards a read or write that would block fails with `TimedOut`.
pub struct Within<'a, F> {
    file: &'a F,
    /// Time until which it may block.
    pub deadline: Instant,
    /// While it is readable, a read or write that would block fails with [`INTERRUPTED`].
    pub interrupt: Option<&'a Wake>,
}

/// Kind of the error of an interrupted wait: std repeats a read or write after its own `Interrupted`.
pub const INTERRUPTED: io::ErrorKind = io::ErrorKind::ResourceBusy;

impl<'a, F: AsFd> Within<'a, F> {
    /// `file` must be non-blocking ([`super::set_nonblocking`]).
    pub fn new(file: &'a F, deadline: Instant) -> Self {
        Self {
            file,
            deadline,
            interrupt: None,
        }
    }

    /// Repeats `work` until it does not block; waits for `interest` in between.
    fn until_done(
        &self,
        interest: fn(&'a F) -> Interest<'a>,
        mut work: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match work() {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let mut interests = vec![interest(self.file)];
                    interests.extend(self.interrupt.map(Interest::readable));
                    if !poll(&mut interests, Some(self.deadline))? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    if !interests[0].is_ready() {
                        return Err(INTERRUPTED.into());
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl<'a, F: AsFd> Read for Within<'a, F>
where
    &'a F: Read,
{
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file;
        self.until_done(Interest::readable, || file.read(into))
    }
}

impl<'a, F: AsFd> Write for Within<'a, F>
where
    &'a F: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file;
        self.until_done(Interest::writable, || file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn data_before_the_deadline_is_read_and_then_the_time_is_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(b"line\nrest").unwrap();
        let mut read = Vec::new();
        let result = Within::new(&ours, Instant::now()).read_to_end(&mut read);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(read, b"line\nrest");

        // A write that exceeds the socket's buffer also fails in time.
        let result = Within::new(&ours, Instant::now()).write_all(&vec![0; 4 << 20]);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
