//! Latency of `GET /health` over a new connection and over a kept one.

use std::path::Path;
use std::time::Instant;

use super::floor::Floor;
use super::lab::{Client, Lab};
use super::report::{Reach, Report, Samples};

const REQUEST: &str = "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub fn measure(report: &mut Report) {
    let lab = Lab::start();
    let bytes = lab.client().ask(REQUEST).len().to_string();
    let [bare, echo] = ["bare.sock", "echo.sock"].map(|name| lab.work().join(name));
    let _bare = Floor::start(&["tiny-http", bare.to_str().unwrap(), &bytes], &bare);
    let _echo = Floor::start(&["echo", echo.to_str().unwrap()], &echo);
    let rounds = report.rounds(5000);

    let sockets = [lab.socket(), bare];
    let mut new: [Samples; 2] = Default::default();
    for _ in 0..rounds {
        for (socket, samples) in sockets.iter().zip(&mut new) {
            let begun = Instant::now();
            Client::connect(socket).ask(REQUEST);
            samples.add(begun.elapsed());
        }
    }
    show(report, "health, new connection", new);

    let mut kept: [Samples; 2] = Default::default();
    let mut clients = sockets.map(|socket| Client::connect(&socket));
    for _ in 0..rounds {
        for (client, samples) in clients.iter_mut().zip(&mut kept) {
            let begun = Instant::now();
            client.ask(REQUEST);
            samples.add(begun.elapsed());
        }
    }
    show(report, "health, kept connection", kept);
    let round_trip = echo_round_trip(&echo, rounds);
    report.add_alone(
        "  an echo on a Unix socket, p50",
        "ms",
        round_trip,
        Reach::Shown,
    );
}

fn show(report: &mut Report, what: &str, [mut ours, mut bare]: [Samples; 2]) {
    for (percent, reach) in [(50, Reach::Ratio(1.0)), (99, Reach::Shown)] {
        let (ours, bare) = (ours.percentile(percent), bare.percentile(percent));
        report.add(&format!("{what}, p{percent}"), "ms", ours, bare, reach);
    }
}

fn echo_round_trip(socket: &Path, rounds: usize) -> f64 {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let mut samples = Samples::default();
    let mut buffer = vec![0; REQUEST.len()];
    for _ in 0..rounds {
        let begun = Instant::now();
        stream.write_all(REQUEST.as_bytes()).unwrap();
        stream.read_exact(&mut buffer).unwrap();
        samples.add(begun.elapsed());
    }
    samples.percentile(50)
}
