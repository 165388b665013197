//! Joins whose build side every task would have to read whole.
//!
//! DataFusion lets a join collect its build side (`CollectLeft`) by rules of its own. Ballista splits the finished plan
//! and, where its rules differ, turns such a join into a partitioned one. The plan above the join was made for the
//! partitions it had before: a count over one partition then gives one row for each of many. So the join is settled
//! here by Ballista's rules, right after DataFusion has chosen and before anything is planned on top of the choice.

use std::sync::Arc;

use ballista_core::config::BallistaConfig;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::JoinType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::output_requirements::OutputRequirements;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::StatisticsContext;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs};
use polarway_common::Error;
use polarway_engine::errors::classify;

/// Rounds after which a plan must be settled; one has always been enough.
const ROUNDS: usize = 4;

/// The optimizer's rules with ours behind the one that chooses how joins collect.
pub fn staged_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let chosen = rules.iter().position(|rule| rule.name() == "join_selection");
    rules.insert(chosen.map_or(0, |index| index + 1), Arc::new(SettleJoins));
    rules
}

/// See the module's page.
#[derive(Debug)]
struct SettleJoins;

impl PhysicalOptimizerRule for SettleJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let threshold = threshold(config);
        let settle = |node: Arc<dyn ExecutionPlan>| match node.downcast_ref::<HashJoinExec>() {
            Some(join) if is_undone(join, threshold) => {
                let partitioned =
                    join.builder().with_partition_mode(PartitionMode::Partitioned).build_exec()?;
                Ok(Transformed::yes(partitioned))
            }
            _ => Ok(Transformed::no(node)),
        };
        Ok(plan.transform_up(settle)?.data)
    }

    fn name(&self) -> &str {
        "settle_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A finished plan in which Ballista will leave every join as it is. Sizes may look different in it than when the
/// joins were settled first.
pub fn settled(
    mut plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    for _ in 0..ROUNDS {
        if !has_undone(&plan, threshold(config)).map_err(|error| classify(&error))? {
            return Ok(plan);
        }
        let rules: [&dyn PhysicalOptimizerRule; 4] = [
            &SettleJoins,
            &OutputRequirements::new_add_mode(),
            &EnsureRequirements::default(),
            &OutputRequirements::new_remove_mode(),
        ];
        for rule in rules {
            plan = rule.optimize(plan, config).map_err(|error| classify(&error))?;
        }
    }
    Err(Error::internal("the plan's joins keep changing their sizes; it cannot be split into stages"))
}

fn has_undone(plan: &Arc<dyn ExecutionPlan>, threshold: usize) -> Result<bool> {
    plan.exists(|node| Ok(node.downcast_ref::<HashJoinExec>().is_some_and(|join| is_undone(join, threshold))))
}

fn threshold(config: &ConfigOptions) -> usize {
    let ballista = config.extensions.get::<BallistaConfig>().cloned().unwrap_or_default();
    ballista.broadcast_join_threshold_bytes()
}

/// Whether Ballista turns the join into a partitioned one (`maybe_promote_to_broadcast` in its planner). A null-aware
/// join stays: it runs in one task.
fn is_undone(join: &HashJoinExec, threshold: usize) -> bool {
    *join.partition_mode() == PartitionMode::CollectLeft
        && !join.null_aware
        && (!is_driven_by_probe(*join.join_type())
            || threshold == 0
            || estimated_bytes(join.left().as_ref()).is_none_or(|bytes| bytes >= threshold))
}

/// Joins that give no row on behalf of the build side alone: each task sees it whole, and would give the same row.
fn is_driven_by_probe(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    )
}

/// Bytes by statistics, or else rows times the width of a row; a size of 0 counts as unknown.
fn estimated_bytes(plan: &dyn ExecutionPlan) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?;
    if let Some(bytes) = statistics.total_byte_size.get_value().filter(|bytes| **bytes != 0) {
        return Some(*bytes);
    }
    let rows = statistics.num_rows.get_value().filter(|rows| **rows != 0)?;
    let width: usize = plan.schema().fields().iter().map(|field| width(field.data_type())).sum();
    Some(rows.saturating_mul(width.max(8)))
}

fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean | DataType::Int8 | DataType::UInt8 => 1,
        DataType::Int16 | DataType::UInt16 => 2,
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => 4,
        DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Date64 => 8,
        DataType::Decimal128(_, _) => 16,
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use ballista_core::extension::SessionConfigExt;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::physical_plan::ExecutionPlanProperties;
    use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    async fn context(rules: bool) -> SessionContext {
        let config = SessionConfig::new_with_ballista()
            .with_target_partitions(4)
            .set_bool("datafusion.optimizer.prefer_hash_join", true);
        let builder = SessionStateBuilder::new().with_default_features().with_config(config);
        let builder = if rules { builder.with_physical_optimizer_rules(staged_rules()) } else { builder };
        let context = SessionContext::new_with_state(builder.build());
        for table in ["a", "b"] {
            let sql = format!("CREATE TABLE {table} AS SELECT value AS k FROM generate_series(1, 100)");
            context.sql(&sql).await.unwrap().collect().await.unwrap();
        }
        context
    }

    async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
        context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    fn undone(plan: &Arc<dyn ExecutionPlan>) -> bool {
        has_undone(plan, BallistaConfig::default().broadcast_join_threshold_bytes()).unwrap()
    }

    const LEFT: &str = "SELECT count(*) FROM a LEFT JOIN b ON a.k = b.k";

    #[tokio::test]
    async fn a_join_that_ballista_would_undo_is_partitioned_from_the_start() {
        let stock = plan(&context(false).await, LEFT).await;
        assert!(undone(&stock), "DataFusion chose another join: the rule has nothing to do");
        let ours = plan(&context(true).await, LEFT).await;
        assert!(!undone(&ours));
        // What is planned above is planned for the join as it will be.
        let single = |plan: &Arc<dyn ExecutionPlan>| {
            plan.exists(|node| {
                Ok(node.downcast_ref::<AggregateExec>().is_some_and(|aggregate| {
                    matches!(aggregate.mode(), AggregateMode::Single)
                        && aggregate.input().output_partitioning().partition_count() > 1
                }))
            })
            .unwrap()
        };
        assert!(!single(&ours));
        assert_eq!(ours.output_partitioning().partition_count(), 1);
    }

    #[tokio::test]
    async fn a_finished_plan_is_settled_with_what_stands_on_it() {
        let context = context(false).await;
        let settled = settled(plan(&context, LEFT).await, context.state().config_options()).unwrap();
        assert!(!undone(&settled));
        assert_eq!(settled.output_partitioning().partition_count(), 1);
        let rows = datafusion::physical_plan::collect(settled, context.task_ctx()).await.unwrap();
        assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    }

    #[tokio::test]
    async fn a_small_build_side_is_still_collected() {
        let ours = plan(&context(true).await, "SELECT count(*) FROM a JOIN b ON a.k = b.k").await;
        let collects = ours
            .exists(|node| {
                let join = node.downcast_ref::<HashJoinExec>();
                Ok(join.is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft))
            })
            .unwrap();
        assert!(collects);
    }
}
