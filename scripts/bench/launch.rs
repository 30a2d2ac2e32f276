//! Latency from a launch request to its 201, compared with `posix_spawn` of the same program (used by std's `Command`).

use std::process::{Command, Stdio};
use std::time::Instant;

use super::lab::Lab;
use super::report::{Reach, Report, Samples};

pub fn measure(report: &mut Report) {
    let lab = Lab::new();
    lab.harness("nothing");
    lab.coven(&["daemon", "start"]);
    let mut client = lab.client();
    let program = std::env::current_exe().unwrap();
    let mut ours = Samples::default();
    let mut bare = Samples::default();
    for _ in 0..report.rounds(500) {
        let begun = Instant::now();
        let id = lab.launch(&mut client, "nothing", "x");
        ours.add(begun.elapsed());
        lab.wait_for_end(&mut client, &id);

        let begun = Instant::now();
        let mut command = Command::new(&program);
        command
            .args(["--floor", "nothing", "--", "x"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        bare.add(begun.elapsed());
        child.wait().unwrap();
    }
    for (percent, reach) in [(50, Reach::Ratio(4.0)), (99, Reach::Shown)] {
        let (ours, bare) = (ours.percentile(percent), bare.percentile(percent));
        report.add(
            &format!("launch to 201, p{percent}"),
            "ms",
            ours,
            bare,
            reach,
        );
    }
}
