//! Functions of libc that do something else in the daemon: what a test cannot do to the machine.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::{Coven, wait_for_line};

/// The wall clock is wrong by as many seconds as the file that `WALL_CLOCK` names says.
pub const WALL_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("WALL_CLOCK");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}
"#;

/// Nothing reaches the disk while the file that `DISK_FAILS` names is there, and not yet while that of `DISK_HANGS` is.
pub const FAILING_DISK: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sync_file(long call, int file) {
    const char *path = getenv("DISK_HANGS");
    while (path && access(path, F_OK) == 0) usleep(1000);
    path = getenv("DISK_FAILS");
    if (path && access(path, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(call, file);
}

int fsync(int file) { return sync_file(SYS_fsync, file); }
int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }
"#;

/// A shared object that is loaded before libc.
pub struct Shim(String);

impl Shim {
    /// Compiles `source`. `None`, having said so, where there is no C compiler, or no `LD_PRELOAD`.
    pub fn compile(coven: &Coven, name: &str, source: &str) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("skipped: only on Linux");
            return None;
        }
        let base = coven.work().join(name);
        let (code, object) = (base.with_extension("c"), base.with_extension("so"));
        fs::write(&code, source).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .args([&object, &code]);
        match compiler.status() {
            Ok(status) if status.success() => Some(Self(object.to_str().unwrap().into())),
            _ => {
                println!("skipped: no C compiler");
                None
            }
        }
    }

    /// Starts a daemon with it, in the foreground, and gives it once it serves.
    pub fn serve(&self, coven: &Coven) -> Child {
        let mut serve = coven.command(["daemon", "serve"]);
        serve.env("LD_PRELOAD", &self.0).stderr(Stdio::piped());
        let mut child = serve.spawn().unwrap();
        wait_for_line(&mut child, "contract_served");
        child
    }

    /// A command with it.
    pub fn command(&self, coven: &Coven, args: &[&str]) -> Command {
        let mut command = coven.command(args);
        command.env("LD_PRELOAD", &self.0);
        command
    }
}
