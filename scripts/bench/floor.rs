//! The bare programs: the floor of each figure (the same work without a daemon), and minimal harnesses.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the bare program `args[0]`. When started as a harness, the prompt is the last argument, after `--`.
pub fn run(args: &[String]) {
    let prompt = args.last().map_or("", String::as_str);
    match args[0].as_str() {
        "tiny-http" => tiny_http(&args[1], &args[2]),
        "echo" => echo(&args[1]),
        "nothing" => {}
        "emit" => emit(prompt.parse().unwrap()),
        "write-lines" => write_lines(prompt.parse().unwrap()),
        "tick" => lines(prompt.parse().unwrap(), Duration::from_millis(5)),
        "second" => lines(prompt.parse().unwrap(), Duration::from_secs(1)),
        other => panic!("no such program: {other}"),
    }
}

/// A bare program that listens on a socket.
pub struct Floor(Child);

impl Floor {
    pub fn start(args: &[&str], socket: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .arg("--floor")
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < deadline, "{args:?} does not serve");
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Four workers on one tiny_http server, as in its documentation; each response has `bytes` bytes of JSON.
fn tiny_http(socket: &str, bytes: &str) {
    let body = "x".repeat(bytes.parse().unwrap());
    let server = std::sync::Arc::new(tiny_http::Server::http_unix(Path::new(socket)).unwrap());
    let worker = || {
        let (server, body) = (std::sync::Arc::clone(&server), body.clone());
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                let json: tiny_http::Header = "Content-Type: application/json".parse().unwrap();
                let response = tiny_http::Response::from_string(&body).with_header(json);
                let _ = request.respond(response);
            }
        })
    };
    let workers: Vec<_> = (0..4).map(|_| worker()).collect();
    for worker in workers {
        let _ = worker.join();
    }
}

/// Echoes its input: the minimal cost of a round trip to another process.
fn echo(socket: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        });
    }
}

/// Prints the given number of bytes, in lines of 100.
fn emit(bytes: usize) {
    let mut lines = Vec::with_capacity(1 << 20);
    let mut number = 0_u64;
    let mut left = bytes;
    let mut out = std::io::stdout().lock();
    while left > 0 {
        lines.clear();
        while lines.len() + 100 <= 1 << 16 && lines.len() < left {
            number += 1;
            lines.extend_from_slice(format!("{number:>12} the quick brown fox jumps over the lazy dog, and what it says is of no interest ......\n").as_bytes());
        }
        let n = lines.len().min(left);
        out.write_all(&lines[..n]).unwrap();
        left -= n;
    }
}

/// Prints the given number of 100-byte lines with one write each, like a program without a buffer.
fn write_lines(count: usize) {
    let mut out = std::io::stdout().lock();
    for number in 0..count {
        // Rust's stdout is line-buffered: each newline causes one write.
        out.write_all(format!("{number:099}\n").as_bytes()).unwrap();
    }
}

/// Prints the given number of lines, one after each pause; each line is the time of its write.
fn lines(count: usize, pause: Duration) {
    let mut out = std::io::stdout().lock();
    for _ in 0..count {
        std::thread::sleep(pause);
        let line = format!("{}\n", monotonic_nanos());
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// Clock shared by all processes, which nobody can set (clock_gettime(2), CLOCK_MONOTONIC).
pub fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct, which outlives it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
