//! Physical plans as bytes, in the encoding that Ballista's tasks use too.

use std::sync::Arc;

use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use bytes::Bytes;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use polarway_common::{Error, ErrorKind};
use prost::Message;

use crate::errors::classify;
use crate::extension::ExtensionCodec;

/// # Errors
/// When the plan holds a node that has no encoding.
pub fn encode_plan(plan: Arc<dyn ExecutionPlan>) -> Result<Bytes, Error> {
    let bytes = encode(&plan)?;
    // Decoders refuse messages nested deeper than 100 levels, encoders do not.
    PhysicalPlanNode::decode(bytes.as_ref()).map_err(|error| no_encoding(&error))?;
    Ok(bytes)
}

fn encode(plan: &Arc<dyn ExecutionPlan>) -> Result<Bytes, Error> {
    let codec = ExtensionCodec::default();
    let node = PhysicalPlanNode::try_from_physical_plan(Arc::clone(plan), &codec)
        .map_err(|error| no_encoding(&error))?;
    Ok(node.encode_to_vec().into())
}

fn no_encoding(cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the plan cannot be sent to an executor: {cause}"))
}

/// Whether every node of the plan has an encoding. Its depth is not judged: stages are shallower than their plan.
///
/// # Errors
/// `Unsupported`, with the cause.
pub fn check_travels(plan: &Arc<dyn ExecutionPlan>) -> Result<(), Error> {
    encode(plan).map(|_| ())
}

pub fn decode_plan(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let codec = ExtensionCodec::default();
    let node = <PhysicalPlanNode as AsExecutionPlan>::try_decode(bytes).map_err(|error| classify(&error))?;
    node.try_into_physical_plan(context, &codec).map_err(|error| classify(&error))
}

/// The encoding of Ballista's tasks, with nodes of our own.
pub fn of_tasks() -> BallistaCodec<LogicalPlanNode, PhysicalPlanNode> {
    BallistaCodec::new(
        Arc::new(BallistaLogicalExtensionCodec::default()),
        Arc::new(ExtensionCodec::default()),
    )
}
