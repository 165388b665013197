//! Ballista's job state in memory, with one addition: when a job ends, what it did is kept for a while.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::{JobStatus, job_status};
use ballista_core::{JobId, JobStatusSubscriber};
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::cluster::{JobState, JobStateEventStream};
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use datafusion::prelude::{SessionConfig, SessionContext};
use lru::LruCache;
use parking_lot::Mutex;

use super::report::{JobReport, measured_plans, report};

/// Ended jobs whose reports are kept.
const KEPT: usize = 512;

/// A finished job's report and the plans of its stages with their measurements.
#[derive(Debug, Clone)]
pub struct Ended {
    pub report: JobReport,
    pub plans: Arc<Vec<(u64, String)>>,
}

/// Reports of ended jobs by job id; clones share them.
#[derive(Debug, Clone)]
pub struct EndedJobs(Arc<Mutex<LruCache<String, Ended>>>);

impl Default for EndedJobs {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN)))))
    }
}

impl EndedJobs {
    pub fn get(&self, job_id: &str) -> Option<Ended> {
        self.0.lock().get(job_id).cloned()
    }
}

/// See the module's page.
pub struct Jobs {
    /// Behind a trait object for the reason that `opaque.rs` tells.
    inner: Arc<dyn JobState>,
    ended: EndedJobs,
}

impl Jobs {
    pub fn new(inner: InMemoryJobState, ended: EndedJobs) -> Self {
        Self { inner: Arc::new(inner), ended }
    }
}

#[async_trait]
impl JobState for Jobs {
    fn accept_job(&self, job_id: &JobId, job_name: &str, queued_at: u64) -> Result<()> {
        self.inner.accept_job(job_id, job_name, queued_at)
    }

    fn pending_job_number(&self) -> usize {
        self.inner.pending_job_number()
    }

    async fn submit_job(
        &self,
        job_id: JobId,
        graph: &ExecutionGraphBox,
        subscriber: Option<JobStatusSubscriber>,
    ) -> Result<()> {
        self.inner.submit_job(job_id, graph, subscriber).await
    }

    async fn get_jobs(&self) -> Result<HashSet<JobId>> {
        self.inner.get_jobs().await
    }

    async fn get_all_jobs(&self) -> Result<HashSet<JobId>> {
        self.inner.get_all_jobs().await
    }

    async fn get_job_status(&self, job_id: &JobId) -> Result<Option<JobStatus>> {
        self.inner.get_job_status(job_id).await
    }

    async fn get_execution_graph(&self, job_id: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.inner.get_execution_graph(job_id).await
    }

    async fn save_job(&self, job_id: &JobId, graph: &ExecutionGraphBox) -> Result<()> {
        let terminal = matches!(
            graph.status().status,
            Some(job_status::Status::Successful(_) | job_status::Status::Failed(_))
        );
        if terminal {
            let ended =
                Ended { report: report(graph.as_ref()), plans: Arc::new(measured_plans(graph.as_ref())) };
            self.ended.0.lock().put(job_id.to_string(), ended);
        }
        self.inner.save_job(job_id, graph).await
    }

    async fn fail_unscheduled_job(&self, job_id: &JobId, reason: String) -> Result<()> {
        self.inner.fail_unscheduled_job(job_id, reason).await
    }

    async fn remove_job(&self, job_id: &JobId) -> Result<()> {
        self.inner.remove_job(job_id).await
    }

    async fn try_acquire_job(&self, job_id: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.inner.try_acquire_job(job_id).await
    }

    async fn job_state_events(&self) -> Result<JobStateEventStream> {
        self.inner.job_state_events().await
    }

    async fn create_or_update_session(
        &self,
        session_id: &str,
        config: &SessionConfig,
    ) -> Result<Arc<SessionContext>> {
        self.inner.create_or_update_session(session_id, config).await
    }

    async fn remove_session(&self, session_id: &str) -> Result<()> {
        self.inner.remove_session(session_id).await
    }

    fn produce_config(&self) -> SessionConfig {
        self.inner.produce_config()
    }
}
