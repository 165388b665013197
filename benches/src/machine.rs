//! The facts of the machine and of what was built, without which a figure says nothing.

use std::fs;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::clock;

/// Where and from what the figures come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu_model: String,
    /// Cores the harness may use.
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    /// Commit of the checkout, with `-dirty` if files differ from it.
    pub commit: String,
    /// Cargo profile, and the CPU features that the compiler was allowed to use.
    pub build: String,
    pub rustc: String,
    /// Names and versions of the engines compiled in.
    pub versions: Vec<(String, String)>,
    /// When these facts were read, UTC.
    pub date: String,
}

impl Machine {
    /// Reads the facts of this machine. A fact that cannot be read is `unknown` or zero.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu_model: cpu_model(&cpuinfo).unwrap_or("unknown").to_owned(),
            cores: cores(),
            memory_bytes: kibibytes(&meminfo, "MemTotal").unwrap_or(0),
            kernel: kernel.trim().to_owned(),
            commit: commit(),
            build: build(),
            rustc: output("rustc", &["--version"]).unwrap_or_else(|| "unknown".into()),
            versions: versions(),
            date: clock::now_utc(),
        }
    }
}

/// Cores this process may run on, at least one.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The value in bytes of a `Name:   123 kB` line, as in `/proc/meminfo` and `/proc/PID/status`.
pub fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

fn commit() -> String {
    let Some(commit) = output("git", &["rev-parse", "HEAD"]) else { return "unknown".into() };
    let changes = output("git", &["status", "--porcelain"]).unwrap_or_default();
    if changes.is_empty() { commit } else { format!("{commit}-dirty") }
}

fn build() -> String {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let features = [
        (cfg!(target_feature = "avx2"), "avx2"),
        (cfg!(target_feature = "bmi2"), "bmi2"),
        (cfg!(target_feature = "fma"), "fma"),
        (cfg!(target_feature = "avx512f"), "avx512f"),
        (cfg!(target_feature = "neon"), "neon"),
    ];
    let on: Vec<&str> = features.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let features = if on.is_empty() { "baseline".to_owned() } else { on.join(", ") };
    format!("{profile}, {} ({features})", std::env::consts::ARCH)
}

fn versions() -> Vec<(String, String)> {
    [
        ("polarway", env!("CARGO_PKG_VERSION")),
        ("datafusion", datafusion::DATAFUSION_VERSION),
        ("ballista", ballista_core::BALLISTA_VERSION),
        ("arrow", arrow::ARROW_VERSION),
    ]
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .to_vec()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tables_are_read() {
        let status = "Name:\tpolarway\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(kibibytes(status, "VmHWM"), Some(2_097_152));
        assert_eq!(kibibytes(status, "VmSwap"), None);
        assert_eq!(kibibytes("MemTotal:       16 kB\n", "MemTotal"), Some(16_384));
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2GHz\n"), Some("Some CPU @ 2GHz"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
