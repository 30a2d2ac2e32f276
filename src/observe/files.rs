//! Reads a log's files from the oldest to the newest, also while the daemon rotates them.
//!
//! Used in the CLI's process. It knows the files' names, and nothing of their lines.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::rotate::{KEEP, numbered};

/// A log and its rotated files. The file being read stays open, so that its inode is not reused.
pub struct LogFiles {
    path: PathBuf,
    current: Option<Current>,
}

struct Current {
    reader: BufReader<File>,
    id: (u64, u64),
    /// The start of an incomplete line.
    line: Vec<u8>,
}

impl LogFiles {
    /// The log at `path`, with all of it unread.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            current: None,
        }
    }

    /// The file being read, for a watch.
    pub fn current(&self) -> Option<&File> {
        self.current
            .as_ref()
            .map(|current| current.reader.get_ref())
    }

    /// Passes every complete unread line to `line`, without its end.
    ///
    /// # Errors
    /// The error of open(2) or read(2), or of `line`.
    pub fn read<E: From<io::Error>>(
        &mut self,
        mut line: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if let Some(current) = &mut self.current {
                current.read(&mut line)?;
            }
            let newer = self.newer()?;
            if newer.is_empty() {
                return Ok(());
            }
            for next in newer {
                // A newer file means that writing to this one has ended; it may have grown since the last read.
                if let Some(mut last) = self.current.replace(next) {
                    last.read(&mut line)?;
                    last.finish(&mut line)?;
                }
                if let Some(current) = &mut self.current {
                    current.read(&mut line)?;
                }
            }
        }
    }

    /// Passes the rest of an incomplete last line to `line`.
    pub fn finish<E>(&mut self, mut line: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        self.current
            .as_mut()
            .map_or(Ok(()), |current| current.finish(&mut line))
    }

    /// Opens the files newer than the current one, and returns them oldest first. Opening starts with the newest: a
    /// file that is renamed meanwhile appears again under its next name, and none is missed.
    fn newer(&self) -> io::Result<Vec<Current>> {
        let known = self.current.as_ref().map(|current| current.id);
        let mut newer: Vec<Current> = Vec::new();
        for age in 0..=KEEP {
            let path = match age {
                0 => self.path.clone(),
                age => numbered(&self.path, age),
            };
            // O_NONBLOCK: a FIFO of this name must not block.
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(libc::O_NONBLOCK);
            let file = match options.open(path) {
                Ok(file) => file,
                // Between two renames a name can be missing.
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                Err(err) => return Err(err),
            };
            let current = Current::new(file)?;
            if known == Some(current.id) {
                break;
            }
            if newer.iter().all(|file| file.id != current.id) {
                newer.push(current);
            }
        }
        newer.reverse();
        Ok(newer)
    }
}

impl Current {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            id: crate::sys::file_id(&meta),
            line: Vec::new(),
        })
    }

    fn read<E: From<io::Error>>(
        &mut self,
        line: &mut impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.reader.read_until(b'\n', &mut self.line)? > 0 {
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.finish(line)?;
            }
        }
        Ok(())
    }

    fn finish<E>(&mut self, line: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        if self.line.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.line);
        line(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn temp(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("coven-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn read(files: &mut LogFiles) -> Vec<String> {
        let mut lines = Vec::new();
        let mut push = |line: &str| {
            lines.push(line.to_owned());
            Ok::<(), io::Error>(())
        };
        files.read(&mut push).unwrap();
        lines
    }

    fn rotate(path: &Path) {
        for age in (1..KEEP).rev() {
            let _ = fs::rename(numbered(path, age), numbered(path, age + 1));
        }
        fs::rename(path, numbered(path, 1)).unwrap();
    }

    #[test]
    fn files_are_read_oldest_first_and_each_line_once() {
        let dir = temp("files");
        let path = dir.join("daemon.log");
        fs::write(numbered(&path, 2), "1\n2\n").unwrap();
        fs::write(numbered(&path, 1), "3\n").unwrap();
        fs::write(&path, "4\n").unwrap();
        let mut files = LogFiles::new(path);
        assert_eq!(read(&mut files), ["1", "2", "3", "4"]);
        assert!(read(&mut files).is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_log_that_is_renamed_between_two_reads_loses_no_line() {
        let dir = temp("renamed");
        let path = dir.join("daemon.log");
        fs::write(&path, "1\n").unwrap();
        let mut files = LogFiles::new(path.clone());
        assert_eq!(read(&mut files), ["1"]);
        // The read file grows, and two more files come and go before the next read.
        fs::write(&path, "1\n2\n").unwrap();
        rotate(&path);
        assert_eq!(read(&mut files), ["2"], "while there is no new one yet");
        fs::write(&path, "3\n").unwrap();
        rotate(&path);
        fs::write(&path, "4\n5").unwrap();
        assert_eq!(read(&mut files), ["3", "4"]);
        fs::write(&path, "4\n56\n").unwrap();
        assert_eq!(read(&mut files), ["56"], "a line is given when it is whole");
        fs::remove_dir_all(dir).unwrap();
    }
}
