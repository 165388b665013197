//! A planned query, and the plans that come out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use parking_lot::RwLock;
use polarway_common::Error;
use polarway_engine::errors::classify;
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::settings::{QuerySettings, Settings};
use polarway_engine::write::WriteSpec;
use polarway_storage::fingerprint::Fingerprints;

use super::compile::plan_physically;
use super::route::Decision;
use super::writing::writing;
use crate::catalog::{Bounds, Dependency};
use crate::direct::EncodedPlan;

/// A plan's scans gather the measurements of all its runs; after so many it is made anew.
const RUNS_PER_PLAN: usize = 64;

/// A planned query.
pub struct Compiled {
    pub schema: SchemaRef,
    pub decision: Decision,
    /// The executors' slots that the decision rests on; `None` where any number gives the same.
    pub decided_for_slots: Option<u32>,
    /// Whether the plan must not leave this process.
    pub local_only: bool,
    /// Whether the query needs a place among those that run: what looks at the catalog or gives a few values does not.
    pub takes_place: bool,
    pub settings: QuerySettings,
    /// Of its session; they tell who asks, and in which namespace.
    pub raw_settings: Settings,
    /// As parsed, to be planned once more for executors.
    pub(super) statement: DfStatement,
    /// Where its rows are written, if it is no query.
    pub(super) write: Option<Arc<WriteSpec>>,
    pub(super) now: DateTime<Utc>,
    /// Optimised for one process.
    pub optimized: LogicalPlan,
    pub(super) physical: RwLock<Arc<dyn ExecutionPlan>>,
    pub(super) runs: AtomicUsize,
    /// The same plan as bytes, made when an executor is to run it.
    pub encoded: EncodedPlan,
    /// Whether resetting the plan's state makes it fit to run again.
    pub(super) resettable: bool,
    pub(super) state: Arc<SessionState>,
    pub(super) context: Arc<TaskContext>,
    pub(super) dependencies: Vec<(Dependency, u64)>,
    pub(super) catalog_version: u64,
    /// Where paths might lead when it was planned.
    pub(super) bounds: Bounds,
    pub(super) cacheable: bool,
    /// The physical plan as people read it; its beginning, where it is long.
    pub shown: Arc<str>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compiled({:?})", self.decision)
    }
}

/// A plan for Ballista to split, and the session it belongs to.
pub struct StagedPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    pub context: Arc<SessionContext>,
}

/// A plan for one run, with the session it was planned in: under other settings it may need what was not planned for.
pub struct Runnable {
    pub plan: Arc<dyn ExecutionPlan>,
    state: Arc<SessionState>,
    context: Arc<TaskContext>,
    spilling: bool,
}

impl Runnable {
    /// A plan that needs less memory.
    pub(super) fn spilling(plan: Arc<dyn ExecutionPlan>, state: SessionState) -> Self {
        let context = Arc::new(TaskContext::from(&state));
        Self { plan, state: Arc::new(state), context, spilling: true }
    }

    /// The context that the plan runs in, with a memory limit of its own where the session set one.
    pub fn task_context(
        &self,
        runtime: &EngineRuntime,
        memory_limit: Option<usize>,
    ) -> Result<Arc<TaskContext>, Error> {
        match memory_limit {
            limit if self.spilling => Ok(self.context_in(runtime.for_spilling_query(limit)?)),
            None => Ok(Arc::clone(&self.context)),
            limit => Ok(self.context_in(runtime.for_query(limit)?)),
        }
    }

    /// The plan's context with another environment.
    fn context_in(&self, env: Arc<RuntimeEnv>) -> Arc<TaskContext> {
        Arc::new(TaskContext::from(self.state.as_ref()).with_runtime(env))
    }

    pub fn config(&self) -> &SessionConfig {
        self.state.config()
    }
}

impl Compiled {
    /// A plan that no other query runs. It may have to be planned again: computing, for the threads that do so.
    pub async fn fresh_plan(&self) -> Result<Runnable, Error> {
        let plan = self.fresh().await?;
        let (state, context) = (Arc::clone(&self.state), Arc::clone(&self.context));
        Ok(Runnable { plan, state, context, spilling: false })
    }

    async fn fresh(&self) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let worn = self.runs.fetch_add(1, Ordering::Relaxed) % RUNS_PER_PLAN == RUNS_PER_PLAN - 1;
        if self.resettable && !worn {
            return reset_plan_states(self.physical()).map_err(|error| classify(&error));
        }
        let fresh = plan_physically(&self.optimized, &self.state).await?;
        let fresh = writing(fresh, self.write.as_ref())?;
        if self.resettable {
            *self.physical.write() = Arc::clone(&fresh);
            return reset_plan_states(fresh).map_err(|error| classify(&error));
        }
        Ok(fresh)
    }

    pub fn physical(&self) -> Arc<dyn ExecutionPlan> {
        Arc::clone(&self.physical.read())
    }

    /// The configuration that the plan was made under.
    pub fn config(&self) -> &SessionConfig {
        self.state.config()
    }

    /// Whether the files that the plan was made from are still what they were.
    pub(super) async fn is_current(&self, fingerprints: &Fingerprints) -> bool {
        for (url, expected) in &self.dependencies {
            if fingerprints.of(url).await.ok() != Some(*expected) {
                return false;
            }
        }
        true
    }
}
