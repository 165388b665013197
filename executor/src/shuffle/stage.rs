//! A stage whose output is split by hash.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::ipc::writer::IpcWriteOptions;
use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::execution_plans::create_shuffle_path;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::ShuffleWritePartition;
use ballista_core::utils::{collect_plan_metrics, create_write_options};
use ballista_executor::execution_engine::QueryStageExecutor;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, displayable};
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::buckets::{Bucketed, Buckets, Shape};
use super::layout::{self, Written};

/// What a task computes, and how its rows are distributed.
#[derive(Debug)]
pub struct HashStage {
    pub job: JobId,
    pub stage: usize,
    pub task: usize,
    pub input: Arc<dyn ExecutionPlan>,
    pub expressions: Vec<Arc<dyn PhysicalExpr>>,
    pub partitions: usize,
    /// Rows of a full batch.
    pub batch_rows: usize,
    /// Bytes that the task may hold; `None` where the memory pool decides alone.
    pub budget: Option<usize>,
    pub work_dir: String,
    pub metrics: ExecutionPlanMetricsSet,
}

impl fmt::Display for HashStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HashStage: {}/{}\n{}",
            self.job,
            self.stage,
            displayable(self.input.as_ref()).indent(false)
        )
    }
}

impl HashStage {
    fn inputs(&self) -> usize {
        self.input.output_partitioning().partition_count()
    }

    fn options(context: &TaskContext) -> Result<IpcWriteOptions> {
        create_write_options(context.session_config().ballista_config().shuffle_compression_codec()?)
    }

    fn buckets(&self, input: usize, context: &Arc<TaskContext>) -> Result<Buckets> {
        let shape = Shape {
            expressions: self.expressions.clone(),
            partitions: self.partitions,
            batch_rows: self.batch_rows,
            budget: self.budget.map(|budget| (budget / self.inputs()).max(1)),
            options: Self::options(context)?,
        };
        Buckets::new(shape, &self.input.schema(), input, Arc::clone(context), &self.metrics)
    }

    /// Distributes one input partition. Each has a task of its own: an operator that hands rows to several partitions
    /// waits until all of them are read.
    fn distribute(
        &self,
        input: usize,
        context: &Arc<TaskContext>,
    ) -> Result<AbortOnDropHandle<Result<Bucketed>>> {
        let mut buckets = self.buckets(input, context)?;
        let mut rows = self.input.execute(input, Arc::clone(context))?;
        let distributing = async move {
            while let Some(batch) = rows.next().await {
                buckets.push(batch?)?;
            }
            buckets.finish()
        };
        Ok(AbortOnDropHandle::new(tokio::spawn(distributing.in_current_span())))
    }

    fn path(&self) -> Result<PathBuf> {
        create_shuffle_path(&self.work_dir, &self.job, self.stage, 0, Some(self.task as u64), true)
    }

    fn write(&self, bucketed: &[Bucketed], context: &TaskContext) -> Result<Vec<Written>> {
        let time = MetricBuilder::new(&self.metrics).subset_time("write_time", 0);
        let timer = time.timer();
        let written = layout::write(
            &self.path()?,
            &self.input.schema(),
            &Self::options(context)?,
            bucketed,
            self.partitions,
        )?;
        timer.done();
        let rows: u64 = written.iter().map(|partition| partition.counts.rows).sum();
        MetricBuilder::new(&self.metrics).output_rows(0).add(rows as usize);
        Ok(written)
    }
}

#[async_trait]
impl QueryStageExecutor for HashStage {
    async fn execute_query_stage(
        &self,
        _task: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let running =
            (0..self.inputs()).map(|input| self.distribute(input, &context)).collect::<Result<Vec<_>>>()?;
        let width = running.len().max(1);
        // As they end: the first that fails ends the others.
        let mut bucketed: Vec<(usize, Bucketed)> = stream::iter(running.into_iter().enumerate())
            .map(|(input, handle)| async move {
                let ended = handle.await.map_err(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => DataFusionError::External(Box::new(error)),
                })?;
                Ok::<_, DataFusionError>((input, ended?))
            })
            .buffer_unordered(width)
            .try_collect()
            .await?;
        bucketed.sort_by_key(|(input, _)| *input);
        let bucketed: Vec<Bucketed> = bucketed.into_iter().map(|(_, bucketed)| bucketed).collect();
        let written = self.write(&bucketed, &context)?;
        Ok(written
            .into_iter()
            .enumerate()
            .filter(|(_, partition)| partition.counts.rows > 0)
            .map(|(number, partition)| ShuffleWritePartition {
                partition_id: number as u64,
                num_batches: partition.counts.batches,
                num_rows: partition.counts.rows,
                num_bytes: partition.bytes,
                file_id: Some(self.task as u64),
                is_sort_shuffle: true,
            })
            .collect())
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        let mut metrics = vec![self.metrics.clone_inner()];
        metrics.extend(collect_plan_metrics(self.input.as_ref()));
        metrics
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::Int64Type;
    use ballista_core::execution_plans::sort_shuffle::{get_index_path, stream_sort_shuffle_partition};
    use datafusion::physical_expr::expressions::col;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    const PARTITIONS: usize = 3;
    const ROWS: i64 = 50_000;

    struct Done {
        session: SessionContext,
        stage: HashStage,
        reported: Vec<ShuffleWritePartition>,
        _directory: tempfile::TempDir,
    }

    /// Splits `input` by its column `v`.
    fn stage(input: Arc<dyn ExecutionPlan>, work_dir: &Path, budget: Option<usize>) -> HashStage {
        HashStage {
            job: "job".into(),
            stage: 1,
            task: 7,
            expressions: vec![col("v", &input.schema()).unwrap()],
            input,
            partitions: PARTITIONS,
            batch_rows: 8192,
            budget,
            work_dir: work_dir.display().to_string(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    async fn run(budget: Option<usize>, codec: &str) -> Done {
        let config = SessionConfig::new_with_ballista()
            .with_target_partitions(2)
            .set_str("ballista.shuffle.compression.codec", codec);
        let session = SessionContext::new_with_config(config);
        // Two input partitions with long texts as views.
        let sql = format!(
            "SELECT v, arrow_cast(concat('a text that is out of line ', v), 'Utf8View') AS text
             FROM (SELECT value AS v FROM generate_series(1, {ROWS}) UNION ALL
                   SELECT value AS v FROM generate_series(1, {ROWS}))"
        );
        let input = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        assert_eq!(input.output_partitioning().partition_count(), 2);
        let directory = tempfile::tempdir().unwrap();
        let stage = stage(input, directory.path(), budget);
        let reported = stage.execute_query_stage(7, session.task_ctx()).await.unwrap();
        Done { session, stage, reported, _directory: directory }
    }

    async fn read(path: &Path, partition: usize) -> Vec<RecordBatch> {
        let stream = stream_sort_shuffle_partition(path, &get_index_path(path), partition).unwrap();
        stream.try_collect().await.unwrap()
    }

    fn spills(done: &Done) -> usize {
        done.stage.collect_plan_metrics()[0].spill_count().unwrap()
    }

    /// All rows come back, each in the one partition of its key, and each report tells what is there.
    async fn check(done: &Done) {
        let path = done.stage.path().unwrap();
        let mut seen: HashMap<i64, (usize, u32)> = HashMap::new();
        for partition in 0..PARTITIONS {
            let batches = read(&path, partition).await;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let report = &done.reported[partition];
            assert_eq!((report.partition_id, report.num_rows), (partition as u64, rows as u64));
            assert_eq!(report.num_batches, batches.len() as u64);
            for batch in batches {
                for (value, text) in batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .iter()
                    .zip(batch.column(1).as_string_view())
                {
                    assert_eq!(text.unwrap(), format!("a text that is out of line {value}"));
                    let (home, count) = seen.entry(*value).or_insert((partition, 0));
                    assert_eq!(*home, partition, "{value} is in two partitions");
                    *count += 1;
                }
            }
        }
        assert_eq!(seen.len() as i64, ROWS);
        assert!(seen.values().all(|(_, count)| *count == 2));
        let bytes: u64 = done.reported.iter().map(|report| report.num_bytes).sum();
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < size && size < bytes + 4096, "{bytes} of {size} bytes");
    }

    #[tokio::test]
    async fn rows_come_back_from_the_partition_of_their_key() {
        for codec in ["none", "lz4", "zstd"] {
            let done = run(None, codec).await;
            check(&done).await;
            assert_eq!(spills(&done), 0);
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_spilled_and_comes_back() {
        let done = run(Some(600_000), "none").await;
        check(&done).await;
        assert!(spills(&done) > 2, "{} spills", spills(&done));
        let disk = &done.session.runtime_env().disk_manager;
        assert_eq!(disk.used_disk_space(), 0, "spill files are left");
        assert_eq!(done.session.runtime_env().memory_pool.reserved(), 0, "memory is left");
    }

    #[tokio::test]
    async fn a_failing_input_fails_the_stage() {
        let session = SessionContext::new();
        let sql = "SELECT 1 / (value - 500) AS v FROM generate_series(1, 1000)";
        let input = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let stage = stage(input, directory.path(), None);
        let error = stage.execute_query_stage(0, session.task_ctx()).await.unwrap_err();
        assert!(error.to_string().contains("Divide by zero"), "{error}");
        assert!(!stage.path().unwrap().exists());
    }
}
