//! The rows of one input partition, distributed over the output partitions by hash and encoded as they come. What does
//! not fit in memory goes to one spill file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SpillFile, SpillWriter, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, SpillMetrics, Time};
use datafusion::physical_plan::repartition::BatchPartitioner;

use super::chunks::Chunks;
use super::compact::{compact, has_views};

/// Batches of at least this part of a full one are written as they are: putting them together would copy them once more.
const LARGE: usize = 8;

/// How rows are distributed and written.
#[derive(Debug, Clone)]
pub struct Shape {
    pub expressions: Vec<Arc<dyn PhysicalExpr>>,
    pub partitions: usize,
    /// Rows of a full batch.
    pub batch_rows: usize,
    /// Bytes that may be held before they are spilled; `None` where the memory pool decides alone.
    pub budget: Option<usize>,
    pub options: IpcWriteOptions,
}

struct Metrics {
    input_rows: Count,
    repartition: Time,
    encode: Time,
    spill: SpillMetrics,
}

impl Metrics {
    fn new(metrics: &ExecutionPlanMetricsSet, input: usize) -> Self {
        Self {
            input_rows: MetricBuilder::new(metrics).counter("input_rows", input),
            repartition: MetricBuilder::new(metrics).subset_time("repart_time", input),
            encode: MetricBuilder::new(metrics).subset_time("encode_time", input),
            spill: SpillMetrics::new(metrics, input),
        }
    }
}

/// See the module's page.
pub struct Buckets {
    shape: Shape,
    partitioner: BatchPartitioner,
    buckets: Vec<Bucket>,
    views: bool,
    reservation: MemoryReservation,
    context: Arc<TaskContext>,
    spill: Option<Spill>,
    metrics: Metrics,
}

impl Buckets {
    pub fn new(
        shape: Shape,
        schema: &SchemaRef,
        input: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Self> {
        let metrics = Metrics::new(metrics, input);
        let partitioner = BatchPartitioner::new_hash_partitioner(
            shape.expressions.clone(),
            shape.partitions,
            metrics.repartition.clone(),
        )?;
        let reservation = MemoryConsumer::new(format!("ShuffleWriter[{input}]"))
            .with_can_spill(true)
            .register(context.memory_pool());
        let buckets = (0..shape.partitions).map(|_| Bucket::new(schema, &shape)).collect();
        let views = has_views(schema);
        Ok(Self { shape, partitioner, buckets, views, reservation, context, spill: None, metrics })
    }

    /// Takes one batch in.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.metrics.input_rows.add(batch.num_rows());
        let encode = self.metrics.encode.clone();
        for part in self.partitioner.partition_iter(batch)? {
            let (partition, rows) = part?;
            let _timer = encode.timer();
            let rows = if self.views { compact(rows)? } else { rows };
            self.buckets[partition].push(rows, &self.shape.options)?;
        }
        let held = self.buckets.iter().map(Bucket::held).sum();
        let over_budget = self.shape.budget.is_some_and(|budget| held >= budget);
        if over_budget || self.reservation.try_resize(held).is_err() {
            self.spill()?;
            // What is not yet encoded stays; it is little, and there is nowhere to put it.
            self.reservation.resize(self.buckets.iter().map(Bucket::held).sum());
        }
        Ok(())
    }

    /// Moves all encoded bytes to the spill file.
    fn spill(&mut self) -> Result<()> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Spill::create(&self.context)?),
        };
        let before = spill.length;
        for bucket in &mut self.buckets {
            bucket.spill(spill)?;
        }
        spill.writer.flush()?;
        if spill.length > before {
            self.metrics.spill.spill_file_count.add(1);
            self.metrics.spill.spilled_bytes.add((spill.length - before) as usize);
        }
        Ok(())
    }

    /// Ends every partition's stream.
    pub fn finish(self) -> Result<Bucketed> {
        let mut parts = Vec::with_capacity(self.buckets.len());
        for bucket in self.buckets {
            let _timer = self.metrics.encode.timer();
            parts.push(bucket.finish(&self.shape.options)?);
        }
        self.reservation.resize(parts.iter().map(|part| part.tail.allocated()).sum());
        let file = match self.spill {
            Some(spill) => Some(spill.finish()?),
            None => None,
        };
        Ok(Bucketed { parts, file, _reservation: self.reservation })
    }
}

/// One output partition's stream in the making.
struct Bucket {
    schema: SchemaRef,
    pending: BatchCoalescer,
    writer: Option<StreamWriter<Chunks>>,
    segments: Vec<Segment>,
    counts: Counts,
}

impl Bucket {
    fn new(schema: &SchemaRef, shape: &Shape) -> Self {
        let large = (shape.batch_rows / LARGE).max(1);
        Self {
            schema: Arc::clone(schema),
            pending: BatchCoalescer::new(Arc::clone(schema), shape.batch_rows)
                .with_biggest_coalesce_batch_size(Some(large)),
            writer: None,
            segments: vec![],
            counts: Counts::default(),
        }
    }

    fn held(&self) -> usize {
        self.pending.size() + self.writer.as_ref().map_or(0, |writer| writer.get_ref().allocated())
    }

    fn push(&mut self, rows: RecordBatch, options: &IpcWriteOptions) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.pending.push_batch(rows)?;
        Ok(self.encode(options)?)
    }

    fn encode(&mut self, options: &IpcWriteOptions) -> Result<(), ArrowError> {
        while let Some(batch) = self.pending.next_completed_batch() {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(StreamWriter::try_new_with_options(
                    Chunks::default(),
                    &self.schema,
                    options.clone(),
                )?),
            };
            writer.write(&batch)?;
            self.counts.rows += batch.num_rows() as u64;
            self.counts.batches += 1;
        }
        Ok(())
    }

    fn spill(&mut self, spill: &mut Spill) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let encoded = writer.get_mut().take();
        if encoded.len() > 0 {
            self.segments.push(spill.append(&encoded)?);
        }
        Ok(())
    }

    fn finish(mut self, options: &IpcWriteOptions) -> Result<Part> {
        self.pending.finish_buffered_batch()?;
        self.encode(options)?;
        let tail = match self.writer {
            Some(mut writer) => {
                writer.finish()?;
                writer.into_inner()?
            }
            None => Chunks::default(),
        };
        Ok(Part { segments: self.segments, tail, counts: self.counts })
    }
}

/// What a partition's stream holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    pub batches: u64,
}

/// One output partition's finished stream: spilled segments in their order, then the tail.
struct Part {
    segments: Vec<Segment>,
    tail: Chunks,
    counts: Counts,
}

/// The finished streams of one input partition.
pub struct Bucketed {
    parts: Vec<Part>,
    file: Option<Arc<dyn SpillFile>>,
    _reservation: MemoryReservation,
}

impl Bucketed {
    pub fn counts(&self, partition: usize) -> Counts {
        self.parts[partition].counts
    }

    /// Copies a partition's stream; gives its length in bytes.
    pub fn write_to(&self, partition: usize, target: &mut impl Write) -> Result<u64> {
        let part = &self.parts[partition];
        let mut length = part.tail.len() as u64;
        if let Some(spilled) = &self.file
            && !part.segments.is_empty()
        {
            let path = spilled.path().ok_or_else(|| {
                DataFusionError::Internal("a shuffle's spill file is not on this machine".to_owned())
            })?;
            let mut file = File::open(path)?;
            for segment in &part.segments {
                file.seek(SeekFrom::Start(segment.offset))?;
                let copied = std::io::copy(&mut Read::by_ref(&mut file).take(segment.length), target)?;
                if copied != segment.length {
                    return Err(DataFusionError::Internal("a shuffle's spill file was cut".to_owned()));
                }
                length += copied;
            }
        }
        part.tail.write_to(target)?;
        Ok(length)
    }
}

/// A run of bytes in the spill file.
#[derive(Debug, Clone, Copy)]
struct Segment {
    offset: u64,
    length: u64,
}

struct Spill {
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    length: u64,
}

impl Spill {
    fn create(context: &TaskContext) -> Result<Self> {
        let file = context.runtime_env().disk_manager.create_tmp_file("writing shuffle output")?;
        let writer = file.open_writer()?;
        Ok(Self { file, writer, length: 0 })
    }

    fn append(&mut self, encoded: &Chunks) -> Result<Segment> {
        encoded.write_to(&mut self.writer)?;
        let segment = Segment { offset: self.length, length: encoded.len() as u64 };
        self.length += segment.length;
        Ok(segment)
    }

    fn finish(mut self) -> Result<Arc<dyn SpillFile>> {
        self.writer.finish()?;
        Ok(self.file)
    }
}
