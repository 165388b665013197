//! EXPLAIN and EXPLAIN ANALYZE, with the route and why.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::displayable;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use polarway_common::{Attempt, ByteSize, Error, ErrorKind};
use polarway_engine::measure::Measured;
use polarway_storage::shuffle::Requests;

use crate::limits::{bounded, or_cancelled};
use crate::plan::route::Target;
use crate::plan::{Compiled, Explain};
use crate::queries::Running;
use crate::service::{QueryService, Request};
use crate::staged::ballista::ground;

type Rows = Vec<(String, String)>;

/// `plan_type` and `plan`, as DataFusion names them.
pub fn schema(_explain: &Explain) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("plan_type", DataType::Utf8, false),
        Field::new("plan", DataType::Utf8, false),
    ]))
}

/// Large, so that whoever awaits it need not carry it.
pub fn run<'a>(
    service: &'a QueryService,
    request: &'a Request,
    explain: &'a Explain,
) -> BoxFuture<'a, Result<RecordBatch, Error>> {
    Box::pin(async move {
        if explain.options.format.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "EXPLAIN FORMAT is not offered")
                .with_hint("EXPLAIN and EXPLAIN ANALYZE show indented plans and the route"));
        }
        let slots = service.slots().await;
        let verbose = explain.options.verbose;
        // A plan of its own: measuring must not touch one that others run, and nobody asks for this one again.
        let planner = Arc::clone(&service.planner);
        let (statement, request_of_plan) = (explain.statement.as_ref().clone(), request.clone());
        let planning = async move {
            let Request { settings, now, .. } = request_of_plan;
            planner.plan(statement, &settings, now, slots, None).await
        };
        let compiled = service.planned("planning the query", planning).await?;
        let route = format!("{}: {}", compiled.decision.target.name(), compiled.decision.reason);
        let analyze = explain.options.analyze;
        let target = if analyze { compiled.decision.target } else { Target::Metadata };
        let running = service.queries.begin(&request.caller, &request.query_id, &request.sql, target.name());
        running.planned(&compiled);
        let work = Box::pin(async {
            if analyze {
                return admitted(service, &running, &compiled, verbose).await;
            }
            running.admitted();
            plans(service, &compiled, verbose).await
        });
        let outcome = or_cancelled(&running.query.cancel, work).await;
        running.finish(&outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        let mut rows = outcome?;
        rows.push(("route".into(), route));
        to_batch(explain, &rows)
    })
}

async fn plans(service: &QueryService, compiled: &Arc<Compiled>, verbose: bool) -> Result<Rows, Error> {
    let mut rows = vec![
        ("logical_plan".to_owned(), compiled.optimized.display_indent().to_string()),
        ("physical_plan".to_owned(), displayable(compiled.physical().as_ref()).indent(verbose).to_string()),
    ];
    if compiled.decision.target == Target::Staged {
        let (planner, compiled) = (Arc::clone(&service.planner), Arc::clone(compiled));
        let ground = ground(&service.staged.ballista.executors().await, false);
        let planning = async move { planner.staged(&compiled, ground).await };
        let staged = service.planned("planning the query", planning).await?;
        rows.push(("staged_plan".to_owned(), displayable(staged.plan.as_ref()).indent(verbose).to_string()));
    }
    Ok(rows)
}

/// Runs the query as any other: in its turn, within its time, until it is cancelled.
async fn admitted(
    service: &QueryService,
    running: &Running,
    compiled: &Arc<Compiled>,
    verbose: bool,
) -> Result<Rows, Error> {
    let _place = service.admit(running, compiled.takes_place).await?;
    let work = Box::pin(analyze(service, running, compiled, verbose));
    bounded(&running.query, compiled.settings.timeout, work).await
}

async fn analyze(
    service: &QueryService,
    running: &Running,
    compiled: &Arc<Compiled>,
    verbose: bool,
) -> Result<Rows, Error> {
    let started = Instant::now();
    let mut rows = vec![];
    match compiled.decision.target {
        Target::Metadata | Target::Direct => {
            let Measured { plan, rows: count, peak } = if service.runs_on_executor(compiled) {
                let id = &running.query.run();
                service.remote.measure(&service.local.cpu, compiled, id, verbose).await?
            } else {
                service.local.measure(compiled, verbose).await?
            };
            rows.push(("plan_with_metrics".into(), plan));
            rows.push((
                "summary".into(),
                format!(
                    "{count} rows in {:.1} ms, at most {} held",
                    started.elapsed().as_secs_f64() * 1000.0,
                    ByteSize(peak).approx(),
                ),
            ));
        }
        Target::Staged => {
            let result = service.staged.run(&service.local.cpu, compiled, running).await?;
            let (messages, _files) = service.staged.open(compiled, result).await?;
            let bytes = messages
                .try_fold(0u64, |sum, message| async move { Ok(sum + message.data_body.len() as u64) })
                .await?;
            let elapsed = started.elapsed();
            let attempt = Attempt { run: running.query.run().to_string(), number: running.query.attempt() };
            let job = attempt.to_string();
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
            if service.staged.stores(&compiled.settings) {
                rows.push(("shuffle_store".into(), shuffle_requests(service, &job).await));
            }
            rows.push((
                "summary".into(),
                format!(
                    "{} of result in {:.1} ms, attempt {}",
                    ByteSize(bytes).approx(),
                    elapsed.as_secs_f64() * 1000.0,
                    running.query.attempt(),
                ),
            ));
        }
    }
    Ok(rows)
}

/// What the executors have asked of the object store. Copies that are made in the background may come after this.
async fn shuffle_requests(service: &QueryService, job: &str) -> String {
    let executors = service.staged.ballista.executors().await;
    let asked =
        executors.iter().map(|executor| service.staged.peers.shuffle_requests(&executor.address, job));
    let answers = futures::future::join_all(asked).await;
    let silent = answers.iter().filter(|answer| answer.is_err()).count();
    let Requests { puts, put_bytes, gets, get_bytes, retries, .. } = answers.into_iter().flatten().sum();
    let of_silent = if silent > 0 { format!(", {silent} executors did not answer") } else { String::new() };
    format!(
        "so far {puts} PUT of {}, {gets} GET of {}, {retries} repeated{of_silent}",
        ByteSize(put_bytes).approx(),
        ByteSize(get_bytes).approx(),
    )
}

fn to_batch(explain: &Explain, rows: &[(String, String)]) -> Result<RecordBatch, Error> {
    let kinds: StringArray = rows.iter().map(|(kind, _)| Some(kind.as_str())).collect();
    let plans: StringArray = rows.iter().map(|(_, plan)| Some(plan.as_str())).collect();
    RecordBatch::try_new(schema(explain), vec![Arc::new(kinds), Arc::new(plans)])
        .map_err(|error| Error::internal(error.to_string()))
}
