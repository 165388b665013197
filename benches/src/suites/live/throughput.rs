//! How many rows one core takes in.

use std::time::Duration;

use super::cores::{Cores, apart};
use super::rows::{self, Form};
use super::server::{Ours, PLAIN, Server};
use super::usage::Usage;
use super::{disk, failures, tell, used};
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::engines::OURS;
use crate::failure::{Failure, Result};
use crate::record::{EngineRecord, LoadRepeat, Measurement, ProcessPeak, SuiteRecord};
use crate::socket::connection::Connection;
use crate::socket::flood::{self, Enough, Flooded};
use crate::stats;
use crate::suites::Bench;

/// Ours divided by the plain server's.
const JSON_RATIO: f64 = 0.6;
const ARROW_ROWS: f64 = 5e6;
/// Rows that are made before; they are sent again and again.
const DISTINCT: u64 = 200_000;

/// Names and forms of the frames.
const FORMS: [(&str, Form); 3] = [
    ("JSON, 1 row a frame", Form::Json { rows: 1 }),
    ("JSON, 100 rows a frame", Form::Json { rows: 100 }),
    ("Arrow IPC, 8000 rows a frame", Form::Arrow { rows: 8_000 }),
];

/// Limits that no window of usual length reaches, and that the machine survives if one does.
const KEPT_SETTINGS: [&str; 2] = ["ingest.hot_limit=8GiB", "ingest.log_limit=16GiB"];
const KEPT_OPTIONS: &str = ", seal_rows = '1000000000000', seal_bytes = '8GiB', seal_age = '1h'";

/// What takes the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Ours as users find it: rows are sealed into files meanwhile.
    Sealing,
    /// Ours without sealing: the log and memory alone.
    Kept,
    Plain,
}

const SIDES: [Side; 3] = [Side::Sealing, Side::Kept, Side::Plain];

impl Side {
    /// Name of the case and of the engine.
    fn names(self, form: &str) -> (String, &'static str) {
        match self {
            Side::Sealing => (form.to_owned(), OURS),
            Side::Kept => (format!("{form}, nothing sealed"), OURS),
            Side::Plain => (form.to_owned(), PLAIN),
        }
    }
}

/// One side at one form.
struct Case {
    side: Side,
    form: &'static str,
    measured: Measurement,
    /// Processor time of the server, summed over the repeats.
    cpu: Usage,
}

/// Runs it.
///
/// # Errors
/// A server does not start or does not stop as it should.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let cores = Cores::choose()?;
    let (seconds, repeats) = (bench.args.seconds, bench.args.repeats);
    let mut record = SuiteRecord {
        title: "Streams: throughput on one core".into(),
        method: format!(
            "The server is pinned to core {}, the sender to core {} (taskset). Rows of five columns, about 90 bytes as \
             JSON; the frames are made before and written as they are, so that the sender costs little. Ours: a fresh \
             `polarway up` for each window, rows acknowledged when they are in the log (`wal`), first with the \
             defaults, so that rows are sealed into Parquet files meanwhile, then with limits so high that nothing \
             is. Other: `tokio-tungstenite` and the readers of `arrow` (JSON in batches of 8192 rows), which keep \
             nothing and log nothing, in a process with the same allocator and flags. {repeats} windows of {seconds} \
             s on each in turn; the rate is rows acknowledged by the time from the first byte to the last \
             acknowledgement, the median of the windows. At the end of each window all acknowledged rows are counted \
             by SQL. CPU is user and system time of the server's process in the window.",
            cores.server, cores.sender,
        ),
        ..SuiteRecord::default()
    };
    let disk = disk::describe(bench.store.root())?;
    for (name, form) in FORMS {
        let mut cases = SIDES.map(|side| {
            let (case, engine) = side.names(name);
            Case { side, form: name, measured: Measurement::new(engine, case), cpu: Usage::default() }
        });
        for _ in 0..repeats {
            for case in &mut cases {
                case.window(bench, form, cores, &mut record.engines).await?;
            }
        }
        for case in &mut cases {
            case.measured.summarise();
            tell(&case.measured);
        }
        record.comparisons.extend(lines(&cases, form, &disk));
        record.measurements.extend(cases.map(|case| case.measured));
    }
    Ok(record)
}

impl Case {
    /// One window. A failure of the stream is recorded, and only one of the server's process is an error.
    async fn window(
        &mut self,
        bench: &Bench,
        form: Form,
        cores: Cores,
        engines: &mut Vec<EngineRecord>,
    ) -> Result<()> {
        let core = Some(cores.server);
        let (window, peak) = match self.side {
            Side::Plain => {
                let server = Server::plain(bench, core).await?;
                let window = send(bench, &server, form, cores).await;
                (window, server.stop().await?)
            }
            Side::Sealing | Side::Kept => {
                let kept = self.side == Side::Kept;
                let (settings, options) =
                    if kept { (&KEPT_SETTINGS[..], KEPT_OPTIONS) } else { (&[][..], "") };
                let mut ours = Ours::start(bench, settings, options, core).await?;
                let mut window = send(bench, &ours.server, form, cores).await;
                if let Ok((flooded, _)) = &window
                    && let Err(failure) = ours.holds(flooded.rows).await
                {
                    window = Err(failure);
                }
                (window, ours.stop().await?)
            }
        };
        self.add(window, &peak);
        used(engines, &self.measured.engine, peak);
        Ok(())
    }

    fn add(&mut self, window: Result<(Flooded, Usage)>, peak: &ProcessPeak) {
        match window {
            Ok((flooded, cpu)) => {
                let Flooded { seconds, rows, .. } = flooded;
                self.measured.repeats.push(LoadRepeat { seconds, completed: rows, failed: 0 });
                self.cpu.user_seconds += cpu.user_seconds;
                self.cpu.system_seconds += cpu.system_seconds;
            }
            Err(failure) => self.measured.fail(&failure.to_string(), 1),
        }
        crate::record::keep_larger(&mut self.measured.processes, vec![peak.clone()]);
    }

    /// Rates of the single windows and the server's processor time.
    fn notes(&self) -> Vec<String> {
        let (mut notes, measured) = (failures(&self.measured), &self.measured);
        let rates: Vec<f64> = measured.repeats.iter().map(LoadRepeat::per_second).collect();
        let bounds = (stats::percentile(&rates, 0.0), stats::percentile(&rates, 100.0));
        let rows: u64 = measured.repeats.iter().map(|window| window.completed).sum();
        if let (Some(least), Some(most)) = bounds {
            let show = |rate: f64| Unit::RowsPerSecond.show(rate);
            let cpu = self.cpu.seconds();
            notes.push(format!(
                "{}, {}: {} to {}; {rows} rows took {} s of CPU (user {}, system {}), {} per CPU second.",
                measured.engine,
                measured.case,
                show(least),
                show(most),
                digits(cpu),
                digits(self.cpu.user_seconds),
                digits(self.cpu.system_seconds),
                show(rows as f64 / cpu.max(f64::MIN_POSITIVE)).replace("/s", ""),
            ));
        }
        notes
    }
}

/// Floods `server` for a window. What it acknowledges must be what was sent.
async fn send(bench: &Bench, server: &Server, form: Form, cores: Cores) -> Result<(Flooded, Usage)> {
    let (senders, seconds) = (server.senders, bench.args.seconds);
    let before = server.usage()?;
    let flooded = apart(Some(cores.sender), move || {
        let parcels = form.parcels(DISTINCT)?;
        let connection = Connection::open(senders, &format!("{}?producer=feed&ack=wal", rows::STREAM))?;
        flood::send(connection, &parcels, Enough::After(Duration::from_secs_f64(seconds)))
    })
    .await?;
    let cpu = server.usage()? - before;
    if flooded.rows != flooded.sent {
        let Flooded { sent, rows, .. } = flooded;
        return Err(Failure::new(format!("{sent} rows were sent and {rows} acknowledged")));
    }
    Ok((flooded, cpu))
}

fn lines(cases: &[Case; 3], form: Form, disk: &str) -> Vec<Comparison> {
    let [_, _, plain] = cases;
    let rate = |case: &Case| case.measured.summary.per_second;
    let mut lines = Vec::new();
    for ours in cases.iter().filter(|case| case.side != Side::Plain) {
        let mut notes = [ours.notes(), plain.notes()].concat();
        notes.push(disk.to_owned());
        let aim = match form {
            Form::Json { .. } => Aim::RatioAtLeast(JSON_RATIO),
            Form::Arrow { .. } => Aim::AtLeast(ARROW_ROWS),
        };
        let sealing = if ours.side == Side::Sealing { "sealing" } else { "nothing sealed" };
        let (what, figures) =
            (format!("Rows in, {}, {sealing}, one core", ours.form), (rate(ours), rate(plain)));
        let failed = ours.measured.failed();
        lines.push(
            Comparison::new(what, Unit::RowsPerSecond, figures, PLAIN, Some(aim), failed)
                .with_rss(ours.measured.processes.clone(), plain.measured.processes.clone())
                .with_notes(notes),
        );
    }
    lines
}
