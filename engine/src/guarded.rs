//! Plans watched from inside, by nodes that pass batches on.
//!
//! Stopping: work is aborted where it yields. A loop over a join's pairs may not do so for minutes, and Ballista drives
//! each partition of a stage in a Tokio task of its own which it only detaches when the stage is dropped. Guards above
//! every leaf and every join end their streams with an error once the plan is stopped; a loop above them meets one at
//! its next batch. A join that drops almost every pair asks for no batch for long: its filter ends it.
//!
//! Counting: the guard below a shuffle writer counts the rows that go into it. A file that is unlinked while it is
//! written is reported as empty and left out; the count shows that rows are missing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};
use futures::{Stream, StreamExt};
use polarway_common::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::passing::PassingExec;

const NAME: &str = "GuardExec";

/// A plan that ends soon after `stop` is cancelled.
#[derive(Debug, Clone)]
pub struct StoppablePlan {
    pub plan: Arc<dyn ExecutionPlan>,
    pub stop: CancellationToken,
}

impl StoppablePlan {
    /// Puts guards into any plan.
    pub fn of_task(plan: Arc<dyn ExecutionPlan>, stop: CancellationToken) -> Result<Self> {
        let plan = plan
            .transform_up(|node| {
                let input = match (node.children().is_empty(), is_join(&node)) {
                    (true, _) => node,
                    (false, true) => with_stoppable_filter(node, &stop)?,
                    (false, false) => return Ok(Transformed::no(node)),
                };
                Ok(Transformed::yes(guard(input, stop.clone(), None)))
            })?
            .data;
        Ok(Self { plan, stop })
    }

    /// Puts guards into a plan that is driven by one Tokio task, if it has joins: all else yields often enough.
    pub fn of_query(plan: Arc<dyn ExecutionPlan>) -> Result<Self> {
        if plan.exists(|node| Ok(is_join(node)))? {
            return Self::of_task(plan, CancellationToken::new());
        }
        Ok(Self { plan, stop: CancellationToken::new() })
    }

    /// The plan with what it measured, without the guards.
    pub fn text_with_metrics(&self, verbose: bool) -> String {
        let text = DisplayableExecutionPlan::with_metrics(self.plan.as_ref()).indent(verbose).to_string();
        without_guards(&text)
    }
}

/// The join with a filter that fails once the plan is stopped; a join without a filter as it is.
fn with_stoppable_filter(
    node: Arc<dyn ExecutionPlan>,
    stop: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    let stoppable = |filter: &JoinFilter| {
        let expression = StoppableExpr { inner: Arc::clone(filter.expression()), stop: stop.clone() };
        let (columns, schema) = (filter.column_indices().to_vec(), Arc::clone(filter.schema()));
        Some(JoinFilter::new(Arc::new(expression), columns, schema))
    };
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_projection_ref(join.projection().clone())
            .with_filter(stoppable(filter))
            .build()?;
        return Ok(Arc::new(join));
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join.builder().with_filter(stoppable(filter)).build_exec();
    }
    if let Some(join) = node.downcast_ref::<SortMergeJoinExec>()
        && let Some(filter) = join.filter()
    {
        let join = SortMergeJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            join.on().to_vec(),
            stoppable(filter),
            join.join_type(),
            join.sort_options().to_vec(),
            join.null_equality(),
        )?;
        return Ok(Arc::new(join));
    }
    Ok(node)
}

/// An expression that fails once the plan is stopped.
#[derive(Debug, Clone)]
struct StoppableExpr {
    inner: Arc<dyn PhysicalExpr>,
    stop: CancellationToken,
}

impl PartialEq for StoppableExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for StoppableExpr {}

impl Hash for StoppableExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for StoppableExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for StoppableExpr {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(inner) => Ok(Arc::new(Self { inner, stop: self.stop.clone() })),
            None => Err(DataFusionError::Internal("a stoppable expression has one child".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

fn stopped() -> DataFusionError {
    DataFusionError::External(Box::new(Error::new(ErrorKind::Cancelled, "the work was stopped")))
}

pub(crate) fn is_join(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.name().ends_with("JoinExec")
}

/// Removes the guards' lines from an indented plan and moves what is below them to the left.
fn without_guards(text: &str) -> String {
    let mut removed: Vec<usize> = vec![];
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        removed.retain(|above| *above < indent);
        if content.starts_with(NAME) {
            removed.push(indent);
            continue;
        }
        kept.push_str(line.get(removed.len() * 2..).unwrap_or(content));
        kept.push('\n');
    }
    kept
}

/// Counts the rows that go into `plan`'s root.
pub fn with_counted_input(plan: Arc<dyn ExecutionPlan>) -> Result<(Arc<dyn ExecutionPlan>, Arc<AtomicU64>)> {
    let rows = Arc::new(AtomicU64::new(0));
    let inputs = plan
        .children()
        .into_iter()
        .map(|child| guard(Arc::clone(child), CancellationToken::new(), Some(Arc::clone(&rows))))
        .collect();
    let plan =
        plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
    Ok((plan, rows))
}

fn guard(
    input: Arc<dyn ExecutionPlan>,
    stop: CancellationToken,
    rows: Option<Arc<AtomicU64>>,
) -> Arc<dyn ExecutionPlan> {
    PassingExec::above(input, NAME, move |_, input| {
        Box::pin(Guarded { input, stop: stop.clone(), rows: rows.clone() })
    })
}

struct Guarded {
    input: SendableRecordBatchStream,
    stop: CancellationToken,
    rows: Option<Arc<AtomicU64>>,
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stop.is_cancelled() {
            return Poll::Ready(Some(Err(stopped())));
        }
        let next = self.input.poll_next_unpin(cx);
        if let (Some(rows), Poll::Ready(Some(Ok(batch)))) = (&self.rows, &next) {
            rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        next
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use arrow::array::{Array, BooleanArray};
    use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::TryStreamExt;

    use super::*;

    async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
        context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    #[tokio::test]
    async fn a_stopped_join_ends_and_its_text_hides_the_guards() {
        let context = SessionContext::new();
        let sql = "select count(*) from range(5) a join range(5) b on a.value < b.value";
        let guarded = StoppablePlan::of_query(plan(&context, sql).await).unwrap();
        assert!(guarded.plan.exists(|node| Ok(node.name() == NAME)).unwrap());
        let run = || datafusion::physical_plan::execute_stream(Arc::clone(&guarded.plan), context.task_ctx());
        run().unwrap().try_collect::<Vec<_>>().await.unwrap();
        let text = guarded.text_with_metrics(false);
        assert!(text.contains("JoinExec") && !text.contains(NAME), "{text}");
        let indents: Vec<usize> = text.lines().map(|line| line.len() - line.trim_start().len()).collect();
        assert!(indents.windows(2).all(|pair| pair[1] <= pair[0] + 2), "{text}");
        guarded.stop.cancel();
        let error = run().unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(crate::errors::classify(&error).kind, ErrorKind::Cancelled);
    }

    /// `keeps_none(x)` is false, and stops the plan when it is first asked.
    fn keeps_none(stop: Arc<OnceLock<CancellationToken>>, asked: Arc<AtomicU64>) -> ScalarUDF {
        let implementation = move |arguments: &[ColumnarValue]| {
            asked.fetch_add(1, Ordering::Relaxed);
            stop.get().unwrap().cancel();
            let rows = arguments[0].clone().into_array(1)?.len();
            Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(vec![false; rows]))))
        };
        create_udf(
            "keeps_none",
            vec![DataType::Int64],
            DataType::Boolean,
            Volatility::Volatile,
            Arc::new(implementation),
        )
    }

    #[tokio::test]
    async fn a_join_that_drops_every_pair_is_stopped_by_its_filter() {
        for (operator, prefer_hash_join, condition) in [
            ("NestedLoopJoinExec", true, ""),
            ("HashJoinExec", true, "a.value % 2 = b.value % 2 and"),
            ("SortMergeJoinExec", false, "a.value % 2 = b.value % 2 and"),
        ] {
            let mut config = SessionConfig::new().with_target_partitions(2);
            config.options_mut().optimizer.prefer_hash_join = prefer_hash_join;
            let context = SessionContext::new_with_config(config);
            let (stop, asked) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
            context.register_udf(keeps_none(Arc::clone(&stop), Arc::clone(&asked)));
            let sql = format!(
                "select count(*) from range(20000) a join range(20000) b on {condition} keeps_none(a.value + b.value)"
            );
            let guarded = StoppablePlan::of_query(plan(&context, &sql).await).unwrap();
            assert!(guarded.plan.exists(|node| Ok(node.name() == operator)).unwrap(), "{operator}");
            stop.set(guarded.stop.clone()).unwrap();
            let stream =
                datafusion::physical_plan::execute_stream(Arc::clone(&guarded.plan), context.task_ctx())
                    .unwrap();
            let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
            assert_eq!(crate::errors::classify(&error).kind, ErrorKind::Cancelled, "{operator}");
            // Partitions that were asking at the same time may each end their call.
            assert!(asked.load(Ordering::Relaxed) <= 2, "{operator}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn a_plan_without_joins_stays_as_it_is() {
        let context = SessionContext::new();
        let plain = plan(&context, "select count(*) from range(5)").await;
        let guarded = StoppablePlan::of_query(Arc::clone(&plain)).unwrap();
        assert!(Arc::ptr_eq(&plain, &guarded.plan));
    }

    #[tokio::test]
    async fn rows_are_counted_on_their_way_in() {
        let context = SessionContext::new();
        let (counted, rows) =
            with_counted_input(plan(&context, "select value + 1 from range(7)").await).unwrap();
        let stream = datafusion::physical_plan::execute_stream(counted, context.task_ctx()).unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(rows.load(Ordering::Relaxed), 7);
    }
}
