//! The log's files, read oldest first and to the end, also while the daemon renames them.
//!
//! Used by the CLI's own process; it knows the files' names, and nothing of what their lines say.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::rotate::{KEEP, numbered};

/// A log and its older files. The file that is read is held open: so its inode is nobody else's.
pub struct LogFiles {
    path: PathBuf,
    current: Option<Current>,
}

struct Current {
    reader: BufReader<File>,
    id: (u64, u64),
    /// The beginning of a line whose end is not there yet.
    line: Vec<u8>,
}

impl LogFiles {
    /// The log at `path`, none of which has been read.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            current: None,
        }
    }

    /// The file that is read now, to be watched.
    pub fn current(&self) -> Option<&File> {
        self.current
            .as_ref()
            .map(|current| current.reader.get_ref())
    }

    /// Gives every line that is there and has not been read to `line`, without its end.
    ///
    /// # Errors
    /// What open(2) and read(2) report, and what `line` fails with.
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
                // A newer file means that nothing more is written to this one; but it may have been until then.
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

    /// Gives what is left of a last line without an end.
    ///
    /// # Errors
    /// What `line` fails with.
    pub fn finish<E>(&mut self, mut line: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        self.current
            .as_mut()
            .map_or(Ok(()), |current| current.finish(&mut line))
    }

    /// The files that are newer than the one that is read, oldest first. They are opened from the newest on: one
    /// that is renamed meanwhile is met again under its next name, and none is missed.
    fn newer(&self) -> io::Result<Vec<Current>> {
        let known = self.current.as_ref().map(|current| current.id);
        let mut newer: Vec<Current> = Vec::new();
        for age in 0..=KEEP {
            let path = match age {
                0 => self.path.clone(),
                age => numbered(&self.path, age),
            };
            // A FIFO by this name must not hold us.
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(libc::O_NONBLOCK);
            let file = match options.open(path) {
                Ok(file) => file,
                // Between two renames there can be a gap.
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
        // More is written to the file that was read, and two more come and go before the next read.
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
