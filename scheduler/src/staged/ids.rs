//! Job ids chosen by the job's driver. Ballista asks a generator for the next id inside the submitting task, so the
//! driver leaves its choice in a task-local.

use async_trait::async_trait;
use ballista_scheduler::scheduler_server::JobIdGenerator;

tokio::task_local! {
    static CHOSEN: String;
}

/// Gives the id that [`with_job_id`] chose; a submission by Ballista's own clients gets a fresh one.
#[derive(Debug, Default)]
pub struct ChosenJobIds;

#[async_trait]
impl JobIdGenerator for ChosenJobIds {
    async fn next_id(&self) -> String {
        CHOSEN.try_with(Clone::clone).unwrap_or_else(|_| format!("b-{}", uuid::Uuid::now_v7().simple()))
    }
}

/// Runs `submission`, which must not spawn before it asks for an id, with `id` chosen.
pub async fn with_job_id<F: Future>(id: String, submission: F) -> F::Output {
    CHOSEN.scope(id, submission).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_chosen_id_is_given_and_others_are_fresh() {
        let ids = ChosenJobIds;
        assert_eq!(with_job_id("q-1-a2".into(), ids.next_id()).await, "q-1-a2");
        assert_ne!(ids.next_id().await, ids.next_id().await);
    }
}
