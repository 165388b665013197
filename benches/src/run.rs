//! A whole run: the steps one after another, with the results written after each.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{RunArgs, Suite};
use crate::clock;
use crate::data::Store;
use crate::engines::Launcher;
use crate::failure::{Context, Failure, Result};
use crate::machine::Machine;
use crate::record::{FORMAT, Report, SuiteRecord};
use crate::suites::{
    Bench, beside, concurrency, fetch, files, live, memory, note, small, staged, telemetry, tls, tpch,
};

/// One subject at one scale; each makes one record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Tpch { scale: f64 },
    Staged { scale: f64 },
    StagedSmall,
    Small,
    Concurrency,
    Beside,
    Fetch,
    Memory,
    Files,
    Live(live::Part),
    Telemetry { scale: f64 },
    TlsFetch,
}

/// Runs what `args` ask for.
///
/// # Errors
/// A place cannot be used, or a step could not be measured at all; the others are then still run and written. A
/// query that fails is no such error: it is recorded.
pub async fn run(args: &RunArgs) -> Result<()> {
    let mut report = open_report(args)?;
    let bench = open_bench(args)?;
    let mut failed: Vec<String> = Vec::new();
    for step in steps(args) {
        let name = step.name();
        note(format_args!("== {name}"));
        let started = clock::now_utc();
        match step.measure(&bench).await {
            Ok(record) => {
                let (command, commit) = (command_line(env::args()), report.machine.commit.clone());
                report.put(SuiteRecord {
                    name,
                    command,
                    commit,
                    started,
                    finished: clock::now_utc(),
                    ..record
                });
                report.write(&args.out)?;
                note(format_args!("{} holds {} suites", args.out.display(), report.suites.len()));
            }
            Err(failure) => {
                note(format_args!("{name} could not be measured: {failure}"));
                failed.push(format!("{name}: {failure}"));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("; "))) }
}

/// The steps in the order of the published table.
fn steps(args: &RunArgs) -> Vec<Step> {
    let mut steps = Vec::new();
    if args.wants(Suite::Tpch) {
        steps.extend(args.scale.iter().map(|&scale| Step::Tpch { scale }));
    }
    if args.wants(Suite::Staged) {
        steps.extend(args.scale.iter().map(|&scale| Step::Staged { scale }));
    }
    if args.wants(Suite::Small) {
        steps.extend([Step::Small, Step::Concurrency, Step::Beside]);
    }
    if args.wants(Suite::Staged) {
        steps.push(Step::StagedSmall);
    }
    let rest = [(Suite::Fetch, Step::Fetch), (Suite::Memory, Step::Memory), (Suite::Files, Step::Files)];
    steps.extend(rest.into_iter().filter(|(suite, _)| args.wants(*suite)).map(|(_, step)| step));
    if args.wants(Suite::Live) {
        steps.extend(live::PARTS.into_iter().filter(|part| args.part.contains(part)).map(Step::Live));
    }
    if args.wants(Suite::Overhead) {
        steps.extend(args.scale.first().map(|&scale| Step::Telemetry { scale }));
        steps.push(Step::TlsFetch);
    }
    steps
}

impl Step {
    fn name(self) -> String {
        match self {
            Step::Tpch { scale } => format!("tpch-sf{scale}"),
            Step::Staged { scale } => format!("staged-sf{scale}"),
            Step::StagedSmall => "staged-small".into(),
            Step::Small => "small".into(),
            Step::Concurrency => "concurrency".into(),
            Step::Beside => "beside".into(),
            Step::Fetch => "fetch".into(),
            Step::Memory => "memory".into(),
            Step::Files => "files".into(),
            Step::Live(part) => part.name().into(),
            Step::Telemetry { .. } => "telemetry".into(),
            Step::TlsFetch => "tls-fetch".into(),
        }
    }

    async fn measure(self, bench: &Bench) -> Result<SuiteRecord> {
        match self {
            Step::Tpch { scale } => tpch::run(bench, scale).await,
            Step::Staged { scale } => staged::tpch(bench, scale).await,
            Step::StagedSmall => staged::small(bench).await,
            Step::Small => small::run(bench).await,
            Step::Concurrency => concurrency::run(bench).await,
            Step::Beside => beside::run(bench).await,
            Step::Fetch => fetch::run(bench).await,
            Step::Memory => memory::run(bench).await,
            Step::Files => files::run(bench).await,
            Step::Live(part) => part.measure(bench).await,
            Step::Telemetry { scale } => telemetry::run(bench, scale).await,
            Step::TlsFetch => tls::run(bench).await,
        }
    }
}

/// The report to add to: a new one, or with `--merge` the one that is there, if it was made on this machine.
fn open_report(args: &RunArgs) -> Result<Report> {
    let machine = Machine::read();
    if !args.merge || !args.out.exists() {
        return Ok(Report { format: FORMAT, machine, suites: Vec::new() });
    }
    let known = Report::read(&args.out)?;
    let same = |of: &Machine| (of.cpu_model.clone(), of.cores, of.memory_bytes);
    if same(&known.machine) != same(&machine) {
        return Err(Failure::new(format!("{} was measured on another machine", args.out.display())));
    }
    Ok(Report { machine, ..known })
}

fn open_bench(args: &RunArgs) -> Result<Bench> {
    let cache = cache_directory()?;
    let harness = env::current_exe().context(|| "finding this program")?;
    let beside = harness.with_file_name("polarway");
    let store = Store::open(&args.data.clone().unwrap_or_else(|| cache.join("bench")))?;
    let logs = args.out.parent().unwrap_or(Path::new(".")).join("logs");
    fs::create_dir_all(&logs).context(|| format!("making {}", logs.display()))?;
    let absolute = |path: &Path| std::path::absolute(path).context(|| path.display());
    let launcher = Launcher {
        polarway: absolute(args.polarway.as_deref().unwrap_or(&beside))?,
        harness,
        environments: absolute(args.environments.as_deref().unwrap_or(&cache.join("peers")))?,
        peers: absolute(&args.peers)?,
        data: store.root().to_owned(),
        logs: absolute(&logs)?,
    };
    Ok(Bench { launcher, store, args: args.clone() })
}

/// `$XDG_CACHE_HOME/polarway`, or the same under `~/.cache`.
fn cache_directory() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context(|| "neither XDG_CACHE_HOME nor HOME is set; give --data and --environments")?
        .join("polarway"))
}

/// The command as a reader would type it: the program without its directory.
fn command_line(mut words: impl Iterator<Item = String>) -> String {
    let program = words.next().unwrap_or_default();
    let program =
        Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into());
    let rest = words.map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
    [program].into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn names(words: &[&str]) -> Vec<String> {
        let words = ["polarway-bench", "run"].iter().chain(words);
        let Command::Run(args) = Cli::parse_from(words).command else { panic!("not a run") };
        steps(&args).into_iter().map(Step::name).collect()
    }

    #[test]
    fn suites_become_steps_in_the_table_s_order() {
        assert_eq!(
            names(&[]),
            [
                "tpch-sf1",
                "tpch-sf10",
                "staged-sf1",
                "staged-sf10",
                "small",
                "concurrency",
                "beside",
                "staged-small",
                "fetch",
                "memory",
                "files",
                "live-freshness",
                "live-acks",
                "live-throughput",
                "live-memory",
                "live-fairness",
                "telemetry",
                "tls-fetch"
            ]
        );
        assert_eq!(names(&["--suite", "staged", "--scale", "0.1"]), ["staged-sf0.1", "staged-small"]);
        assert_eq!(names(&["--suite", "files,fetch"]), ["fetch", "files"]);
        assert_eq!(names(&["--suite", "overhead"]), ["telemetry", "tls-fetch"]);
        assert_eq!(names(&["--suite", "live", "--part", "memory,acks"]), ["live-acks", "live-memory"]);
    }

    #[test]
    fn the_command_line_hides_the_directory() {
        let words = ["/some/where/polarway-bench", "run", "--suite", "all"].map(str::to_owned);
        assert_eq!(command_line(words.into_iter()), "polarway-bench run --suite all");
    }
}
