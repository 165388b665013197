//! Scans of streams against the same rows in a `MemTable`, as planned and after a journey as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::MemTable;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::*;
use crate::codec::{decode_plan, encode_plan};

const ROWS: u64 = 10_000;
/// Where one owner's rows end and the next one's begin.
const CUTS: [u64; 5] = [0, 10, 5_000, 5_000, ROWS];
const STREAM: &str = "stream-1";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Float64, true),
    ]))
}

fn rows(from: u64, to: u64) -> RecordBatch {
    let ids: Vec<i64> = (from..to).map(|id| id as i64).collect();
    let symbols: Vec<String> = ids.iter().map(|id| format!("S{}", id % 7)).collect();
    let prices: Vec<Option<f64>> =
        ids.iter().map(|id| (id % 11 != 0).then(|| (id % 100) as f64 / 4.0)).collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(StringArray::from(symbols)),
            Arc::new(Float64Array::from(prices)),
        ],
    )
    .unwrap()
}

/// Gives rows by their places, and counts those that it gave.
#[derive(Debug, Default)]
struct Owner {
    given: AtomicUsize,
    widest: AtomicUsize,
}

#[async_trait]
impl HotRows for Owner {
    async fn read(
        &self,
        slice: &HotSlice,
        query: &HotQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        if slice.stream != STREAM || slice.to > ROWS {
            return Err(DataFusionError::External(format!("there is no {slice}").into()));
        }
        let batches: Vec<_> = (slice.from..slice.to)
            .step_by(1000)
            .map(|from| select(&rows(from, slice.to.min(from + 1000)), query))
            .filter_map(Result::transpose)
            .collect();
        for batch in batches.iter().flatten() {
            self.given.fetch_add(batch.num_rows(), Ordering::Relaxed);
            self.widest.fetch_max(batch.num_columns(), Ordering::Relaxed);
        }
        Ok(stream::iter(batches).boxed())
    }
}

#[derive(Debug)]
struct LiveTable(Arc<Owner>);

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let slices: Vec<HotSlice> = CUTS
            .windows(2)
            .map(|cut| HotSlice { stream: STREAM.into(), owner: "here:1".into(), from: cut[0], to: cut[1] })
            .collect();
        let source = LiveSource::new(TableSchema::builder(schema()).build(), Arc::clone(&self.0) as _);
        let statistics = Statistics::new_unknown(&schema());
        Ok(live_scan(
            source,
            ObjectStoreUrl::local_filesystem(),
            &slices,
            projection.cloned(),
            limit,
            statistics,
        )?)
    }
}

struct Stage {
    owner: Arc<Owner>,
    session: SessionContext,
}

impl Stage {
    fn new() -> Self {
        let owner = Arc::new(Owner::default());
        let config = SessionConfig::new()
            .with_target_partitions(3)
            .with_extension(Arc::new(LiveAccess(Arc::clone(&owner) as _)));
        let session = SessionContext::new_with_config(config);
        session.register_table("live", Arc::new(LiveTable(Arc::clone(&owner)))).unwrap();
        let held = MemTable::try_new(schema(), vec![vec![rows(0, 300)], vec![rows(300, ROWS)]]).unwrap();
        session.register_table("held", Arc::new(held)).unwrap();
        Self { owner, session }
    }

    async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        self.session.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> String {
        let batches = collect(plan, self.session.task_ctx()).await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    fn travelled(&self, plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let bytes = encode_plan(Arc::clone(plan)).unwrap();
        decode_plan(&bytes, &self.session.task_ctx()).unwrap()
    }
}

/// Every shape ends in an order, so that texts can be compared.
const SHAPES: [&str; 19] = [
    "SELECT count(*) FROM live",
    "SELECT sum(id), min(price), max(price), avg(price) FROM live",
    "SELECT count(DISTINCT symbol), count(price) FROM live",
    "SELECT symbol, count(*), sum(id) FROM live GROUP BY symbol ORDER BY symbol",
    "SELECT symbol, price, count(*) FROM live GROUP BY 1, 2 HAVING count(*) > 15 ORDER BY 1, 2",
    "SELECT l.symbol, count(*) FROM live l JOIN held h ON l.id = h.id WHERE h.price > 20 GROUP BY 1 ORDER BY 1",
    "SELECT count(*), sum(id) FROM (SELECT * FROM live UNION ALL SELECT * FROM held WHERE id < 10)",
    "SELECT * FROM live WHERE price > 24.5 AND symbol <> 'S3' ORDER BY id",
    "SELECT id + 1 AS next, upper(symbol) FROM live WHERE id % 1000 = 0 ORDER BY next",
    "SELECT * FROM live WHERE id = 4999",
    "SELECT count(*) FROM (SELECT * FROM live LIMIT 17)",
    "SELECT id, price FROM live ORDER BY price DESC NULLS LAST, id LIMIT 5",
    "SELECT id, sum(price) OVER (PARTITION BY symbol ORDER BY id) FROM live ORDER BY id LIMIT 50 OFFSET 4990",
    "SELECT count(*) FROM live a JOIN live b ON a.id = b.id + 1",
    "SELECT count(*) FROM held WHERE id NOT IN (SELECT id FROM live WHERE price IS NULL)",
    "SELECT price IS NULL AS missing, count(*) FROM live WHERE price > 1 OR price IS NULL GROUP BY 1 ORDER BY 1",
    "SELECT 1 FROM live WHERE id < 3",
    "SELECT max(id) FROM live WHERE (SELECT max(id) FROM held) > id AND price > 3",
    "SELECT id + (SELECT max(id) FROM held) AS beyond FROM live WHERE id < 5 ORDER BY 1",
];

#[tokio::test]
async fn every_shape_gives_what_a_table_in_memory_gives() {
    let stage = Stage::new();
    for sql in SHAPES {
        // Names of columns hold the table's.
        let wanted = stage.run(stage.plan(&sql.replace("live", "held")).await).await.replace("held", "live");
        let plan = stage.plan(sql).await;
        let travelled = stage.travelled(&plan);
        for (how, plan) in [("as planned", plan), ("travelled", travelled)] {
            assert_eq!(stage.run(plan).await.replace("held", "live"), wanted, "{how}: {sql}");
        }
    }
}

#[tokio::test]
async fn only_wanted_rows_and_columns_leave_their_owner() {
    let stage = Stage::new();
    let plan = stage.plan("SELECT symbol FROM live WHERE id = 4999").await;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("FilterExec") && text.contains("predicate=id@0 = 4999"), "{text}");
    for plan in [stage.travelled(&plan), plan] {
        stage.owner.given.store(0, Ordering::Relaxed);
        stage.run(plan).await;
        assert_eq!(stage.owner.given.load(Ordering::Relaxed), 1);
        assert_eq!(stage.owner.widest.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_slice_that_is_gone_fails_the_query() {
    let stage = Stage::new();
    let slice = HotSlice { stream: "another".into(), owner: "here:1".into(), from: 0, to: 1 };
    let source = LiveSource::new(TableSchema::builder(schema()).build(), Arc::clone(&stage.owner) as _);
    let plan = live_scan(
        source,
        ObjectStoreUrl::local_filesystem(),
        &[slice],
        None,
        None,
        Statistics::new_unknown(&schema()),
    )
    .unwrap();
    let error = collect(plan, stage.session.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("there is no rows 0..1 of another"), "{error}");
}

#[tokio::test]
async fn a_process_without_a_way_to_streams_says_so() {
    let stage = Stage::new();
    let bytes = encode_plan(stage.plan("SELECT id FROM live").await).unwrap();
    let error = decode_plan(&bytes, &SessionContext::new().task_ctx()).unwrap_err();
    assert!(error.message.contains("cannot reach streams"), "{error:?}");
}
