//! How soon a row is acknowledged as in the log.

use std::time::Duration;

use tokio::time::sleep;

use super::server::Ours;
use super::{Stop, WARMUP, add, cores, disk, failures, rows, spread, tell, used};
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::engines::OURS;
use crate::failure::{Failure, Result};
use crate::record::{Measurement, SuiteRecord};
use crate::socket::connection::Connection;
use crate::socket::frame::{TEXT, frame};
use crate::socket::paced::{self, Paced};
use crate::suites::Bench;

const PER_SECOND: f64 = 10_000.0;
const P99_MS: f64 = 10.0;
const CASE: &str = "1 connection, 10000 rows/s";

/// Runs it.
///
/// # Errors
/// The server does not start or does not stop as it should.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let mut ours = Ours::start(bench, &[], "", None).await?;
    let disk = disk::describe(ours.server.directory())?;
    let mut measured = Measurement::new(OURS, CASE);
    let (mut expected, mut behind) = (0, 0.0_f64);
    for repeat in 0..bench.args.repeats {
        match window(bench, &ours, repeat, expected).await {
            Ok(paced) => {
                expected += paced.rows;
                behind = behind.max(paced.behind_ms);
                add(&mut measured, paced);
            }
            Err(failure) => measured.fail(&failure.to_string(), 1),
        }
    }
    if measured.failed() == 0
        && let Err(failure) = ours.holds(expected).await
    {
        measured.fail(&failure.to_string(), 1);
    }
    let peak = ours.stop().await?;
    measured.summarise();
    measured.processes = vec![peak.clone()];
    tell(&measured);
    let mut notes = failures(&measured);
    notes.push(format!("Acknowledgements: {}.", spread(&measured.samples_ms)));
    notes.push(disk);
    notes.push(format!("The sender was at most {} ms behind its own schedule.", digits(behind)));
    let mut record = SuiteRecord {
        title: "Streams: acknowledgement".into(),
        method: format!(
            "`polarway up` with its defaults. One WebSocket connection with a producer sends {PER_SECOND} JSON rows a \
             second, one a frame, acknowledged when they are in the log (`wal`, after fdatasync), {} times {} s. The \
             time runs from before a frame is written to the socket until the acknowledgement that covers it is read; \
             frames of the first {} ms of each window do not count. At the end all acknowledged rows are counted by \
             SQL.",
            bench.args.repeats,
            bench.args.seconds,
            WARMUP.as_millis(),
        ),
        ..SuiteRecord::default()
    };
    let (ours, aim) = (measured.summary.p99_ms, Some(Aim::Below(P99_MS)));
    let line = "Acknowledgement in the log at 10000 rows/s, p99";
    record.comparisons = vec![
        Comparison::new(line, Unit::Milliseconds, (ours, None), "", aim, measured.failed())
            .with_rss(vec![peak.clone()], Vec::new())
            .with_notes(notes),
    ];
    used(&mut record.engines, OURS, peak);
    record.measurements = vec![measured];
    Ok(record)
}

/// One window. The ids go on from `first`.
async fn window(bench: &Bench, ours: &Ours, repeat: usize, first: u64) -> Result<Paced> {
    let (senders, stop) = (ours.server.senders, Stop::default());
    let flag = stop.flag();
    let sending = cores::start(None, move || {
        let target = format!("{}?producer=feed-{repeat}&ack=wal", rows::STREAM);
        let connection = Connection::open(senders, &target)?;
        let row = |number| frame(TEXT, rows::json(first + number).as_bytes());
        paced::send(connection, PER_SECOND, WARMUP, row, &flag)
    })?;
    sleep(WARMUP + Duration::from_secs_f64(bench.args.seconds)).await;
    stop.now();
    sending.await.unwrap_or_else(|_| Err(Failure::new("the sender died")))
}
