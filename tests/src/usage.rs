//! What a process uses, read from `/proc`.

use std::time::Duration;

use crate::wait::until;

pub const MIB: u64 = 1 << 20;

/// Ticks of a second in `/proc/<pid>/stat`; fixed by Linux's interface to programs.
const TICKS: f64 = 100.0;

/// The highest resident size so far, in bytes.
pub fn peak_rss(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

/// The resident size, in bytes.
pub fn rss(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// Makes the present resident size the highest so far.
pub fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

fn status_field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Processor time used so far, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / TICKS
}

/// Waits until the process hardly computes any more.
pub async fn until_idle(pid: u32, ceiling: Duration) {
    until(format!("process {pid} becomes idle"), ceiling, || async move {
        let before = cpu_seconds(pid);
        tokio::time::sleep(Duration::from_millis(400)).await;
        (cpu_seconds(pid) - before < 0.1).then_some(())
    })
    .await;
}
