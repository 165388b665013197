//! The disk under a log, without which the time of an acknowledgement says nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::compare::digits;
use crate::failure::{Context, Result};
use crate::load::millis;
use crate::stats;

const PROBES: usize = 200;
const BYTES: usize = 4096;

/// Kind and device of the disk that holds `directory`, and how long an append of 4 KiB with `fdatasync` takes there.
///
/// # Errors
/// The directory cannot be written.
pub fn describe(directory: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let (kind, device) = mounted(&mounts, directory).unwrap_or(("unknown", "unknown"));
    let samples = probe(directory)?;
    let show = |value: Option<f64>| value.map_or("–".into(), digits);
    Ok(format!(
        "Disk: {kind} on {device}; an append of 4 KiB with fdatasync takes {} ms there (p50 of {PROBES}; p99 {} ms).",
        show(stats::median(&samples)),
        show(stats::percentile(&samples, 99.0)),
    ))
}

fn probe(directory: &Path) -> Result<Vec<f64>> {
    let path = directory.join("probe");
    let mut file = File::create(&path).context(|| "making a file to probe the disk")?;
    let block = [0x5a; BYTES];
    let mut samples = Vec::with_capacity(PROBES);
    for _ in 0..PROBES {
        let begin = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(millis(begin.elapsed()));
    }
    fs::remove_file(&path)?;
    Ok(samples)
}

/// File system and device of the mount that holds `path`: the longest that contains it, and of equal ones the last.
fn mounted<'a>(mounts: &'a str, path: &Path) -> Option<(&'a str, &'a str)> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
            path.starts_with(place).then_some((place.len(), (kind, device)))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp xfs rw 0 0\n";
        assert_eq!(mounted(mounts, Path::new("/home/x")), Some(("ext4", "/dev/vda")));
        assert_eq!(mounted(mounts, Path::new("/tmp/x")), Some(("xfs", "/dev/vdb")));
        assert_eq!(mounted(mounts, Path::new("/tmpx")), Some(("ext4", "/dev/vda")));
    }

    #[test]
    fn a_disk_is_described() {
        let directory = tempfile::tempdir().unwrap();
        assert!(describe(directory.path()).unwrap().contains("fdatasync takes"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
