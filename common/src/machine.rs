//! What the machine, or the container around this process, offers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::units::ByteSize;

/// Assumed where the system tells neither its memory nor a limit (anything but Linux).
pub const FALLBACK_MEMORY: ByteSize = ByteSize::gib(4);

/// Cores this process may use; never zero.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory this process may use: the machine's, or less where a control group sets a limit.
pub fn memory() -> ByteSize {
    memory_below(Path::new("/")).unwrap_or(FALLBACK_MEMORY)
}

/// The part of [`memory`] that queries get by default: 70 %, which leaves room for what no pool accounts for.
pub fn default_memory_limit() -> ByteSize {
    ByteSize(memory().as_u64() / 10 * 7)
}

fn memory_below(root: &Path) -> Option<ByteSize> {
    let installed = read(root.join("proc/meminfo")).as_deref().and_then(total_of_meminfo);
    let groups = read(root.join("proc/self/cgroup")).unwrap_or_default();
    let limit = groups.lines().filter_map(|line| group_limit(root, line)).min();
    installed.into_iter().chain(limit).min().filter(|bytes| *bytes > 0).map(ByteSize)
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The tightest limit on the way from the group of one line of `/proc/self/cgroup` up to the root: a parent's
/// limit binds its children too.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = if controllers.is_empty() {
        (root.join("sys/fs/cgroup"), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    Path::new(path)
        .ancestors()
        .filter_map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            // "max" does not parse: no limit. Version 1 says so by a number larger than any machine.
            read(mount.join(group).join(file))?.trim().parse::<u64>().ok()
        })
        .min()
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<ByteSize> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_below(root.path())
    }

    const EIGHT_GIB: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn without_a_group_the_installed_memory_counts() {
        assert_eq!(machine(&[EIGHT_GIB]), Some(ByteSize::gib(8)));
    }

    #[test]
    fn a_version_2_limit_of_a_parent_binds() {
        let files = [
            EIGHT_GIB,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
        ];
        assert_eq!(machine(&files), Some(ByteSize::gib(1)));
    }

    #[test]
    fn a_version_1_limit_binds_and_its_unlimited_does_not() {
        let group = ("proc/self/cgroup", "4:cpu,cpuacct:/\n3:memory:/docker/x\n");
        let path = "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes";
        assert_eq!(machine(&[EIGHT_GIB, group, (path, "536870912\n")]), Some(ByteSize::mib(512)));
        assert_eq!(machine(&[EIGHT_GIB, group, (path, "9223372036854771712\n")]), Some(ByteSize::gib(8)));
    }

    #[test]
    fn a_system_that_tells_nothing_is_not_guessed_here() {
        assert_eq!(machine(&[]), None);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        assert!(cores() > 0);
        assert!(memory() > ByteSize::mib(1));
        assert!(default_memory_limit() < memory());
    }
}
