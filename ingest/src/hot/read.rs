//! Reading a snapshot as a scan wants it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use polarway_engine::live::{HotQuery, select};

use super::{HotSnapshot, Run};

/// With fewer runs, telling which hold no wanted row costs more than reading them.
const WORTH_PRUNING: usize = 4;

/// The rows of `snapshot` that `query` wants, run by run.
///
/// # Errors
/// In the stream, when the predicate cannot be evaluated.
pub fn read(snapshot: HotSnapshot, query: &HotQuery) -> BoxStream<'static, Result<RecordBatch>> {
    let HotSnapshot { runs, from, to, .. } = snapshot;
    let runs = wanted(runs, query);
    let query = query.clone();
    stream::iter(runs)
        .filter_map(move |run| {
            let rows = run.part(from, to).map(|batch| select(&batch, &query));
            std::future::ready(rows.and_then(Result::transpose))
        })
        .boxed()
}

/// The runs that may hold a wanted row.
fn wanted(runs: Vec<Arc<Run>>, query: &HotQuery) -> Vec<Arc<Run>> {
    let Some(predicate) = &query.predicate else { return runs };
    if runs.len() < WORTH_PRUNING {
        return runs;
    }
    let pruning = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(&query.schema))
        .build(Arc::clone(predicate));
    let Some(pruning) = pruning else { return runs };
    match pruning.prune(&Ranges { runs: &runs, query }) {
        Ok(kept) => runs.into_iter().zip(kept).filter_map(|(run, kept)| kept.then_some(run)).collect(),
        Err(error) => {
            tracing::debug!(%error, "all rows are read");
            runs
        }
    }
}

/// What is known of the runs' values.
struct Ranges<'a> {
    runs: &'a [Arc<Run>],
    query: &'a HotQuery,
}

impl Ranges<'_> {
    fn bounds(
        &self,
        column: &Column,
        which: impl Fn(&(ScalarValue, ScalarValue)) -> &ScalarValue,
    ) -> Option<ArrayRef> {
        let (place, field) = self.query.schema.column_with_name(&column.name)?;
        let unknown = ScalarValue::try_from(field.data_type()).ok()?;
        let bounds = self
            .runs
            .iter()
            .map(|run| run.range(place).map_or_else(|| unknown.clone(), |range| which(range).clone()));
        ScalarValue::iter_to_array(bounds).ok()
    }
}

impl PruningStatistics for Ranges<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |(low, _)| low)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |(_, high)| high)
    }

    fn num_containers(&self) -> usize {
        self.runs.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (place, _) = self.query.schema.column_with_name(&column.name)?;
        Some(Arc::new(
            self.runs.iter().map(|run| Some(run.null_count(place) as u64)).collect::<UInt64Array>(),
        ))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.runs.iter().map(|run| Some(run.rows() as u64)).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use datafusion::logical_expr::{Expr, col, lit};
    use datafusion::prelude::SessionContext;
    use futures::TryStreamExt;

    use super::super::Hot;
    use super::super::samples::{rows, schema};
    use super::*;

    /// Runs of a thousand rows.
    fn snapshot() -> HotSnapshot {
        let mut hot = Hot::new(schema(), 0);
        for _ in 0..6 {
            hot.append(rows(hot.end(), 1000)).unwrap();
        }
        hot.snapshot(500, 5_500)
    }

    fn query(predicate: Option<Expr>) -> HotQuery {
        let df_schema = datafusion::common::DFSchema::try_from(schema()).unwrap();
        let predicate =
            predicate.map(|expr| SessionContext::new().create_physical_expr(expr, &df_schema).unwrap());
        HotQuery { schema: schema(), columns: vec![0], predicate }
    }

    async fn ids(predicate: Option<Expr>) -> Vec<i64> {
        let batches: Vec<RecordBatch> = read(snapshot(), &query(predicate)).try_collect().await.unwrap();
        let ids = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        batches.iter().flat_map(ids).collect()
    }

    #[tokio::test]
    async fn what_is_wanted_comes_in_order() {
        assert_eq!(ids(None).await, (500..5_500).collect::<Vec<i64>>());
        assert_eq!(ids(Some(col("id").eq(lit(4_321_i64)))).await, [4_321]);
        assert_eq!(ids(Some(col("id").gt_eq(lit(5_498_i64)))).await, [5_498, 5_499]);
        assert_eq!(ids(Some(col("id").lt(lit(500_i64)))).await, [] as [i64; 0]);
        assert_eq!(ids(Some(col("text").is_null().and(col("id").lt(lit(506_i64))))).await, [501, 504]);
        assert_eq!(
            ids(Some(col("text").eq(lit("row 503")).or(col("id").eq(lit(501_i64))))).await,
            [501, 503]
        );
    }

    #[test]
    fn runs_without_a_wanted_row_are_passed_over() {
        let places = |predicate| {
            wanted(snapshot().runs, &query(Some(predicate)))
                .iter()
                .map(|run| run.from())
                .collect::<Vec<u64>>()
        };
        assert_eq!(places(col("id").eq(lit(4_321_i64))), [4_000]);
        assert_eq!(places(col("id").gt(lit(3_998_i64)).and(col("id").lt(lit(5_000_i64)))), [3_000, 4_000]);
        assert_eq!(places(col("text").eq(lit("row 3"))).len(), 6);
    }
}
