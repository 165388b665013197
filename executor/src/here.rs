//! What jobs have on this executor, and the end of those whose scheduler is gone.

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::stored::Stored;
use crate::workdir::WorkDir;

/// See the module's page.
#[derive(Clone)]
pub struct JobsHere {
    pub ledger: Arc<Ledger>,
    pub work_dir: WorkDir,
    pub stored: Option<Arc<Stored>>,
}

impl JobsHere {
    /// Jobs with tasks or files here.
    pub fn ids(&self) -> Vec<String> {
        let mut jobs = self.work_dir.jobs();
        jobs.extend(self.ledger.jobs());
        jobs
    }

    /// Ends a job whose scheduler is gone. What it has finished is copied first, within `limit`: whoever takes the query
    /// over goes on with what is stored, and nothing is stored of one that is over.
    pub async fn end(&self, job: &str, limit: Duration) {
        tracing::info!(job, "a job's scheduler is gone; the job ends here");
        if let Some(stored) = &self.stored {
            stored.flush(job, limit).await;
        }
        self.ledger.cancel_job(job);
        if let Err(error) = self.work_dir.remove_job(job, &[]).await {
            tracing::warn!(job, %error, "could not remove the job's files");
        }
        if let Some(stored) = &self.stored {
            stored.forget(job);
        }
    }
}
