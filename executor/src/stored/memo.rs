//! Whether a task has been done before, in an earlier attempt.
//!
//! A task is known by what it computes: its plan, cut to its partitions, with each location that it reads replaced by
//! the output that is there. So an output is only taken over where everything that went into it is, and an attempt never
//! mixes two runs of one task, which need not have given the same rows: under LIMIT, or with `random()`.

use std::sync::Arc;

use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::scheduler::{
    ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification, PartitionId,
    PartitionLocation,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use polarway_engine::codec;

use super::names::{file_id, output_id};

/// What tells tasks apart.
pub type MemoKey = [u8; 16];

/// The key of a task with this plan, whose root writes the output. `None`: the plan reads what has no lasting name.
///
/// # Errors
/// The plan cannot be encoded, although it was decoded here.
pub fn memo_key(stage: usize, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<MemoKey>> {
    let mut hasher = blake3::Hasher::new();
    // The writer itself names the attempt; what else it does shows in its line.
    let writer = displayable(plan.as_ref()).one_line().to_string();
    hasher.update(format!("{stage}\n{}\n{writer}", plan.name()).as_bytes());
    let codec = codec::of_tasks();
    for input in plan.children() {
        let Some(lasting) = with_lasting_names(Arc::clone(input))? else { return Ok(None) };
        let node = PhysicalPlanNode::try_from_physical_plan(lasting, codec.physical_extension_codec())?;
        let mut bytes = vec![];
        node.try_encode(&mut bytes)?;
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    let mut key = MemoKey::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Ok(Some(key))
}

fn with_lasting_names(plan: Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut nameless = false;
    let transformed = plan.transform_up(|node| {
        if node.downcast_ref::<RangeShuffleReaderExec>().is_some() {
            nameless = true;
        }
        let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() else { return Ok(Transformed::no(node)) };
        let mut lasting = reader.clone();
        for locations in &mut lasting.partition {
            for location in locations.iter_mut() {
                *location = lasting_name(location)?;
            }
            // In the order in which tasks ended, which is another each time.
            locations.sort_by_key(|location| (location.partition_id.partition_id, location.file_id));
        }
        Ok(Transformed::yes(Arc::new(lasting) as Arc<dyn ExecutionPlan>))
    })?;
    Ok((!nameless).then_some(transformed.data))
}

fn lasting_name(location: &PartitionLocation) -> Result<PartitionLocation> {
    let PartitionId { job_id, stage_id, partition_id } = &location.partition_id;
    let id = location.file_id.and_then(|file_id| output_id(job_id.as_str(), *stage_id, file_id));
    let id =
        id.ok_or_else(|| internal_datafusion_err!("a shuffle location of job {job_id} has no output"))?;
    Ok(PartitionLocation {
        map_partition_id: 0,
        partition_id: PartitionId {
            job_id: String::new().into(),
            stage_id: *stage_id,
            partition_id: *partition_id,
        },
        executor_meta: ExecutorMetadata {
            id: String::new(),
            host: String::new(),
            port: 0,
            grpc_port: 0,
            specification: ExecutorSpecification::default(),
            os_info: ExecutorOperatingSystemSpecification::default(),
        },
        partition_stats: Default::default(),
        file_id: Some(file_id(&id)),
        is_sort_shuffle: location.is_sort_shuffle,
    })
}
