//! Cases of many callers at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, Outcome, PATIENCE, commit, put, value_of};
use crate::error::MetaStoreError;
use crate::store::MetaStore;
use crate::txn::{Expect, Txn, TxnOutcome};

const TASKS: u64 = 8;
const ROUNDS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(20);

pub async fn increments_add_up(store: Arc<dyn MetaStore>) -> Outcome {
    put(&*store, "counter", "0").await?;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(increment(Arc::clone(&store)))).collect();
    for task in tasks {
        task.await??;
    }
    assert_eq!(value_of(&*store, "counter").await?, Some((TASKS * ROUNDS).to_string()));
    Ok(())
}

async fn increment(store: Arc<dyn MetaStore>) -> Outcome {
    for _ in 0..ROUNDS {
        loop {
            let current = store.get("counter").await?.ok_or("the counter is gone")?;
            let count: u64 = std::str::from_utf8(&current.value)?.parse()?;
            let txn = Txn::new()
                .expect("counter", Expect::Revision(current.revision))
                .put("counter", (count + 1).to_string());
            if store.txn(txn).await?.committed().is_some() {
                break;
            }
        }
    }
    Ok(())
}

pub async fn one_of_many_creators_wins(store: Arc<dyn MetaStore>) -> Outcome {
    let tasks: Vec<_> = (0..TASKS)
        .map(|index| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let txn = Txn::new().expect("a", Expect::Absent).put("a", index.to_string());
                Ok::<_, Failure>(store.txn(txn).await?.committed().map(|_| index))
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await??);
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(value_of(&*store, "a").await?, Some(winners[0].to_string()));
    Ok(())
}

pub async fn readers_never_see_half_a_transaction(store: Arc<dyn MetaStore>) -> Outcome {
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 0..TASKS * ROUNDS {
                commit(&*store, Txn::new().put("a", round.to_string()).put("b", round.to_string())).await?;
            }
            Ok::<_, Failure>(())
        }
    });
    let mut last = 0;
    while !writer.is_finished() {
        let snapshot = store.list("").await?;
        assert!(snapshot.revision >= last, "the revision went back");
        last = snapshot.revision;
        let values: Vec<_> = snapshot.entries.iter().map(|(_, versioned)| versioned).collect();
        assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{snapshot:?}");
        assert!(values.iter().all(|versioned| versioned.revision == last), "{snapshot:?}");
        tokio::task::yield_now().await;
    }
    writer.await?
}

/// Each step is tried until it is known to be done, whatever is not known of the tries before: its mark is a
/// precondition, so that it is done once. Holds while servers die, too.
pub async fn what_is_tried_again_counts_once(store: Arc<dyn MetaStore>) -> Outcome {
    insist(&*store, Txn::new().expect("counter", Expect::Absent).put("counter", "0")).await?;
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(count(Arc::clone(&store), task))).collect();
    for task in tasks {
        task.await??;
    }
    let marks = patiently(|| store.list("mark/")).await?.entries.len() as u64;
    let counter = patiently(|| store.get("counter")).await?.ok_or("the counter is gone")?;
    let counter: u64 = std::str::from_utf8(&counter.value)?.parse()?;
    assert_eq!((counter, marks), (TASKS * ROUNDS, TASKS * ROUNDS));
    Ok(())
}

async fn count(store: Arc<dyn MetaStore>, task: u64) -> Outcome {
    for round in 0..ROUNDS {
        let mark = format!("mark/{task}/{round}");
        loop {
            let current = patiently(|| store.get("counter")).await?.ok_or("the counter is gone")?;
            let count: u64 = std::str::from_utf8(&current.value)?.parse()?;
            let txn = Txn::new()
                .expect(&mark, Expect::Absent)
                .expect("counter", Expect::Revision(current.revision))
                .put(&mark, "")
                .put("counter", (count + 1).to_string());
            match insist(&*store, txn).await? {
                TxnOutcome::Conflict { key } if key != mark => {}
                TxnOutcome::Conflict { .. } | TxnOutcome::Committed { .. } => break,
            }
        }
    }
    Ok(())
}

/// Sends a transaction that can take place once only until its outcome is known.
async fn insist(store: &dyn MetaStore, txn: Txn) -> Result<TxnOutcome, Failure> {
    let started = Instant::now();
    loop {
        match store.txn(txn.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) if may_pass(&error) && started.elapsed() < PATIENCE => sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn patiently<T, F>(read: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, MetaStoreError>>,
{
    let started = Instant::now();
    loop {
        match read().await {
            Ok(found) => return Ok(found),
            Err(error) if may_pass(&error) && started.elapsed() < PATIENCE => sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn may_pass(error: &MetaStoreError) -> bool {
    matches!(error, MetaStoreError::Unavailable { .. } | MetaStoreError::OutcomeUnknown { .. })
}
