//! launchd: finds the job of a process.
//!
//! Runs in the CLI's process, and at the daemon's start. It does not know what a daemon does.

use std::time::Instant;

use crate::daemon::tool::tool_output;
use crate::settings::durations;

/// True if `XPC_SERVICE_NAME` names a job: in a login or a terminal it is `0`, or names the application.
pub(super) fn is_job(label: &str) -> bool {
    label.contains('.') && !label.starts_with("application.")
}

/// Label of the job that runs as the process `pid`, if any; `None` if launchctl does not answer.
pub(super) fn job_of_process(pid: i32) -> Option<Option<String>> {
    let deadline = Instant::now() + durations::SERVICE_TOOL;
    Some(label_of_pid(
        &tool_output("launchctl", &["list"], deadline)?,
        pid,
    ))
}

/// The job with this pid in the output of `launchctl list`: after a header, one line of pid, last status and label
/// each.
fn label_of_pid(jobs: &str, pid: i32) -> Option<String> {
    let pid = pid.to_string();
    jobs.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let found = fields.next()? == pid;
        found.then(|| fields.nth(1).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_its_pid() {
        let jobs = "PID\tStatus\tLabel\n-\t0\tcom.apple.x\n4242\t0\tdev.coven.daemon\n";
        assert_eq!(label_of_pid(jobs, 4242), Some("dev.coven.daemon".into()));
        assert_eq!(label_of_pid(jobs, 424), None);
    }
}
