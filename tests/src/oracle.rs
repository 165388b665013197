//! The right answers: one DataFusion process over the same files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use datafusion::common::DataFusionError;
use datafusion::physical_plan::collect;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use crate::session::Answer;
use crate::tpch;

/// DataFusion with tables; answers are computed once.
pub struct Oracle {
    pub context: SessionContext,
    known: Mutex<HashMap<String, Arc<Answer>>>,
}

impl Default for Oracle {
    fn default() -> Self {
        let config = SessionConfig::new().with_target_partitions(2).with_information_schema(true);
        Self { context: SessionContext::new_with_config(config), known: Mutex::default() }
    }
}

impl Oracle {
    /// With the eight TPC-H tables below `directory`.
    pub async fn tpch(directory: &Path) -> Self {
        let oracle = Self::default();
        for table in tpch::TABLES {
            oracle.parquet(table, &directory.join(table)).await;
        }
        oracle
    }

    /// Adds a table over Parquet files.
    pub async fn parquet(&self, name: &str, path: &Path) {
        let path = path.to_str().unwrap();
        self.context.register_parquet(name, path, ParquetReadOptions::default()).await.unwrap();
    }

    pub async fn answer(&self, sql: &str) -> Arc<Answer> {
        if let Some(known) = self.known.lock().unwrap().get(sql) {
            return Arc::clone(known);
        }
        let answer = Arc::new(self.fresh_answer(sql).await);
        self.known.lock().unwrap().insert(sql.to_owned(), Arc::clone(&answer));
        answer
    }

    /// An answer that is computed now, from the files as they are.
    pub async fn fresh_answer(&self, sql: &str) -> Answer {
        self.try_answer(sql).await.unwrap_or_else(|error| panic!("the oracle fails on {sql}\n{error}"))
    }

    pub async fn try_answer(&self, sql: &str) -> Result<Answer, DataFusionError> {
        let frame = self.context.sql(sql).await?;
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        // Not the logical plan's: the optimizer may widen a decimal, and what a process gets is the result.
        let schema = plan.schema();
        let batches = collect(plan, task).await?;
        Ok(Answer { query_id: "oracle".into(), route: "oracle".into(), schema, batches })
    }
}
