//! Renders the documentation's benchmark page from a report, and from nothing else.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::compare::{Comparison, digits};
use crate::failure::{Context, Result};
use crate::machine::Machine;
use crate::record::{EngineRecord, Measurement, ProcessPeak, Report, SuiteRecord};

/// Reads the results at `input` and writes the page to `out`.
///
/// # Errors
/// The results cannot be read or the page cannot be written.
pub fn write(input: &Path, out: &Path) -> Result<()> {
    let report = Report::read(input)?;
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
    }
    fs::write(out, render(&report)).context(|| format!("writing {}", out.display()))
}

/// The page as Markdown.
pub fn render(report: &Report) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         This page is generated from the results of `make bench`; edit the harness, not the page. Ours and each peer \
         run in turn on the same files of one machine. All raw samples are in the result file.\n\n\
         A peer that could not be installed or started has no figures: \"–\" stands in its lines, and the reason among \
         its suite's engines and notes. A request that failed is named in the notes, and its case is in no sum. Answers \
         are compared by their number of rows.\n\n",
    );
    push(&mut page, &machine(&report.machine));
    push(&mut page, "## Results\n");
    page.push_str(&comparisons(report.suites.iter().flat_map(|suite| &suite.comparisons)));
    for suite in &report.suites {
        page.push('\n');
        page.push_str(section(suite).trim_end());
        page.push('\n');
    }
    page
}

fn machine(machine: &Machine) -> String {
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let memory = format!("{:.1} GiB", machine.memory_bytes as f64 / f64::from(1 << 30));
    let facts = [
        ("CPU", machine.cpu_model.clone()),
        ("Cores", machine.cores.to_string()),
        ("Memory", memory),
        ("Kernel", machine.kernel.clone()),
        ("Commit", machine.commit.clone()),
        ("Build", machine.build.clone()),
        ("Compiler", machine.rustc.clone()),
        ("Versions", versions.join(", ")),
        ("Date", machine.date.clone()),
    ];
    let rows = facts.map(|(name, fact)| vec![name.to_owned(), fact]);
    format!("## Machine\n\n{}", grid(&["fact", "value"], rows))
}

fn comparisons<'a>(lines: impl Iterator<Item = &'a Comparison>) -> String {
    let rows = lines.map(|line| {
        let figure = |value: Option<f64>| value.map_or("–".into(), |value| line.unit.show(value));
        let other = match (line.against.as_str(), line.other) {
            ("", _) => "–".into(),
            (against, other) => format!("{} ({against})", figure(other)),
        };
        vec![
            line.what.clone(),
            figure(line.ours),
            other,
            line.ratio.map_or("–".into(), |ratio| format!("{}x", digits(ratio))),
            line.aim.map_or("–".into(), |aim| aim.show(line.unit)),
            line.met.map_or("–", |met| if met { "yes" } else { "**no**" }).into(),
            resident(&line.ours_rss),
            resident(&line.other_rss),
        ]
    });
    grid(&["what", "ours", "other", "ratio", "aim", "met", "RSS ours", "RSS other"], rows)
}

fn section(suite: &SuiteRecord) -> String {
    let mut text = format!("## {}\n\n{}\n\n", suite.title, suite.method);
    let _ = writeln!(
        text,
        "Command: `{}`, commit {}, {} to {}.\n",
        suite.command, suite.commit, suite.started, suite.finished
    );
    let load = suite.measurements.iter().any(|measured| !measured.repeats.is_empty());
    push(&mut text, &engines(&suite.engines));
    if !suite.measurements.is_empty() {
        push(&mut text, &if load { under_load(&suite.measurements) } else { alone(suite) });
    }
    let mut notes: Vec<&String> = suite.comparisons.iter().flat_map(|line| &line.notes).collect();
    let mut seen = std::collections::HashSet::new();
    notes.retain(|note| seen.insert(note.as_str()));
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

fn engines(engines: &[EngineRecord]) -> String {
    let rows = engines.iter().map(|engine| {
        let error = engine.error.as_ref().map(|error| format!("not measured: {error}"));
        vec![
            engine.name.clone(),
            engine.version.clone().unwrap_or_else(|| "–".into()),
            error.unwrap_or_else(|| resident(&engine.processes)),
        ]
    });
    grid(&["engine", "version", "peak RSS"], rows)
}

/// Best and median times, a line a case, two columns an engine.
fn alone(suite: &SuiteRecord) -> String {
    let mut cases: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for measured in &suite.measurements {
        remember(&mut cases, &measured.case);
        remember(&mut names, &measured.engine);
    }
    let heads: Vec<String> = names
        .iter()
        .flat_map(|name| [format!("{name} best, ms"), format!("{name} p50, ms"), format!("{name} RSS, MB")])
        .collect();
    let heads: Vec<&str> = ["case"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let rows = cases.iter().map(|case| {
        let mut row = vec![(*case).to_owned()];
        for name in &names {
            row.extend(cells(suite.measurement(name, case)));
        }
        row
    });
    grid(&heads, rows)
}

fn cells(measured: Option<&Measurement>) -> [String; 3] {
    let Some(measured) = measured else { return ["–", "–", "–"].map(str::to_owned) };
    let peak: u64 = measured.processes.iter().map(|process| process.peak_rss_bytes).sum();
    let peak = format!("{:.0}", peak as f64 / 1e6);
    if measured.failed() > 0 {
        return ["failed".into(), "failed".into(), peak];
    }
    let show = |value: Option<f64>| value.map_or("–".into(), digits);
    [show(measured.summary.best_ms), show(measured.summary.p50_ms), peak]
}

fn under_load(measurements: &[Measurement]) -> String {
    let rows = measurements.iter().map(|measured| {
        let show = |value: Option<f64>| value.map_or("–".into(), digits);
        vec![
            measured.case.clone(),
            measured.engine.clone(),
            show(measured.summary.per_second),
            show(measured.summary.p50_ms),
            show(measured.summary.p99_ms),
            measured.failed().to_string(),
            resident(&measured.processes),
        ]
    });
    grid(&["case", "engine", "per second", "p50, ms", "p99, ms", "errors", "peak RSS"], rows)
}

fn resident(processes: &[ProcessPeak]) -> String {
    if processes.is_empty() {
        return "–".into();
    }
    processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn remember<'a>(seen: &mut Vec<&'a str>, name: &'a str) {
    if !seen.contains(&name) {
        seen.push(name);
    }
}

/// A Markdown table. Bars and line ends inside cells would break it.
fn grid(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>());
    text += &format!("|{}\n", "---|".repeat(heads.len()));
    for row in rows {
        let clean: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        text += &line(&clean);
    }
    text
}

/// Appends a block and the empty line that ends it.
fn push(page: &mut String, block: &str) {
    page.push_str(block);
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Aim, Unit};
    use crate::record::{FORMAT, LoadRepeat};

    fn peak(role: &str, megabytes: u64) -> ProcessPeak {
        ProcessPeak { role: role.into(), peak_rss_bytes: megabytes * 1_000_000 }
    }

    fn measured(engine: &str, case: &str, samples: &[f64]) -> Measurement {
        let mut measured = Measurement::new(engine, case);
        measured.samples_ms = samples.to_vec();
        measured.processes = vec![peak("up", 300)];
        measured.summarise();
        measured
    }

    fn report() -> Report {
        let machine = Machine {
            cpu_model: "Some CPU".into(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "6.1".into(),
            commit: "abc".into(),
            build: "release, x86_64 (avx2)".into(),
            rustc: "rustc 1.95.0".into(),
            versions: vec![("datafusion".into(), "55.2.0".into()), ("arrow".into(), "59.3.2".into())],
            date: "2026-11-23T00:00:00Z".into(),
        };
        let mut failed = measured("datafusion", "q02", &[]);
        failed.fail("a | b", 1);
        let aim = Some(Aim::RatioAtMost(1.05));
        let queries = SuiteRecord {
            name: "tpch-sf1".into(),
            title: "TPC-H".into(),
            method: "All queries.".into(),
            command: "polarway-bench run".into(),
            commit: "abc".into(),
            started: "S".into(),
            finished: "F".into(),
            engines: vec![
                EngineRecord {
                    name: "polarway".into(),
                    version: Some("0.1.0".into()),
                    error: None,
                    processes: vec![peak("up", 300)],
                },
                EngineRecord {
                    name: "duckdb".into(),
                    version: None,
                    error: Some("no module".into()),
                    processes: vec![],
                },
            ],
            measurements: vec![
                measured("polarway", "q01", &[10.0, 12.5, 30.0]),
                measured("datafusion", "q01", &[20.0]),
                measured("polarway", "q02", &[5.0]),
                failed,
            ],
            comparisons: vec![
                Comparison::new("TPC-H", Unit::Seconds, (Some(1.0), Some(2.0)), "datafusion", aim, 0)
                    .with_rss(
                        vec![peak("scheduler", 120), peak("executor-1", 300)],
                        vec![peak("datafusion", 900)],
                    )
                    .with_notes(vec!["datafusion failed at q02".into()]),
            ],
        };
        let mut load = measured("polarway", "10 clients", &[1.0, 2.0]);
        load.repeats = vec![LoadRepeat { seconds: 1.0, completed: 800, failed: 0 }];
        load.summarise();
        let memory = Some(Aim::Below(768e6));
        let clients = SuiteRecord {
            title: "Clients".into(),
            method: "Many.".into(),
            measurements: vec![load],
            comparisons: vec![Comparison::new("Peak", Unit::Bytes, (Some(800e6), None), "", memory, 0)],
            ..SuiteRecord::default()
        };
        Report { format: FORMAT, machine, suites: vec![queries, clients] }
    }

    #[test]
    fn the_page_is_as_expected() {
        let expected = "\
# Benchmarks

This page is generated from the results of `make bench`; edit the harness, not the page. Ours and each peer run in turn on the same files of one machine. All raw samples are in the result file.

A peer that could not be installed or started has no figures: \"–\" stands in its lines, and the reason among its suite's engines and notes. A request that failed is named in the notes, and its case is in no sum. Answers are compared by their number of rows.

## Machine

| fact | value |
|---|---|
| CPU | Some CPU |
| Cores | 2 |
| Memory | 24.0 GiB |
| Kernel | 6.1 |
| Commit | abc |
| Build | release, x86_64 (avx2) |
| Compiler | rustc 1.95.0 |
| Versions | datafusion 55.2.0, arrow 59.3.2 |
| Date | 2026-11-23T00:00:00Z |

## Results

| what | ours | other | ratio | aim | met | RSS ours | RSS other |
|---|---|---|---|---|---|---|---|
| TPC-H | 1.00 s | 2.00 s (datafusion) | 0.500x | ≤ 1.05x | yes | scheduler 120 MB, executor-1 300 MB | datafusion 900 MB |
| Peak | 800 MB | – | – | < 768 MB | **no** | – | – |

## TPC-H

All queries.

Command: `polarway-bench run`, commit abc, S to F.

| engine | version | peak RSS |
|---|---|---|
| polarway | 0.1.0 | up 300 MB |
| duckdb | – | not measured: no module |

| case | polarway best, ms | polarway p50, ms | polarway RSS, MB | datafusion best, ms | datafusion p50, ms | datafusion RSS, MB |
|---|---|---|---|---|---|---|
| q01 | 10.0 | 12.5 | 300 | 20.0 | 20.0 | 300 |
| q02 | 5.00 | 5.00 | 300 | failed | failed | 300 |

- datafusion failed at q02

## Clients

Many.

Command: ``, commit ,  to .

| engine | version | peak RSS |
|---|---|---|

| case | engine | per second | p50, ms | p99, ms | errors | peak RSS |
|---|---|---|---|---|---|---|
| 10 clients | polarway | 800 | 1.50 | 2.00 | 0 | up 300 MB |
";
        assert_eq!(render(&report()), expected);
    }

    #[test]
    fn the_page_comes_from_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (input, out) = (directory.path().join("results.json"), directory.path().join("docs/page.md"));
        report().write(&input).unwrap();
        write(&input, &out).unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), render(&report()));
    }

    #[test]
    fn an_absent_peer_is_named_with_the_reason() {
        let note = "spark is not measured: no Java runtime";
        let line = Comparison::new("TPC-H", Unit::Seconds, (Some(1.0), None), "spark", None, 0)
            .with_notes(vec![note.into()]);
        let spark = EngineRecord {
            name: "spark".into(),
            error: Some("no Java runtime".into()),
            ..EngineRecord::default()
        };
        let suite = SuiteRecord { engines: vec![spark], comparisons: vec![line], ..SuiteRecord::default() };
        let page = render(&Report { format: FORMAT, machine: Machine::default(), suites: vec![suite] });
        assert!(page.contains("| TPC-H | 1.00 s | – (spark) | – | – | – | – | – |\n"), "{page}");
        assert!(page.contains("| spark | – | not measured: no Java runtime |\n"), "{page}");
        assert!(page.contains(&format!("- {note}\n")), "{page}");
    }

    #[test]
    fn bars_do_not_break_the_table() {
        assert_eq!(grid(&["a"], [vec!["x|y\nz".into()]]), "| a |\n|---|\n| x\\|y z |\n");
    }
}
