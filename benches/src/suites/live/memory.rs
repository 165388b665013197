//! What rows that pass through leave behind in memory.

use super::rows::{self, Form};
use super::server::Ours;
use super::usage::Usage;
use super::{cores, failures, used};
use crate::compare::{Aim, Comparison, Unit};
use crate::engines::OURS;
use crate::failure::{Failure, Result};
use crate::record::{EngineRecord, LoadRepeat, Measurement, ProcessPeak, SuiteRecord};
use crate::socket::connection::Connection;
use crate::socket::flood::{self, Enough, Flooded};
use crate::suites::{Bench, note};

/// What rows may take in memory.
const HOT_MEBIBYTES: u64 = 128;
const HOT_BYTES: f64 = (HOT_MEBIBYTES << 20) as f64;
/// What the process may take beside them.
const BESIDE_BYTES: f64 = 200e6;
const SEAL: &str = ", seal_rows = '500000', seal_bytes = '32MiB', seal_age = '5s'";
/// Rows that are made before; they are sent again and again.
const DISTINCT: u64 = 200_000;

const FORMS: [(&str, Form); 2] = [
    ("JSON, 100 rows a frame", Form::Json { rows: 100 }),
    ("Arrow IPC, 8000 rows a frame", Form::Arrow { rows: 8_000 }),
];

/// So many rows have passed through.
struct Mark {
    measured: Measurement,
    /// The server's process when the last row was acknowledged.
    acknowledged: Usage,
    /// The same after all rows were counted.
    counted: Usage,
}

/// Runs it; the scales are millions of rows.
///
/// # Errors
/// The server does not start or does not stop as it should.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let mut record = SuiteRecord {
        title: "Streams: memory".into(),
        method: format!(
            "For each form of frame a `polarway up` with `ingest.hot_limit={HOT_MEBIBYTES}MiB` and a stream with the \
             options `{}`, so that rows leave memory. One WebSocket connection sends as fast as it is read, \
             acknowledged in the log (`wal`), until so many rows in all have passed through; then all are counted by \
             SQL. The figure is the largest resident set since the process started (VmHWM), the count included, \
             against what is configured for rows; the notes have the resident set before and after the count.",
            SEAL.trim_start_matches(", "),
        ),
        ..SuiteRecord::default()
    };
    for (name, form) in FORMS {
        let (empty, marks) = passed(bench, name, form, &mut record.engines).await?;
        record.comparisons.extend(lines(&marks, empty));
        record.measurements.extend(marks.into_iter().map(|mark| mark.measured));
    }
    Ok(record)
}

/// What one server took before the first row, and at each mark.
async fn passed(
    bench: &Bench,
    name: &str,
    form: Form,
    engines: &mut Vec<EngineRecord>,
) -> Result<(Usage, Vec<Mark>)> {
    let mut scales = bench.args.scale.clone();
    scales.sort_by(f64::total_cmp);
    let hot = format!("ingest.hot_limit={HOT_MEBIBYTES}MiB");
    let mut ours = Ours::start(bench, &[&hot], SEAL, None).await?;
    let empty = ours.server.usage()?;
    let (mut passed, mut marks) = (0, Vec::new());
    for scale in scales {
        let mut measured = Measurement::new(OURS, format!("{name}, {scale} M rows"));
        let acknowledged = match pass(&mut ours, form, &mut passed, (scale * 1e6) as u64).await {
            Ok((Flooded { seconds, rows, .. }, usage)) => {
                measured.repeats.push(LoadRepeat { seconds, completed: rows, failed: 0 });
                usage
            }
            Err(failure) => {
                measured.fail(&failure.to_string(), 1);
                Usage::default()
            }
        };
        let counted = ours.server.usage().unwrap_or(acknowledged);
        measured.rows = Some(passed);
        measured.summarise();
        measured.processes = peak(counted);
        let mark = Mark { measured, acknowledged, counted };
        note(mark.words());
        marks.push(mark);
        if marks.last().is_some_and(|mark| mark.measured.failed() > 0) {
            break;
        }
    }
    used(engines, OURS, ours.stop().await?);
    Ok((empty, marks))
}

/// Sends rows until `mark` have passed through in all, and counts them.
async fn pass(ours: &mut Ours, form: Form, passed: &mut u64, mark: u64) -> Result<(Flooded, Usage)> {
    let (senders, left) = (ours.server.senders, mark.saturating_sub(*passed));
    let flooded = cores::apart(None, move || {
        let parcels = form.parcels(DISTINCT)?;
        let connection = Connection::open(senders, &format!("{}?producer=feed&ack=wal", rows::STREAM))?;
        flood::send(connection, &parcels, Enough::Rows(left))
    })
    .await?;
    let acknowledged = ours.server.usage()?;
    *passed += flooded.rows;
    if flooded.rows != flooded.sent {
        let Flooded { sent, rows, .. } = flooded;
        return Err(Failure::new(format!("{sent} rows were sent and {rows} acknowledged")));
    }
    ours.holds(*passed).await?;
    Ok((flooded, acknowledged))
}

fn peak(usage: Usage) -> Vec<ProcessPeak> {
    vec![ProcessPeak { role: "up".into(), peak_rss_bytes: usage.peak_bytes }]
}

impl Mark {
    fn words(&self) -> String {
        let show = |bytes: u64| Unit::Bytes.show(bytes as f64);
        let rate = self.measured.summary.per_second;
        let mut words = format!(
            "{}: {} resident when the last row was acknowledged and {} after the count, {} at most since the start; \
             the last part came at {}.",
            self.measured.case,
            show(self.acknowledged.resident_bytes),
            show(self.counted.resident_bytes),
            show(self.counted.peak_bytes),
            rate.map_or("–".into(), |rate| Unit::RowsPerSecond.show(rate)),
        );
        for failure in failures(&self.measured) {
            words.push(' ');
            words.push_str(&failure);
        }
        words
    }

    fn line(&self, empty: Usage) -> Comparison {
        let before = Unit::Bytes.show(empty.resident_bytes as f64);
        let notes = vec![self.words(), format!("Before the first row: {before} resident.")];
        Comparison::new(
            format!("Peak memory, {}", self.measured.case),
            Unit::Bytes,
            (Some(self.counted.peak_bytes as f64), Some(HOT_BYTES)),
            "configured for rows",
            Some(Aim::DifferenceAtMost(BESIDE_BYTES)),
            self.measured.failed(),
        )
        .with_rss(peak(self.counted), Vec::new())
        .with_notes(notes)
    }
}

/// A line a mark, and one of the last against the first.
fn lines(marks: &[Mark], empty: Usage) -> Vec<Comparison> {
    let mut lines: Vec<Comparison> = marks.iter().map(|mark| mark.line(empty)).collect();
    if let [first, .., last] = marks {
        let what = format!("Peak memory, {}, against {}", last.measured.case, first.measured.case);
        let figures = [last, first].map(|mark| Some(mark.counted.peak_bytes as f64)).into();
        let failed = last.measured.failed();
        lines.push(Comparison::new(what, Unit::Bytes, figures, "itself earlier", None, failed));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(scale: u64, megabytes: u64) -> Mark {
        let measured = Measurement::new(OURS, format!("x, {scale} M rows"));
        let usage = Usage { peak_bytes: megabytes * 1_000_000, ..Usage::default() };
        Mark { measured, acknowledged: usage, counted: usage }
    }

    #[test]
    fn the_aim_is_the_hot_size_and_two_hundred_megabytes() {
        let lines = lines(&[mark(1, 200), mark(10, 334), mark(100, 335)], Usage::default());
        assert_eq!(
            lines.iter().map(|line| line.met).collect::<Vec<_>>(),
            [Some(true), Some(true), Some(false), None]
        );
        assert_eq!(lines[3].ratio, Some(1.675));
    }
}
