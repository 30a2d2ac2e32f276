//! Control groups of versions 1 and 2 (cgroups(7)): finds a process's group, and detects kills by the OOM killer in it.
//!
//! Reads files, on the caller's thread. It knows no service manager.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A mounted control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    directory: PathBuf,
    /// Mount point of its hierarchy.
    mount: PathBuf,
    is_v2: bool,
}

impl ControlGroup {
    /// The group of process `pid` for `controller`.
    pub fn of(pid: u32, controller: &str) -> Option<Self> {
        static MOUNTS: OnceLock<String> = OnceLock::new();
        let mounts = MOUNTS.get_or_init(|| {
            let all = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let ours = all.lines().filter(|line| line.contains(" - cgroup"));
            ours.collect::<Vec<_>>().join("\n")
        });
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        Self::find(&groups, mounts, controller)
    }

    /// Parses a process's `/proc/PID/cgroup` and `/proc/PID/mountinfo` (proc(5)). A controller belongs to one hierarchy
    /// of version 1, or to that of version 2.
    fn find(groups: &str, mounts: &str, controller: &str) -> Option<Self> {
        let has = |list: &str| list.split(',').any(|word| word == controller);
        let hierarchy = |is_it: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                is_it(controllers).then_some(path)
            })
        };
        let v1 = hierarchy(&has);
        let path = v1.or_else(|| hierarchy(&str::is_empty))?;
        let (root, mount) = mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let is_it = match kind.next()? {
                "cgroup" => v1.is_some() && has(kind.nth(1)?),
                "cgroup2" => v1.is_none(),
                _ => false,
            };
            let mut place = place.split(' ').skip(3);
            is_it.then_some((place.next()?, place.next()?))
        })?;
        // In a container the mount's root can be a subdirectory of the hierarchy.
        let inside = Path::new(path).strip_prefix(root).ok()?;
        Some(Self {
            directory: Path::new(mount).join(inside),
            mount: mount.into(),
            is_v2: v1.is_none(),
        })
    }

    /// Its directory, and its parents' up to the mount point.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let all = self.directory.ancestors();
        all.take_while(|directory| directory.starts_with(&self.mount))
    }

    /// Number of its processes that the OOM killer has killed.
    fn oom_kills(&self) -> Option<u64> {
        let file = match self.is_v2 {
            true => "memory.events",
            false => "memory.oom_control",
        };
        // About ten short lines, which one sufficiently large read returns completely.
        let mut text = [0; 1024];
        let mut opened = fs::File::open(self.directory.join(file)).ok()?;
        let length = opened.read(&mut text).ok()?;
        let mut counts = str::from_utf8(&text[..length]).ok()?.lines();
        counts.find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}

/// Detects whether the OOM killer killed a child process. The kernel increments the counter before it sends the signal:
/// an observed exit implies an up-to-date counter.
#[derive(Debug, Serialize, Deserialize)]
pub struct OomWatch {
    group: ControlGroup,
    /// The group's counter when the process joined it.
    before: u64,
    /// The group is the daemon's own, shared with its other children.
    is_shared: bool,
}

impl OomWatch {
    /// Starts before the spawn: a process starts in its parent's group. `None` if the kernel does not count kills.
    pub fn begin() -> Option<Self> {
        // Read once, since each launch waits for it. If the daemon is moved to another group later, its children count
        // as moved.
        static OWN: OnceLock<Option<ControlGroup>> = OnceLock::new();
        let own = OWN.get_or_init(|| ControlGroup::of(process::id(), "memory"));
        let group = own.clone()?;
        Some(Self {
            before: group.oom_kills()?,
            group,
            is_shared: true,
        })
    }

    /// Checks whether `pid` was moved to another group, as `systemd-run --scope` does. Must be called while it runs:
    /// version 1 does not report a zombie's group.
    pub fn follow(&mut self, pid: i32) {
        let now = ControlGroup::of(pid.unsigned_abs(), "memory");
        let Some(group) = now.filter(|now| *now != self.group) else {
            return;
        };
        let is_zombie = !group.is_v2 && group.directory == group.mount;
        if let (false, Some(before)) = (is_zombie, group.oom_kills()) {
            *self = Self {
                group,
                before,
                is_shared: false,
            };
        }
    }

    /// Number of kills that this process has claimed, for the next program.
    pub fn claimed() -> u64 {
        CLAIMED.load(Ordering::Relaxed)
    }

    /// Takes the kills as claimed that the previous program has claimed.
    pub fn take_up(claimed: u64) {
        CLAIMED.fetch_max(claimed, Ordering::Relaxed);
    }

    /// True if the OOM killer killed `pid`, a zombie that died of SIGKILL: its group counts a kill that no other of our
    /// processes has claimed.
    pub fn has_killed(&mut self, pid: i32) -> bool {
        // If the kernel reports a zombie's group, the last group counts: a new group starts at 0.
        let moved = ControlGroup::of(pid.unsigned_abs(), "memory")
            .filter(|now| now.is_v2 && *now != self.group);
        if let Some(group) = moved {
            return group.oom_kills().is_some_and(|kills| kills > 0);
        }
        let Some(kills) = self.group.oom_kills() else {
            return false;
        };
        match self.is_shared {
            true => claim(&CLAIMED, self.before, kills),
            false => kills > self.before,
        }
    }
}

/// Number of kills in the daemon's own group that are already claimed.
static CLAIMED: AtomicU64 = AtomicU64::new(0);

/// Claims one of the group's `kills`, ignoring the first `before`; false if each is claimed already.
fn claim(claimed: &AtomicU64, before: u64, kills: u64) -> bool {
    let take = |claimed: u64| {
        let next = claimed.max(before) + 1;
        (next <= kills).then_some(next)
    };
    claimed
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "4:memory:/docker/ab\n3:cpu,cpuacct:/\n2:name=systemd:/x\n0::/x\n";
    const V1_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs ro\n\
        33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const V2: &str = "0::/system.slice/coven.service\n";
    const V2_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn assert_found(groups: &str, mounts: &str, controller: &str, expected: &[&str]) {
        let group = ControlGroup::find(groups, mounts, controller);
        let found: Vec<&Path> = group.iter().flat_map(ControlGroup::directories).collect();
        let expected: Vec<&Path> = expected.iter().map(Path::new).collect();
        assert_eq!(found, expected, "{controller}");
    }

    #[test]
    fn a_group_is_found_where_its_hierarchy_is_mounted() {
        assert_found(V1, V1_MOUNTS, "memory", &["/sys/fs/cgroup/memory"]);
        assert_found(V1, V1_MOUNTS, "cpuacct", &["/sys/fs/cgroup/cpu,cpuacct"]);
        // No hierarchy of version 1 has the controller.
        let unified = ["/sys/fs/cgroup/unified/x", "/sys/fs/cgroup/unified"];
        assert_found(V1, V1_MOUNTS, "pids", &unified);
        let slice = "/sys/fs/cgroup/system.slice";
        let service = format!("{slice}/coven.service");
        assert_found(
            V2,
            V2_MOUNTS,
            "memory",
            &[&service, slice, "/sys/fs/cgroup"],
        );
        for (groups, mounts) in [
            ("", V2_MOUNTS),
            (V2, ""),
            (V2, V1),
            ("4:memory:/other\n", V1_MOUNTS),
        ] {
            assert_found(groups, mounts, "memory", &[]);
        }
    }

    #[test]
    fn each_kill_is_told_once() {
        let claimed = AtomicU64::new(0);
        let claim = |before, kills| claim(&claimed, before, kills);
        assert!(!claim(2, 2), "two were killed before");
        assert!(claim(2, 4) && claim(0, 4));
        assert!(!claim(0, 4) && !claim(2, 4));
        assert!(claim(7, 8) && !claim(2, 8));
    }

    #[test]
    fn the_count_of_either_version_is_read() {
        let directory = std::env::temp_dir().join(format!("coven-cgroup-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        fs::write(
            directory.join("memory.oom_control"),
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        )
        .unwrap();
        fs::write(
            directory.join("memory.events"),
            "max 9\noom 8\noom_kill 7\noom_group_kill 1\n",
        )
        .unwrap();
        let group = |is_v2| ControlGroup {
            directory: directory.clone(),
            mount: directory.clone(),
            is_v2,
        };
        assert_eq!(group(false).oom_kills(), Some(3));
        assert_eq!(group(true).oom_kills(), Some(7));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(group(true).oom_kills(), None);
    }
}
