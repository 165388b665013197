//! Tells on the terminal how far a long statement is.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polarway_client::{Client, QueryProgress, QueryState};

/// A statement that ends sooner shows nothing.
const APPEARS_AFTER: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(250);
const SPINNER_TICK: Duration = Duration::from_millis(100);

pub struct Progress {
    started: Instant,
    next_poll: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn start() -> Self {
        let started = Instant::now();
        Self { started, next_poll: started + APPEARS_AFTER, bar: None }
    }

    /// Waits until it is time to look, asks the server, shows the answer, and repeats. Never ends; dropping it at
    /// any moment is safe.
    pub async fn watch(&mut self, client: &Client, query_id: Option<&str>) -> Infallible {
        loop {
            tokio::time::sleep_until(self.next_poll.into()).await;
            let progress = match query_id {
                Some(id) => client.progress(id).await.ok().flatten(),
                None => None,
            };
            self.next_poll = Instant::now() + POLL;
            let text = progress.map_or_else(|| "planning".to_owned(), |progress| describe(&progress));
            self.bar().set_message(text);
        }
    }

    fn bar(&mut self) -> &ProgressBar {
        let started = self.started;
        self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
                bar.set_style(style);
            }
            let bar = bar.with_elapsed(started.elapsed());
            bar.enable_steady_tick(SPINNER_TICK);
            bar
        })
    }

    /// Takes the line away, so that results can be printed. It comes back only with the next statement.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One line: finished stages as a count, each stage that runs with its tasks.
fn describe(progress: &QueryProgress) -> String {
    let mut text = match progress.state {
        QueryState::Queued => "queued".to_owned(),
        QueryState::Running => progress.route.clone(),
        QueryState::Finished => "fetching the result".to_owned(),
        QueryState::Failed => "failed".to_owned(),
        QueryState::Cancelled => "cancelled".to_owned(),
    };
    if progress.attempt > 1 {
        let _ = write!(text, ", attempt {}", progress.attempt);
    }
    if progress.stages.is_empty() {
        return text;
    }
    let finished =
        progress.stages.iter().filter(|stage| stage.tasks > 0 && stage.done == stage.tasks).count();
    let _ = write!(text, ", {finished} of {} stages done", progress.stages.len());
    for stage in
        progress.stages.iter().filter(|stage| stage.done < stage.tasks && stage.done + stage.running > 0)
    {
        let _ = write!(text, " | stage {}: {}/{} tasks", stage.id, stage.done, stage.tasks);
        if stage.running > 0 {
            let _ = write!(text, ", {} running", stage.running);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use polarway_client::StageProgress;

    use super::*;

    fn stage(id: u64, tasks: u64, done: u64, running: u64) -> StageProgress {
        StageProgress { id, tasks, done, running, ..StageProgress::default() }
    }

    fn progress(route: &str, stages: Vec<StageProgress>) -> QueryProgress {
        QueryProgress {
            query_id: "q-1".into(),
            state: QueryState::Running,
            route: route.into(),
            attempt: 1,
            stages,
            executors: BTreeMap::new(),
        }
    }

    #[test]
    fn a_direct_query_has_no_stages_to_tell_of() {
        assert_eq!(describe(&progress("direct", vec![])), "direct");
    }

    #[test]
    fn running_stages_are_told_and_finished_ones_counted() {
        let stages = vec![stage(1, 8, 8, 0), stage(2, 8, 3, 2), stage(3, 4, 0, 0)];
        let mut progress = progress("staged", stages);
        assert_eq!(describe(&progress), "staged, 1 of 3 stages done | stage 2: 3/8 tasks, 2 running");
        progress.attempt = 2;
        assert!(describe(&progress).starts_with("staged, attempt 2, 1 of 3"));
    }
}
