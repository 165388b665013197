//! Cases of watches that come back: after the past has been forgotten, and after the way to the store was cut.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::{Failure, Outcome, PATIENCE, commit, next, put, put_event};
use crate::error::MetaStoreError;
use crate::store::{Event, MetaStore};
use crate::txn::Txn;

const ROUNDS: u64 = 60;

/// `forget` makes the store forget events up to a revision, and perhaps more; it tells up to which.
pub async fn what_is_forgotten_is_told<F>(store: Arc<dyn MetaStore>, forget: impl FnOnce(u64) -> F) -> Outcome
where
    F: Future<Output = Result<u64, Failure>>,
{
    put(&*store, "a", "1").await?;
    let seen = put(&*store, "a", "2").await?;
    // A deletion at the very revision up to which is forgotten must not be missed.
    let deleted = commit(&*store, Txn::new().delete("a")).await?;
    let forgotten = forget(deleted).await?;
    assert!(forgotten >= deleted);
    let error = store.watch("", seen).await.err().ok_or("a watch skips what is forgotten")?;
    assert!(matches!(error, MetaStoreError::Compacted { at } if at == forgotten), "{error}");
    assert!(error.needs_relist());
    let snapshot = store.list("").await?;
    let mut from_list = store.watch("", snapshot.revision).await?;
    // From the last forgotten revision on nothing is missing.
    let mut from_there = store.watch("b", forgotten).await?;
    let revision = put(&*store, "b", "3").await?;
    assert_eq!(next(&mut from_list).await?, put_event(revision, "b", "3"));
    assert_eq!(next(&mut from_there).await?, put_event(revision, "b", "3"));
    Ok(())
}

/// While `direct` is written to, the way of `store` to it is `cut` again and again. Whoever opens the watch again when it
/// ends sees every event once, in order.
pub async fn a_follower_misses_nothing<F>(
    store: Arc<dyn MetaStore>,
    direct: Arc<dyn MetaStore>,
    cut: impl Fn() -> F,
) -> Outcome
where
    F: Future<Output = ()>,
{
    let start = store.revision().await?;
    let mut events = store.watch("k", start).await?;
    let writer = tokio::spawn(async move {
        let mut revisions = Vec::new();
        for round in 0..ROUNDS {
            let txn = Txn::new().put("ka", round.to_string()).put("other", "").put("kb", round.to_string());
            revisions.push(commit(&*direct, txn).await?);
            sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Failure>(revisions)
    });
    let (mut seen, mut whole) = (Vec::new(), start);
    while seen.len() < 2 * ROUNDS as usize {
        match timeout(PATIENCE, events.next()).await?.ok_or("the watch ended")? {
            Ok(event) => {
                if event.key == "kb" {
                    whole = event.revision;
                }
                seen.push(event);
                if seen.len() % 12 == 1 {
                    cut().await;
                }
            }
            Err(MetaStoreError::Unavailable { .. }) => {
                seen.retain(|event: &Event| event.revision <= whole);
                events = store.watch("k", whole).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let expected = writer.await??.into_iter().enumerate().flat_map(|(round, revision)| {
        let round = round.to_string();
        [put_event(revision, "ka", &round), put_event(revision, "kb", &round)]
    });
    assert_eq!(seen, expected.collect::<Vec<_>>());
    Ok(())
}
