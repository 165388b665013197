//! The query of a statement that writes, run.

use futures::future::BoxFuture;
use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use polarway_common::Error;
use polarway_engine::write::{WriteSpec, reported};
use polarway_proto::status::error_from_status;
use polarway_storage::writes::StagedFile;

use crate::service::{QueryService, Request};

impl QueryService {
    /// Runs the query of a statement; gives the files that its rows are in.
    ///
    /// # Errors
    /// Those of planning and running it.
    pub(super) fn written_rows<'a>(
        &'a self,
        request: &'a Request,
        statement: Statement,
        spec: &'a Arc<WriteSpec>,
    ) -> BoxFuture<'a, Result<Vec<StagedFile>, Error>> {
        Box::pin(async move {
            let slots = self.slots().await;
            let (planner, of_plan, write) = (Arc::clone(&self.planner), request.clone(), Arc::clone(spec));
            let planning = async move {
                let Request { settings, now, .. } = of_plan;
                planner.plan(statement, &settings, now, slots, Some(write)).await
            };
            let compiled = self.planned("planning the statement", planning).await?;
            let messages = self.run_query(request, &compiled).await?;
            let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
            let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
            let mut files = vec![];
            loop {
                match batches.try_next().await {
                    Ok(Some(batch)) => files.extend(reported(&batch)?),
                    Ok(None) => return Ok(files),
                    Err(FlightError::Tonic(status)) => return Err(error_from_status(&status)),
                    Err(error) => {
                        return Err(Error::internal(format!(
                            "the report of a write cannot be read: {error}"
                        )));
                    }
                }
            }
        })
    }
}
