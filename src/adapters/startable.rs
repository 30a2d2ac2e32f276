//! Explains why an existing file cannot be started. If a script's interpreter is missing, execve(2) reports only "No
//! such file or directory", and names neither file.
//!
//! Reads the start of files on the caller's thread; it starts nothing.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lookup::find_on_path;
use crate::observe::{Message, message};
use crate::sys;

/// Bytes read of a file: a program's headers, with the name of its loader.
const HEAD: usize = 4096;
/// Bytes of the first line that the kernel reads (BINPRM_BUF_SIZE).
const LINE: usize = 256;
/// Most interpreters that are scripts themselves (execve(2)).
const DEPTH: usize = 4;

/// Why a file cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    why: Message,
    met: MetBy,
}

/// Who meets a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetBy {
    /// execve(2), which fails.
    Kernel,
    /// execve(2), too: but execvp(3), which env uses, passes a file of unknown format to the shell.
    Shell,
    /// env(1), which the kernel starts, and which then fails with 126 or 127.
    Env,
}

impl Problem {
    fn new(met: MetBy, why: Message) -> Option<Self> {
        Some(Self { why, met })
    }

    pub fn message(&self) -> Message {
        self.why.clone()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

/// As [`problem`], but only failures that execve(2) does not report, since it successfully starts env(1).
pub fn problem_of_env(file: &Path, path: Option<&OsStr>) -> Option<Problem> {
    // Each launch waits for this, and most programs are no scripts.
    let mut mark = [0; 2];
    File::open(file).ok()?.read_exact(&mut mark).ok()?;
    let problem = (&mark == b"#!").then(|| problem(file, path)).flatten();
    problem.filter(|problem| problem.met == MetBy::Env)
}

/// Why `file` cannot be started; `None` if it can, or if only execve(2) can tell. `path` is the new process's `PATH`.
pub fn problem(file: &Path, path: Option<&OsStr>) -> Option<Problem> {
    problem_at(file, path, 0)
}

fn problem_at(file: &Path, path: Option<&OsStr>, depth: usize) -> Option<Problem> {
    if depth > DEPTH {
        return Problem::new(
            MetBy::Kernel,
            message!("{}: too many interpreters are scripts", file),
        );
    }
    let meta = match file.metadata() {
        Ok(meta) => meta,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return Problem::new(
                MetBy::Kernel,
                match file.read_link() {
                    Ok(to) => message!("{} is a link to {}, which does not exist", file, &to),
                    Err(_) => message!("{} does not exist", file),
                },
            );
        }
        Err(err) => return Problem::new(MetBy::Kernel, message!("{}: {}", file, &err)),
    };
    if !meta.is_file() {
        return Problem::new(MetBy::Kernel, message!("{} is not a file", file));
    }
    if sys::check_executable(file).is_err() {
        // Its mode permits execution, but the kernel does not.
        let is_forbidden = meta.mode() & 0o111 == 0o111;
        return Problem::new(
            MetBy::Kernel,
            match is_forbidden {
                true => message!(
                    "{} must not be executed: its file system is mounted noexec, or an access list forbids it",
                    file
                ),
                false => message!("{} is not executable (chmod +x)", file),
            },
        );
    }
    // A program can be executable without being readable.
    let mut head = Vec::with_capacity(HEAD);
    let opened = File::open(file).ok()?;
    opened.take(HEAD as u64).read_to_end(&mut head).ok()?;
    match &head[..] {
        [] => Problem::new(MetBy::Shell, message!("{} is empty", file)),
        [b'#', b'!', line @ ..] => of_script(file, line, path, depth),
        _ => of_program(file, &head).filter(|_| !has_other_formats()),
    }
}

/// Parses the first line of the script `file` after `#!`.
fn of_script(file: &Path, line: &[u8], path: Option<&OsStr>, depth: usize) -> Option<Problem> {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let line = &line[..line.len().min(LINE - 2)];
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    let start = line.iter().position(|b| !is_blank(b)).unwrap_or(line.len());
    let line = &line[start..];
    let end = line.iter().position(is_blank).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    let is_env = interpreter.rsplit(|&b| b == b'/').next() == Some(b"env");
    let no_interpreter = || message!("{} names no interpreter behind its #!", file);
    if let Some(rest) = line.strip_suffix(b"\r") {
        // The CR becomes part of the last word, which the kernel or env looks up.
        let word = rest.rsplit(is_blank).next().unwrap_or_default();
        if word.is_empty() {
            return Problem::new(MetBy::Kernel, no_interpreter());
        }
        let word = format!("{:?}", format!("{}\r", OsStr::from_bytes(word).display()));
        let why = message!(
            "{}: its first line ends with CR LF, so that {} is looked for; it must end with LF alone",
            file,
            Message::name(word),
        );
        let met = if is_env { MetBy::Env } else { MetBy::Kernel };
        return Problem::new(met, why);
    }
    if interpreter.is_empty() {
        return Problem::new(MetBy::Kernel, no_interpreter());
    }
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    if !interpreter.is_absolute() {
        let why = message!(
            "{}: its interpreter {} is no absolute path",
            file,
            interpreter
        );
        return Problem::new(MetBy::Kernel, why);
    }
    if let Some(Problem { why, met }) = problem_at(interpreter, path, depth + 1) {
        let why = message!("{}: its interpreter {}", file, why);
        let is_envs = met == MetBy::Env;
        return Problem::new(if is_envs { met } else { MetBy::Kernel }, why);
    }
    match is_env {
        true => of_env(file, argument.trim_ascii(), path, depth),
        false => None,
    }
}

/// Checks env(1)'s one `argument`: a program's name; with `-S` it may follow variables and precede arguments. Other
/// options, quotes, and a `PATH` assignment are left to env.
fn of_env(file: &Path, argument: &[u8], path: Option<&OsStr>, depth: usize) -> Option<Problem> {
    let split = argument.strip_prefix(b"-S");
    let words: Vec<&[u8]> = match split.or(argument.strip_prefix(b"--split-string=")) {
        Some(words) => words.split(u8::is_ascii_whitespace).collect(),
        None => vec![argument],
    };
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| !word.contains(&b'='))?;
    let name = words[at];
    let sets_path = words[..at].iter().any(|word| word.starts_with(b"PATH="));
    let is_quoted = words[..=at].concat().iter().any(|b| b"'\"\\$#".contains(b));
    if name.starts_with(b"-") || sets_path || is_quoted {
        return None;
    }
    let name = OsStr::from_bytes(name);
    let program = match name.as_bytes().contains(&b'/') {
        true => Some(PathBuf::from(name)),
        false => find_on_path(&name.to_string_lossy(), path),
    };
    let Some(program) = program else {
        // env also searches relative directories, and has a default PATH.
        let is_sure = std::env::split_paths(path?).all(|dir| dir.is_absolute());
        let name = Message::name(name.to_string_lossy());
        let why = message!("{}: its interpreter {} is not on the PATH", file, name);
        return Problem::new(MetBy::Env, why).filter(|_| is_sure);
    };
    if !program.is_absolute() {
        return None;
    }
    match problem_at(&program, path, depth + 1)? {
        Problem {
            met: MetBy::Shell, ..
        } => None,
        Problem { why, .. } => {
            Problem::new(MetBy::Env, message!("{}: its interpreter {}", file, why))
        }
    }
}

fn of_program(file: &Path, head: &[u8]) -> Option<Problem> {
    let is_macos = std::env::consts::OS == "macos";
    match head {
        // Mach-O of 32 and 64 bits in both byte orders, and universal binaries.
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..]
        | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..]
        | [0xca, 0xfe, 0xba, 0xbe | 0xbf, ..]
            if is_macos =>
        {
            None
        }
        [0x7f, b'E', b'L', b'F', ..] if !is_macos => {
            Problem::new(MetBy::Kernel, Elf::new(head)?.why_foreign(file)?)
        }
        _ => {
            let why = message!(
                "{} begins with neither #! nor the header of a program",
                file
            );
            Problem::new(MetBy::Shell, why)
        }
    }
}

/// Machine numbers in a program's header (elf(5)), with the other machine whose programs each one also runs.
const PROCESSORS: [(u64, &str, &str); 7] = [
    (62, "x86_64", "x86"),
    (183, "aarch64", "arm"),
    (3, "x86", ""),
    (40, "arm", ""),
    (243, "riscv64", ""),
    (21, "powerpc64", ""),
    (22, "s390x", ""),
];

/// A program's header (elf(5)).
struct Elf<'a> {
    head: &'a [u8],
    is_wide: bool,
    is_little: bool,
}

impl<'a> Elf<'a> {
    fn new(head: &'a [u8]) -> Option<Self> {
        Some(Self {
            head,
            is_wide: *head.get(4)? == 2,
            is_little: *head.get(5)? == 1,
        })
    }

    fn number(&self, at: u64, length: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.head.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        Some(match self.is_little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }

    /// Why this machine cannot run the program `file`: its processor, or its dynamic loader.
    fn why_foreign(&self, file: &Path) -> Option<Message> {
        let own = std::env::consts::ARCH;
        let machine = self.number(18, 2)?;
        let runs = |name: &str| {
            let mut all = PROCESSORS.iter();
            all.any(|(_, this, other)| *this == own && (name == own || name == *other))
        };
        let is_known = PROCESSORS.iter().any(|(_, name, _)| *name == own);
        let found = PROCESSORS.iter().find(|(number, ..)| *number == machine);
        let processor = found.map_or("another processor", |(_, name, _)| *name);
        if is_known && !runs(processor) {
            return Some(message!("{} is a program for {}", file, processor));
        }
        let loader = self.loader()?;
        let why = message!(
            "{} needs the loader {}, which does not exist",
            file,
            &loader
        );
        (!loader.exists()).then_some(why)
    }

    /// The path in its PT_INTERP header.
    fn loader(&self) -> Option<PathBuf> {
        const PT_INTERP: u64 = 3;
        let (word, table, sizes) = if self.is_wide {
            (8, 32, 54)
        } else {
            (4, 28, 42)
        };
        let (table, size) = (self.number(table, word)?, self.number(sizes, 2)?);
        let mut headers = (0..self.number(sizes + 2, 2)?).map(|n| table + n * size);
        let header = headers.find(|&at| self.number(at, 4) == Some(PT_INTERP))?;
        let (offset, length) = if self.is_wide { (8, 32) } else { (4, 16) };
        let start = usize::try_from(self.number(header + offset, word)?).ok()?;
        let length = usize::try_from(self.number(header + length, word)?).ok()?;
        let name = self.head.get(start..start.checked_add(length)?)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let loader = PathBuf::from(OsStr::from_bytes(name));
        loader.is_absolute().then_some(loader)
    }
}

/// True if this system starts additional formats (binfmt_misc): then an unknown format proves nothing.
fn has_other_formats() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/sys/fs/binfmt_misc") else {
        return false;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut others = names.filter(|name| name != "register" && name != "status");
    others.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::rows;

    fn script(line: &str) -> Option<String> {
        let path = Some(OsStr::new("/usr/bin:/bin"));
        let problem = of_script(Path::new("/f"), line.as_bytes(), path, 0);
        problem.map(|problem| problem.to_string())
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_reads_it() {
        for good in [
            "/bin/sh",
            "/bin/sh\n\r\n",
            " \t/bin/sh -e\n",
            "/usr/bin/env sh\n",
            "/usr/bin/env -S sh -e\n",
            "/usr/bin/env -S A=1 sh -e\n",
            "/usr/bin/env -i sh",
            "/usr/bin/env /bin/sh",
            // env(1)'s handling of these is not checked.
            "/usr/bin/env",
            "/usr/bin/env -i coven-none",
            "/usr/bin/env A=1 coven-none",
            "/usr/bin/env -S -i coven-none",
            "/usr/bin/env -S PATH=/x coven-none",
            "/usr/bin/env -S \"coven-none\" x",
            "/usr/bin/env -S ${NONE}",
            "/usr/bin/env ./coven-none",
            // env passes it to the shell.
            "/usr/bin/env /etc/hostname",
        ] {
            assert_eq!(script(good), None, "{good:?}");
        }
    }

    #[test]
    fn a_first_line_that_the_kernel_or_env_cannot_use_is_refused_with_its_reason() {
        for (bad, said) in rows(
            r#"-> names no interpreter
              _\n/bin/sh                                -> names no interpreter
              \r\n                                      -> names no interpreter
              /nonexistent/node\n                       -> its interpreter /nonexistent/node does not exist
              /bin\n                                    -> its interpreter /bin is not a file
              bin/sh\n                                  -> its interpreter bin/sh is no absolute path
              /bin/sh\r\n                               -> "/bin/sh\r" is looked for
              /usr/bin/env node\r\n                     -> "node\r" is looked for
              /usr/bin/env coven-none                   -> its interpreter coven-none is not on the PATH
              # The kernel passes everything after the interpreter as one argument.
              /usr/bin/env sh -e\n                      -> its interpreter sh -e is not on the PATH
              /usr/bin/env -Scoven-none x\n             -> coven-none is not on the PATH
              /usr/bin/env --split-string=A=1 coven-none x\n -> coven-none is not on the PATH
              /usr/bin/env /nonexistent/x               -> its interpreter /nonexistent/x does not exist"#,
        ) {
            let line = bad
                .replace('_', " ")
                .replace(r"\n", "\n")
                .replace(r"\r", "\r");
            let problem = script(&line).unwrap_or_else(|| panic!("{bad:?} can be started"));
            assert!(problem.contains(said), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn a_path_that_env_reads_otherwise_tells_nothing() {
        for path in [None, Some("/bin:"), Some(":/bin"), Some("bin:/bin")] {
            let line = b"/usr/bin/env coven-none";
            let found = of_script(Path::new("/f"), line, path.map(OsStr::new), 0);
            assert_eq!(found, None, "{path:?}");
        }
    }

    #[test]
    fn the_header_of_a_program_says_for_which_processor_it_is() {
        let said =
            |head: &[u8]| of_program(Path::new("/f"), head).map(|problem| problem.to_string());
        let mut head = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        head.truncate(HEAD);
        assert_eq!(said(&head), None);
        if std::env::consts::OS == "macos" {
            return;
        }
        let (other, name) = match std::env::consts::ARCH {
            "s390x" => (62, "x86_64"),
            _ => (22, "s390x"),
        };
        head[18..20].copy_from_slice(&[other, 0]);
        assert_eq!(said(&head), Some(format!("/f is a program for {name}")));
        for text in [
            "echo no shebang",
            "MZ\0\0",
            "PK\u{3}\u{4}",
            "\u{feff}#!/bin/sh",
        ] {
            let unknown = "/f begins with neither #! nor the header of a program";
            assert_eq!(said(text.as_bytes()).as_deref(), Some(unknown));
        }
        // A truncated or damaged header must not cause a panic.
        for length in 0..head.len() {
            said(&head[..length]);
            let mut spoilt = head.clone();
            spoilt[length] ^= 0xff;
            said(&spoilt);
        }
    }
}
