//! From a batch to the sink, however long it takes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::batch::{FeedBatch, FeedSink};
use super::options::PullOptions;
use super::session::{Backoff, Jitter};
use super::status::{FeedStatus, add};

/// Offers the batch until the sink takes it. False where the feed had to stop before: then the attempt on its way, or
/// one more, has had its grace.
pub(super) async fn deliver(
    batch: &FeedBatch,
    sink: &dyn FeedSink,
    options: &PullOptions,
    status: &FeedStatus,
    jitter: &mut dyn Jitter,
    shutdown: &CancellationToken,
) -> bool {
    let mut backoff = Backoff::new(options.sink_retry_min, options.sink_retry_max, Duration::MAX);
    loop {
        let mut attempt = sink.write(batch.clone());
        let last = shutdown.is_cancelled();
        let outcome = tokio::select! {
            biased;
            outcome = &mut attempt => Some(outcome),
            () = shutdown.cancelled() => tokio::time::timeout(options.stop_grace, attempt).await.ok(),
        };
        match outcome {
            Some(Ok(())) => return true,
            Some(Err(error)) => {
                add(&status.sink_errors, 1);
                tracing::warn!(batch = batch.number, %error, "a batch of a feed could not be stored");
            }
            None => return false,
        }
        if last {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(jitter)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use async_trait::async_trait;

    use super::super::batch::SinkError;
    use super::super::session::RandomJitter;
    use super::*;

    struct Sink {
        failures: usize,
        attempts: AtomicUsize,
        hangs: bool,
    }

    #[async_trait]
    impl FeedSink for Sink {
        async fn write(&self, batch: FeedBatch) -> Result<(), SinkError> {
            assert_eq!(batch.number, 7);
            if self.attempts.fetch_add(1, SeqCst) < self.failures {
                return Err(SinkError("full".into()));
            }
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }

    async fn run(sink: &Sink, shutdown: &CancellationToken) -> bool {
        let batch = FeedBatch {
            number: 7,
            received_micros: 0,
            rows: RecordBatch::new_empty(Arc::new(Schema::empty())),
            bad: [].into(),
            gaps: [].into(),
        };
        let status = FeedStatus::default();
        let options = PullOptions {
            sink_retry_min: Duration::from_millis(1),
            sink_retry_max: Duration::from_millis(5),
            stop_grace: Duration::from_millis(50),
            ..PullOptions::default()
        };
        deliver(&batch, sink, &options, &status, &mut RandomJitter, shutdown).await
    }

    #[tokio::test]
    async fn a_batch_is_offered_until_it_is_taken() {
        let sink = Sink { failures: 5, attempts: AtomicUsize::new(0), hangs: false };
        assert!(run(&sink, &CancellationToken::new()).await);
        assert_eq!(sink.attempts.load(SeqCst), 6);
    }

    #[tokio::test]
    async fn shutdown_gives_a_last_chance_and_no_more() {
        let shutdown = CancellationToken::new();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            shutdown.cancel();
        };
        let failing = Sink { failures: usize::MAX, attempts: AtomicUsize::new(0), hangs: false };
        assert!(!tokio::join!(run(&failing, &shutdown), stop).0);
        let hanging = Sink { failures: 0, attempts: AtomicUsize::new(0), hangs: true };
        assert!(!run(&hanging, &shutdown).await);
        let fine = Sink { failures: 0, attempts: AtomicUsize::new(0), hangs: false };
        assert!(run(&fine, &shutdown).await);
    }
}
