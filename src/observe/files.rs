//! Reads a log's files from the oldest to the newest, also while the daemon rotates them.
//!
//! Used in the CLI's process. It knows the files' names, and nothing of their lines.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::rotate::{KEEP, numbered};

/// A log and its rotated files. The file being read stays open, so that its inode is not reused.
pub struct LogFiles {
    path: PathBuf,
    /// The file being read, and behind it newer ones.
    files: VecDeque<OpenFile>,
}

struct OpenFile {
    reader: BufReader<File>,
    id: (u64, u64),
    /// The start of an incomplete line.
    line: Vec<u8>,
}

impl LogFiles {
    /// The log at `path`, with all of it unread.
    pub fn new(path: PathBuf) -> Self {
        let files = VecDeque::new();
        Self { path, files }
    }

    /// The file being read, for a watch.
    pub fn current(&self) -> Option<&File> {
        self.files.front().map(|file| file.reader.get_ref())
    }

    /// The next complete line, without its end; `None` while there is none. Empty lines are skipped.
    ///
    /// # Errors
    /// The error of open(2) or read(2).
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(file) = self.files.front_mut()
                && let Some(line) = file.next_line()?
            {
                return Ok(Some(line));
            }
            // A newer file means that writing to this one has ended; it may have grown since it was read.
            if self.files.len() < 2 {
                let newer = self.newer()?;
                if newer.is_empty() {
                    return Ok(None);
                }
                self.files.extend(newer);
                continue;
            }
            let ended = self.files.pop_front();
            if let Some(line) = ended.and_then(|mut file| file.rest()) {
                return Ok(Some(line));
            }
        }
    }

    /// The rest of an incomplete last line.
    pub fn rest(&mut self) -> Option<String> {
        self.files.front_mut()?.rest()
    }

    /// Opens the files newer than the current one, and returns them oldest first. Opening starts with the newest: a
    /// file that is renamed meanwhile appears again under its next name, and none is missed.
    fn newer(&self) -> io::Result<Vec<OpenFile>> {
        let known = self.files.front().map(|file| file.id);
        let mut newer: Vec<OpenFile> = Vec::new();
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
            let file = OpenFile::new(file)?;
            if known == Some(file.id) {
                break;
            }
            if newer.iter().all(|other| other.id != file.id) {
                newer.push(file);
            }
        }
        newer.reverse();
        Ok(newer)
    }
}

impl OpenFile {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            id: crate::sys::file_id(&meta),
            line: Vec::new(),
        })
    }

    fn next_line(&mut self) -> io::Result<Option<String>> {
        while self.reader.read_until(b'\n', &mut self.line)? > 0 {
            if self.line.pop_if(|last| *last == b'\n').is_some()
                && let Some(line) = self.rest()
            {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn read(files: &mut LogFiles) -> Vec<String> {
        std::iter::from_fn(|| files.next_line().unwrap()).collect()
    }

    fn temp(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("coven-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        dir
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
