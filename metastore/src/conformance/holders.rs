//! Cases of those who hold leases.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::{Supervisor, SystemClock};
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, Outcome, PATIENCE, commit};
use crate::keeper::{LeaseKeeper, Lost};
use crate::store::MetaStore;
use crate::txn::{Expect, Txn};

/// Short enough to be renewed within a case, long enough for a busy machine; a store may make it longer.
const TTL: Duration = Duration::from_secs(2);
const CANDIDATES: usize = 4;
const TERMS: usize = 3;

async fn hold(store: &Arc<dyn MetaStore>, supervisor: &Supervisor) -> Result<LeaseKeeper, Failure> {
    let clock = Arc::new(SystemClock);
    Ok(LeaseKeeper::start(Arc::clone(store), TTL, clock, supervisor, "lease").await?)
}

pub async fn a_holder_keeps_its_lease_until_it_releases_it(store: Arc<dyn MetaStore>) -> Outcome {
    let supervisor = Supervisor::new();
    let started = Instant::now();
    // A machine that stands still loses the lease rightly; then it is tried again.
    let keeper = loop {
        let keeper = hold(&store, &supervisor).await?;
        let written = commit(&*store, Txn::new().put_leased("a", "1", keeper.lease())).await;
        let ttl = keeper.ttl();
        if timeout(ttl * 2, keeper.lost()).await.is_err() && keeper.is_held() {
            written?;
            break keeper;
        }
        assert!(started.elapsed() < PATIENCE, "the lease is lost again and again");
    };
    assert!(store.get("a").await?.is_some());
    let lost = keeper.watch();
    keeper.release().await;
    assert_eq!(*lost.borrow(), Some(Lost::Released));
    assert_eq!(store.get("a").await?, None);
    supervisor.shutdown(PATIENCE).await?;
    Ok(())
}

pub async fn a_holder_whose_lease_was_ended_is_told(store: Arc<dyn MetaStore>) -> Outcome {
    let supervisor = Supervisor::new();
    let keeper = hold(&store, &supervisor).await?;
    store.revoke(keeper.lease()).await?;
    let lost = timeout(PATIENCE, keeper.lost()).await?;
    assert!(matches!(lost, Lost::Ended | Lost::Unproven), "{lost:?}");
    assert!(!keeper.is_held());
    supervisor.shutdown(PATIENCE).await?;
    Ok(())
}

/// Candidates claim a key by turns. Each counts on while it believes that it holds it, every step fenced by the key.
pub async fn one_of_many_candidates_holds_at_a_time(store: Arc<dyn MetaStore>) -> Outcome {
    commit(&*store, Txn::new().put("count", "0")).await?;
    let supervisor = Supervisor::new();
    let candidates: Vec<_> =
        (0..CANDIDATES).map(|_| tokio::spawn(candidate(Arc::clone(&store), supervisor.clone()))).collect();
    let mut steps = 0;
    for candidate in candidates {
        steps += candidate.await??;
    }
    let count = store.get("count").await?.ok_or("the count is gone")?;
    assert_eq!(std::str::from_utf8(&count.value)?.parse::<u64>()?, steps);
    supervisor.shutdown(PATIENCE).await?;
    Ok(())
}

async fn candidate(store: Arc<dyn MetaStore>, supervisor: Supervisor) -> Result<u64, Failure> {
    let started = Instant::now();
    let (mut steps, mut terms) = (0, 0);
    while terms < TERMS {
        assert!(started.elapsed() < PATIENCE * 2, "the key cannot be claimed");
        let keeper = hold(&store, &supervisor).await?;
        let claim = Txn::new().expect("owner", Expect::Absent).put_leased("owner", "me", keeper.lease());
        if let Ok(outcome) = store.txn(claim).await
            && let Some(owner) = outcome.committed()
        {
            terms += 1;
            for _ in 0..5 {
                let count = store.get("count").await?.ok_or("the count is gone")?;
                let next = std::str::from_utf8(&count.value)?.parse::<u64>()? + 1;
                let step = Txn::new().expect("owner", Expect::Revision(owner)).put("count", next.to_string());
                if !keeper.is_held() || store.txn(step).await?.committed().is_none() {
                    break;
                }
                steps += 1;
            }
        }
        keeper.release().await;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(steps)
}
