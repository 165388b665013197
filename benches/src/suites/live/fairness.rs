//! Whether many senders feel a slow and a hostile one beside them.

use std::thread;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::oneshot::Receiver;
use tokio::time::sleep;

use super::neighbours::{self, Done};
use super::server::Ours;
use super::{Stop, WARMUP, add, cores, disk, failures, rows, spread, tell, used};
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::engines::OURS;
use crate::failure::{Failure, Result};
use crate::record::{LoadRepeat, Measurement, SuiteRecord};
use crate::socket::connection::Connection;
use crate::socket::frame::{TEXT, frame};
use crate::socket::paced::{self, Paced};
use crate::stats;
use crate::suites::Bench;

const GOOD: u64 = 48;
/// Rows a second of each.
const PER_SECOND: f64 = 100.0;
const RATIO: f64 = 1.2;
/// Windows of each kind to a repeat: a single one in which the machine was busy would decide otherwise.
const WINDOWS: usize = 3;

const ALONE: &str = "48 connections";
const BESIDE: &str = "the same beside a slow and a hostile one";

/// Runs it.
///
/// # Errors
/// The server does not start or does not stop as it should.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let mut ours = Ours::start(bench, &[], "", None).await?;
    let disk = disk::describe(ours.server.directory())?;
    let mut measurements = [ALONE, BESIDE].map(|case| Measurement::new(OURS, case));
    let (mut expected, mut done) = (0, Vec::new());
    let mut p99s = [Vec::new(), Vec::new()];
    for repeat in 0..bench.args.repeats * WINDOWS {
        for (measured, beside) in measurements.iter_mut().zip([false, true]) {
            let name = format!("{repeat}-{}", u8::from(beside));
            match window(bench, &ours, &name, beside).await {
                Ok((good, bad)) => {
                    done.extend(bad);
                    expected += good.iter().map(|paced| paced.rows).sum::<u64>();
                    p99s[usize::from(beside)].extend(join(measured, good));
                }
                Err(failure) => measured.fail(&failure.to_string(), 1),
            }
        }
    }
    if measurements.iter().all(|measured| measured.failed() == 0)
        && let Err(failure) = ours.holds_where(&format!("id < {}", neighbours::FIRST), expected).await
    {
        measurements[1].fail(&failure.to_string(), 1);
    }
    let peak = ours.stop().await?;
    for measured in &mut measurements {
        measured.summarise();
        measured.processes = vec![peak.clone()];
        tell(measured);
    }
    let mut record = SuiteRecord {
        title: "Streams: a slow and a hostile sender beside 48 others".into(),
        method: format!(
            "{GOOD} WebSocket connections, each with a producer, send {PER_SECOND} JSON rows a second each, one a \
             frame, acknowledged in the log (`wal`), spread evenly over time; the time runs from before a frame is \
             written to the socket until the acknowledgement that covers it is read. The figure is the median of the \
             windows' 99th percentiles: windows of {} s, {} times alone and beside two more in turn, on one `polarway up` with its defaults: a slow one that sends a byte each 10 \
             ms and reads nothing, and a hostile one that comes anew 5 ms after each attack: no HTTP, an unknown \
             stream, a frame of a terabyte, frames of unknown kind, without mask, of broken JSON, of broken Arrow, and \
             half frames. Server, senders and attacker share the machine's cores. At the end all acknowledged rows of \
             the {GOOD} are counted by SQL.",
            bench.args.seconds,
            bench.args.repeats * WINDOWS,
        ),
        ..SuiteRecord::default()
    };
    used(&mut record.engines, OURS, peak.clone());
    record.measurements = measurements.to_vec();
    let mut line = line(&record, &done, &p99s).with_rss(vec![peak], Vec::new());
    let windows = p99s.map(|p99s| p99s.into_iter().map(digits).collect::<Vec<_>>().join(", "));
    line.notes.push(format!("p99 of the windows, ms: alone {}; beside the two {}.", windows[0], windows[1]));
    line.notes.push(disk);
    record.comparisons = vec![line];
    Ok(record)
}

/// One window of the good ones, with the bad ones if `bad`.
async fn window(bench: &Bench, ours: &Ours, name: &str, bad: bool) -> Result<(Vec<Paced>, Vec<Done>)> {
    let (senders, stop) = (ours.server.senders, Stop::default());
    let mut bads = Vec::new();
    if bad {
        let (slow, hostile) = (stop.flag(), stop.flag());
        bads.push(cores::start(None, move || neighbours::slow(senders, &slow))?);
        bads.push(cores::start(None, move || neighbours::hostile(senders, &hostile))?);
    }
    let mut goods = Vec::new();
    for index in 0..GOOD {
        let flag = stop.flag();
        let target = format!("{}?producer=feed-{name}-{index}&ack=wal", rows::STREAM);
        goods.push(cores::start(None, move || {
            let connection = Connection::open(senders, &target)?;
            thread::sleep(Duration::from_secs_f64(index as f64 / (GOOD as f64 * PER_SECOND)));
            let row = |number| frame(TEXT, rows::json(number * GOOD + index).as_bytes());
            paced::send(connection, PER_SECOND, WARMUP, row, &flag)
        })?);
    }
    sleep(WARMUP + Duration::from_secs_f64(bench.args.seconds)).await;
    stop.now();
    let good = try_join_all(goods.into_iter().map(ended)).await;
    let bad = try_join_all(bads.into_iter().map(ended)).await;
    Ok((good?, bad?))
}

async fn ended<T>(told: Receiver<Result<T>>) -> Result<T> {
    told.await.unwrap_or_else(|_| Err(Failure::new("a sender died")))
}

/// Adds one window of many senders, which is one repeat. Gives its 99th percentile.
fn join(measured: &mut Measurement, good: Vec<Paced>) -> Option<f64> {
    let begin = measured.samples_ms.len();
    let mut whole = LoadRepeat { seconds: 0.0, completed: 0, failed: 0 };
    for paced in good {
        whole.seconds = whole.seconds.max(paced.seconds);
        whole.completed += paced.rows;
        whole.failed += paced.bad;
        add(measured, paced);
        measured.repeats.pop();
    }
    measured.repeats.push(whole);
    stats::percentile(measured.samples_ms.get(begin..)?, 99.0)
}

fn line(record: &SuiteRecord, done: &[Done], [alone, beside]: &[Vec<f64>; 2]) -> Comparison {
    let mut notes: Vec<String> = record.measurements.iter().flat_map(failures).collect();
    for measured in &record.measurements {
        notes.push(format!("Acknowledgements, {}: {}.", measured.case, spread(&measured.samples_ms)));
    }
    let sum = |pick: fn(&Done) -> u64| done.iter().map(pick).sum::<u64>();
    notes.push(format!(
        "The bad ones sent {} single bytes and {} attacks; {} of their connections were refused or broken.",
        sum(|one| one.bytes),
        sum(|one| one.attacks),
        sum(|one| one.broken),
    ));
    let failed = record.measurements.iter().map(Measurement::failed).sum();
    Comparison::new(
        "Acknowledgement of 48 connections beside a slow and a hostile one, p99",
        Unit::Milliseconds,
        (stats::median(beside), stats::median(alone)),
        "without the two",
        Some(Aim::RatioAtMost(RATIO)),
        failed,
    )
    .with_notes(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_many_senders_is_one_repeat() {
        let paced =
            |seconds, sample| Paced { samples_ms: vec![sample], seconds, rows: 10, ..Paced::default() };
        let mut measured = Measurement::new(OURS, ALONE);
        assert_eq!(join(&mut measured, vec![paced(1.0, 3.0), paced(2.0, 4.0)]), Some(4.0));
        assert_eq!(measured.repeats, [LoadRepeat { seconds: 2.0, completed: 20, failed: 0 }]);
        assert_eq!(measured.samples_ms, [3.0, 4.0]);
    }
}
