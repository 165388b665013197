//! Ballista's cluster state in memory, with one addition: each job's graph is wrapped before its first task is bound.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::task_manager::JobInfoCache;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::graph::GuardedGraph;
use super::losses::Losses;

/// See the module's page.
pub struct Cluster {
    inner: InMemoryClusterState,
    losses: Losses,
    wrapped: Mutex<HashSet<JobId>>,
    /// Off only in tests that show why the wrapper is needed.
    guard_graphs: bool,
    changed: Arc<Notify>,
}

impl Cluster {
    pub fn new(losses: Losses, guard_graphs: bool) -> Self {
        Self {
            inner: InMemoryClusterState::default(),
            losses,
            wrapped: Mutex::default(),
            guard_graphs,
            changed: Arc::default(),
        }
    }

    /// Notified when an executor joins or leaves.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    async fn wrap(&self, jobs: &HashMap<JobId, JobInfoCache>) {
        let fresh: Vec<JobId> = {
            let mut wrapped = self.wrapped.lock();
            wrapped.retain(|job| jobs.contains_key(job));
            jobs.keys().filter(|job| wrapped.insert((*job).clone())).cloned().collect()
        };
        for job in fresh {
            let Some(info) = jobs.get(&job) else { continue };
            let mut slot = info.execution_graph.write().await;
            // The box cannot be moved out of the lock without something in its place; a clone is exact here, since
            // no task of the job has been bound yet.
            let inner = slot.cloned();
            let guarded: ExecutionGraphBox = Box::new(GuardedGraph::new(inner, self.losses.clone()));
            *slot = guarded;
        }
    }
}

#[async_trait]
impl ClusterState for Cluster {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        if self.guard_graphs {
            self.wrap(&active_jobs).await;
        }
        self.inner.bind_schedulable_tasks(distribution, active_jobs, executors).await
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        self.inner.unbind_tasks(executor_slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let id = metadata.id.clone();
        let slots = spec.total_vcores;
        self.inner.register_executor(metadata, spec).await?;
        tracing::info!(executor = id, slots, "an executor joined");
        self.changed.notify_waiters();
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        tracing::info!(executor = executor_id, "an executor left");
        let outcome = self.inner.remove_executor(executor_id).await;
        self.changed.notify_waiters();
        outcome
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}
