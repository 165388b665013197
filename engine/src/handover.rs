//! Streams between tasks that cannot end unnoticed. A channel that closes says only that its sender is gone: it may have
//! panicked or been aborted. So how the stream ended is told beside the channel, and a channel that closes without that
//! word is an error and not the end.

use futures::stream::{self, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};

/// The sender's end. Dropped without [`end`](Self::end), it makes the stream an error.
#[derive(Debug)]
pub struct Giver<T, E> {
    items: mpsc::Sender<T>,
    outcome: oneshot::Sender<Result<(), E>>,
}

impl<T, E> Giver<T, E> {
    /// Waits for room; false when nobody takes any more.
    pub async fn give(&self, item: T) -> bool {
        self.items.send(item).await.is_ok()
    }

    /// Completes when nobody takes any more.
    pub async fn closed(&self) {
        self.items.closed().await;
    }

    /// Says how the stream ended. Needs no room in the channel and so never waits.
    pub fn end(self, outcome: Result<(), E>) {
        // Nobody hears it when the reader is gone.
        let _ = self.outcome.send(outcome);
    }
}

/// A channel for `ahead` items and the stream of what is given. `broke_off` makes the error of a giver that vanished.
pub fn handover<T, E>(
    ahead: usize,
    broke_off: fn() -> E,
) -> (Giver<T, E>, impl Stream<Item = Result<T, E>> + Send + 'static)
where
    T: Send + 'static,
    E: Send + 'static,
{
    let (items, taken) = mpsc::channel(ahead);
    let (outcome, told) = oneshot::channel();
    let stream = stream::unfold(Some((taken, told)), move |state| async move {
        let (mut taken, told): (mpsc::Receiver<T>, oneshot::Receiver<Result<(), E>>) = state?;
        if let Some(item) = taken.recv().await {
            return Some((Ok(item), Some((taken, told))));
        }
        match told.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Err(error), None)),
            Err(_) => Some((Err(broke_off()), None)),
        }
    });
    (Giver { items, outcome }, stream.fuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Items = Vec<Result<u32, &'static str>>;

    fn channel() -> (Giver<u32, &'static str>, impl Stream<Item = Result<u32, &'static str>> + Send) {
        handover(4, || "broke off")
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_giver_says_so() {
        let (giver, stream) = channel();
        assert!(giver.give(1).await);
        giver.end(Ok(()));
        assert_eq!(stream.collect::<Items>().await, [Ok(1)]);
        let (giver, stream) = channel();
        assert!(giver.give(1).await);
        giver.end(Err("no more"));
        assert_eq!(stream.collect::<Items>().await, [Ok(1), Err("no more")]);
    }

    #[tokio::test]
    async fn a_giver_that_vanishes_is_an_error() {
        let (giver, stream) = channel();
        assert!(giver.give(1).await);
        drop(giver);
        assert_eq!(stream.collect::<Items>().await, [Ok(1), Err("broke off")]);

        let (giver, stream) = channel();
        let task = tokio::spawn(async move {
            giver.give(1).await;
            std::future::pending::<()>().await;
            giver.end(Ok(()));
        });
        tokio::task::yield_now().await;
        task.abort();
        assert_eq!(stream.collect::<Items>().await.last(), Some(&Err("broke off")));
    }

    #[tokio::test]
    async fn a_giver_notices_that_nobody_takes() {
        let (giver, stream) = channel();
        drop(stream);
        giver.closed().await;
        assert!(!giver.give(1).await);
    }
}
