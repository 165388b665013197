//! What the kernel says of a process: processor time and resident memory.

use std::fs;
use std::ops::Sub;

use crate::failure::{Context, Result};
use crate::machine::kibibytes;

/// Ticks of `/proc/PID/stat` in a second: Linux shows 100 everywhere, whatever its own clock does.
const TICKS: f64 = 100.0;

/// A process so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub resident_bytes: u64,
    pub peak_bytes: u64,
}

impl Usage {
    /// Reads it of process `pid`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).context(|| format!("reading {path}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let (user, system) = ticks(&stat).context(|| format!("process {pid} has no times"))?;
        Ok(Self {
            user_seconds: user as f64 / TICKS,
            system_seconds: system as f64 / TICKS,
            resident_bytes: kibibytes(&status, "VmRSS").unwrap_or(0),
            peak_bytes: kibibytes(&status, "VmHWM").unwrap_or(0),
        })
    }

    /// Processor time in all.
    pub fn seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// Processor time between two readings; memory as of the later one.
impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
            ..self
        }
    }
}

/// User and system time in a line of `/proc/PID/stat`. The name before may itself hold blanks and brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_the_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some((250, 31)));
        assert_eq!(ticks("42"), None);
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.peak_bytes >= own.resident_bytes && own.resident_bytes > 0);
    }
}
