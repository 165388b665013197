//! Plans that can be stopped. A task is aborted where it yields, and a join that makes many batches out of one never
//! does: it finds its next batch ready each time. DataFusion lets leaves take part in Tokio's budget; here joins do too.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

use crate::guarded::is_join;

/// `plan` with a yielding node above each join.
pub fn with_yielding_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !is_join(&node) {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })
    .map(|transformed| transformed.data)
}
