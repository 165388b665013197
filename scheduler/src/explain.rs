//! EXPLAIN and EXPLAIN ANALYZE, with the route and why.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::TryStreamExt;
use polarway_common::{ByteSize, Error, ErrorKind};
use polarway_engine::errors::classify;
use polarway_engine::memory::QueryPool;

use crate::plan::route::Target;
use crate::plan::{Compiled, Explain};
use crate::service::{QueryService, Request};
use crate::staged::{attempt_id, results};

/// `plan_type` and `plan`, as DataFusion names them.
pub fn schema(_explain: &Explain) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("plan_type", DataType::Utf8, false),
        Field::new("plan", DataType::Utf8, false),
    ]))
}

pub async fn run(service: &QueryService, request: &Request, explain: &Explain) -> Result<RecordBatch, Error> {
    if explain.options.format.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "EXPLAIN FORMAT is not offered")
            .with_hint("EXPLAIN and EXPLAIN ANALYZE show indented plans and the route"));
    }
    let slots = service.slots().await;
    // The inner statement is planned under a text of its own, so that its plan is not taken for that of the query.
    let text = format!("EXPLAIN:{}", request.sql);
    let compiled = service
        .planner
        .compile(&text, explain.statement.as_ref().clone(), &request.settings, request.now, slots)
        .await?;
    let mut rows: Vec<(String, String)> = vec![];
    let route = format!("{}: {}", compiled.decision.target.name(), compiled.decision.reason);
    if explain.options.analyze {
        rows.extend(analyze(service, request, &compiled, explain.options.verbose).await?);
    } else {
        rows.push(("logical_plan".into(), compiled.optimized.display_indent().to_string()));
        rows.push((
            "physical_plan".into(),
            displayable(compiled.physical().as_ref()).indent(explain.options.verbose).to_string(),
        ));
        if compiled.decision.target == Target::Staged {
            let staged = service.planner.staged(&compiled, slots, false).await?;
            rows.push((
                "staged_plan".into(),
                displayable(staged.plan.as_ref()).indent(explain.options.verbose).to_string(),
            ));
        }
    }
    rows.push(("route".into(), route));
    to_batch(explain, &rows)
}

async fn analyze(
    service: &QueryService,
    request: &Request,
    compiled: &Arc<Compiled>,
    verbose: bool,
) -> Result<Vec<(String, String)>, Error> {
    let started = Instant::now();
    let mut rows = vec![];
    match compiled.decision.target {
        Target::Metadata | Target::Direct => {
            let mut plan = compiled.fresh_plan().await?;
            let limit = compiled.settings.memory_limit.unwrap_or(usize::MAX);
            let pool = Arc::new(QueryPool::new(Arc::clone(&service.local.runtime.env.memory_pool), limit));
            let context = service.local.with_pool(compiled, Arc::clone(&pool))?;
            let counted = count_rows(service, compiled, &plan, Arc::clone(&context)).await;
            let count = match counted {
                Err(error) if error.kind == ErrorKind::OutOfMemory => {
                    plan = compiled.spilling_plan().await?;
                    count_rows(service, compiled, &plan, context).await?
                }
                counted => counted?,
            };
            let text = DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(verbose).to_string();
            rows.push(("plan_with_metrics".into(), text));
            rows.push((
                "summary".into(),
                format!(
                    "{count} rows in {:.1} ms, at most {} held",
                    started.elapsed().as_secs_f64() * 1000.0,
                    ByteSize(pool.peak() as u64).approx(),
                ),
            ));
        }
        Target::Staged => {
            let query =
                service.queries.begin(&format!("{}-analyze", request.query_id), &request.sql, "staged");
            let result = service.staged.run(compiled, &query).await?;
            let messages = results::open(
                Arc::clone(&service.staged.peers),
                result.partitions,
                result.ordered,
                service.staged.options.result_parallelism,
                Arc::clone(&compiled.schema),
            )
            .await?;
            let bytes = messages
                .try_fold(0u64, |sum, message| async move { Ok(sum + message.data_body.len() as u64) })
                .await?;
            let elapsed = started.elapsed();
            let job = attempt_id(&query.query.run, query.query.attempt());
            query.finish(&Ok(()));
            let ended = service.staged.ballista.ended(&job);
            for (id, plan) in ended.iter().flat_map(|ended| ended.plans.iter()) {
                rows.push((format!("stage_{id}"), plan.clone()));
            }
            for stage in ended.iter().flat_map(|ended| &ended.report.stages) {
                let shares: Vec<String> = stage
                    .executors
                    .iter()
                    .map(|(executor, tasks)| format!("{tasks} on {executor}"))
                    .collect();
                rows.push((
                    format!("stage_{}_tasks", stage.id),
                    format!("{} tasks, {} rows out: {}", stage.done, stage.rows, shares.join(", ")),
                ));
            }
            rows.push((
                "summary".into(),
                format!(
                    "{} of result in {:.1} ms, attempt {}",
                    ByteSize(bytes).approx(),
                    elapsed.as_secs_f64() * 1000.0,
                    query.query.attempt(),
                ),
            ));
        }
    }
    Ok(rows)
}

async fn count_rows(
    service: &QueryService,
    compiled: &Compiled,
    plan: &Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Result<usize, Error> {
    let stream = service.local.cpu.run(Arc::clone(plan), context, compiled.settings.timeout);
    stream
        .try_fold(0usize, |sum, batch| async move { Ok(sum + batch.num_rows()) })
        .await
        .map_err(|error| classify(&error))
}

fn to_batch(explain: &Explain, rows: &[(String, String)]) -> Result<RecordBatch, Error> {
    let kinds: StringArray = rows.iter().map(|(kind, _)| Some(kind.as_str())).collect();
    let plans: StringArray = rows.iter().map(|(_, plan)| Some(plan.as_str())).collect();
    RecordBatch::try_new(schema(explain), vec![Arc::new(kinds), Arc::new(plans)])
        .map_err(|error| Error::internal(error.to_string()))
}
