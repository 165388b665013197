//! The staged route over two executors of one slot each: TPC-H against DataFusion in process, stock Ballista and the
//! guests, and the latency of a small query against stock Ballista and the guests.

use super::cases::{self, Plan, Work};
use super::guests::{self, Visit};
use super::small::SUPPLIER;
use super::{Bench, PARTS, announce, stop, table, tpch};
use crate::compare::Aim;
use crate::data::TPCH_TABLES;
use crate::engines::Engine;
use crate::failure::Result;
use crate::record::SuiteRecord;

const EXECUTORS: usize = 2;
const SLOTS: usize = 1;
const PARTITIONS: usize = EXECUTORS * SLOTS;

/// TPC-H at `scale`.
///
/// # Errors
/// As [`tpch::run`].
pub async fn tpch(bench: &Bench, scale: f64) -> Result<SuiteRecord> {
    let data = bench.store.tpch(&bench.launcher.polarway, scale, PARTS, &TPCH_TABLES).await?;
    let mut engines = vec![
        ours(bench).await,
        bench.launcher.datafusion(PARTITIONS).await,
        bench.launcher.ballista(EXECUTORS, SLOTS, PARTITIONS).await,
    ];
    let measurements = tpch::queries(bench, &mut engines, &data).await?;
    let mut record = SuiteRecord {
        title: format!("TPC-H at scale {scale}, staged over {EXECUTORS} executors"),
        method: format!(
            "All 22 queries over Parquet in {PARTS} files a table, {PARTITIONS} target partitions everywhere. Ours: \
             a scheduler and {EXECUTORS} executors of {SLOTS} slot each, `polarway.route = 'staged'`, read through \
             the door by an Arrow Flight SQL client. DataFusion: embedded in one process. Ballista: the published \
             crates with their default configuration, a scheduler, {EXECUTORS} executors of {SLOTS} slot each, and \
             its own client. After a query that Ballista fails its processes are started anew. {}",
            Plan::of(&bench.args),
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let what = format!("TPC-H SF {scale}, 22 queries, staged over {EXECUTORS} executors");
    tpch::visit(bench, &data, PARTITIONS, EXECUTORS)?.run(bench, &mut record).await?;
    let mut lines = cases::totals(&record, &what, "datafusion", Some(Aim::RatioAtMost(1.2)));
    lines.extend(cases::totals(&record, &what, "ballista", Some(Aim::RatioAtMost(0.8))));
    lines.extend(guests::totals(&record, &what));
    record.comparisons = lines;
    Ok(record)
}

/// One client's small aggregate.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn small(bench: &Bench) -> Result<SuiteRecord> {
    let data =
        bench.store.tpch(&bench.launcher.polarway, bench.args.small_scale, PARTS, &["supplier"]).await?;
    let mut engines = vec![ours(bench).await, bench.launcher.ballista(EXECUTORS, SLOTS, PARTITIONS).await];
    announce(&engines);
    table(&mut engines, "supplier", &data.join("supplier")).await;
    let plan = Plan { warmup: 20, repeats: bench.args.requests, patience: bench.args.patience() };
    let case = "aggregate over supplier";
    let measurements = cases::measure_sql(&mut engines, case, SUPPLIER, plan).await;
    let mut record = SuiteRecord {
        title: "A small query, staged".into(),
        method: format!(
            "`{SUPPLIER}` over the supplier table of TPC-H scale {}, as a staged query on {EXECUTORS} executors of \
             {SLOTS} slot each, one client, {} requests on each side in turn.",
            bench.args.small_scale, bench.args.requests,
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let visit = Visit {
        partitions: PARTITIONS,
        workers: EXECUTORS,
        tables: vec![("supplier".into(), data.join("supplier"))],
        cases: vec![(case.into(), Work::Sql(SUPPLIER.into()))],
        plan,
    };
    visit.run(bench, &mut record).await?;
    let line = "Small aggregate, staged, one client, p50";
    record.comparisons = vec![cases::medians(&record, line, case, "ballista", Some(Aim::RatioAtMost(0.4)))];
    record.comparisons.extend(guests::medians(&record, line, case));
    Ok(record)
}

async fn ours(bench: &Bench) -> Engine {
    bench.launcher.staged(EXECUTORS, SLOTS, PARTITIONS).await
}
