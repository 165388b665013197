//! DataFusion in its own process: the same crates at the same versions, flags and allocator as ours, nothing between
//! the caller and the engine.

use datafusion::prelude::{SessionConfig, SessionContext};

use super::context;
use crate::failure::Result;

/// Serves the line protocol over one default session with `partitions` target partitions.
///
/// # Errors
/// The harness sent no valid request, or closed our output.
pub async fn serve(partitions: usize) -> Result<()> {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    context::serve(session, "datafusion", datafusion::DATAFUSION_VERSION).await
}
