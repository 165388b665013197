//! What TLS costs: a large result and a new connection with it, against the same without.

use super::cases::{self, Plan, Work};
use super::{Bench, announce, fetch, stop, table};
use crate::certificates::Certificates;
use crate::engines::{OURS, Terms};
use crate::failure::{Context, Result};
use crate::record::SuiteRecord;

/// Name in records of ours without.
const PLAIN: &str = "polarway-plain";

const ANEW: &str = "connection and SELECT 1";

/// Runs it.
///
/// # Errors
/// The data or the certificates cannot be made, or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let (rows, requests) = (bench.args.fetch_rows, bench.args.requests);
    let paths = bench.store.wide(1, rows)?;
    let path = paths.first().context(|| "no file was made")?;
    let certificates = Certificates::make()?;
    let encrypted = Terms { ca: Some(certificates.ca()), ..Terms::default() };
    let launcher = &bench.launcher;
    let mut engines = vec![
        launcher.up_as(OURS, &certificates.settings(), &encrypted).await,
        launcher.up_as(PLAIN, &[], &Terms::default()).await,
    ];
    announce(&engines);
    table(&mut engines, "wide", path).await;
    let plan = Plan::of(&bench.args);
    let mut measurements = cases::measure_sql(&mut engines, fetch::CASE, "SELECT * FROM wide", plan).await;
    let often = Plan { warmup: 20, repeats: requests, ..plan };
    let anew = [OURS, PLAIN].map(|_| Work::Anew("SELECT 1".into()));
    measurements.extend(cases::measure(&mut engines, ANEW, &anew, often).await);
    let mut record = SuiteRecord {
        title: "What TLS costs".into(),
        method: format!(
            "Two processes `polarway up` over one Parquet file of {rows} rows in four columns (integer, float, \
             timestamp, short string). Ours: `[tls]`, with an ECDSA certificate (P-256) of an authority of its own, \
             which clients trust. Other ({PLAIN}): the same without TLS, by the same client. `SELECT *` is decoded to \
             Arrow batches by an Arrow Flight SQL client in another process; rates are rows over the median time. {plan} \
             Then a client that connects, with a whole handshake, asks `SELECT 1` and reads the answer: {requests} times \
             on each in turn, after 20 unmeasured ones.",
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    record.comparisons = vec![
        fetch::line(&record, &format!("Fetch of {rows} rows x 4 columns, with TLS"), PLAIN, None),
        cases::medians(&record, "Connection and SELECT 1, one client, with TLS, p50", ANEW, PLAIN, None),
    ];
    Ok(record)
}
