//! A job's memory limit holds for all of its tasks on this executor together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use parking_lot::Mutex;
use polarway_common::Error;
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::settings::QuerySettings;

/// Hands out the environment that a job's tasks share.
#[derive(Debug)]
pub struct JobBudgets {
    runtime: EngineRuntime,
    limited: Mutex<HashMap<String, Weak<RuntimeEnv>>>,
}

impl JobBudgets {
    pub fn new(runtime: EngineRuntime) -> Self {
        Self { runtime, limited: Mutex::default() }
    }

    /// The environment for a task of `job`: with a pool of the job's own if its session sets `polarway.memory_limit`.
    pub fn environment(&self, job: &str, config: &SessionConfig) -> Result<Arc<RuntimeEnv>, Error> {
        let Some(limit) = QuerySettings::of(config)?.memory_limit else {
            return Ok(Arc::clone(&self.runtime.env));
        };
        let mut limited = self.limited.lock();
        if let Some(shared) = limited.get(job).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        limited.retain(|_, environment| environment.strong_count() > 0);
        let fresh = self.runtime.for_query(Some(limit))?;
        limited.insert(job.to_owned(), Arc::downgrade(&fresh));
        Ok(fresh)
    }
}
