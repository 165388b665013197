//! How soon a query sees a row that has just been sent.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use tokio::task::block_in_place;

use super::server::Ours;
use super::visible::Visible;
use super::{Stop, WARMUP, add, cores, failures, rows, spread, tell, used};
use crate::compare::{Aim, Comparison, Unit};
use crate::engines::OURS;
use crate::failure::{Failure, Result};
use crate::load::{Client, millis};
use crate::record::{LoadRepeat, Measurement, SuiteRecord};
use crate::socket::connection::Connection;
use crate::socket::frame::{TEXT, frame};
use crate::socket::paced;
use crate::suites::Bench;

/// Rows a second that another connection sends meanwhile.
const BACKGROUND: f64 = 10_000.0;
/// First id of the rows that are looked for.
const FIRST: u64 = 1_000_000_000_000;
/// Probes that do not count.
const UNMEASURED: u64 = 50;
/// A row that so many queries have not seen is lost.
const ASKS: u64 = 10_000;
const BEYOND_MS: f64 = 1.0;

const FRESH: &str = "row sent to row returned";
const OWN: &str = "the same query of an old row";
const DIFFERENCE: &str = "difference";
/// From a frame being read to its rows being visible.
const VISIBLE_P50_MS: f64 = 0.1;
const VISIBLE_P99_MS: f64 = 1.0;
const MEANWHILE: &str = "rows of the other connection";

/// Runs it.
///
/// # Errors
/// The server does not start or does not stop as it should.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let mut ours = Ours::start(bench, &[], "", None).await?;
    let mut measurements = [FRESH, OWN, DIFFERENCE, MEANWHILE].map(|case| Measurement::new(OURS, case));
    let seen = match measure(bench, &mut ours, &mut measurements).await {
        Ok(seen) => Some(seen),
        Err(failure) => {
            measurements[0].fail(&failure.to_string(), 1);
            None
        }
    };
    let mut record = SuiteRecord {
        title: "Streams: freshness".into(),
        method: format!(
            "`polarway up` with its defaults; one WebSocket connection sends {BACKGROUND} rows a second, one JSON row \
             a frame. A second connection sends one row (JSON, about 90 bytes) with a new id, and at once a Flight SQL \
             client on a kept connection sends the text of `SELECT id, price FROM {} WHERE id = …` (GetFlightInfo and \
             DoGet), again until the row comes. The time runs from before the row is written to the socket until the \
             answer with the row is read whole. In turn, the same query asks for a row that has long been there: its \
             own time. The difference is of each such pair. {} pairs after {UNMEASURED} unmeasured ones, both orders \
             in turn; the next begins when the row is acknowledged. At the end all acknowledged rows are counted by \
             SQL. From arrival to visible is the server's own histogram (`polarway_ingest_arrival_to_visible_seconds`) \
             over the pairs: from a frame being read from its socket until any query planned from then on sees its \
             rows, for all frames of both connections; given is the upper bound of the bucket, which is 1.4 times the \
             one before.",
            rows::STREAM,
            bench.args.requests,
        ),
        ..SuiteRecord::default()
    };
    let peak = ours.stop().await?;
    for measured in &mut measurements {
        measured.summarise();
        measured.processes = vec![peak.clone()];
        tell(measured);
    }
    used(&mut record.engines, OURS, peak);
    record.measurements = measurements.to_vec();
    let failed = record.measurements.iter().map(Measurement::failed).sum();
    record.comparisons = vec![line(&record, seen.as_ref().map(|(again, _)| *again), failed)];
    record.comparisons.extend(seen.iter().flat_map(|(_, visible)| inside(visible, failed)));
    Ok(record)
}

/// How many rows the first query did not return, and how soon they were visible.
async fn measure(
    bench: &Bench,
    ours: &mut Ours,
    measured: &mut [Measurement; 4],
) -> Result<(usize, Visible)> {
    let [fresh, own, difference, meanwhile] = measured;
    let (senders, stop) = (ours.server.senders, Stop::default());
    let flag = stop.flag();
    let background = cores::start(None, move || {
        let connection = Connection::open(senders, &format!("{}?producer=background&ack=wal", rows::STREAM))?;
        let row = |id| frame(TEXT, rows::json(id).as_bytes());
        paced::send(connection, BACKGROUND, WARMUP, row, &flag)
    })?;
    let connection = Connection::open(senders, &format!("{}?ack=wal", rows::STREAM))?;
    let mut probe = Probe { writer: connection.writer()?, connection, sent: 0 };
    probe.send()?;
    probe.acknowledged()?;
    let (begin, mut again) = (Instant::now(), 0);
    let mut before = Visible::of(ours.http).await?;
    for pair in 0..UNMEASURED + bench.args.requests as u64 {
        if pair == UNMEASURED {
            before = Visible::of(ours.http).await?;
        }
        let old_first = if pair % 2 == 0 { Some(probe.old(ours).await?) } else { None };
        let (new, asked) = probe.new_row(ours).await?;
        probe.acknowledged()?;
        let old = match old_first {
            Some(old) => old,
            None => probe.old(ours).await?,
        };
        if pair >= UNMEASURED {
            again += usize::from(asked > 1);
            fresh.samples_ms.push(new);
            own.samples_ms.push(old);
            difference.samples_ms.push(new - old);
        }
    }
    let visible = Visible::of(ours.http).await?.since(&before);
    let seconds = begin.elapsed().as_secs_f64();
    for measurement in [fresh, own, difference] {
        let completed = measurement.samples_ms.len() as u64;
        measurement.repeats.push(LoadRepeat { seconds, completed, failed: 0 });
    }
    stop.now();
    let background = background.await.unwrap_or_else(|_| Err(Failure::new("the sender died")))?;
    ours.holds(background.rows + probe.sent).await?;
    add(meanwhile, background);
    Ok((again, visible))
}

/// The connection whose rows are looked for.
struct Probe {
    connection: Connection,
    writer: TcpStream,
    sent: u64,
}

impl Probe {
    fn send(&mut self) -> Result<Instant> {
        let bytes = frame(TEXT, rows::json(FIRST + self.sent).as_bytes());
        self.sent += 1;
        let begin = Instant::now();
        self.writer.write_all(&bytes)?;
        Ok(begin)
    }

    fn acknowledged(&mut self) -> Result<()> {
        block_in_place(|| self.connection.acknowledged(self.sent))
    }

    /// Milliseconds until a new row was returned, and the number of queries that it took.
    async fn new_row(&mut self, ours: &mut Ours) -> Result<(f64, u64)> {
        let sql = query(FIRST + self.sent);
        let begin = self.send()?;
        for asked in 1..=ASKS {
            match ours.door.query(&sql).await? {
                0 => {}
                1 => return Ok((millis(begin.elapsed()), asked)),
                many => return Err(Failure::new(format!("a row was returned {many} times"))),
            }
        }
        Err(Failure::new(format!("a row was not returned by {ASKS} queries")))
    }

    /// Milliseconds of the query for the first row.
    async fn old(&self, ours: &mut Ours) -> Result<f64> {
        let (sql, begin) = (query(FIRST), Instant::now());
        match ours.door.query(&sql).await? {
            1 => Ok(millis(begin.elapsed())),
            other => Err(Failure::new(format!("an old row was returned {other} times"))),
        }
    }
}

fn query(id: u64) -> String {
    format!("SELECT id, price FROM {} WHERE id = {id}", rows::STREAM)
}

/// Lines of how soon rows were visible inside the process.
fn inside(visible: &Visible, failed: u64) -> [Comparison; 2] {
    [(50.0, VISIBLE_P50_MS), (99.0, VISIBLE_P99_MS)].map(|(percent, aim)| {
        Comparison::new(
            format!("Frame read to rows visible, inside the process, p{percent}"),
            Unit::Milliseconds,
            (visible.within_ms(percent), None),
            "",
            Some(Aim::Below(aim)),
            failed,
        )
        .with_notes(vec![format!("{} groups of frames.", visible.count())])
    })
}

fn line(record: &SuiteRecord, again: Option<usize>, failed: u64) -> Comparison {
    let p50 = |case| record.measurement(OURS, case).and_then(|measured| measured.summary.p50_ms);
    let mut notes: Vec<String> = record.measurements.iter().flat_map(failures).collect();
    for measured in &record.measurements {
        notes.push(format!("Freshness, {}: {}.", measured.case, spread(&measured.samples_ms)));
    }
    if let Some(again) = again {
        notes.push(format!("The first query did not return {again} of the new rows; a later one did."));
    }
    let processes = record.measurement(OURS, FRESH).map(|one| one.processes.clone()).unwrap_or_default();
    Comparison::new(
        "Row sent to row returned by SQL, p50",
        Unit::Milliseconds,
        (p50(FRESH), p50(OWN)),
        "the query alone",
        Some(Aim::DifferenceAtMost(BEYOND_MS)),
        failed,
    )
    .with_rss(processes, Vec::new())
    .with_notes(notes)
}
