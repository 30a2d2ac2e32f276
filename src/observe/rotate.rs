//! A log file that is rotated when it is full: `daemon.log`, `daemon.log.1` and so on; higher is older.
//!
//! Several processes can append to one file, since each record is one write. If two find it full at once, it is rotated
//! twice.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::sys;

/// Number of rotated files that are kept.
pub(super) const KEEP: u32 = 5;

pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
}

impl RotatingFile {
    /// Opens or creates the file at `path`; it is rotated before it exceeds `size_max` bytes.
    pub(super) fn open(path: PathBuf, size_max: u64) -> io::Result<Self> {
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            size_max,
        })
    }

    /// Opens or creates the file at the path again: another process may have renamed the old one.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = file;
        Ok(())
    }

    /// True if the path still leads to the open file.
    pub(super) fn has_its_name(&self) -> bool {
        let files = (self.file.metadata(), self.path.symlink_metadata());
        matches!(files, (Ok(one), Ok(other)) if sys::file_id(&one) == sys::file_id(&other))
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (1..KEEP).rev() {
            // Missing files are no failure: at first there are fewer than KEEP.
            let _ = std::fs::rename(numbered(&self.path, age), numbered(&self.path, age + 1));
        }
        std::fs::rename(&self.path, numbered(&self.path, 1))?;
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.size_max {
            // If the rename fails, an oversized log is better than none.
            let _ = self.rotate();
        }
        let n = self.file.write(line)?;
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: a FIFO of this name must not block.
    sys::append_own(path, libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

pub(super) fn numbered(path: &Path, age: u32) -> PathBuf {
    path.with_added_extension(age.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_renamed_and_the_oldest_goes() {
        let dir = std::env::temp_dir().join(format!("coven-rotate-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("daemon.log");
        let mut log = RotatingFile::open(path.clone(), 10).unwrap();
        for i in 0..9 {
            log.write_all(format!("line {i}\n").as_bytes()).unwrap();
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "line 8\n");
        assert_eq!(read(&numbered(&path, 1)), "line 7\n");
        assert_eq!(read(&numbered(&path, KEEP)), "line 3\n");
        assert!(!numbered(&path, KEEP + 1).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
