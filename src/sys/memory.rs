//! The memory that this process may still take: of the machine, and of its control group.
//!
//! Pages of a tmpfs are memory. A request that the machine or the control group cannot serve is not
//! refused by the kernel: it calls the OOM killer, which ends other processes.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// An amount of memory that is left, and the limit that leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Bytes.
    pub(crate) bytes: u64,
    pub(crate) limited_by: &'static str,
}

/// The least that is left of the memory of the machine and of the control groups of this process;
/// none where the kernel says neither.
pub(crate) fn left() -> Option<Left> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = of_machine(&meminfo).map(|bytes| Left {
        bytes,
        limited_by: "the memory of the machine",
    });
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = of_groups(&membership, Path::new("/sys/fs/cgroup")).map(|bytes| Left {
        bytes,
        limited_by: "the memory limit of the control group",
    });
    [machine, groups]
        .into_iter()
        .flatten()
        .min_by_key(|left| left.bytes)
}

/// Bytes that new pages can get: available memory and free swap. `/proc/meminfo`, proc(5).
fn of_machine(meminfo: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    Some(value("MemAvailable:")?.saturating_add(value("SwapFree:").unwrap_or(0)))
}

/// The least that is left in the control groups of a process and in all groups around them.
/// `membership` is its `/proc/self/cgroup`, `root` where the hierarchies are mounted, cgroups(7).
fn of_groups(membership: &str, root: &Path) -> Option<u64> {
    membership
        .lines()
        .filter_map(|line| of_hierarchy(line, root))
        .min()
}

/// The least that is left in one hierarchy, if that limits memory. Its line is
/// `ID:CONTROLLERS:PATH`; version 2 has no controllers.
fn of_hierarchy(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, left_of): (PathBuf, fn(&Path) -> Option<u64>) = match controllers {
        "" => (root.into(), left_of_v2),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (root.join("memory"), left_of_v1)
        }
        _ => return None,
    };
    // In a container the path may be that of the host, and the group itself lies at the mount.
    let group = mount.join(path.trim_start_matches('/'));
    let group = if group.is_dir() { group } else { mount.clone() };
    group
        .ancestors()
        .take_while(|group| group.starts_with(&mount))
        .filter_map(left_of)
        .min()
}

fn left_of_v2(group: &Path) -> Option<u64> {
    let max = number(&group.join("memory.max"))?;
    let current = number(&group.join("memory.current"))?;
    let swap = number(&group.join("memory.swap.max"))
        .zip(number(&group.join("memory.swap.current")))
        .map_or(0, |(max, current)| {
            max.saturating_sub(current).min(free_swap())
        });
    Some(
        max.saturating_sub(current)
            .saturating_add(reclaimable(group, "inactive_file "))
            .saturating_add(swap),
    )
}

fn left_of_v1(group: &Path) -> Option<u64> {
    let max = number(&group.join("memory.limit_in_bytes"))?;
    let current = number(&group.join("memory.usage_in_bytes"))?;
    Some(
        max.saturating_sub(current)
            .saturating_add(reclaimable(group, "total_inactive_file ")),
    )
}

/// Bytes of files that the kernel drops from its cache before it refuses memory.
fn reclaimable(group: &Path, name: &str) -> u64 {
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

fn free_swap() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("SwapFree:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// The number in a file; none where there is no file, or no limit ("max").
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_its_available_memory_and_its_free_swap() {
        let meminfo = "MemTotal: 100 kB\nMemAvailable:   60 kB\nSwapFree:  4 kB\n";
        assert_eq!(of_machine(meminfo), Some(64 << 10));
        assert_eq!(of_machine("MemAvailable: 60 kB\n"), Some(60 << 10));
        assert_eq!(of_machine("MemTotal: 100 kB\n"), None);
    }

    /// Control groups as files of a directory.
    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let root = groups(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "400\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "300\n"),
            ("a/b/c/memory.max", "5000\n"),
            ("a/b/c/memory.current", "100\n"),
        ]);
        assert_eq!(of_groups("0::/a/b/c\n", root.path()), Some(600));
        assert_eq!(of_groups("0::/a/b\n", root.path()), Some(600));
        assert_eq!(of_groups("0::/\n", root.path()), None);
    }

    #[test]
    fn cached_files_can_be_dropped() {
        let root = groups(&[
            ("memory.max", "1000\n"),
            ("memory.current", "990\n"),
            ("memory.stat", "anon 500\ninactive_file 400\n"),
        ]);
        assert_eq!(
            of_groups("0::/a/path/of/the/host\n", root.path()),
            Some(410)
        );
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let root = groups(&[
            ("memory/job/memory.limit_in_bytes", "1000\n"),
            ("memory/job/memory.usage_in_bytes", "250\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "250\n"),
            ("cpu/job/memory.limit_in_bytes", "1\n"),
        ]);
        let membership = "4:cpu,cpuacct:/job\n3:memory:/job\n0::/\n";
        assert_eq!(of_groups(membership, root.path()), Some(750));
    }
}
