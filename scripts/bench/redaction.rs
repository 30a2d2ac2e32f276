//! Throughput of redaction on one core, in reads as large as the pump's. Ordinary text has a limit; text full of
//! beginnings of secrets is shown without one, and at two sizes where only its length could slow it down.

use std::time::Instant;

use coven::redact::{Redactor, Stream};

use super::report::{Reach, Report};

/// Maximum size of one read of the pump, in bytes.
const READ: usize = 64 * 1024;

/// Runs of which the best counts: the speed of a shared machine swings by half within seconds.
const RUNS: usize = 10;

/// Throughput of ordinary text, of text whose lines are one word, and of text in layers, in MB/s.
const ORDINARY: f64 = 1000.0;
const LONG_WORDS: f64 = 500.0;
const LAYERED: f64 = 300.0;

/// Name of a text, and the function that makes its line from the line's number.
type Kind = (&'static str, fn(u64) -> String);

pub fn measure(report: &mut Report) {
    let (redactor, _) = Redactor::new("");
    let size = report.rounds(40_000_000);
    let kinds: [(Kind, f64); 9] = [
        (("build log", build_log), ORDINARY),
        (("source code", source), ORDINARY),
        (("prose", prose), ORDINARY),
        (("JSON lines", json), ORDINARY),
        (("100-byte lines", hundred), ORDINARY),
        (("hex lines", hex), LONG_WORDS),
        (("base64 lines", base64), LONG_WORDS),
        (("coloured lines", coloured), LAYERED),
        (("JSON stream of an agent", agent), LAYERED),
    ];
    for ((name, line), least) in kinds {
        let text = corpus(size, line);
        show(report, &redactor, name, &text, READ, Reach::AtLeast(least));
    }
    let near: [Kind; 3] = [
        ("`token` in every line", |n| {
            format!("error {n}: expected a token here, and found none\n")
        }),
        ("`key:` in every line", |n| {
            format!("  - key: value\n    line {n} of it\n")
        }),
        ("full of `eyJ-`", |n| format!("eyJ-eyJ-eyJ-{}\n", n % 7)),
    ];
    for (name, line) in near {
        let text = corpus(size / 10, line);
        show(report, &redactor, name, &text, READ, Reach::Shown);
    }
    for size in [1_000_000, 10_000_000] {
        let endless: [(&str, Vec<u8>); 3] = [
            ("one line of words", corpus(size, |n| format!("word{n} "))),
            ("one line of a's", vec![b'a'; size]),
            ("one line of `a-`", corpus(size, |_| "a-".into())),
        ];
        for (name, text) in endless {
            let name = format!("{name}, {} MB", size / 1_000_000);
            show(report, &redactor, &name, &text, READ, Reach::Shown);
        }
    }
    let text = corpus(size / 10, build_log);
    show(
        report,
        &redactor,
        "build log in writes of 10 bytes",
        &text,
        10,
        Reach::Shown,
    );
    for size in [100_000, 1_000_000] {
        let text = corpus(size, |n| format!("word{n} "));
        let name = format!("one line in writes of 10 bytes, {} kB", size / 1000);
        show(report, &redactor, &name, &text, 10, Reach::Shown);
    }
}

fn show(
    report: &mut Report,
    redactor: &Redactor,
    name: &str,
    text: &[u8],
    write: usize,
    reach: Reach,
) {
    let mut best = 0.0_f64;
    let mut out = Vec::with_capacity(2 * READ);
    for _ in 0..RUNS {
        let (mut stream, mut passed) = (Stream::default(), 0);
        let begun = Instant::now();
        for data in text.chunks(write) {
            out.clear();
            stream.push(redactor, data, &mut out);
            passed += out.len();
        }
        out.clear();
        stream.finish(redactor, &mut out);
        passed += out.len();
        let rate = text.len() as f64 / 1e6 / begun.elapsed().as_secs_f64();
        assert_eq!(passed, text.len(), "{name}: something was taken out");
        best = best.max(rate);
    }
    report.add_alone(&format!("redaction of {name}"), "MB/s", best, reach);
}

/// Makes `size` bytes of lines, the same in each run.
fn corpus(size: usize, line: fn(u64) -> String) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 256);
    let mut number = 0;
    while text.len() < size {
        text.extend_from_slice(line(number).as_bytes());
        number += 1;
    }
    text
}

/// SplitMix64's finaliser: pseudo-random numbers that are the same in each run.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn build_log(n: u64) -> String {
    match n % 5 {
        0 => format!("   Compiling serde_json v1.0.{n} (/home/u/work/crates/json)\n"),
        1 => format!("warning: unused variable: `count`\n  --> src/parse/mod.rs:{n}:17\n"),
        2 => format!("[{n}/4096] cc -O2 -Wall -Iinclude -c src/file_{n}.c -o build/file_{n}.o\n"),
        3 => format!("test parser::tests::reads_a_line_{n} ... ok\n"),
        _ => format!("npm http fetch GET 200 https://registry.npmjs.org/left-pad {n}ms\n"),
    }
}

fn source(n: u64) -> String {
    format!(
        "    /// The sum of all rows, {n} of them.\n    pub fn total_{n}(&self, rows: &[Row]) -> Option<u64> {{\n        \
         rows.iter().map(|row| row.size + {n}).reduce(|a, b| a.max(b))\n    }}\n\n"
    )
}

fn prose(n: u64) -> String {
    format!(
        "In the year {n} the harbour was still full of ships, and those who came down from the hills in the morning saw \
         nothing else: masts, ropes, and between them the grey water. Nobody asked what it all was for.\n"
    )
}

fn json(n: u64) -> String {
    format!(
        "{{\"type\":\"message\",\"id\":{n},\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"The file has \
         {n} lines.\\nIt ends here.\"}}],\"usage\":{{\"input\":{n},\"output\":17}}}}\n"
    )
}

/// Output of the bare program `emit`.
fn hundred(n: u64) -> String {
    format!(
        "{n:>12} the quick brown fox jumps over the lazy dog, and what it says is of no interest ......\n"
    )
}

fn coloured(n: u64) -> String {
    format!(
        "\x1b[32mok\x1b[0m   test \x1b[1mparser::reads_a_line_{n}\x1b[0m in {n} ms, \x1b[90mnothing else\x1b[0m\n"
    )
}

/// Strings within strings, and ids.
fn agent(n: u64) -> String {
    let id = mixed(n) as u32;
    format!(
        r#"{{"type":"stream_event","event":{{"type":"content_block_delta","index":{n},"delta":{{"type":"text_delta","text":"a \"word\" of\nit"}}}},"session_id":"0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b","uuid":"{id:08x}-c3d4-4e5f-8a9b-0c1d2e3f4a5b"}}"#
    ) + "\n"
}

fn hex(n: u64) -> String {
    format!(
        "{:016x}{:016x}{:08x}\n",
        mixed(n),
        mixed(n + 7),
        mixed(n + 9) as u32
    )
}

fn base64(n: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |at: u64| char::from(ALPHABET[(mixed(n * 76 + at) % 64) as usize]);
    (0..76).map(digit).chain(['\n']).collect()
}
